"""What is shared among the tasks of a call on dask, and how much is sent for it."""

from __future__ import annotations

import functools

import pytest

pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import courier, sharing, spreading  # noqa: E402
from joblib._dask.remote import Slot, fill  # noqa: E402
from joblib._dask.sharing import Sharing  # noqa: E402

from .dask_common import small_cluster, tasks_left, total  # noqa: E402

pytestmark = pytest.mark.timeout(30)


# ------------------------------------------------------------------- decisions
@pytest.fixture
def sent(monkeypatch):
    """What is sent: how many objects, each time, and in how many copies: to workers on
    this machine, and else."""
    sent = []

    def spread(client, data, workers, near_copies, far_copies, timeout):
        sent.append((len(data), near_copies, far_copies))
        return {key: object() for key in data}

    monkeypatch.setattr(sharing, "spread", spread)
    return sent


def bytes_of(n):
    return np.ones(n, dtype=np.uint8)


def take_out(shared, items):
    shared.survey([items])
    return shared.take_out(items)


@pytest.mark.parametrize(
    ("nbytes", "times", "number"),
    [(900, 5, 0), (50_000, 1, 0), (50_000, 2, 1), (50_000, 9, 1), (300_000, 1, 1)],
)
def test_what_is_shared(sent, nbytes, times, number):
    shared = Sharing(None, {}, False)
    value = bytes_of(nbytes)
    for _ in range(times):
        items, futures = take_out(shared, [(abs, (value,), {})])
        assert len(futures) == (type(items[0][1][0]) is Slot)
    assert len(sent) == number


@pytest.mark.parametrize(
    ("sizes", "copies"),
    [((50_000,), {(1, 1)}), ((50_000, 300_000), {(3, 1)}), ((2_000_000,), {(3, 3)})],
)
def test_small_ones_go_to_as_many_workers_as_large_ones_beside_them(
    sent, sizes, copies
):
    shared = Sharing(None, {}, False)
    values = tuple(map(bytes_of, sizes))
    shared.survey([[(max, values, {})] for _ in range(3)])
    shared.take_out([(max, values, {})])
    assert {(near, far) for _, near, far in sent} == copies


def test_what_is_sent_together_goes_out_at_once(sent):
    shared = Sharing(None, {}, False)
    batches = [[(abs, (bytes_of(300_000),), {})] for _ in range(5)]
    shared.survey(batches)
    assert sent == [(5, 1, 1)]


@pytest.mark.parametrize(
    ("nbytes", "batches", "copies"),
    [(2_000_000, 3, (3, 3)), (2_000_000, 1, (1, 1)), (9_000, 3, (1, 1))],
)
def test_as_many_copies_as_batches_that_need_them(sent, nbytes, batches, copies):
    shared = Sharing(None, {}, False)
    value = bytes_of(nbytes)
    # twice in a batch is once for its worker
    shared.survey([[(abs, (value,), {"again": value})] * 2] * batches)
    assert sent == [(1, *copies)]


@pytest.mark.parametrize("nbytes", [10_000, 300_000])
def test_sharing_keeps_nothing_that_has_gone(sent, nbytes):
    shared = Sharing(None, {}, False)
    for _ in range(20):
        take_out(shared, [(abs, (bytes_of(nbytes),), {})])
    assert len(shared._weak) == 0


@pytest.mark.parametrize(
    ("in_process", "make"), [(False, lambda i: [i] * 2_000), (True, np.ones)]
)
def test_sharing_keeps_a_few_where_it_has_to(sent, in_process, make):
    shared = Sharing(None, {}, in_process)
    for i in range(1_000, 1_200):
        take_out(shared, [(abs, (make(i),), {})])
    assert len(shared._weak) == 0
    assert 0 < len(shared._strong) <= 64


def test_slots_are_filled_with_what_they_stand_for(sent):
    value = np.ones(300_000)
    shared = Sharing(None, {}, False)
    tasks = [(total, (value,), {"extra": 1}), (total, (value,), {"extra": value})]
    items, futures = take_out(shared, tasks)
    assert len(futures) == 1
    filled = fill(items, [value])
    assert [func for func, _, _ in filled] == [total, total]
    assert filled[0][1] == (value,)
    assert filled[0][2] == {"extra": 1}
    assert filled[1][2]["extra"] is value


class Holder:
    """Is large, and dask does not see it."""

    def __init__(self, n):
        self.data = bytes_of(n)

    def size(self, i=0):
        return self.data.nbytes + i


def closure(n):
    data = bytes_of(n)
    return lambda i: data.nbytes + i


HIDDEN = {
    "closure": lambda n: delayed(closure(n)),
    "partial": lambda n: delayed(functools.partial(total, bytes_of(n))),
    "method": lambda n: delayed(Holder(n).size),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_hides_in_a_function_is_found_by_its_weight(sent, kind):
    function, _, _ = HIDDEN[kind](300_000)(1)
    shared = Sharing(None, {}, False)
    items = [(function, (1,), {})]
    assert take_out(shared, items) == (items, [])
    assert shared.weigh(items)
    assert sent == [(1, 1, 1)]
    filled, futures = take_out(shared, items)
    assert type(filled[0][0]) is Slot
    assert len(futures) == 1
    assert not shared.weigh(items)


def test_weighing_in_vain_has_an_end(sent):
    shared = Sharing(None, {}, False)
    weighed = [shared.weigh([(total, (Holder(300_000),), {})]) for _ in range(40)]
    assert sum(weighed) == sharing.WEIGHINGS


# ------------------------------------------------------------------- the traffic
@pytest.fixture(scope="module", params=["processes", "threads"])
def client(request):
    options = (
        {"n_workers": 2}
        if request.param == "processes"
        else {"n_workers": 2, "processes": False}
    )
    with small_cluster(**options) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_cluster_empty(request):
    yield
    if "client" in request.fixturenames:
        assert tasks_left(request.getfixturevalue("client")) == []


def received(client):
    """Return for each worker how many bytes it was sent: by peers, and in all data."""

    def count(dask_worker):
        peers = dask_worker.transfer_incoming_log
        return sum(entry["total"] for entry in peers)

    return client.run(count)


@pytest.fixture
def traffic(client):
    """Count the bytes that reach workers: by scattering, from peers, with tasks."""

    def watch(dask_worker):
        dask_worker.joblib_received = 0
        update = dask_worker.handlers["update_data"]

        def counted(data, **options):
            from dask.sizeof import sizeof

            dask_worker.joblib_received += sum(map(sizeof, data.values()))
            return update(data=data, **options)

        dask_worker.handlers["update_data"] = counted
        dask_worker.joblib_restore = update

    def unwatch(dask_worker):
        dask_worker.handlers["update_data"] = dask_worker.joblib_restore
        return dask_worker.joblib_received

    client.run(watch)
    before = received(client)

    def bytes_by_worker():
        scattered = client.run(lambda dask_worker: dask_worker.joblib_received)
        peers = received(client)
        return [scattered[w] + peers[w] - before[w] for w in scattered]

    yield bytes_by_worker
    client.run(unwatch)


def first(value, i):
    return i


def keep_both_busy(value, i):
    return sum(range(20_000)) and i


LARGE = {
    "array": lambda: np.arange(400_000),
    "list": lambda: [list(range(1_000)) for _ in range(300)],
    "text": lambda: "x" * 3_000_000,
}


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", LARGE)
def test_a_large_argument_reaches_a_worker_once(client, traffic, kind):
    from dask.sizeof import sizeof

    value = LARGE[kind]()
    with parallel_config("dask"):
        tasks = [delayed(keep_both_busy)(value, i) for i in range(40)]
        assert Parallel(batch_size=1)(tasks) == list(range(40))
    size = max(sizeof(value), 1_000_000)
    arrived = traffic()
    assert max(arrived) < 1.2 * size
    assert sum(arrived) > 500_000


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", LARGE)
def test_what_a_context_scatters_reaches_a_worker_once(client, traffic, kind):
    from dask.sizeof import sizeof

    value = LARGE[kind]()
    # It drops copies that no task waits for, such as those between two calls.
    client.amm.stop()
    try:
        with parallel_config("dask", scatter=[value]):
            for _ in range(3):
                tasks = [delayed(keep_both_busy)(value, i) for i in range(10)]
                assert Parallel(batch_size=1)(tasks) == list(range(10))
    finally:
        client.amm.start()
    size = max(sizeof(value), 1_000_000)
    arrived = traffic()
    assert max(arrived) < 1.2 * size
    assert sum(arrived) > 500_000


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_an_argument_of_one_task_goes_to_one_worker(client, traffic):
    value = bytes_of(3_000_000)
    with parallel_config("dask"):
        assert Parallel()([delayed(first)(value, 1)]) == [1]
    assert sum(traffic()) < 1.1 * value.nbytes


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", HIDDEN)
def test_a_large_function_reaches_a_worker_once(client, traffic, kind):
    function = HIDDEN[kind](2_000_000)
    with parallel_config("dask"):
        Parallel(batch_size=1)(function(i) for i in range(30))
    arrived = traffic()
    assert sum(arrived) >= 2_000_000
    assert max(arrived) < 1.2 * 2_000_000


def change(holder, i):
    holder.data[0] += 1
    return int(holder.data[0])


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_batches_do_not_see_what_others_do_to_an_object(client):
    """It is sent once, but dask does not call it large, and nobody expects sharing."""
    holder = Holder(500_000)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(change)(holder, i) for i in range(8))
    assert out == [2] * 8
    assert holder.data[0] == 1


# ------------------------------------------------------------------- ways to go
@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("obstacle", ["none answers", "elsewhere", "not wanted"])
def test_where_no_worker_is_reached_the_scheduler_sends(client, monkeypatch, obstacle):
    workers, connect = list(client.nthreads()), client.rpc.connect

    def refuse(address, *args, **kwargs):
        if address in workers:
            raise OSError("no route")
        return connect(address, *args, **kwargs)

    if obstacle == "none answers":
        monkeypatch.setattr(client.rpc, "connect", refuse)
    elif obstacle == "elsewhere":
        monkeypatch.setattr(spreading, "_is_near", lambda *_: False)
    else:
        monkeypatch.setattr(client, "direct_to_workers", False)
    value = bytes_of(2_000_000)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(total)(value) for _ in range(4))
    assert out == [2_000_000.0] * 4


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("nbytes", [300_000, 2_000_000])
def test_workers_near_by_get_what_they_need_from_the_client(
    client, monkeypatch, nbytes
):
    """None has to wait for another one, which may be busy importing."""
    # the first batches go out together, however slow this machine is
    monkeypatch.setattr(courier, "FILLING", 10)
    value = bytes_of(nbytes)
    workers = client.nthreads()
    assert len(workers) == 2
    if next(iter(workers)).startswith("inproc://"):
        # as if they were processes; those have all of it at hand
        monkeypatch.setattr(spreading, "_addresses_in_this_process", set)
    client.amm.stop()  # which would drop copies that few tasks wait for
    try:
        with parallel_config("dask"):
            parallel = Parallel(batch_size=1, return_as="generator")
            results = parallel(delayed(total)(value) for _ in range(8))
            next(results)
            held = client.who_has()
            assert sum(results) == 7 * nbytes
    finally:
        client.amm.start()
    copies = [len(on) for key, on in held.items() if key.startswith("ndarray-")]
    assert copies == [2]
