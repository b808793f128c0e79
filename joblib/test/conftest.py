"""Fixtures of joblib's own tests: each backend in turn."""

from __future__ import annotations

import pytest

from joblib._parallel_backends import ThreadingBackend
from joblib.test.backends import ApplyAsyncBackend, InlineBackend


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
