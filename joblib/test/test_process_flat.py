"""Large plain containers in tasks and results: equal, of the same types, own copies."""

from __future__ import annotations

import pickle

import pytest

from joblib import Parallel, delayed
from joblib._backends import flat
from joblib._backends.flat import Flat, count_flat, flatten_results, flatten_tasks

N = flat.LARGE


def same(x):
    return x


def both(x, y):
    return x is y


def grow(x):
    x.append(1)
    return len(x)


class Text(str):
    pass


FLAT = {
    "dict": {i: str(i) for i in range(N)},
    "list": [1.5, None, True, b"x", 2**100, "\ud800"] * N,
    "tuple": (complex(1, -0.0), "a") * N,
    "set": set(range(N)),
    "frozenset": frozenset(map(str, range(N))),
    "nested": [list(range(100)), {"a": (1, {2})}] + [0] * N,
}
NOT_FLAT = {
    "objects": [object] * N,
    "subclass": [Text("a")] * N,
    "buffer": [bytearray(b"a")] * N,
    "keys": {(i, i): 1 for i in range(N)},
    "sets in sets": {frozenset({i}) for i in range(N)},
    "functions": [len] * N,
    "many": [[i] for i in range(N)],
    "small": [1] * (N - 1),
}


def task(*args, **kwargs):
    return delayed(same)(*args, **kwargs)


@pytest.mark.parametrize("name", FLAT)
def test_what_goes_by_marshal_comes_back_equal(name):
    value = FLAT[name]
    (found,) = flatten_tasks([task(value, 1)])
    assert type(found[1][0]) is Flat and found[1][1] == 1
    back = pickle.loads(pickle.dumps(found))[1][0]
    assert type(back) is type(value) and back == value
    (keyword,) = flatten_tasks([task(1, a=value)])
    assert type(keyword[2]["a"]) is Flat
    assert pickle.loads(pickle.dumps(flatten_results([value, 3]))) == [value, 3]


@pytest.mark.parametrize("name", NOT_FLAT)
def test_what_does_not(name):
    tasks = [task(NOT_FLAT[name], 1)]
    assert flatten_tasks(tasks) is tasks
    results = [NOT_FLAT[name]]
    assert flatten_results(results) is results


def test_a_container_within_itself():
    value = [0] * N
    value.append(value)
    assert count_flat(value) == 0


@pytest.mark.parametrize(
    "others", [([],), (Text(),), (same,), ({"a": object()},), (range(3),)]
)
def test_other_arguments_might_hold_the_container(others):
    tasks = [task(FLAT["list"], *others)]
    assert flatten_tasks(tasks) is tasks


def test_functions_might_hold_the_container():
    value = FLAT["list"]

    def closure(x):
        return x is value

    def default(x, y=value):
        return x is y

    for function in (closure, default, value.count):
        tasks = [delayed(function)(value)]
        assert flatten_tasks(tasks) is tasks


def test_several_that_may_share_their_parts():
    inner = [1]
    tasks = [task([*range(N), inner], [*range(N), inner])]
    assert flatten_tasks(tasks) is tasks
    plain = [task(list(range(N)), list(range(N)))]
    assert flatten_tasks(plain) is not plain


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_calls(backend, batch_size):
    parallel = Parallel(2, backend=backend, batch_size=batch_size, pre_dispatch="all")
    value = list(range(N))
    assert parallel(delayed(same)(FLAT["dict"]) for _ in range(3)) == [FLAT["dict"]] * 3
    assert parallel(delayed(both)(value, value) for _ in range(4)) == [True] * 4
    lengths = parallel(delayed(grow)(value) for _ in range(4))
    # as they are when sent; within one batch it is one object, as in one pickle
    assert lengths == ([N + 1] * 4 if batch_size == 1 else [N + 1, N + 2, N + 3, N + 4])
    assert len(value) == N
