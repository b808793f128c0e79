"""What cannot be sent to a dask cluster, or loaded there, is said by name."""

from __future__ import annotations

import pickle
import sys
import threading
import types

import pytest

pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402

from .dask_common import (  # noqa: E402
    check_as_before,
    increment,
    return_lock,
    small_cluster,
    total,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_client_usable(request):
    yield
    if "client" in request.fixturenames:
        check_as_before(request.getfixturevalue("client"))


def refuse(x):
    class Refusing:
        def __reduce__(self):
            raise RuntimeError("not me")

    return Refusing()


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (delayed(threading.Lock().acquire)(), ["function", "lock.acquire"]),
        (delayed(increment)(threading.Lock()), ["Argument 0", "increment", "lock"]),
        (delayed(total)(1, extra=threading.Lock()), ["'extra'", "total", "lock"]),
        (delayed(return_lock)(1), ["result", "return_lock", "lock"]),
        (delayed(refuse)(1), ["result", "refuse", "not me"]),
    ],
    ids=["function", "argument", "keyword", "result", "broken result"],
)
@pytest.mark.parametrize("count", [1, 5])
def test_what_cannot_be_pickled(client, task, words, count):
    with parallel_config("dask"):
        with pytest.raises(pickle.PicklingError) as caught:
            Parallel()([task] * count)
    for word in words:
        assert word in str(caught.value)
    # the reason, or its traceback on the worker
    assert words[-1].split(".")[0] in str(caught.value.__cause__)


def test_a_large_argument_that_cannot_be_pickled(client):
    value = [[threading.Lock()] * 100_000]
    with parallel_config("dask"):
        with pytest.raises(pickle.PicklingError, match="Argument 0 .*'increment'"):
            Parallel()(delayed(increment)(value) for _ in range(3))


def test_what_a_context_scatters_and_cannot_be_pickled(client):
    with parallel_config("dask", scatter=[[1], [threading.Lock()]]):
        with pytest.raises(pickle.PicklingError, match="Object 1 of scatter=.*'list'"):
            Parallel()(delayed(increment)(i) for i in range(3))


def refuse_to_load(where):
    raise RuntimeError(f"not in the {where}")


class LoadedNowhere:
    """Can be pickled, and can't be loaded."""

    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        return refuse_to_load, (self.where,)


class LoadedNowhereToRun(LoadedNowhere):
    def __call__(self, x):
        return x


def return_what_cannot_be_loaded(x):
    return LoadedNowhere("caller")


@pytest.mark.parametrize(
    ("task", "where"),
    [
        (delayed(LoadedNowhereToRun("worker"))(1), "worker"),
        (delayed(increment)(LoadedNowhere("worker")), "worker"),
        (delayed(return_what_cannot_be_loaded)(1), "caller"),
    ],
    ids=["function", "argument", "result"],
)
@pytest.mark.parametrize("count", [1, 5])
def test_what_cannot_be_loaded(client, task, where, count):
    with parallel_config("dask"):
        with pytest.raises(RuntimeError, match=f"not in the {where}") as caught:
            Parallel()([task] * count)
    check_notes(caught.value, task[0])
    if where == "worker":  # the frames there
        assert "in refuse_to_load" in str(caught.value.__cause__)


def check_notes(error, func):
    """Check that the error names the function, which it does from Python 3.11 on."""
    name = getattr(func, "__name__", type(func).__name__)
    if sys.version_info >= (3, 11):
        [note] = error.__notes__
        assert f"{name!r} were unpickled" in note


def test_a_function_of_a_module_that_workers_lack(client, monkeypatch):
    module = types.ModuleType("only_here")
    exec("def double(x):\n    return 2 * x", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    with parallel_config("dask"):
        with pytest.raises(ModuleNotFoundError, match="only_here") as caught:
            Parallel()(delayed(module.double)(i) for i in range(3))
    check_notes(caught.value, module.double)
    assert type(caught.value.__cause__).__name__ == "RemoteTraceback"
