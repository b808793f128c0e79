"""`Memory(lock=True)`: of all who ask for a missing result one computes it."""

from __future__ import annotations

import asyncio
import contextvars
import errno
import gc
import importlib.util
import os
import pickle
import shutil
import signal
import sys
import threading
from pathlib import Path

import pytest

from joblib import Memory, Parallel, delayed, register_store_backend
from joblib._caching import flight, lockfiles
from joblib._store_backends import (
    CacheWarning,
    FileSystemStoreBackend,
    StoreBackendBase,
    StoreBackendMixin,
)
from joblib.memory import _STORE_BACKENDS
from joblib.test import flight_tasks
from joblib.test.flight_tasks import PATIENCE, Worker, double, double_deep, note

# Found and not imported: from its import on two threads may not fork at a time, which
# tests that come before these do.
if importlib.util.find_spec("filelock") is None:
    pytest.skip("needs filelock", allow_module_level=True)
posix = pytest.mark.skipif(os.name == "nt", reason="signals and forks of POSIX")


def locks_in(location):
    return sorted(location.glob("joblib/.lock-*"))


@pytest.fixture
def memory(tmp_path):
    return Memory(tmp_path, verbose=0, lock=True)


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path):
    """Hold every test to it: no flight, no lock and no file of one is left."""
    yield
    left = [*flight._flights, *lockfiles._open_locks, *locks_in(tmp_path)]
    flight._flights.clear()  # for the tests that follow
    lockfiles._open_locks.clear()
    assert left == []


@pytest.fixture
def workers(tmp_path):
    """Two processes, which end with the test."""
    both = Worker(tmp_path), Worker(tmp_path)
    yield both
    for worker in both:
        worker.end()


class Crowd:
    """Threads that call a function at the same time, and what becomes of that."""

    def __init__(self, function, *args, n=4):
        self.answers = []
        self._threads = [
            threading.Thread(target=self._call, args=(function, args), daemon=True)
            for _ in range(n)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, function, args):
        try:
            self.answers.append(function(*args))
        except Exception as error:
            self.answers.append(error)

    def end(self):
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread waits for ever"
        return self.answers


class Gate:
    """A function that tells when it is called, and goes on when it is let."""

    def __init__(self):
        self.n_calls = 0
        self.called = threading.Semaphore(0)
        self.open = threading.Semaphore(0)

    def __call__(self):
        self.n_calls += 1
        self.called.release()
        assert self.open.acquire(timeout=PATIENCE)

    def wait_for_call(self):
        assert self.called.acquire(timeout=PATIENCE), "the function was not called"


# Not closed over: what is, and changes, tells calls apart.
GATE = BOTH = None


def use_gate():
    """Make the gate through which the cached functions of the test go."""
    global GATE
    GATE = Gate()
    return GATE


class Waiters:
    """Counts who begins to wait for a flight of another."""

    def __init__(self):
        self.count = 0
        self._arrived = threading.Semaphore(0)

    def arrive(self):
        self.count += 1
        self._arrived.release()

    def wait_for(self, n):
        for _ in range(n):
            assert self._arrived.acquire(timeout=PATIENCE), "nobody waits"


@pytest.fixture
def waiters(monkeypatch):
    counted = Waiters()
    begin = flight.Attempt._begin_waiting

    def noting(attempt):
        if not attempt._is_waiting:
            begin(attempt)
            counted.arrive()

    monkeypatch.setattr(flight.Attempt, "_begin_waiting", noting)
    return counted


# ------------------------------------------------------------------------ processes
def test_one_process_computes_and_the_other_loads(tmp_path, workers):
    first, second = workers
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    (lock,) = locks_in(tmp_path)
    assert lockfiles.read_owner(str(lock)).pid == first.pid
    second.ask("compute", 1, verbose=2)
    kind, text = second.hear()
    assert kind == "said"
    assert text.startswith("[Memory]: Waiting for compute(1), which process ")
    assert f"process {first.pid} on " in text
    first.tell("go")
    assert first.hear() == ("result", (1, first.pid))
    kind, text = second.hear()
    assert kind == "said" and "Loading" in text
    assert second.hear() == ("result", (1, first.pid))


def test_other_results_need_not_wait(workers):
    first, second = workers
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    second.ask("compute", 2)
    assert second.hear() == ("computing", 2)
    for worker in workers:
        worker.tell("go")
        assert worker.hear()[0] == "result"


@posix
def test_a_killed_owner_hands_over(tmp_path, workers):
    first, second = workers
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    second.ask("compute", 1, verbose=2)
    assert second.hear()[0] == "said"
    first.kill()
    kind, text = second.hear()
    assert kind == "said" and "Calling" in text
    assert second.hear() == ("computing", 1)
    second.tell("go")
    assert second.hear()[0] == "said"
    assert second.hear() == ("result", (1, second.pid))


@posix
@pytest.mark.parametrize("sweep", ["reduce_size", "clear", "call"])
def test_the_lock_of_a_killed_owner_is_swept_up(tmp_path, memory, sweep):
    worker = Worker(tmp_path)
    worker.ask("compute", 1)
    assert worker.hear() == ("computing", 1)
    gate = use_gate()
    cached = memory.cache(lambda x: GATE() or x)
    crowd = Crowd(cached, 1, n=1)
    gate.wait_for_call()
    assert len(locks_in(tmp_path)) == 2
    worker.kill()
    worker.end()
    assert len(locks_in(tmp_path)) == 2
    if sweep == "reduce_size":
        memory.reduce_size(items_limit=10)
    elif sweep == "clear":
        memory.clear(warn=False)
    else:
        flight_tasks._channel = _Answering("go")
        memory.cache(flight_tasks.compute)(1)
    # That of a computation that goes on stays.
    assert len(locks_in(tmp_path)) == 1
    gate.open.release()
    assert crowd.end() == [1]


class _Answering:
    """A connection to a test that always says the same."""

    def __init__(self, order):
        self._order = order

    def send(self, report):
        pass

    def recv(self):
        return self._order


@pytest.mark.parametrize("failure", ["fail", "unpicklable"])
@pytest.mark.filterwarnings("ignore:Unable to cache to disk")
def test_when_nothing_was_stored_the_next_computes(workers, failure):
    first, second = workers
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    second.ask("compute", 1, verbose=2)
    assert second.hear()[0] == "said"
    first.tell(failure)
    expected = {"fail": ("error", "RuntimeError"), "unpicklable": ("result", 1)}
    assert first.hear() == expected[failure]
    assert second.hear()[0] == "said"
    assert second.hear() == ("computing", 1)
    second.tell("go")
    assert second.hear()[0] == "said"
    assert second.hear() == ("result", (1, second.pid))


@posix
def test_who_waits_can_be_interrupted(workers):
    first, second = workers
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    second.ask("compute", 1, verbose=2)
    assert second.hear()[0] == "said"
    os.kill(second.pid, signal.SIGINT)
    assert second.hear() == ("error", "KeyboardInterrupt")
    second.ask("compute", 1, verbose=2)
    assert second.hear()[0] == "said"
    first.tell("go")
    assert first.hear() == ("result", (1, first.pid))
    assert second.hear()[0] == "said"
    assert second.hear() == ("result", (1, first.pid))


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock(tmp_path, workers):
    first, second = workers
    first.ask("compute_and_fork", 1)
    kind, child = first.hear()
    assert kind == "forked"
    second.ask("compute_and_fork", 1, verbose=2)
    assert second.hear()[0] == "said"
    os.kill(child, signal.SIGSTOP)  # it outlives its parent, with all that it has open
    try:
        first.kill()
        assert "Calling" in second.hear()[1]
    finally:
        os.kill(child, signal.SIGKILL)
    assert second.hear()[0] == "forked"
    second.tell("go")
    assert second.hear()[0] == "said"
    assert second.hear() == ("result", 1)


@pytest.mark.parametrize("removed", ["entries", "all"])
def test_the_cache_may_be_removed_meanwhile(tmp_path, workers, removed):
    first, second = workers
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    second.ask("compute", 1, verbose=2)
    assert second.hear()[0] == "said"
    if removed == "entries":
        Memory(tmp_path, verbose=0).clear(warn=False)
        first.tell("go")
        assert first.hear() == ("result", (1, first.pid))
        assert "Calling" in second.hear()[1]  # whose code was removed as well
        assert second.hear() == ("computing", 1)
    else:
        if os.name == "nt":
            pytest.skip("what is open cannot be removed")
        # At once: who waits may make it again at any time.
        (tmp_path / "joblib").rename(tmp_path / "removed")
        assert "Calling" in second.hear()[1]
        assert second.hear() == ("computing", 1)
        first.tell("go")
        assert first.hear() == ("result", (1, first.pid))
        assert len(locks_in(tmp_path)) == 1  # that of the second
        shutil.rmtree(tmp_path / "removed")
    second.tell("go")
    assert second.hear()[0] == "said"
    assert second.hear() == ("result", (1, second.pid))


def test_calls_that_cross_each_other_end(workers):
    first, second = workers
    # With `depth` ignored, each waits for the very result that the other computes.
    first.ask("there", 1, 2)
    assert first.hear() == ("computing", "there")
    second.ask("back", 1, 2)
    assert second.hear() == ("computing", "back")
    results = []
    for worker in workers:
        worker.tell("go")
    for worker in workers:
        while (report := worker.hear())[0] == "computing":
            worker.tell("go")
        results.append(report)
    assert [kind for kind, _ in results] == ["result", "result"]
    assert results[0][1][:2] == ["there", "back"]
    assert results[1][1][:2] == ["back", "there"]


# -------------------------------------------------------------------------- threads
def test_one_thread_computes_and_the_others_load(memory, waiters):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return [x]

    crowd = Crowd(make, 1)
    gate.wait_for_call()
    waiters.wait_for(3)
    gate.open.release()
    answers = crowd.end()
    assert answers == [[1]] * 4
    assert len({id(answer) for answer in answers}) == 4
    assert gate.n_calls == 1


def test_each_waiter_gets_his_turn_when_the_function_fails(memory, waiters):
    gate = use_gate()

    @memory.cache
    def fail(x):
        GATE()
        raise RuntimeError(GATE.n_calls)

    crowd = Crowd(fail, 1)
    gate.wait_for_call()
    waiters.wait_for(3)
    for _ in range(4):
        gate.open.release()
    answers = crowd.end()
    assert sorted(error.args[0] for error in answers) == [1, 2, 3, 4]


def test_who_asks_for_what_he_computes_does_not_wait(memory):
    @memory.cache(ignore=["depth"])
    def count(x, depth):
        return depth if depth == 3 else count(x, depth + 1)

    assert count(1, 0) == 3

    @memory.cache
    def endless(x):
        return endless(x)

    with pytest.raises(RecursionError):
        endless(1)


def test_calls_that_cross_each_other_in_threads_end(memory):
    global BOTH
    BOTH = threading.Barrier(2, timeout=PATIENCE)

    @memory.cache(ignore=["depth"])
    def there(x, depth):
        if depth == 2:
            BOTH.wait()
        return 1 if depth == 0 else 1 + back(x, depth - 1)

    @memory.cache(ignore=["depth"])
    def back(x, depth):
        if depth == 2:
            BOTH.wait()
        return 1 if depth == 0 else 1 + there(x, depth - 1)

    crowds = [Crowd(there, 1, 2, n=1), Crowd(back, 1, 2, n=1)]
    for crowd in crowds:
        (answer,) = crowd.end()
        assert answer in (2, 3, 4)  # by what the other has stored so far


def test_calls_within_calls(memory):
    assert memory.cache(double_deep, ignore=["memory"])(3, memory) == 6
    assert memory.cache(double).check_call_in_cache(3)


def test_a_damaged_entry_is_computed_once(tmp_path, memory, waiters, caplog):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    gate.open.release()
    make(1)
    (output,) = tmp_path.rglob("output.pkl")
    output.write_bytes(output.read_bytes()[:-2])
    crowd = Crowd(make, 1, n=3)
    gate.wait_for_call()
    gate.wait_for_call()
    waiters.wait_for(2)
    gate.open.release()
    assert crowd.end() == [1, 1, 1]
    assert gate.n_calls == 2


def test_a_damaged_entry_is_reported_once(tmp_path, memory, monkeypatch):
    cached = memory.cache(double)
    cached(1)
    (output,) = tmp_path.rglob("output.pkl")
    output.write_bytes(output.read_bytes()[:-2])
    reports = []
    monkeypatch.setattr(cached, "warn", reports.append)
    assert cached(1) == 2
    assert len(reports) == 1


def test_what_is_not_accepted_is_computed_once(memory, waiters):
    gate = use_gate()
    accepted = []

    def accept(metadata):
        return metadata["time"] in accepted

    @memory.cache(cache_validation_callback=accept)
    def make(x):
        GATE()
        return GATE.n_calls

    gate.open.release()
    assert make(1) == 1
    crowd = Crowd(make, 1, n=3)
    gate.wait_for_call()
    gate.wait_for_call()
    waiters.wait_for(2)
    store = make.store_backend
    keep = store.store_metadata

    def accept_what_is_new(call_id, metadata):
        accepted.append(metadata["time"])
        keep(call_id, metadata)

    store.store_metadata = accept_what_is_new
    gate.open.release()
    assert crowd.end() == [2, 2, 2]


@pytest.mark.parametrize("shelve", [False, True])
def test_what_was_stored_before_the_lock_was_there_is_loaded(
    tmp_path, memory, monkeypatch, shelve
):
    take = flight.try_lock
    cached = memory.cache(note)

    def take_late(path):
        # Another has just ended, of whom nothing was seen.
        Memory(tmp_path, verbose=0).cache(note)(str(tmp_path), 1)
        return take(path)

    monkeypatch.setattr(flight, "try_lock", take_late)
    if shelve:
        assert cached.call_and_shelve(str(tmp_path), 1).get() == 1
    else:
        assert cached(str(tmp_path), 1) == 1
    assert len((tmp_path / "computed-1").read_text().split()) == 1


def test_references(memory, waiters):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    crowd = Crowd(make.call_and_shelve, 1, n=3)
    gate.wait_for_call()
    waiters.wait_for(2)
    gate.open.release()
    assert [reference.get() for reference in crowd.end()] == [1, 1, 1]
    assert gate.n_calls == 1


def test_call_does_not_wait_but_is_waited_for(memory, waiters):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return GATE.n_calls

    calls = [Crowd(make.call, 1, n=1)]
    gate.wait_for_call()
    calls.append(Crowd(make.call, 1, n=1))
    gate.wait_for_call()  # though the first goes on
    waiting = Crowd(make, 1, n=1)
    waiters.wait_for(1)
    gate.open.release(2)
    outputs = [call.end()[0][0] for call in calls]
    assert outputs == [2, 2]
    assert waiting.end() == [2]
    assert gate.n_calls == 2


def test_call_within_a_computation_waits_for_nothing(memory):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    @memory.cache
    def outer(x):
        return make.call(x)[0]

    crowds = [Crowd(make, 1, n=1)]
    gate.wait_for_call()
    crowds.append(Crowd(outer, 1, n=1))
    gate.wait_for_call()
    owners = {len(owner.waits) for owner in flight._flights.values()}
    notes = {len(lockfiles.read_owner(path).waits) for path in flight._flights}
    gate.open.release(2)
    assert [crowd.end() for crowd in crowds] == [[1], [1]]
    assert owners == notes == {0}


def test_looking_does_not_wait(memory):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    crowd = Crowd(make, 1, n=1)
    gate.wait_for_call()
    assert not make.check_call_in_cache(1)
    gate.open.release()
    assert crowd.end() == [1]
    assert make.check_call_in_cache(1)


def test_memory_mapped_results(tmp_path, waiters):
    numpy = pytest.importorskip("numpy")
    gate = use_gate()

    @Memory(tmp_path, verbose=0, lock=True, mmap_mode="r").cache
    def make(n):
        GATE()
        return numpy.arange(n)

    crowd = Crowd(make, 1000, n=3)
    gate.wait_for_call()
    waiters.wait_for(2)
    gate.open.release()
    for array in crowd.end():
        assert isinstance(array, numpy.memmap)
        assert array.sum() == 499500
    assert gate.n_calls == 1


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_in_parallel_calls(tmp_path, memory, backend):
    cached = memory.cache(note)
    results = Parallel(n_jobs=2, backend=backend)(
        delayed(cached)(str(tmp_path), i % 3) for i in range(12)
    )
    assert results == [i % 3 for i in range(12)]
    for i in range(3):
        assert len((tmp_path / f"computed-{i}").read_text().split()) == 1


def test_nested_parallel_calls(tmp_path, memory):
    def outer(i):
        inner = memory.cache(note)
        return sum(
            Parallel(n_jobs=2, backend="threading")(
                delayed(inner)(str(tmp_path), j) for j in range(3)
            )
        )

    assert Parallel(n_jobs=2)(delayed(outer)(i) for i in range(4)) == [3] * 4
    for j in range(3):
        assert len((tmp_path / f"computed-{j}").read_text().split()) == 1


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_knows_of_no_flights(tmp_path, memory):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    crowd = Crowd(make, 1, n=1)
    gate.wait_for_call()
    child = os.fork()
    if child == 0:
        # The flights of the parent's threads are not here; their lock files are.
        os._exit(0 if not flight._flights and not lockfiles._open_locks else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(locks_in(tmp_path)) == 1
    gate.open.release()
    assert crowd.end() == [1]


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_returns_from_the_function_leaves_the_lock_alone(tmp_path, memory):
    cached = memory.cache(fork_and_look)
    pid, child_code, n_locks = cached(str(tmp_path))
    if pid == 0:
        os._exit(0)
    assert child_code == 0
    assert n_locks == 1


def fork_and_look(directory):
    """Fork, wait for the child, and count the locks that it has left."""
    pid = os.fork()
    if pid == 0:
        return 0, 0, 0
    code = os.waitpid(pid, 0)[1]
    return pid, code, len(locks_in(Path(directory)))


# -------------------------------------------------------------------------- asyncio
def run(coroutine):
    async def within():
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(within())


class TaskGate:
    """A gate for coroutine functions."""

    def __init__(self):
        self.n_calls = 0
        self.open = asyncio.Event()

    async def go_through(self):
        self.n_calls += 1
        await self.open.wait()


TASK_GATE = None


def use_task_gate():
    global TASK_GATE
    TASK_GATE = TaskGate()
    return TASK_GATE


async def until(condition):
    """Let the other tasks go on until something is the case."""
    while not condition():
        await asyncio.sleep(0)


def test_one_task_computes_and_the_others_load(memory, waiters):
    async def main():
        task_gate = use_task_gate()

        @memory.cache
        async def make(x):
            await TASK_GATE.go_through()
            return [x]

        tasks = [asyncio.create_task(make(1)) for _ in range(4)]
        await until(lambda: waiters.count == 3)  # the loop is not blocked
        task_gate.open.set()
        assert await asyncio.gather(*tasks) == [[1]] * 4
        assert task_gate.n_calls == 1
        assert [(await make.call_and_shelve(1)).get() for _ in range(2)] == [[1]] * 2
        assert (await make.call(1))[0] == [1]
        assert task_gate.n_calls == 2

    run(main())


@pytest.mark.parametrize("cancelled", [0, 1], ids=["owner", "waiter"])
def test_a_task_is_cancelled(memory, waiters, cancelled):
    async def main():
        task_gate = use_task_gate()

        @memory.cache
        async def make(x):
            await TASK_GATE.go_through()
            return x

        tasks = [asyncio.create_task(make(1)) for _ in range(3)]
        await until(lambda: waiters.count == 2)
        tasks[cancelled].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks.pop(cancelled)
        task_gate.open.set()
        assert await asyncio.gather(*tasks) == [1, 1]
        assert task_gate.n_calls == (2 if cancelled == 0 else 1)

    run(main())


def test_tasks_of_a_computation_do_not_wait_for_it(memory):
    async def main():
        @memory.cache(ignore=["depth"])
        async def count(x, depth):
            if depth == 3:
                return depth
            return max(await asyncio.gather(count(x, depth + 1), count(x, 3)))

        assert await count(1, 0) == 3

    run(main())


def test_a_task_waits_for_another_process(memory, workers):
    first = workers[0]
    first.ask("compute", 1)
    assert first.hear() == ("computing", 1)
    sync = memory.cache(flight_tasks.compute)

    async def main():
        async def compute(x):
            raise AssertionError("computed by another")

        # A coroutine function of the same name, code and arguments.
        cached = memory.cache(compute)
        cached.func_id = sync.func_id
        cached._check_previous_func_code = lambda stacklevel=2: True
        ticks = 0
        task = asyncio.create_task(cached(1))
        for _ in range(100):
            await asyncio.sleep(0)
            ticks += 1
        assert not task.done()
        first.tell("go")
        return await task

    assert run(main()) == (1, first.pid)
    assert first.hear()[0] == "result"


def test_a_loop_that_is_no_more_wakes_nobody(memory, waiters):
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    crowd = Crowd(make, 1, n=1)
    gate.wait_for_call()
    (owner,) = flight._flights.values()

    async def wait():
        await flight.Pause(owner, PATIENCE)

    loop = asyncio.new_event_loop()
    waiting = wait()
    task = loop.create_task(waiting)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert len(owner._wakers) == 1
    loop.close()
    gate.open.release()
    assert crowd.end() == [1]
    assert not task.done()
    # Nobody will ever end it: let it go without a word about that.
    task._log_destroy_pending = False
    del task
    waiting.close()
    gc.collect()


def test_outside_of_asyncio_coroutines_compute(memory):
    @memory.cache
    async def make(x):
        return x

    coroutine = make(1)
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    assert end.value.value == 1


# --------------------------------------------------------- what there can be no lock for
def test_hits_take_no_lock(memory, monkeypatch):
    cached = memory.cache(double)
    cached(1)

    def refuse(*args):
        raise AssertionError("a lock was asked for")

    monkeypatch.setattr(flight, "try_lock", refuse)
    assert cached(1) == 2
    assert cached.call_and_shelve(1).get() == 2
    assert cached.check_call_in_cache(1)
    with pytest.raises(AssertionError, match="asked for"):
        cached(2)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EROFS, errno.ENOSPC])
def test_without_locks_there_is_a_warning(memory, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(flight, "try_lock", refuse)
    monkeypatch.setattr(flight, "_places_without_locks", set())
    cached = memory.cache(double)
    with pytest.warns(CacheWarning, match="No file can be locked") as record:
        assert [cached(i) for i in range(3)] == [0, 2, 4]
    assert len(record) == 1
    assert record[0].filename == __file__


def test_without_locks_threads_wait_all_the_same(memory, monkeypatch, waiters):
    def refuse(*args):
        raise OSError(errno.ENOLCK, "none")

    monkeypatch.setattr(flight, "try_lock", refuse)
    monkeypatch.setattr(
        flight,
        "_places_without_locks",
        {os.path.abspath(memory.store_backend.location)},
    )
    gate = use_gate()

    @memory.cache
    def make(x):
        GATE()
        return x

    crowd = Crowd(make, 1, n=3)
    gate.wait_for_call()
    waiters.wait_for(2)
    gate.open.release()
    assert crowd.end() == [1, 1, 1]
    assert gate.n_calls == 1


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may")
def test_a_cache_that_can_only_be_read(tmp_path):
    Memory(tmp_path, verbose=0).cache(double)(1)
    for path in [tmp_path / "joblib", *(tmp_path / "joblib").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        cached = Memory(tmp_path, verbose=0, lock=True).cache(double)
        assert cached(1) == 2
        with pytest.warns(CacheWarning):
            assert cached(2) == 4
    finally:
        for path in [tmp_path / "joblib", *(tmp_path / "joblib").rglob("*")]:
            path.chmod(0o755)


@pytest.mark.parametrize("lock", ["yes", 1, None, 0.5])
def test_bad_lock(tmp_path, lock):
    with pytest.raises(ValueError, match="lock has to be True or False"):
        Memory(tmp_path, lock=lock)
    if lock is not None:
        with pytest.raises(ValueError, match="lock has to be True or False"):
            Memory(tmp_path).cache(double, lock=lock)


def test_lock_of_one_function(tmp_path, memory):
    assert memory.cache(double)._lock
    assert not memory.cache(double, lock=False)._lock
    assert memory.cache(lock=True)(double)._lock
    assert not Memory(tmp_path).cache(double)._lock
    assert Memory(tmp_path).cache(double, lock=True)._lock
    assert Memory(None, lock=True).cache(double)(1) == 2


def test_without_filelock(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "filelock", None)
    with pytest.raises(ImportError, match="pip install 'filelock"):
        Memory(tmp_path, lock=True)
    with pytest.raises(ImportError, match="pip install 'filelock"):
        Memory(tmp_path).cache(double, lock=True)
    assert Memory(tmp_path, verbose=0).cache(double)(1) == 2
    Memory(tmp_path, verbose=0).reduce_size(items_limit=0)


class Elsewhere(StoreBackendBase, StoreBackendMixin):
    """A store that names no place for locks."""

    _open_item = _item_exists = _move_item = get_items = None
    create_location = clear_location = None

    def configure(self, location, verbose=0, backend_options=None):
        self.location = location


def test_stores_without_files(tmp_path, monkeypatch):
    monkeypatch.setattr(Elsewhere, "__abstractmethods__", frozenset())
    monkeypatch.setitem(_STORE_BACKENDS, "elsewhere", None)
    register_store_backend("elsewhere", Elsewhere)
    with pytest.raises(ValueError, match="needs a store on a file system"):
        Memory("somewhere", backend="elsewhere", lock=True)
    place = tmp_path / "locks"
    monkeypatch.setattr(Elsewhere, "lock_location", lambda self: str(place))
    assert Memory("somewhere", backend="elsewhere", lock=True)._lock
    assert FileSystemStoreBackend().lock_location() is None


# --------------------------------------------------------------------------- details
def test_pickles_and_digests_are_those_of_caches_without_lock(tmp_path, memory):
    plain = Memory(tmp_path, verbose=0)
    assert "_lock" not in vars(plain) and "_lock" not in vars(plain.cache(double))
    assert pickle.loads(pickle.dumps(memory)).cache(double)._lock
    copied = pickle.loads(pickle.dumps(memory.cache(double)))
    assert copied._lock and copied(4) == 8


def test_lock_files_are_not_in_the_way(tmp_path, memory):
    gate = use_gate()

    @memory.cache
    def make(x):
        if x:
            GATE()
        return x

    make(0)
    crowd = Crowd(make, 1, n=1)
    gate.wait_for_call()
    assert len(memory.store_backend.get_items()) == 1
    memory.reduce_size(items_limit=0)
    assert memory.store_backend.get_items() == []
    gate.open.release()
    assert crowd.end() == [1]
    assert len(memory.store_backend.get_items()) == 1


def test_the_lock_of_an_entry_is_its_own():
    paths = {
        lockfiles.lock_path("root", call)
        for call in [("a", "b"), ("ab", ""), ("a/b", "c"), ("a", "b/c"), ("\udcff", "")]
    }
    assert len(paths) == 5
    assert all(os.path.isabs(path) for path in paths)


def test_a_lock_that_was_removed_while_it_was_opened(tmp_path, monkeypatch):
    path = lockfiles.lock_path(str(tmp_path / "joblib"), ("f", "1"))
    first = lockfiles.try_lock(path)
    assert lockfiles.try_lock(path) is None
    import filelock

    take = filelock.lock_descriptor

    def take_late(descriptor, blocking):
        first.release()
        return take(descriptor, blocking=blocking)

    monkeypatch.setattr(filelock, "lock_descriptor", take_late)
    second = lockfiles.try_lock(path)  # not that which nobody else would see
    assert os.path.samestat(os.stat(path), os.fstat(second._descriptor))
    assert lockfiles.try_lock(path) is None
    second.release()
    second.release()
    assert not os.path.exists(path)


def test_files_that_change_their_identity(monkeypatch, memory):
    cached = memory.cache(double)
    monkeypatch.setattr(lockfiles, "_is_at", lambda descriptor, path: False)
    monkeypatch.setattr(flight, "_places_without_locks", set())
    with pytest.warns(CacheWarning, match="No file can be locked.*another than that"):
        assert cached(1) == 2
    monkeypatch.undo()
    memory.reduce_size(items_limit=10)


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[1]", b"{}", b'["x", "y"]\n', b"\xff"]
)
def test_notes_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "lock"
    path.write_bytes(b" " + content)
    assert lockfiles.read_owner(str(path)) is None


def test_notes(tmp_path):
    path = lockfiles.lock_path(str(tmp_path), ("f", "1"))
    lock = lockfiles.try_lock(path)
    lock.note(["/a" * 100, "/b"])
    lock.note(["/c"])
    owner = lockfiles.read_owner(path)
    assert owner.pid == os.getpid()
    assert owner.waits == ("/c",)
    lock.release()
    assert lockfiles.read_owner(path) is None


def test_a_context_that_was_copied_ends_with_the_computation(memory):
    contexts = []

    @memory.cache
    def make(x):
        contexts.append(contextvars.copy_context())
        return x

    make(1)
    memory.clear(warn=False)
    # A task that was started by a computation, and goes on after it, is not part of it.
    assert contexts[0].run(lambda: [f.ended for f in flight._own.get()]) == [True]
    contexts[0].run(make, 1)
    assert len(contexts) == 2


# ------------------------------------------------------------------------------ soak
@posix
@pytest.mark.soak
def test_many_processes_of_which_some_are_killed(tmp_path):
    import multiprocessing
    import random

    n_keys, n_kills = 20, 15
    directory = tmp_path / "computed"
    directory.mkdir()
    context = multiprocessing.get_context("spawn")

    def start(seed):
        process = context.Process(
            target=flight_tasks.hammer,
            args=(str(tmp_path), str(directory), seed, n_keys),
        )
        process.start()
        return process

    order = random.Random(0)
    processes = [start(seed) for seed in range(8)]
    ended = []
    for seed in range(8, 8 + n_kills):
        # As many computations as were begun when the last one was killed, and one more.
        begun = count_lines(directory)
        deadline = threading.Event()
        while count_lines(directory) == begun and any(p.is_alive() for p in processes):
            deadline.wait(0.005)
        victim = processes.pop(order.randrange(len(processes)))
        victim.kill()
        ended.append(victim)
        processes.append(start(seed))
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    killed = 0
    for victim in ended:
        victim.join(PATIENCE)
        killed += victim.exitcode == -signal.SIGKILL
    computed = {
        path.name: len(path.read_text().split()) for path in directory.iterdir()
    }
    assert len(computed) == n_keys
    assert sum(computed.values()) <= n_keys + killed
    Memory(tmp_path, verbose=0).reduce_size(items_limit=1000)


def count_lines(directory):
    return sum(len(path.read_text().split()) for path in directory.iterdir())
