"""The negotiation, row by row."""

from __future__ import annotations

import itertools

import pytest

from joblib import Parallel, delayed, explain_backend, parallel_backend, parallel_config
from joblib._engine.resolve import Choice, Traits, resolve
from joblib._parallel_backends import SequentialBackend, ThreadingBackend

PROCESSES = Traits("Processes", supports_sharedmem=False, uses_threads=False)
THREADS = Traits("Threads", supports_sharedmem=True, uses_threads=True)
CLUSTER = Traits("Cluster", supports_sharedmem=False, uses_threads=False)

# named, context, require, prefer, default, n_jobs, context n_jobs -> choice, n_jobs, row
TABLE = [
    # the call names a backend
    (CLUSTER, None, None, None, PROCESSES, None, None, Choice.NAMED, None, 3),
    (CLUSTER, THREADS, None, "threads", PROCESSES, 2, 5, Choice.NAMED, 2, 3),
    (CLUSTER, THREADS, None, None, PROCESSES, None, 5, Choice.NAMED, 5, 3),
    (THREADS, CLUSTER, "sharedmem", None, PROCESSES, None, None, Choice.NAMED, None, 3),
    # the context names one
    (None, CLUSTER, "sharedmem", None, PROCESSES, None, 5, Choice.THREADS, None, 4),
    (None, CLUSTER, "sharedmem", "threads", PROCESSES, 3, 5, Choice.THREADS, 3, 4),
    (None, THREADS, "sharedmem", None, PROCESSES, None, 5, Choice.CONTEXT, 5, 5),
    (None, CLUSTER, None, "threads", PROCESSES, None, 5, Choice.CONTEXT, 5, 5),
    (None, THREADS, None, "processes", PROCESSES, 2, 5, Choice.CONTEXT, 2, 5),
    # nobody names one
    (None, None, "sharedmem", None, PROCESSES, None, 4, Choice.THREADS, 4, 6),
    (None, None, None, "threads", PROCESSES, None, 4, Choice.THREADS, 4, 6),
    (None, None, None, "threads", PROCESSES, 2, 4, Choice.THREADS, 2, 6),
    (None, None, None, "processes", THREADS, None, None, Choice.PROCESSES, None, 7),
    (None, None, None, None, PROCESSES, None, 4, Choice.DEFAULT, 4, 8),
    (None, None, None, "processes", PROCESSES, 3, None, Choice.DEFAULT, 3, 8),
    (None, None, "sharedmem", "threads", THREADS, 3, None, Choice.DEFAULT, 3, 8),
]


@pytest.mark.parametrize("row", TABLE)
def test_table(row):
    *arguments, choice, n_jobs, number = row
    decision = resolve(*arguments)
    assert (decision.choice, decision.n_jobs, decision.row) == (choice, n_jobs, number)
    assert decision.reason.startswith("Using ")


BACKENDS = [None, PROCESSES, THREADS]


@pytest.mark.parametrize(
    "prefer, require, match",
    [
        ("thread", None, r"prefer=thread is not a valid.*'processes', 'threads'"),
        (None, "shared", r"require=shared is not a valid.*'sharedmem'"),
        ("processes", "sharedmem", "inconsistent"),
    ],
)
def test_bad_hints_are_errors_whoever_names_what(prefer, require, match):
    for named, context in itertools.product(BACKENDS, BACKENDS):
        with pytest.raises(ValueError, match=match):
            resolve(named, context, require, prefer, PROCESSES)


def test_a_named_backend_must_offer_what_is_required():
    with pytest.raises(ValueError, match="Cluster does not support shared memory"):
        resolve(CLUSTER, THREADS, "sharedmem", None, PROCESSES)


def test_required_memory_is_always_shared():
    everything = itertools.product(BACKENDS, BACKENDS, [None, "threads"], BACKENDS[1:])
    for named, context, prefer, default in everything:
        if named is PROCESSES:
            continue
        decision = resolve(named, context, "sharedmem", prefer, default)
        chosen = {
            Choice.NAMED: named,
            Choice.CONTEXT: context,
            Choice.THREADS: THREADS,
            Choice.DEFAULT: default,
        }[decision.choice]
        assert chosen.supports_sharedmem


# ------------------------------------------------------------------ in practice
def test_a_context_without_backend_keeps_its_number():
    with parallel_config(prefer="threads", n_jobs=3):
        parallel = Parallel()
        assert type(parallel._backend) is ThreadingBackend
        assert parallel.n_jobs == 3
    with parallel_config(n_jobs=3):
        assert Parallel(require="sharedmem").n_jobs == 3
    with parallel_config("loky", n_jobs=3):
        assert Parallel(require="sharedmem").n_jobs == 1


def test_explanations():
    assert explain_backend(prefer="threads", n_jobs=2).row == 6
    with parallel_backend("threading"):
        choice = explain_backend()
        assert (choice.backend, choice.n_jobs) == ("ThreadingBackend", -1)
        assert "context names it" in str(choice)
    with parallel_config("loky", n_jobs=2):
        choice = explain_backend(require="sharedmem")
        assert choice.backend == "ThreadingBackend"
        assert "instead of LokyBackend" in choice.reason
    choice = explain_backend(backend=SequentialBackend())
    assert choice.row == 3
    with pytest.raises(ValueError, match="Invalid backend"):
        explain_backend(backend="nowhere")


def test_verbose_calls_say_why(capsys):
    Parallel(2, prefer="threads", verbose=10)([delayed(abs)(1)])
    assert "the call prefers threads" in capsys.readouterr().err
    Parallel(2, prefer="threads", verbose=5)([delayed(abs)(1)])
    assert "prefers" not in capsys.readouterr().err
