# Every command is one line of Python, so that it also works without make.
PYTHON ?= python3
RUN = $(PYTHON) continuous_integration/run.py

.PHONY: help demo test test-all-pythons test-sklearn unit soak upstream lint conformance bench asv movie doc clean

help:  ## say what there is
	@$(RUN) help

demo:  ## set up and run examples/distributed_training.py
	@$(RUN) demo

test:  ## set up and pass every check
	@$(RUN) test

test-all-pythons:  ## unit and conformance tests on every Python found here
	@$(RUN) test-all-pythons

test-sklearn:  ## scikit-learn's own tests of its parallel estimators
	@$(RUN) test-sklearn

unit:  ## this package's own tests
	@$(RUN) unit

soak:  ## those of its tests that take long
	@$(RUN) soak

upstream:  ## files, digests and caches of upstream's release and ours
	@$(RUN) upstream

lint:  ## ruff, mypy and the layer test
	@$(RUN) lint

conformance:  ## upstream's test files against this package
	@$(RUN) conformance

bench:  ## this joblib, upstream's release and peers side by side
	@$(RUN) bench

asv:  ## the asv benchmarks, quickly
	@$(RUN) asv

movie:  ## doc/_static/movie.svg, from a search on a cluster
	@$(RUN) movie

doc:  ## the documentation, into doc/_build/html
	@$(RUN) doc

clean:  ## remove what the commands made
	@$(RUN) clean
