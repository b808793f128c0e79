"""Futures of dask as arguments of tasks: these get their results, as from dask itself."""

from __future__ import annotations

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402

from .dask_common import (  # noqa: E402
    EITHER_WAY,
    check_as_before,
    fail,
    hold,
    increment,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("threads of the cluster's worker"),
]


@pytest.fixture(scope="module", params=["processes", "threads"])
def client(request):
    with small_cluster(n_workers=2, processes=request.param == "processes") as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_client_usable(client):
    yield
    check_as_before(client)


def described(*args, **kwargs):
    return repr((args, kwargs))


PLACES = {
    "argument": lambda future: ((future,), {}),
    "keyword": lambda future: ((), {"x": future}),
    "list": lambda future: (([future, 1],), {}),
    "tuple": lambda future: (((1, future),), {}),
    "set": lambda future: (({future},), {}),
    "dict": lambda future: (({"a": future},), {}),
    "deep": lambda future: (([[{"a": (future, 2)}]],), {}),
    "large list": lambda future: (([future, *range(50_000)],), {}),
    "twice": lambda future: ((future, future), {"again": [future]}),
}


@pytest.mark.parametrize("place", PLACES)
def test_tasks_get_the_results_of_futures(client, place):
    future = client.submit(increment, 6)
    args, kwargs = PLACES[place](future)
    expected_args, expected_kwargs = PLACES[place](7)
    with parallel_config("dask"):
        out = Parallel()(delayed(described)(*args, **kwargs) for _ in range(3))
    assert out == [described(*expected_args, **expected_kwargs)] * 3
    future.release()


def shifted(x, array, i):
    return float(array.sum()) + x + i


def test_a_future_beside_a_large_argument(client):
    np = pytest.importorskip("numpy")
    data = np.ones(300_000)
    scattered, future = client.scatter(np.ones(10)), client.submit(increment, 1)
    with parallel_config("dask"):
        out = Parallel()(delayed(shifted)(future, data, i) for i in range(4))
        assert out == [300_002.0 + i for i in range(4)]
        out = Parallel()(delayed(shifted)(future, scattered, i) for i in range(4))
        assert out == [12.0 + i for i in range(4)]
    scattered.release()
    future.release()


def test_a_future_that_is_not_done_yet_is_waited_for(client):
    held = client.submit(hold, "source", 5)
    wait_until_begun("source", client)
    with parallel_config("dask"):
        results = Parallel(return_as="generator")(
            delayed(increment)(x) for x in [held, 1]
        )
        distributed.Event("source-go", client=client).set()
        assert list(results) == [6, 2]
    held.release()


def test_the_error_of_a_future_is_the_tasks(client):
    failed = client.submit(fail, 3)
    with parallel_config("dask"), pytest.raises(KeyError, match="no 3"):
        Parallel()(delayed(increment)(failed) for _ in range(2))
    failed.release()


def test_a_future_that_was_cancelled_ends_the_call(client):
    held = client.submit(hold, "cancelled", 5)
    wait_until_begun("cancelled", client)
    with parallel_config("dask"):
        results = Parallel(return_as="generator")([delayed(increment)(held)])
        held.cancel()
        distributed.Event("cancelled-go", client=client).set()
        with pytest.raises(RuntimeError, match=r"increment.* was cancelled"):
            list(results)


def names_of_kinds(values, i):
    return sorted({type(value).__name__ for value in values})


def call_with_many(n, kind):
    client = distributed.get_client()
    futures = client.map(increment, range(n), pure=False)
    values = kind(futures * (10_000 // n) if kind is list else futures)
    return Parallel()(delayed(names_of_kinds)(values, i) for i in range(6))


@EITHER_WAY
@pytest.mark.parametrize("kind", [list, set, frozenset], ids=lambda kind: kind.__name__)
def test_many_futures_in_one_argument(client, kind, options):
    """It is large, and would be shared if there were no futures in it."""
    futures = client.map(increment, range(100), pure=False)
    values = kind(futures)
    with parallel_config("dask", **options):
        run = Parallel(batch_size=1)
        assert (
            run(delayed(names_of_kinds)(values, i) for i in range(6)) == [["int"]] * 6
        )
        assert run([delayed(call_with_many)(100, kind)]) == [[["int"]] * 6]
    del futures, values


def call_with_futures(n):
    client = distributed.get_client()
    futures = client.map(increment, range(n), pure=False)
    return Parallel()(delayed(increment)(future) for future in futures)


@EITHER_WAY
def test_futures_of_a_task_in_its_calls(client, options):
    with parallel_config("dask", **options):
        out = Parallel()(delayed(call_with_futures)(n) for n in (3, 4, 5))
    assert out == [[2, 3, 4], [2, 3, 4, 5], [2, 3, 4, 5, 6]]


class Box:
    def __init__(self, future):
        self.future = future


def kind_of_content(box):
    return type(box.future).__name__


def test_what_is_an_attribute_stays_a_future(client):
    future = client.submit(increment, 1)
    with parallel_config("dask"):
        assert Parallel()([delayed(kind_of_content)(Box(future))]) == ["Future"]
    future.release()
    assert tasks_left(client) == []
