"""Fixtures of joblib's own tests: each backend in turn, upstream's release."""

from __future__ import annotations

import pytest

from joblib._parallel_backends import ThreadingBackend
from joblib.test import upstream
from joblib.test.backends import ApplyAsyncBackend, InlineBackend

LEFT_OUT = pytest.StashKey[int]()


def _bundled(name):
    from joblib._engine.registry import find_factory

    return find_factory(name)


FACTORIES = {
    "sequential": lambda: _bundled("sequential")(),
    "threading": ThreadingBackend,
    "loky": lambda: _bundled("loky")(),
    "multiprocessing": lambda: _bundled("multiprocessing")(),
    "apply_async": ApplyAsyncBackend,
    "inline": InlineBackend,
}


@pytest.fixture(params=sorted(FACTORIES))
def backend_factory(request):
    """A callable that returns a new backend; once for each kind of backend."""
    return FACTORIES[request.param]


@pytest.fixture(params=["threading", "loky"])
def generator_backend(request):
    """The name of a backend that can return generators."""
    return request.param


def pytest_collection_modifyitems(config, items):
    """Leave out what needs upstream's release where there is none."""
    if upstream.PYTHON:
        return
    without = [item for item in items if item.get_closest_marker("upstream") is None]
    left_out = len(items) - len(without)
    if left_out:
        config.hook.pytest_deselected(
            items=[item for item in items if item not in set(without)]
        )
        config.stash[LEFT_OUT] = left_out
        items[:] = without


def pytest_terminal_summary(terminalreporter, config):
    """Say that it was left out, and why."""
    left_out = config.stash.get(LEFT_OUT, 0)
    if left_out:
        terminalreporter.write_line(
            f"{left_out} tests against upstream's release were left out: "
            "JOBLIB_UPSTREAM_PYTHON names no interpreter that has it"
        )


@pytest.fixture(scope="module")
def sides():
    """The two releases, by name; upstream's in a process of its own."""
    other = upstream.Upstream()
    yield {"ours": upstream.Ours(), "theirs": other}
    other.close()
