"""What contexts scatter: known by what is in it, and shared by those that overlap."""

from __future__ import annotations

from collections import OrderedDict

import pytest

pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from distributed import Future  # noqa: E402

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import scattering  # noqa: E402

from .dask_common import small_cluster, tasks_left, total  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


@pytest.fixture(params=["processes", "threads"])
def client(request):
    in_processes = request.param == "processes"
    with small_cluster(n_workers=2, processes=in_processes) as client:
        yield client
        assert tasks_left(client) == []


def arrays_held(client):
    return [key for key in client.who_has() if "ndarray" in str(key)]


def use(data):
    out = Parallel(batch_size=1)(delayed(total)(data, i) for i in range(4))
    assert out == [float(data.sum()) + i for i in range(4)]


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_contexts_that_overlap_share_one_copy(client):
    data = np.arange(50_000)
    in_process = client.scheduler.address.startswith("inproc://")
    with parallel_config("dask", scatter=[data]):
        use(data)
        with parallel_config("dask", scatter=[data]):
            use(data)
            assert len(arrays_held(client)) == (2 if in_process else 1)
        use(data)
    assert tasks_left(client) == []


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_what_was_changed_meanwhile_is_sent_anew(client):
    data = np.arange(50_000)
    with parallel_config("dask", scatter=[data]):
        use(data)
        before = data.copy()
        data[-1] = 7
        with parallel_config("dask", scatter=[data]):
            use(data)
        data[-1] = before[-1]
        use(data)


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_what_another_context_has_lost_is_sent_anew(client):
    data = np.arange(50_000)
    with parallel_config("dask", scatter=[data]):
        use(data)
        held = [Future(key, client) for key in arrays_held(client)]
        client.cancel(held, force=True)
        del held
        with parallel_config("dask", scatter=[data]):
            use(data)
        use(data)


def change(first, second):
    first[0] = 5
    return int(second[0])


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_equal_objects_stay_apart(client):
    first, second, third = (np.zeros(50_000) for _ in range(3))
    with parallel_config("dask", scatter=[first, second, first]):
        assert Parallel()([delayed(change)(first, second)]) == [0]
        assert len(arrays_held(client)) == 2
        with parallel_config("dask", scatter=[third]):
            use(third)


class Unhashed:
    """Cannot tell dask what is in it."""

    def __init__(self):
        self.data = np.ones(1_000)

    def __dask_tokenize__(self):
        raise ZeroDivisionError

    def sum(self):
        return self.data.sum()


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_what_dask_cannot_hash_is_sent_for_each_context(client):
    data = Unhashed()
    with parallel_config("dask", scatter=[data]):
        use(data)
        with parallel_config("dask", scatter=[data]):
            use(data)


@pytest.mark.parametrize(
    "value",
    [[1], (1,), {1: 2}, OrderedDict({1: 2}), {1}, frozenset([1]), Unhashed()],
)
def test_what_has_no_hash(value):
    assert scattering._token_of(value) is None


def test_what_has_one():
    tokens = {scattering._token_of(np.arange(n)) for n in (3, 3, 4)}
    assert len(tokens) == 2
    assert None not in tokens
