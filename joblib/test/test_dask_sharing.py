"""What is shared among the tasks of a call on dask, and how much is sent for it."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import threading
import time
import weakref

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

import distributed.client as dask_client  # noqa: E402

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import courier, sharing, spreading  # noqa: E402
from joblib._dask.packing import Packed  # noqa: E402
from joblib._dask.remote import Slot, fill  # noqa: E402
from joblib._dask.sharing import Sharing  # noqa: E402

from .dask_command import command_line_cluster  # noqa: E402
from .dask_common import (  # noqa: E402
    SECONDS,
    process_id,
    small_cluster,
    tasks_left,
    total,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]


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
    if shared.looks_inside:  # what is around it may be made anew for each task
        finder = shared.finder()
        assert Packed.of(items, find=finder.find).nbytes < 10_000
        futures = finder.futures
    else:
        filled, futures = take_out(shared, items)
        assert type(filled[0][0]) is Slot
    assert len(futures) == 1
    assert not shared.weigh(items)


def test_weighing_in_vain_has_an_end(sent):
    shared = Sharing(None, {}, False)
    weighed = [shared.weigh([(total, (Holder(300_000),), {})]) for _ in range(40)]
    later = (40 - sharing.WEIGHINGS) // sharing.WEIGHED_LATER
    assert sum(weighed) == sharing.WEIGHINGS + later


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
    """Return for each worker how many bytes its peers have sent it."""

    def count(dask_worker):
        peers = dask_worker.transfer_incoming_log
        return sum(entry["total"] for entry in peers)

    return client.run(count)


def watch_sockets(dask_worker):
    """Count all bytes that reach a worker: with tasks, by scattering, from peers."""
    from distributed.comm import tcp
    from distributed.utils import nbytes

    dask_worker.joblib_received = 0
    read = tcp.from_frames

    def counted(frames, **options):
        dask_worker.joblib_received += sum(map(nbytes, frames))
        return read(frames, **options)

    def unwatch():
        tcp.from_frames = read

    tcp.from_frames = counted
    dask_worker.joblib_unwatch = unwatch


def watch_handlers(dask_worker):
    """Count what a worker in this process is given, which crosses no socket."""
    from dask.sizeof import sizeof

    dask_worker.joblib_received = 0
    update = dask_worker.handlers["update_data"]
    compute = dask_worker.stream_handlers["compute-task"]

    def counted_task(run_spec, **options):
        packed = [part for part in run_spec.args if isinstance(part, Packed)]
        dask_worker.joblib_received += sum(part.nbytes for part in packed)
        return compute(run_spec=run_spec, **options)

    def counted(data, **options):
        dask_worker.joblib_received += sum(map(sizeof, data.values()))
        return update(data=data, **options)

    def unwatch():
        dask_worker.handlers["update_data"] = update
        dask_worker.stream_handlers["compute-task"] = compute

    dask_worker.handlers["update_data"] = counted
    dask_worker.stream_handlers["compute-task"] = counted_task
    dask_worker.joblib_unwatch = unwatch


def in_threads(client):
    return client.scheduler.address.startswith("inproc://")


@pytest.fixture
def traffic(client):
    """Count the bytes that reach workers, whichever way they go."""
    # It drops copies that no task waits for at that moment, and they are sent again.
    client.amm.stop()
    before = received(client)
    client.run(watch_handlers if in_threads(client) else watch_sockets)

    def bytes_by_worker():
        given = client.run(lambda dask_worker: dask_worker.joblib_received)
        if not in_threads(client):
            return list(given.values())
        peers = received(client)
        return [given[w] + peers[w] - before[w] for w in given]

    yield bytes_by_worker
    client.run(lambda dask_worker: dask_worker.joblib_unwatch())
    client.amm.start()


def assert_sent_once(client, value, arrived):
    """Assert that a worker got no more of `value` than it takes to give it once."""
    from dask.sizeof import sizeof

    size = Packed.of(value).nbytes
    if in_threads(client):  # given as it is, and counted as what dask takes it for
        assert 0 < max(arrived) < 1.2 * max(size, sizeof(value))
    else:
        assert max(arrived) < 1.2 * size
        assert sum(arrived) >= size


def first(value, i):
    return i


def keep_both_busy(value, i):
    return sum(range(20_000)) and i


def frame():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(np.ones((50_000, 8)), columns=list("abcdefgh"))


class Fitted:
    """Holds arrays as a fitted estimator does: dask does not see that it is large."""

    def __init__(self):
        self.coef_ = np.ones((200, 1_000))
        self.trees_ = [{"nodes": np.arange(20_000)} for _ in range(10)]


LARGE = {
    "array": lambda: np.arange(400_000),
    "list": lambda: [list(range(1_000)) for _ in range(300)],
    "text": lambda: "x" * 3_000_000,
    "frame": frame,
    "estimator": Fitted,
}


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", LARGE)
def test_a_large_argument_reaches_a_worker_once(client, traffic, kind):
    value = LARGE[kind]()
    with parallel_config("dask"):
        tasks = [delayed(keep_both_busy)(value, i) for i in range(40)]
        assert Parallel(batch_size=1)(tasks) == list(range(40))
    assert_sent_once(client, value, traffic())


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", LARGE)
def test_what_a_context_scatters_reaches_a_worker_once(client, traffic, kind):
    value = LARGE[kind]()
    with parallel_config("dask", scatter=[value]):
        for _ in range(3):
            tasks = [delayed(keep_both_busy)(value, i) for i in range(10)]
            assert Parallel(batch_size=1)(tasks) == list(range(10))
    assert_sent_once(client, value, traffic())


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


def look_into(value, i):
    return keep_both_busy(value, i)


class Model:
    def __init__(self):
        self.coef = bytes_of(2_000_000)

    def predict(self, i):
        return keep_both_busy(self, i)


#: tasks that have one and the same large object inside of something made for each of them
INSIDE = {
    "method": lambda big, i: delayed(big.predict)(i),
    "partial": lambda big, i: delayed(functools.partial(look_into, big))(i),
    "tuple": lambda big, i: delayed(look_into)((big.coef, i), i),
    "dict": lambda big, i: delayed(look_into)({"X": big.coef, "i": i}, i),
    "model in a tuple": lambda big, i: delayed(look_into)((big, i), i),
    "closure": lambda big, i: delayed(lambda i: keep_both_busy(big, i))(i),
}


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", INSIDE)
def test_what_is_inside_of_new_objects_reaches_a_worker_once(client, traffic, kind):
    big = Model()
    with parallel_config("dask"):
        tasks = [INSIDE[kind](big, i) for i in range(30)]
        assert Parallel(batch_size=1)(tasks) == list(range(30))
    # of functions made anew the first goes as a whole
    times = 2 if kind == "closure" else 1
    arrived = traffic()
    assert max(arrived) < (times + 0.2) * 2_000_000


@pytest.mark.parametrize("kind", INSIDE)
@pytest.mark.parametrize("is_given", [False, True])
def test_tasks_of_one_batch_share_what_is_inside(sent, kind, is_given):
    big = Model()
    given = {id(big): "given", id(big.coef): "given"} if is_given else {}
    shared = Sharing(None, given, False)
    items = [INSIDE[kind](big, i) for i in range(20)]
    shared.survey([items])
    heavy = Packed.of(items, find=shared.finder().find).nbytes > sharing.HEAVY
    assert not heavy or shared.weigh(items)
    # of functions made anew the first goes as a whole
    n_sent = 0 if is_given else 2 if kind == "closure" else 1
    assert sum(n for n, *_ in sent) == n_sent
    assert Packed.of(items, find=shared.finder().find).nbytes < sharing.HEAVY


def test_parts_of_large_ones_that_a_context_has_scattered(sent):
    big = bytes_of(300_000)
    shared = Sharing(None, {id(big): "given"}, False)
    items = [(len, ((big, 1),), {})]
    shared.survey([items])
    assert sent == []
    finder = shared.finder()
    packed = Packed.of(items, find=finder.find)
    assert finder.futures == ["given"]
    assert packed.nbytes < 1_000
    [(_, [found], _)] = packed.load_with([big])
    assert found[0] is big
    assert found[1] == 1


def fail_with(value):
    raise KeyError("no luck")


def append(values, i):
    values.append(i)
    return len(values)


def pop_all(table, i):
    return len([table.popitem() for _ in range(len(table))])


@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize(("size", "times"), [(300, 8), (30_000, 3)])
def test_tasks_do_not_see_what_others_do_to_a_list_or_dict(client, size, times):
    values = list(range(size))
    table = dict.fromkeys(range(size))
    inside = functools.partial(append, values)
    with parallel_config("dask"):
        run = Parallel(batch_size=1)
        assert run(delayed(append)(values, i) for i in range(times)) == (
            [size + 1] * times
        )
        assert run(delayed(pop_all)(table, i) for i in range(times)) == [size] * times
        assert run(delayed(inside)(i) for i in range(times)) == [size + 1] * times
    assert len(values) == len(table) == size


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


# -------------------------------------------------------------------- afterwards
#: what tasks of this process were given
GIVEN = []


def note(value, i):
    GIVEN.append(trace(value))
    return i


def trace(value):
    """Return a weak reference that ends with `value`."""
    return weakref.ref(value[0] if isinstance(value, list) else value)


def traces_left():
    gc.collect()
    left = sum(given() is not None for given in GIVEN)
    return len(GIVEN), left


async def holdings(dask_worker):
    """Return what a worker holds, once that is nothing or time is up."""
    deadline = time.monotonic() + SECONDS
    while dask_worker.data or dask_worker.state.tasks:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.005)
    return [*map(str, dask_worker.data), *map(str, dask_worker.state.tasks)]


def join_couriers():
    for thread in threading.enumerate():
        if thread.name == "joblib-dask-courier":
            thread.join(SECONDS)


LEFT = {
    "array": lambda: np.arange(400_000),
    "list": lambda: [np.ones(1_000) for _ in range(300)],
    "frame": frame,
    "estimator": Fitted,
    "medium": lambda: bytes_of(50_000),
}


@pytest.mark.slow
@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("kind", LEFT)
def test_nothing_is_kept_after_the_call(client, kind):
    """Neither where tasks have run nor here, though `Parallel` may be used again."""
    value = LEFT[kind]()
    call = [(trace(value), note, (value,))]
    del value
    check_nothing_is_kept(client, call)


@pytest.mark.slow
@pytest.mark.allow_leaks("threads of the cluster's worker")
@pytest.mark.parametrize("size", [400_000, 2_000_000, 12_000_000])
def test_no_function_is_kept_after_the_call(client, size):
    data = np.ones(size, np.uint8)
    call = [(trace(data), closure_of(data), ())]
    del data
    check_nothing_is_kept(client, call)


def closure_of(data):
    return lambda i: note(data, i)


def check_nothing_is_kept(client, call):
    here, function, args = call.pop()
    with parallel_config("dask"), Parallel(batch_size=1) as parallel:
        out = parallel(delayed(function)(*args, i) for i in range(12))
        join_couriers()
        assert tasks_left(client) == []
        assert [*client.run(holdings).values()] == [[], []]
        del function, args
        gc.collect()
        assert here() is None
        assert out == list(range(12))
        counts = set(client.run(traces_left).values())
    assert max(noted for noted, _ in counts) > 0
    assert {left for _, left in counts} == {0}


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_what_a_context_scatters_is_freed_with_it(client):
    value = LEFT["array"]()
    here = trace(value)
    with parallel_config("dask", scatter=[value]):
        assert Parallel()(delayed(first)(value, i) for i in range(4)) == [0, 1, 2, 3]
        assert "ndarray" in str(client.who_has())
    join_couriers()
    gc.collect()
    assert tasks_left(client) == []
    assert [*client.run(holdings).values()] == [[], []]
    del value
    gc.collect()
    assert here() is None


@pytest.mark.allow_leaks("threads of the cluster's worker")
def test_what_a_context_scatters_is_freed_though_an_error_is_kept(client):
    value = LEFT["array"]()
    with pytest.raises(KeyError) as caught:
        with parallel_config("dask", scatter=[value]):
            Parallel()([delayed(first)(value, 1)])
            Parallel()([delayed(fail_with)(value)])
    assert tasks_left(client) == []
    assert caught.value.args == ("no luck",)


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


class Outcome(dict):
    """What scattering returns; can be referred to weakly."""


class HalfReached:
    """A client of two workers, of which one takes no data."""

    def __init__(self, error):
        self.error = error
        self.rpc = self
        self.given = None

    async def connect(self, address):
        return address

    def reuse(self, address, comm):
        pass

    async def scatter(self, data, *, workers, **options):
        if workers == ["bad"]:
            raise self.error
        out = Outcome(data)
        self.given = weakref.ref(out)
        return out


def send_to_two(client):
    send = spreading._send_directly(client, {"key": 1}, ["good", "bad"])
    return asyncio.run(send)


@pytest.mark.parametrize("kind", [OSError, KeyError])
def test_one_worker_that_is_reached_is_enough(kind):
    assert send_to_two(HalfReached(kind("gone"))) == {"key": 1}


class Deserted(HalfReached):
    """One of its workers takes for ever; the scheduler may have lost it."""

    def __init__(self, *, known, heeds=False):
        super().__init__(None)
        self.scheduler = self
        self.known = known
        #: whether what is being sent ends as the connections are closed
        self.heeds = heeds
        self.removed = []
        self.looks = self.given_up = 0
        self.bad_may = asyncio.Event()

    async def ncores(self, workers):
        self.looks += 1
        if self.looks == 3:
            self.bad_may.set()
        assert self.looks < 10
        return dict.fromkeys(set(workers) & set(self.known), 1)

    async def scatter(self, data, *, workers, **options):
        if workers == ["bad"]:
            try:
                await self.bad_may.wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
            if self.removed:
                raise OSError("has left")
        return dict(data)

    def remove(self, address, *, reason):
        self.removed.append(address)
        if self.heeds:
            self.bad_may.set()


@pytest.fixture
def looking(monkeypatch):
    monkeypatch.setattr(spreading, "LOOKING", 0.01)


@pytest.mark.parametrize("heeds", [True, False])
def test_a_worker_that_has_left_is_waited_for_no_more(looking, heeds):
    client = Deserted(known=["good"], heeds=heeds)
    assert send_to_two(client) == {"key": 1}
    assert client.removed == ["bad"]
    assert (client.looks, client.given_up) == ((1, 0) if heeds else (2, 1))


def test_a_worker_that_is_slow_is_waited_for(looking):
    client = Deserted(known=["good", "bad"])
    assert send_to_two(client) == {"key": 1}
    assert (client.looks, client.given_up, client.removed) == (3, 0, [])


@pytest.mark.parametrize("heeds", [True, False])
def test_the_only_worker_that_has_left_is_told(looking, heeds):
    client = Deserted(known=[], heeds=heeds)
    with pytest.raises(OSError, match="has left"):
        asyncio.run(spreading._send_directly(client, {"key": 1}, ["bad"]))


def test_what_is_sent_is_called_off_with_the_rest(looking):
    """As when the scheduler is silent, or the call is interrupted."""
    client = Deserted(known=["bad"])

    async def give_up():
        sending = spreading._send_directly(client, {"key": 1}, ["bad"])
        task = asyncio.ensure_future(sending)
        while not client.looks:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    asyncio.run(give_up())
    assert client.given_up == 1


@pytest.mark.timeout(15)  # dask tries for 20 s and more to reach a worker
def test_a_worker_that_dies_while_data_is_sent_to_it(tmp_path, monkeypatch):
    """It was there a moment ago."""
    value, dead = bytes_of(2_000_000), []
    with command_line_cluster(tmp_path, workers=0) as cluster:
        workers = [cluster.start_workers(1, "--no-nanny") for _ in range(2)]
        with distributed.Client(cluster.address, timeout=20) as client:
            client.wait_for_workers(2, timeout=20)
            pids = client.run(process_id)
            send = dask_client.scatter_to_workers

            async def die_then_send(addresses, data, rpc):
                for address in addresses:
                    if pids[address] == workers[0].process.pid:
                        dead.append(address)
                        workers[0].signal(signal.SIGKILL)
                        workers[0].process.wait(10)
                        for comm in rpc.available[address]:
                            comm.abort()
                return await send(addresses, data, rpc)

            monkeypatch.setattr(dask_client, "scatter_to_workers", die_then_send)
            with parallel_config("dask"):
                out = Parallel(batch_size=1)(delayed(total)(value) for _ in range(4))
            assert out == [2_000_000.0] * 4
            assert len(dead) == 1
            assert tasks_left(client) == []


def test_what_has_arrived_is_let_go_of_if_the_rest_fails():
    """At once, and not when the garbage collector comes by."""
    client = HalfReached(RuntimeError("broken"))
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(RuntimeError, match="broken") as caught:
            send_to_two(client)
        client.error = None
        del caught
        assert client.given() is None
    finally:
        gc.enable()
