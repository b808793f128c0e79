"""Tasks that keep a resource of their worker while they wait for calls of their own."""

from __future__ import annotations

import pytest

pytest.importorskip("distributed")

import dask  # noqa: E402

from joblib import Parallel, delayed, parallel_config  # noqa: E402

from .dask_common import increment, small_cluster, tasks_left  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

GPU = {"GPU": 1}


@pytest.fixture(scope="module")
def client():
    with small_cluster(resources=GPU) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_cluster_empty(client):
    yield
    assert tasks_left(client) == []


def as_generator(i):
    return sum(Parallel(batch_size=1, return_as="generator")(nested(i)))


def as_list(i):
    return sum(Parallel(batch_size=1)(nested(i)))


def nested(i):
    """More tasks than a worker of one thread is given at once."""
    return [delayed(increment)(i + k) for k in range(4)]


def two_levels(i):
    call = Parallel(batch_size=1, return_as="generator")
    return sum(call(delayed(as_generator)(i + k) for k in range(4)))


def result_of(function, i):
    if function is two_levels:
        return sum(result_of(as_generator, i + k) for k in range(4))
    return sum(i + k + 1 for k in range(4))


TASKS = pytest.mark.parametrize("function", [as_generator, as_list, two_levels])


@TASKS
@pytest.mark.parametrize("key", [None, "search"])
def test_tasks_with_calls_of_their_own_end(client, function, key):
    """dask takes a worker for full whose tasks wait for what one of them keeps."""
    options = {} if key is None else {"key": key}
    with parallel_config("dask", resources=GPU, **options):
        out = Parallel(batch_size=1)(delayed(function)(i) for i in range(5))
    assert out == [result_of(function, i) for i in range(5)]


@TASKS
def test_so_do_those_that_were_annotated(client, function):
    with dask.annotate(resources=GPU), parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(function)(i) for i in range(5))
    assert out == [result_of(function, i) for i in range(5)]


def with_dask(function, i):
    with parallel_config("dask"):
        return function(i)


@TASKS
def test_so_do_those_of_dask_itself(client, function):
    futures = client.map(
        with_dask, [function] * 5, range(5), resources=GPU, batch_size=None, pure=False
    )
    assert client.gather(futures) == [result_of(function, i) for i in range(5)]
