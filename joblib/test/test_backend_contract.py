"""Every bundled backend, and two as others write them, keep the contract."""

from __future__ import annotations

import pytest

from joblib import Parallel, delayed
from joblib._backends.base import FallbackToBackend, ParallelBackendBase
from joblib._parallel_backends import SequentialBackend, ThreadingBackend
from joblib.test.backends import ApplyAsyncBackend, InlineBackend
from joblib.testing import backend_checks, check_backend

pytestmark = [
    # a backend of old times says so at each submit
    pytest.mark.filterwarnings("ignore:.*apply_async.*:DeprecationWarning"),
    # Python warns of every fork in a process that has threads
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


@pytest.mark.parametrize("check", backend_checks(), ids=lambda check: check.__name__)
def test_contract(backend_factory, check):
    check(backend_factory, 2)


class LosesResults(InlineBackend):
    def retrieve_result_callback(self, out):
        return super().retrieve_result_callback(out)[:-1]


class CallsBackTwice(InlineBackend):
    def submit(self, func, callback=None):
        super().submit(func, callback)
        callback([])


class ForgetsStop(ThreadingBackend):
    def abort_everything(self, ensure_ready=True):
        raise RuntimeError("can't stop")


@pytest.mark.parametrize("bad", [LosesResults, CallsBackTwice, ForgetsStop])
def test_the_contract_finds_a_bad_backend(bad):
    with pytest.raises(AssertionError, match=r"of \d+ checks failed"):
        check_backend(bad)


def test_what_a_backend_must_define():
    class Nothing(ParallelBackendBase):
        def effective_n_jobs(self, n_jobs):
            return 2

    with pytest.raises(NotImplementedError, match="Nothing must define submit"):
        Parallel(2, backend=Nothing())([delayed(abs)(1)])

    with pytest.raises(TypeError, match="abstract"):
        ParallelBackendBase()


def test_apply_async_is_deprecated():
    with pytest.warns(DeprecationWarning, match="apply_async"):
        out = Parallel(2, backend=ApplyAsyncBackend())([delayed(abs)(-1)])
    assert out == [1]


def test_an_inline_backend_does_not_recurse():
    backend = InlineBackend()
    n = 5000
    out = Parallel(2, backend=backend)(delayed(abs)(i) for i in range(n))
    assert out == list(range(n))
    assert backend.deepest == 1


def test_fallback_to_another_backend():
    class Unavailable(ThreadingBackend):
        def configure(self, n_jobs=1, parallel=None, **kwargs):
            raise FallbackToBackend(SequentialBackend(nesting_level=0))

    parallel = Parallel(2, backend=Unavailable())
    assert parallel([delayed(abs)(-3)]) == [3]
    assert type(parallel._backend) is SequentialBackend


def test_a_backend_without_workers_says_so():
    class Empty(ThreadingBackend):
        def configure(self, *args, **kwargs):
            return 0

    with pytest.raises(RuntimeError, match="Empty has no active worker"):
        Parallel(2, backend=Empty())([delayed(abs)(1)])
