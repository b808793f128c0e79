"""What can't be pickled is told with the path to it."""

from __future__ import annotations

import functools
import pickle
import threading
from multiprocessing import get_all_start_methods, get_context

import pytest

from joblib import Parallel, delayed
from joblib._backends.culprit import find_culprit, parts_of_tasks

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")

LOCK = threading.Lock()


class Model:
    def __init__(self, lock):
        self.weights = [1, 2]
        self.lock = lock

    def fit(self, x):
        return x


class Slotted:
    __slots__ = ("a", "lock")

    def __init__(self, lock):
        self.a = 1
        self.lock = lock


class Stateful:
    def __init__(self, lock):
        self.lock = lock

    def __getstate__(self):
        return {"inner": {"deep": self.lock}}


class Refusing:
    def __reduce__(self):
        raise TypeError("never")


class Fallen(list):
    pass


def enclosing(lock):
    return lambda x: (lock, x)


def using_a_global(x):
    return LOCK, x


def with_default(x, *, lock=LOCK):
    return x


def take(*args, **kwargs):
    return None


def fails(obj):
    try:
        pickle.dumps(obj)
    except Exception:
        return True
    return False


PATHS = [
    ((take, (1, {"model": Model(LOCK)}), {}), "args[1]['model'].lock"),
    ((take, (), {"a": 1, "b": [0, (1, LOCK)]}), "kwargs['b'][1][1]"),
    ((take, (Slotted(LOCK),), {}), "args[0].lock"),
    ((take, (Stateful(LOCK),), {}), "args[0].inner['deep']"),
    ((take, (Refusing(),), {}), "args[0]"),
    ((take, (Fallen([1, [LOCK]]),), {}), "args[0][1][0]"),
    ((take, ({LOCK: 1},), {}), "a key of args[0]"),
    ((take, ({2, LOCK},), {}), "an element of args[0]"),
    ((functools.partial(take, 1, LOCK), (2,), {}), "the function.args[1]"),
    (
        (functools.partial(take, key=[LOCK]), (2,), {}),
        "the function.keywords['key'][0]",
    ),
    ((Model(LOCK).fit, (2,), {}), "the function.__self__.lock"),
    ((enclosing([LOCK]), (1,), {}), "'lock' in the closure of the function[0]"),
    ((using_a_global, (1,), {}), "'LOCK' in the globals of the function"),
    ((with_default, (1,), {}), "the function.__kwdefaults__['lock']"),
]


@pytest.mark.parametrize("task, path", PATHS, ids=[path for _, path in PATHS])
def test_paths(task, path):
    def by_value(obj):  # functions too, as cloudpickle takes those of the main module
        if type(obj) in (type(take), functools.partial):
            return any(by_value(part) for _, part in culprit_parts("", obj))
        return fails(obj)

    from joblib._backends.culprit import _parts as culprit_parts

    found = find_culprit(parts_of_tasks([(take, (1,), {}), task]), by_value)
    assert found[0] == path


def test_nothing_to_find():
    assert find_culprit(parts_of_tasks([(take, (1, [2]), {"a": {}})]), fails) is None


def test_what_contains_itself():
    ring = []
    ring.append(ring)
    found = find_culprit(parts_of_tasks([(take, (ring,), {})]), lambda obj: True)
    assert found[0].startswith("args[0]")


def test_no_patience():
    assert (
        find_culprit(parts_of_tasks([(take, (LOCK,), {})]), fails, patience=-1) is None
    )


def locked_result(x):
    return {"x": [x, Model(threading.Lock())]}


METHODS = sorted({"fork", "spawn", "forkserver"} & set(get_all_start_methods()))


@pytest.fixture(params=["loky", *METHODS])
def parallel(request):
    """Calls a process backend."""
    name = request.param
    backend = name if name == "loky" else get_context(name)
    return Parallel(n_jobs=2, backend=backend)


def test_an_argument_is_told(parallel):
    model = {"model": Model(LOCK)}
    with pytest.raises(pickle.PicklingError) as caught:
        parallel(delayed(take)(model, n) for n in range(4))
    assert "args[0]['model'].lock, of type _thread.lock, can't" in str(caught.value)
    assert "'take'" in str(caught.value)


def test_a_function_is_told(parallel):
    function = enclosing(LOCK)
    with pytest.raises(pickle.PicklingError) as caught:
        parallel(delayed(function)(n) for n in range(4))
    assert "'lock' in the closure of the function" in str(caught.value)


def test_a_result_is_told(parallel):
    with pytest.raises(pickle.PicklingError) as caught:
        parallel(delayed(locked_result)(n) for n in range(4))
    assert "the result['x'][1].lock, of type _thread.lock, can't" in str(caught.value)
    assert "'locked_result'" in str(caught.value)


def test_arrays_are_not_what_takes_long(parallel):
    np = pytest.importorskip("numpy")
    value = {"a": np.zeros(10), "b": np.array([1, LOCK], dtype=object)}
    with pytest.raises(pickle.PicklingError, match=r"args\[0\]\['b'\]"):
        parallel(delayed(take)(value) for n in range(4))
