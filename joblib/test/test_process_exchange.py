"""How batches get to loky's workers, and what loky's own ways do meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from contextlib import nullcontext, suppress

import pytest

from joblib import Parallel, delayed

pytest.importorskip("loky")
from loky import get_reusable_executor
from loky.process_executor import ShutdownExecutorError, TerminatedWorkerError

from joblib._backends import messages, workers
from joblib._backends.messages import HEADER, MOST_INLINE, Inbox, Outgoing

needs_exchange = pytest.mark.skipif(
    not messages.is_available(), reason="this system has no queues of whole messages"
)


@pytest.fixture(params=["exchange", "jobs"])
def way(request, monkeypatch):
    """Batches go by the exchange, or, as on other systems, as jobs of loky's."""
    if request.param == "jobs":
        monkeypatch.setattr(workers, "is_available", lambda: False)
    elif not messages.is_available():
        pytest.skip("this system has no queues of whole messages")
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    yield request.param
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def pids(parallel, n=8):
    return set(parallel(delayed(os.getpid)() for _ in range(n)))


# --------------------------------------------------------------------- messages
@pytest.fixture
def pair():
    if not messages.is_available():
        pytest.skip("this system has no queues of whole messages")
    ends = messages.socket_pair()
    yield ends
    for end in ends:
        end.close()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size", [0, 1, MOST_INLINE - 3, MOST_INLINE - 2, 3_000_000])
def test_a_message_arrives_whole(pair, size):
    sender, receiver = pair
    inbox = Inbox(receiver)
    before = descriptors()
    body = os.urandom(size)
    for number in (1, 2**40):
        message = Outgoing(number, b"abc", body)
        assert message.is_large == (size + 3 > MOST_INLINE)
        message.send(sender)
        got = inbox.receive()
        assert (got.number, got.label, bytes(got.body)) == (number, b"abc", body)
        del got, message
    assert descriptors() == before


def test_a_message_in_parts_where_files_may_not_be_large(pair):
    resource = pytest.importorskip("resource")
    sender, receiver = pair
    body = os.urandom(1_000_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        Outgoing(7, b"l", body).send(sender)
        got = Inbox(receiver).receive()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert bytes(got.body) == body


def test_no_room_for_a_message(pair):
    sender, receiver = pair
    before = descriptors()
    sent = 0
    message = Outgoing(1, b"", bytes(MOST_INLINE))
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            message.send(sender, socket.MSG_DONTWAIT)
            sent += 1
    assert 0 < sent < 1000
    Inbox(receiver).receive()
    message.send(sender, socket.MSG_DONTWAIT)
    large = Outgoing(1, b"", bytes(MOST_INLINE + 1))
    large.discard()
    large.discard()
    assert descriptors() == before


def test_nothing_to_receive(pair):
    sender, receiver = pair
    inbox = Inbox(receiver)
    with pytest.raises(BlockingIOError):
        inbox.receive(wait=False)
    sender.close()
    assert inbox.receive() is None
    assert HEADER.size < MOST_INLINE


# ------------------------------------------------------------------------ calls
def echo(x):
    return x


def test_batches_small_and_large(way):
    texts = ["x" * 10**k for k in range(8)]
    for batch_size in (1, 3, "auto"):
        parallel = Parallel(2, batch_size=batch_size)
        assert parallel(delayed(echo)(t) for t in texts) == texts
    numbers = list(range(3000))
    parallel = Parallel(2, batch_size=1, pre_dispatch="all")
    assert parallel(delayed(echo)(i) for i in numbers) == numbers


@needs_exchange
def test_more_on_their_way_than_there_is_room_for(monkeypatch):
    from joblib._backends import exchange

    monkeypatch.setattr(exchange, "WINDOW", 10_000)
    texts = ["x" * 40_000] * 100
    parallel = Parallel(2, batch_size=1, pre_dispatch="all")
    assert parallel(delayed(echo)(t) for t in texts) == texts


def test_jobs_of_loky_take_their_turn(way):
    with Parallel(2) as parallel:
        mine = pids(parallel)
        executor = get_reusable_executor(reuse=True)
        workers = set(executor._processes)
        assert mine <= workers
        assert executor.submit(os.getpid).result(timeout=30) in workers
        assert list(executor.map(echo, range(20), timeout=30)) == list(range(20))
        assert parallel(delayed(echo)(i) for i in range(4)) == [0, 1, 2, 3]


def test_a_job_of_loky_in_the_middle_of_a_call(way):
    results = Parallel(2, return_as="generator", batch_size=1)(
        delayed(echo)(i) for i in range(200)
    )
    assert next(results) == 0
    executor = get_reusable_executor(reuse=True)
    assert executor.submit(echo, "loky").result(timeout=30) == "loky"
    assert list(results) == list(range(1, 200))


def test_the_executor_is_resized(way):
    before = pids(Parallel(2))
    for n_jobs in (3, 2, 4, 2):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert Parallel(n_jobs)(delayed(echo)(i) for i in range(9)) == list(
                range(9)
            )
    assert len(before) <= 2


def test_the_executor_is_shut_down_by_others(way):
    before = pids(Parallel(2))
    executor = get_reusable_executor(reuse=True)
    executor.shutdown(wait=True)
    with pytest.raises((ShutdownExecutorError, RuntimeError)):
        executor.submit(echo, 1)
    after = pids(Parallel(2))
    assert after and not after & before


def test_a_shutdown_waits_for_what_is_under_way(way):
    results = Parallel(2, return_as="generator", pre_dispatch="all")(
        delayed(echo)(i) for i in range(40)
    )
    get_reusable_executor(reuse=True).shutdown(wait=True)
    assert list(results) == list(range(40))


@needs_exchange
def test_workers_that_went_back_to_loky_return(monkeypatch):
    monkeypatch.setattr(workers, "LINGER", 0.05)
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    parallel = Parallel(2, batch_size=1)
    parallel(delayed(echo)(i) for i in range(5))
    executor = get_reusable_executor(reuse=True)
    before = set(executor._processes)
    for _ in range(5):
        for job in list(executor._serving):
            job.result(timeout=30)  # it leaves by itself
        assert pids(parallel) <= before
        assert parallel(delayed(echo)(i) for i in range(5)) == list(range(5))
    assert set(executor._processes) == before
    executor.shutdown(wait=True, kill_workers=True)


@needs_exchange
def test_all_workers_are_killed_while_they_wait_for_work():
    parallel = Parallel(2)
    for pid in pids(parallel):
        os.kill(pid, signal.SIGKILL)
    try:
        out = parallel(delayed(echo)(i) for i in range(4))
    except TerminatedWorkerError:  # so soon that the death was not noticed before
        out = parallel(delayed(echo)(i) for i in range(4))
    assert out == [0, 1, 2, 3]


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="waits without reaping")
@pytest.mark.parametrize("in_context", [False, True])
def test_a_death_between_two_calls_is_no_matter(in_context):
    parallel = Parallel(2, backend="loky", batch_size=1)
    with parallel if in_context else nullcontext():
        for _ in range(5):
            pid = max(pids(parallel))
            os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):  # somebody else has waited for it
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            out = parallel(delayed(echo)(i) for i in range(4))
            assert out == [0, 1, 2, 3]


def keep(n_bytes):
    sys.__dict__.setdefault("kept_by_test", []).append(bytearray(n_bytes) + b"x")
    return os.getpid()


@needs_exchange
def test_a_worker_whose_memory_grows_is_replaced(monkeypatch):
    pytest.importorskip("psutil")
    monkeypatch.setenv("LOKY_MAX_MEMORY_LEAK_SIZE", "50_000_000")
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
    found = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(400):
            found |= set(Parallel(2)(delayed(keep)(2_000_000) for _ in range(4)))
            if len(found) > 2:
                break
            threading.Event().wait(0.02)
    assert len(found) > 2
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def test_results_of_a_call_as_the_tasks_of_another(way):
    # The thread that hands results over reads this iterable, and so waits for some.
    ended = []

    def chain():
        inner = Parallel(2, return_as="generator")(delayed(echo)(i) for i in range(50))
        ended.append(Parallel(2)(delayed(echo)(x) for x in inner))

    if way == "jobs":
        pytest.skip("loky's own thread can't be relieved")
    thread = threading.Thread(target=chain, daemon=True)
    thread.start()
    thread.join(50)
    assert ended == [list(range(50))]


def fork_and_collect():
    import gc

    pid = os.fork()
    if pid == 0:
        # the parent's executor goes here with its last reference, not its sockets
        from loky import reusable_executor

        reusable_executor._executor_storage.executor = None
        gc.collect()
        os._exit(0)
    os.waitpid(pid, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_leaves_its_parents_workers_alone(way):
    parallel = Parallel(2)
    before = pids(parallel)
    fork_and_collect()
    assert parallel(delayed(echo)(i) for i in range(20)) == list(range(20))
    assert pids(parallel) <= before | pids(parallel)


PROGRAM = """
import sys, time
from joblib import Parallel, delayed

if __name__ == "__main__":
    print(Parallel(2)(delayed(abs)(-i) for i in range(4)), flush=True)
    time.sleep(float(sys.argv[1]))
"""


def test_a_program_ends_while_its_workers_wait(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program), "0"], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout) == (0, "[0, 1, 2, 3]\n"), done.stderr
    assert done.stderr == ""
