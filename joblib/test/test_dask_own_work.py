"""A task on a dask cluster runs batches of its own calls while it waits for them."""

from __future__ import annotations

import contextvars
import os
import pickle
import threading
import time

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import own_work, scouting  # noqa: E402
from joblib._dask.naming import Keys  # noqa: E402
from joblib._dask.scouting import Scouts  # noqa: E402

from .dask_common import (  # noqa: E402
    SECONDS,
    increment,
    keys_seen,
    pool_sizes,
    return_lock,
    small_cluster,
    tasks_left,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.allow_leaks("threads of the shared cluster's worker"),
    pytest.mark.timeout(30),
]


@pytest.fixture(scope="module", params=["processes", "threads"])
def one(request):
    """The client of a cluster whose one worker has one thread."""
    with small_cluster(processes=request.param == "processes") as client:
        yield client


@pytest.fixture(scope="module", params=["processes", "threads"])
def two(request):
    """The client of a cluster of two such workers."""
    processes = request.param == "processes"
    with small_cluster(n_workers=2, processes=processes) as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_workers_as_they_were(request):
    yield
    for name in {"one", "two"} & set(request.fixturenames):
        client = request.getfixturevalue(name)
        assert tasks_left(client) == []
        client.submit(abs, -1, pure=False).result()
        assert {threads for threads, _ in pool_sizes(client)} == {1}


def where(*_):
    """Return the thread that runs this, and dask's name of its task."""
    key = getattr(distributed.utils.thread_state, "key", None)
    return os.getpid(), threading.get_ident(), str(key)


# ------------------------------------------------------------- who runs what
def call_here(n, **options):
    return where(), list(Parallel(**options)(delayed(where)(i) for i in range(n)))


def test_where_all_are_busy_a_task_runs_its_own(one):
    with parallel_config("dask", client=one):
        out = Parallel()(delayed(call_here)(6) for _ in range(3))
    for mine, theirs in out:
        assert set(theirs) == {mine}


def call_after_leaving():
    distributed.secede()
    return call_here(4)


def call_annotated():
    with dask.annotate(retries=1):
        return call_here(4)


def call_with_a_generator_open():
    outputs = Parallel(return_as="generator")(delayed(where)() for _ in range(2))
    next(outputs)
    out = call_here(4)
    list(outputs)
    return out


@pytest.mark.parametrize(
    "call, options, config",
    [
        (call_here, {"timeout": SECONDS}, {}),
        (call_here, {"retries": 1}, {}),
        (call_here, {"task_timeout": SECONDS}, {}),
        (call_here, {"return_as": "generator"}, {}),
        (call_here, {}, {"key": "seen"}),
        (call_after_leaving, None, {}),
        (call_annotated, None, {}),
        (call_with_a_generator_open, None, {}),
    ],
)
def test_what_concerns_dask_goes_to_the_cluster(one, call, options, config):
    given = () if options is None else (4,)
    with parallel_config("dask", client=one, **config):
        [(mine, theirs)] = Parallel()([delayed(call)(*given, **(options or {}))])
    assert len(theirs) == 4
    assert mine[2] not in {key for _, _, key in theirs}


def take_turns(name, i):
    """The first of two tasks waits until the second one has run."""
    event = distributed.Event(name)
    if i:
        event.set()
        return where()
    assert event.wait(timeout=SECONDS)
    return where()


def call_take_turns(name):
    return Parallel()(delayed(take_turns)(name, i) for i in range(2))


def test_an_idle_worker_is_found(two):
    name = f"turns-{os.urandom(4).hex()}"
    with parallel_config("dask", client=two):
        [(mine, other)] = Parallel()([delayed(call_take_turns)(name)])
    assert mine[:2] != other[:2]


def busy_until(name):
    distributed.Event(f"{name}-busy").set()
    assert distributed.Event(f"{name}-free").wait(timeout=SECONDS)


def test_a_worker_that_becomes_idle_is_found(two):
    """Though dask has given the scout to one that stays busy, or had it wait."""
    name = f"late-{os.urandom(4).hex()}"
    waiting = two.submit(busy_until, name, pure=False)
    assert distributed.Event(f"{name}-busy", client=two).wait(timeout=SECONDS)
    with parallel_config("dask", client=two):
        outputs = Parallel(return_as="generator")([delayed(call_take_turns)(name)])
        deadline = time.monotonic() + SECONDS
        while not any("joblib-scout" in key for key in keys_seen(two)):
            assert time.monotonic() < deadline
        distributed.Event(f"{name}-free", client=two).set()
        [(mine, other)] = outputs
    assert mine[:2] != other[:2]
    waiting.result()
    del waiting


def count_at_once(name, i):
    lock = distributed.Lock(f"{name}-lock")
    with lock:
        now = distributed.Variable(f"{name}-now")
        running, most = now.get(timeout=SECONDS)
        now.set((running + 1, max(most, running + 1)))
    time.sleep(0.01)
    with lock:
        running, most = now.get(timeout=SECONDS)
        now.set((running - 1, most))
    return i


def call_for_two(name):
    return Parallel(n_jobs=2)(delayed(count_at_once)(name, i) for i in range(10))


def test_n_jobs_counts_the_task_itself():
    name = f"count-{os.urandom(4).hex()}"
    with small_cluster(n_workers=4, processes=False) as client:
        counter = distributed.Variable(f"{name}-now", client=client)
        counter.set((0, 0))
        with parallel_config("dask", client=client):
            assert Parallel()([delayed(call_for_two)(name)]) == [list(range(10))]
        running, most = counter.get(timeout=SECONDS)
        assert running == 0 and 1 <= most <= 2
        counter.delete()
        assert tasks_left(client) == []


# ------------------------------------------------- tasks that a task has started
def submit_and_call():
    client = distributed.get_client()
    own = client.submit(increment, 1, pure=False)
    out = Parallel()(delayed(increment)(i) for i in range(3))
    return own.result(), out


def test_tasks_that_a_task_has_started_get_its_slot(one):
    """It may wait for them next, and they would wait for its slot for ever."""
    with parallel_config("dask", client=one):
        assert Parallel()([delayed(submit_and_call)()]) == [(2, [1, 2, 3])]


# --------------------------------------------- on a worker, and not in the caller
DEPTH = contextvars.ContextVar("depth", default=0)


def describe():
    level = Parallel().verbose
    DEPTH.set(DEPTH.get() + 1)
    return level, DEPTH.get()


def call_describe():
    DEPTH.set(10)
    with parallel_config(verbose=1):
        theirs = Parallel(verbose=0, batch_size=1)(
            delayed(describe)() for _ in range(4)
        )
    return theirs, DEPTH.get()


def test_batches_know_nothing_of_their_caller(one):
    with parallel_config("dask", client=one):
        [(theirs, mine)] = Parallel()([delayed(call_describe)()])
    assert {level for level, _ in theirs} == {0}
    assert {depth for _, depth in theirs} == {1}
    assert mine == 10


def recurse(depth):
    if depth == 0:
        return 0
    return 1 + Parallel()([delayed(recurse)(depth - 1)])[0]


def test_calls_in_calls_in_calls(one):
    """The stack of none of them grows with all that are around it."""
    with parallel_config("dask", client=one):
        assert recurse(100) == 100


def meet(name, i):
    distributed.Event(f"{name}-{i}").set()
    assert distributed.Event(f"{name}-{1 - i}").wait(timeout=SECONDS)
    return i


def call_meet(name):
    return Parallel()(delayed(meet)(name, i) for i in range(2))


def test_an_adaptive_cluster_grows_for_it():
    name = f"grow-{os.urandom(4).hex()}"
    with small_cluster(processes=False) as client:
        client.cluster.adapt(minimum=1, maximum=2, interval="100ms")
        with parallel_config("dask", client=client):
            assert Parallel()([delayed(call_meet)(name)]) == [[0, 1]]


# --------------------------------------------------- arguments, results, errors
def spoil(values, extra=None):
    """Change an argument, as no task should."""
    before = values[0]
    values[0] = -1
    return before, values


def call_spoil(kind, size):
    values = np.arange(size) + 5 if kind == "array" else list(range(5, 5 + size))
    out = Parallel(batch_size=2)(delayed(spoil)(values) for _ in range(4))
    for _, result in out:
        result[1] = -2
    return int(values[0]), int(values[1]), [int(before) for before, _ in out]


@pytest.mark.parametrize("kind", ["array", "list"])
@pytest.mark.parametrize("size", [3, 3_000, 300_000])
def test_a_tasks_own_objects_stay_as_they_are(one, kind, size):
    if one.scheduler.address.startswith("inproc://") and size > 3:
        pytest.skip("in one process, tasks share large objects as they are")
    with parallel_config("dask", client=one):
        [(first, second, seen)] = Parallel()([delayed(call_spoil)(kind, size)])
    assert (first, second) == (5, 6)
    assert set(seen) <= {5, -1}


def fail_with(error):
    raise error


class LoadsNever:
    """A large argument that can be pickled, and not unpickled."""

    def __sizeof__(self):
        return 500_000

    def __reduce__(self):
        return LoadsNever._load, ()

    @staticmethod
    def _load():
        raise FileNotFoundError("gone")


def call_and_report(func, *args):
    try:
        return Parallel()(delayed(func)(*args) for _ in range(3))
    except BaseException as error:
        return type(error), str(error), type(error.__cause__)


@pytest.mark.parametrize(
    "func, args, expected, text",
    [
        (fail_with, (KeyError("x"),), KeyError, "x"),
        (fail_with, (SystemExit(3),), SystemExit, "3"),
        (return_lock, (1,), pickle.PicklingError, "'return_lock'"),
    ],
)
def test_errors_are_the_same_as_on_the_cluster(one, func, args, expected, text):
    if func is return_lock and one.scheduler.address.startswith("inproc://"):
        pytest.skip("in one process, results are not pickled")
    outcomes = []
    for options in ({}, {"key": "seen"}):
        with parallel_config("dask", client=one, **options):
            outcomes += Parallel()([delayed(call_and_report)(func, *args)])
    assert outcomes[0] == outcomes[1]
    kind, message, _ = outcomes[0]
    assert kind is expected and text in message


def call_with_a_lock():
    return call_and_report(increment, threading.Lock())


def call_with_what_never_loads():
    return call_and_report(len, LoadsNever())


def test_an_argument_that_cannot_be_unpickled(one):
    if one.scheduler.address.startswith("inproc://"):
        pytest.skip("in one process, it is shared as it is")
    with parallel_config("dask", client=one):
        [(kind, message, _)] = Parallel()([delayed(call_with_what_never_loads)()])
    assert kind is FileNotFoundError and message == "gone"


def test_an_argument_that_cannot_be_pickled(one):
    with parallel_config("dask", client=one):
        [(kind, message, cause)] = Parallel()([delayed(call_with_a_lock)()])
    assert kind is pickle.PicklingError
    assert "Argument 0 of the function 'increment'" in message and cause is TypeError


#: tasks of nothing that take much longer than any news takes on a crowded machine
MANY = 50_000


def fail_when_told(name, i):
    """The second task fails while the first one, the caller's own, is running."""
    if i == 1:
        raise KeyError("second")
    if i == 0:
        assert distributed.Event(name).wait(timeout=SECONDS)
    return i


def call_fail_when_told(name):
    begun = []

    def tasks():
        for i in range(MANY):
            begun.append(i)
            yield delayed(fail_when_told)(name, i)

    try:
        Parallel(batch_size=1)(tasks())
    except KeyError as error:
        return error.args, len(begun)


def test_an_error_elsewhere_ends_the_work(two):
    name = f"told-{os.urandom(4).hex()}"
    with parallel_config("dask", client=two):
        outputs = Parallel(return_as="generator")([delayed(call_fail_when_told)(name)])
        deadline = time.monotonic() + SECONDS
        while "erred" not in states_seen(two):
            assert time.monotonic() < deadline
        distributed.Event(name, client=two).set()
        [(args, begun)] = outputs
    assert args == ("second",)
    assert begun < MANY


def states_seen(client):
    def states(dask_scheduler):
        return [entry[2] for entry in dask_scheduler.transition_log][-20:]

    return set(client.run_on_scheduler(states))


# ----------------------------------------------------- calls that are given up
def note(folder, i, fails_at=None):
    with open(os.path.join(folder, str(i)), "w"):
        pass
    if i == fails_at:
        raise KeyError(i)
    time.sleep(0.01)


def call_that_fails(folder):
    with pytest.raises(KeyError):
        Parallel(batch_size=1, pre_dispatch="all")(
            delayed(note)(folder, i, fails_at=1) for i in range(50)
        )


def test_after_an_error_nothing_more_is_begun(one, tmp_path):
    with parallel_config("dask", client=one):
        Parallel()([delayed(call_that_fails)(str(tmp_path))])
    assert len(os.listdir(tmp_path)) <= 3


def call_many(name, folder, batch_size):
    distributed.Event(f"{name}-begun").set()
    try:
        Parallel(batch_size=batch_size)(delayed(note)(folder, i) for i in range(1000))
    except RuntimeError as error:
        with open(os.path.join(folder, "why"), "w") as file:
            file.write(str(error))
        raise


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_a_task_that_is_cancelled_does_no_more(one, tmp_path, batch_size):
    name = f"many-{os.urandom(4).hex()}"
    with parallel_config("dask", client=one):
        outputs = Parallel(return_as="generator")(
            [delayed(call_many)(name, str(tmp_path), batch_size)]
        )
        assert distributed.Event(f"{name}-begun", client=one).wait(timeout=SECONDS)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    assert tasks_left(one) == []
    why = tmp_path / "why"
    deadline = time.monotonic() + SECONDS
    while not (why.exists() and why.read_text()):
        assert time.monotonic() < deadline
    assert "The task that made the call was cancelled" in why.read_text()
    assert len(os.listdir(tmp_path)) < 500
    assert tasks_left(one) == []  # nor has it sent anything more


def leave(i):
    distributed.secede()
    return i


def call_those_that_leave():
    return Parallel(batch_size=1)(delayed(leave)(i) for i in range(4))


def test_tasks_that_leave_the_pool_themselves():
    with small_cluster(processes=False) as client:
        with parallel_config("dask", client=client):
            assert Parallel()([delayed(call_those_that_leave)()]) == [[0, 1, 2, 3]]
        assert tasks_left(client) == []


# ------------------------------------------------- iterables that do something
def slowly(n, seconds):
    for i in range(n):
        time.sleep(seconds)
        yield delayed(where)(i)


def call_slowly(n, seconds):
    return where(), Parallel(batch_size=1)(slowly(n, seconds))


def test_an_iterable_that_takes_its_time(one):
    with parallel_config("dask", client=one):
        [(mine, theirs)] = Parallel()([delayed(call_slowly)(8, 0.01)])
    assert set(theirs) == {mine}  # none was sent while it was drawn from
    with parallel_config("dask", client=one):
        [(mine, theirs)] = Parallel()([delayed(call_slowly)(4, 0.2)])
    assert len(theirs) == 4  # not for ever does it wait in its slot


def with_calls(n, start):
    for i in range(n):
        if i >= start:
            assert Parallel()(delayed(increment)(j) for j in range(3)) == [1, 2, 3]
        yield delayed(increment)(i)


def call_with_calls(n, start):
    return Parallel(batch_size=1)(with_calls(n, start))


@pytest.mark.parametrize("start", [0, 5])
def test_calls_in_the_iterable_of_a_call(one, start):
    """They are made before the outer one waits, or on the thread that sends for it."""
    with parallel_config("dask", client=one):
        out = Parallel()([delayed(call_with_calls)(8, start)])
    assert out == [list(range(1, 9))]


# ------------------------------------------- results read where the workers are
def test_a_worker_that_has_not_started_is_no_error():
    with small_cluster(processes=False) as client:

        async def make():
            return distributed.Worker(client.scheduler.address)

        unstarted = client.sync(make)
        with parallel_config("dask", client=client):
            assert Parallel()(delayed(increment)(i) for i in range(3)) == [1, 2, 3]
        client.sync(unstarted.close)


# -------------------------------------------------------------------- scouts
class FakeClient:
    """A client whose tasks never run."""

    def __init__(self):
        self.loop = self
        self.status = "running"
        self.sent = []

    def add_callback(self, func, *args):
        """Do nothing: there is no event loop."""

    def release(self):
        self.sent.pop(0)

    def submit(self, func, *, key, **options):
        self.sent.append((key, options))
        return self

    def __hash__(self):
        return len(self.sent)


@pytest.mark.parametrize("priority, expected", [(0, -1), (5, -1), (-3, -4)])
def test_scouts_come_after_all_else(priority, expected):
    client = FakeClient()
    scouts = Scouts(client, priority, 1, lambda: None)
    scouts.keep(5)
    [(key, sent)] = client.sent
    assert key.startswith("joblib-scout-")
    assert sent["priority"] == expected


def test_who_finds_idle_workers_looks_for_twice_as_many():
    scouts = Scouts(FakeClient(), 0, 1, lambda: None)
    assert [scouts._limit(wanted) for wanted in (0, 1, 9)] == [0, 1, 1]
    scouts.found = 3
    assert [scouts._limit(wanted) for wanted in (0, 1, 9)] == [0, 1, 6]


def test_scouts_that_wait_are_sent_anew_and_less_and_less_often(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(scouting.time, "monotonic", lambda: now[0])
    client = FakeClient()
    scouts = Scouts(client, 0, 1, lambda: None)
    scouts.keep(1)
    seen = []
    for _ in range(2000):
        now[0] += 0.01
        if scouts.lack(1):
            before = client.sent[0]
            scouts.keep(1)
            assert len(client.sent) == 1 and client.sent[0] is not before
            seen.append(round(now[0], 2))
    waits = [round(b - a, 1) for a, b in zip([0.0, *seen], seen, strict=False)]
    assert waits[:5] == [0.1, 0.2, 0.4, 0.8, 1.6] and set(waits[5:]) == {2.0}
    scouts.keep(0)
    assert client.sent == []


def test_tasks_are_told_from_those_of_the_user(one):
    for key, is_users in [("mine", True), (("x", 1), True), ("inc-12ab", True)]:
        assert own_work.is_ours(key) is not is_users
    with parallel_config("dask", client=one, key="my"):
        Parallel()(delayed(increment)(i) for i in range(3))
    mine = [key for key in keys_seen(one) if key.startswith("my-")]
    assert len(mine) >= 3
    assert all(map(own_work.is_ours, mine))
    assert own_work.is_ours(Keys("my", apart=True).of_function(len))
