"""Batches go to dask many at a time and so do results, past an event loop left free."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from distributed.protocol import deserialize, serialize  # noqa: E402

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import collecting, courier  # noqa: E402
from joblib._dask.backend import DaskDistributedBackend  # noqa: E402
from joblib._dask.packing import OUT_OF_BAND, Results, teach_dask  # noqa: E402

from .dask_common import SECONDS, hold, increment, small_cluster, tasks_left  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

#: seconds in which some hundreds of batches are done on the most crowded machine
PATIENCE = 2 * SECONDS


@pytest.fixture(scope="module")
def client():
    with small_cluster(n_workers=2) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_cluster_empty(client):
    yield
    assert tasks_left(client) == []


@pytest.fixture
def sendings(client, monkeypatch):
    """How many batches each message to the scheduler has."""
    sizes, send = [], client.map

    def count(function, *columns, **options):
        sizes.append(len(columns[0]))
        return send(function, *columns, **options)

    monkeypatch.setattr(client, "map", count)
    return sizes


@pytest.fixture
def gatherings(monkeypatch):
    """How many results each gathering brings."""
    sizes, ask_for = [], collecting.ask_for

    def count(client, futures):
        sizes.append(len(futures))
        return ask_for(client, futures)

    monkeypatch.setattr(collecting, "ask_for", count)
    return sizes


def call_for_many(batches):
    with parallel_config("dask"):
        parallel = Parallel(batch_size=1, pre_dispatch="all")
        return parallel(delayed(increment)(i) for i in range(batches))


# ------------------------------------------------------------------ many at a time
def test_far_fewer_messages_than_batches(sendings):
    assert call_for_many(1_000) == list(range(1, 1_001))
    assert sum(sendings) == 1_000
    assert len(sendings) < 250


def test_what_is_ready_goes_out_in_one_message(sendings, monkeypatch):
    # until the caller has given all of them, however slow this machine is
    monkeypatch.setattr(courier, "FILLING", SECONDS)
    assert call_for_many(1_000) == list(range(1, 1_001))
    assert sendings == [1_000]


def test_what_is_done_meanwhile_comes_back_in_one_gathering(
    client, gatherings, monkeypatch
):
    """The first gathering is held up until all batches are done."""
    ask_for = collecting.ask_for

    async def hold_up(client, futures):
        if not gatherings:
            await asyncio.wait_for(all_done(client, 300), PATIENCE)
        return await ask_for(client, futures)

    monkeypatch.setattr(collecting, "ask_for", hold_up)
    # nobody fetches or asks anew meanwhile, and all batches go out together
    monkeypatch.setattr(collecting, "OVERLAP", PATIENCE)
    monkeypatch.setattr(collecting, "PATIENCE", PATIENCE)
    monkeypatch.setattr(courier, "FILLING", SECONDS)
    assert call_for_many(300) == list(range(1, 301))
    assert len(gatherings) <= 2
    assert sum(gatherings) == 300


async def all_done(client, number):
    """Wait until the client has heard of the end of each of its tasks."""
    states = [*client.futures.values()]
    assert len(states) == number
    for state in states:
        await state.wait()


# ------------------------------------------------------------------ the event loop
#: the threads that pickled and unpickled objects in this process: idents, by what
NOTED = []


class Noting:
    """Notes the threads in which it is pickled and unpickled."""

    def __init__(self, size=0):
        self.data = bytes(size)

    def __sizeof__(self):
        return len(self.data)

    def __getstate__(self):
        NOTED.append(("pickled", threading.get_ident()))
        return {"data": self.data}

    def __setstate__(self, state):
        NOTED.append(("unpickled", threading.get_ident()))
        self.data = state["data"]


class Hidden(Noting):
    """Is large, and dask does not see it."""

    __sizeof__ = object.__sizeof__


def take(value, i):
    return len(value.data)


def give(kind, i):
    return kind(300_000 if i % 2 else 10)


def note_anew():
    NOTED.clear()


def noted():
    """Return what was done to objects: on the event loop, and in other threads."""
    # as `Client.run` has a worker do this on its loop
    here = threading.get_ident()
    on_loop = {what for what, thread in NOTED if thread == here}
    return on_loop, {what for what, _ in NOTED} - on_loop


async def noted_here():
    return noted()


@pytest.fixture
def noting(client):
    client.run(note_anew)
    note_anew()


@pytest.mark.parametrize(
    ("kind", "size"),
    [(Noting, 10), (Noting, 50_000), (Noting, 500_000), (Hidden, 500_000)],
)
def test_no_event_loop_pickles_arguments(client, noting, kind, size):
    value = kind(size)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(take)(value, i) for i in range(20))
    assert out == [size] * 20
    check_loops(client)


def check_loops(client):
    """Check that what has been sent was pickled and unpickled beside the loops."""
    assert client.sync(noted_here) == (set(), {"pickled"})
    there = client.run(noted).values()
    assert set.union(*(on_loop for on_loop, _ in there)) == set()
    assert set.union(*(elsewhere for _, elsewhere in there)) == {"unpickled"}


@pytest.mark.parametrize("size", [10, 50_000, 500_000, 2_000_000])
def test_no_event_loop_pickles_functions(client, noting, size):
    value = Noting(size)
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(
            delayed(lambda i: take(value, i))(i) for i in range(20)
        )
    assert out == [size] * 20
    check_loops(client)


def test_no_event_loop_pickles_what_a_context_scatters(client, noting):
    value = Noting(500_000)
    with parallel_config("dask", scatter=[value]):
        out = Parallel(batch_size=1)(delayed(take)(value, i) for i in range(20))
    assert out == [500_000] * 20
    on_loop, elsewhere = client.sync(noted_here)
    assert on_loop == set()
    assert "pickled" in elsewhere  # and unpickled by dask, for a hash that is certain
    assert not any(on_loop for on_loop, _ in client.run(noted).values())


@pytest.mark.parametrize("kind", [Noting, Hidden])
def test_no_event_loop_pickles_results(client, noting, kind):
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(give)(kind, i) for i in range(20))
    assert [len(one.data) for one in out] == [10, 300_000] * 10
    assert client.sync(noted_here) == (set(), {"unpickled"})
    there = client.run(noted).values()
    assert set.union(*(on_loop for on_loop, _ in there)) == set()
    assert set.union(*(elsewhere for _, elsewhere in there)) == {"pickled"}


class Turns:
    """Tells whether a client's event loop goes on turning."""

    def __init__(self, client):
        self.loop = client.loop

    def wait_for(self, number):
        """Wait for as many turns of the loop; raise TimeoutError if it is blocked."""
        left, enough = number, threading.Event()

        def turn():
            nonlocal left
            left -= 1
            if left:
                self.loop.add_callback(turn)
            else:
                enough.set()

        self.loop.add_callback(turn)
        if not enough.wait(SECONDS):
            raise TimeoutError(f"{left} turns of the event loop were waited for")


def nothing():
    """Is called with nothing to wait for, as on a worker."""


class Lengthy:
    """Takes as long to pickle, and to unpickle, as it takes `wait` to return."""

    wait = staticmethod(nothing)

    def __init__(self, size=0):
        self.data = bytes(size)

    def __sizeof__(self):
        return len(self.data)

    def __getstate__(self):
        self.wait()
        return {"data": self.data}

    def __setstate__(self, state):
        self.wait()
        self.data = state["data"]


@pytest.mark.parametrize("size", [10, 500_000])
def test_the_event_loop_turns_while_an_argument_is_pickled(client, monkeypatch, size):
    """It does so even with a result that comes in meanwhile."""
    sent, gathered, waited = threading.Event(), threading.Event(), []
    send, ask_for = client.map, collecting.ask_for

    def note_sending(*args, **options):
        futures = send(*args, **options)
        sent.set()
        return futures

    async def note_gathering(client, futures):
        values = await ask_for(client, futures)
        gathered.set()
        return values

    def wait():
        assert gathered.wait(SECONDS)
        Turns(client).wait_for(50)
        waited.append(threading.current_thread())

    def tasks():
        yield delayed(increment)(1)
        assert sent.wait(SECONDS)
        yield delayed(take)(Lengthy(size), 1)

    monkeypatch.setattr(client, "map", note_sending)
    monkeypatch.setattr(collecting, "ask_for", note_gathering)
    monkeypatch.setattr(Lengthy, "wait", staticmethod(wait))
    with parallel_config("dask"):
        out = Parallel(batch_size=1, pre_dispatch="all")(tasks())
    assert out == [2, size]
    assert waited


def test_the_event_loop_turns_while_a_result_is_unpickled(client, monkeypatch):
    waited = []

    def wait():
        Turns(client).wait_for(50)
        waited.append(threading.current_thread())

    monkeypatch.setattr(Lengthy, "wait", staticmethod(wait))
    with parallel_config("dask"):
        [out] = Parallel()([delayed(Lengthy)(500_000)])
    assert len(out.data) == 500_000
    assert waited


# --------------------------------------------------------------- beside the pickle
@pytest.fixture
def arrived(monkeypatch):
    """What the results that arrive consist of."""
    packed, ask_for = [], collecting.ask_for

    async def note(client, futures):
        outcomes = await ask_for(client, futures)
        packed.extend(results for results, _ in outcomes)
        return outcomes

    monkeypatch.setattr(collecting, "ask_for", note)
    yield packed
    packed.clear()


def count_up(n):
    return np.arange(n)


def test_a_large_result_travels_beside_its_pickle(client, arrived):
    n = 50_000_000 // 8
    with parallel_config("dask"):
        [out] = Parallel()([delayed(count_up)(n)])
    assert np.array_equal(out, np.arange(n))
    [packed] = arrived
    assert [memoryview(part).nbytes for part in packed._buffers] == [out.nbytes]
    assert len(packed._head) < 10_000
    assert out.flags.writeable


def test_each_large_part_of_a_result_is_a_buffer_of_its_own(client, arrived):
    def several():
        return {"large": np.ones(100_000), "small": np.ones(10), "text": "x"}

    with parallel_config("dask"):
        [out] = Parallel()([delayed(several)()])
    assert (out["large"].sum(), out["small"].sum(), out["text"]) == (100_000, 10, "x")
    assert out["large"].flags.writeable and out["small"].flags.writeable
    [packed] = arrived
    assert [memoryview(part).nbytes for part in packed._buffers] == [800_000]
    assert len(packed._head) < OUT_OF_BAND


def test_results_are_read_by_who_has_run_nothing():
    """Such as a worker to which one that retires has sent them."""
    teach_dask()
    header, frames = serialize((Results.of([1, 2]), 0.5))
    sent = pickle.dumps((header, [bytes(frame) for frame in frames]))
    code = (
        "import pickle, sys\n"
        "from distributed.protocol import deserialize\n"
        "results, seconds = deserialize(*pickle.loads(sys.stdin.buffer.read()))\n"
        "print(results.load(), seconds, pickle.loads(pickle.dumps(results)).load())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=sent, capture_output=True, timeout=25
    )
    assert done.stdout.decode().strip() == "[1, 2] 0.5 [1, 2]", done.stderr


@pytest.mark.parametrize("protocol", [4, 5])
def test_buffers_of_results_are_not_copied_for_the_wire(protocol):
    """Whatever a connection knows: the scheduler's go by pickle's protocol 4."""
    array = np.arange(100_000)
    teach_dask()
    outcome = Results.of([array, "x"]), 0.5
    header, frames = serialize(outcome, context={"pickle-protocol": protocol})
    parts = [np.frombuffer(frame, dtype="u1") for frame in frames]
    assert sum(np.shares_memory(part, array) for part in parts) == 1
    frames = [bytearray(frame) for frame in frames]
    results, seconds = deserialize(header, frames)
    assert type(results) is Results and seconds == 0.5
    [loaded, text] = results.load()
    assert (loaded == array).all() and text == "x"
    assert loaded.flags.writeable
    assert any(np.shares_memory(np.frombuffer(part, "u1"), loaded) for part in frames)


# ------------------------------------------------------------------ and not too many
THREADS = 12
MEETING = threading.Barrier(THREADS)


def meet():
    """Return when all threads of the worker are here."""
    MEETING.wait(SECONDS)
    return "met"


def test_first_tasks_are_not_put_together_for_a_quick_one_among_them():
    """Nothing is known of the others: one batch of them could not meet itself."""
    tasks = [delayed(increment)(1)] + [delayed(meet)()] * THREADS
    with small_cluster(threads_per_worker=THREADS) as client:
        with parallel_config("dask", client=client):
            assert Parallel()(tasks) == [2] + ["met"] * THREADS


def test_one_quick_task_does_not_have_the_rest_put_together(monkeypatch):
    """As many tasks are left as there are threads, and each of them is slow."""
    sizes, submit, next_one = [], DaskDistributedBackend.submit, threading.Event()

    def note(self, func, callback=None):
        sizes.append(len(func.items))
        if len(sizes) > 2 * THREADS:
            next_one.set()
        return submit(self, func, callback)

    monkeypatch.setattr(DaskDistributedBackend, "submit", note)
    tasks = [delayed(increment)(1)] + [delayed(hold)("rest", 2)] * (3 * THREADS - 1)
    with small_cluster(threads_per_worker=THREADS) as client:
        with parallel_config("dask", client=client):
            Parallel()([delayed(increment)(1)])  # or the first one includes imports
            sizes.clear()
            outputs = Parallel(return_as="generator")(tasks)
            assert next_one.wait(SECONDS)
            distributed.Event("rest-go", client=client).set()
            assert list(outputs) == [2] * 3 * THREADS
    assert sizes[: 2 * THREADS] == [1] * (2 * THREADS)
    assert sizes[2 * THREADS] <= DaskDistributedBackend.FORESIGHT
