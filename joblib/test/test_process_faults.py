"""Process backends: whatever goes wrong ends soon, in an error that says what."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
from functools import partial
from multiprocessing import active_children, get_all_start_methods, get_context

import pytest
from loky.process_executor import TerminatedWorkerError

from joblib import Parallel, delayed
from joblib._backends.guard import describe_exit
from joblib._backends.loky import LokyBackend
from joblib._backends.multiprocessing import MultiprocessingBackend
from joblib._engine.batch import BatchedCalls

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

BACKENDS = {"loky": LokyBackend, "multiprocessing": MultiprocessingBackend}

#: ways of starting the workers of a pool that are not the default everywhere
METHODS = sorted({"fork", "spawn", "forkserver"} & set(get_all_start_methods()))


@pytest.fixture(params=sorted(BACKENDS))
def make(request):
    """Makes a process backend."""
    return BACKENDS[request.param]


@pytest.fixture(params=["loky", *METHODS])
def make_each(request):
    """Makes a process backend, also of those that start their workers otherwise."""
    if request.param == "loky":
        return LokyBackend
    return partial(MultiprocessingBackend, context=get_context(request.param))


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not this one")


class UnreadableElsewhere:
    def __reduce__(self):
        return only_in_process, (os.getpid(),)


class OddError(Exception):
    """Can be pickled, and not be read back."""

    def __init__(self, first, second):
        super().__init__(first)


def only_in_process(pid):
    if os.getpid() != pid:
        raise LookupError("no such thing here")
    return UnreadableElsewhere()


def square(x):
    return x * x


def kill_worker(sig):
    os.kill(os.getpid(), sig)
    time.sleep(60)


def read_nowhere(_):
    faulthandler.disable()  # of pytest, which would tell of it at length
    ctypes.string_at(0)


def take_memory(n_bytes):
    # for this process alone, whose next tasks are to find what they need
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (n_bytes // 2, before[1]))
    try:
        return len(bytearray(n_bytes))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def leave_worker(code):
    os._exit(code)


def make_lock(_):
    return threading.Lock()


def make_unreadable(_):
    return UnreadableElsewhere()


def interrupt(_):
    raise KeyboardInterrupt


def leave(code):
    sys.exit(code)


def fail_oddly(x):
    raise OddError(x, x)


def outer_frame(x):
    return inner_frame(x)


def inner_frame(x):
    return 1 / x


def refuse_to_start():
    raise OSError("no licence")


def test_results(make_each):
    assert Parallel(2, backend=make_each())(delayed(square)(i) for i in range(20)) == [
        i * i for i in range(20)
    ]


def test_what_only_cloudpickle_can_carry(make_each):
    offset = 3
    tasks = (delayed(lambda x: x + offset)(i) for i in range(3))
    assert Parallel(2, backend=make_each())(tasks) == [3, 4, 5]


@pytest.mark.parametrize(
    ("sig", "cause"),
    [(signal.SIGKILL, "memory"), (signal.SIGTERM, ""), (signal.SIGSEGV, "fault")],
)
def test_a_killed_worker(make_each, sig, cause):
    backend = make_each()
    with pytest.raises(TerminatedWorkerError, match=sig.name) as caught:
        Parallel(2, backend=backend)(delayed(kill_worker)(sig) for _ in range(4))
    assert cause in str(caught.value)
    # and the next call has workers again
    assert Parallel(2, backend=backend)([delayed(square)(3)]) == [9]


@pytest.mark.skipif(os.name != "posix", reason="is an error elsewhere, and no signal")
def test_a_worker_that_reads_where_nothing_is(make_each):
    backend = make_each()
    with pytest.raises(TerminatedWorkerError, match="SIGSEGV"):
        Parallel(2, backend=backend)(delayed(read_nowhere)(i) for i in range(4))
    assert Parallel(2, backend=backend)([delayed(square)(3)]) == [9]


def test_a_worker_without_memory(make_each):
    pytest.importorskip("resource")
    backend = make_each()
    with Parallel(2, backend=backend) as parallel:
        with pytest.raises(MemoryError):
            parallel([delayed(take_memory)(1 << 40)])
        assert parallel(delayed(square)(i) for i in range(4)) == [0, 1, 4, 9]


@pytest.mark.parametrize("code", [0, 5])
def test_a_worker_that_leaves(make_each, code):
    backend = make_each()
    with pytest.raises(TerminatedWorkerError, match=rf"\b{code}\b"):
        Parallel(2, backend=backend)(delayed(leave_worker)(code) for _ in range(4))
    assert Parallel(2, backend=backend)([delayed(square)(3)]) == [9]


def test_a_killed_worker_within_a_context(make_each):
    with Parallel(2, backend=make_each()) as parallel:
        assert parallel([delayed(square)(3)]) == [9]
        with pytest.raises(TerminatedWorkerError):
            parallel([delayed(kill_worker)(signal.SIGKILL)])
        assert parallel([delayed(square)(4)]) == [16]


def test_an_idle_worker_is_killed(make_each):
    # one that waits for work holds the lock of the queue
    with Parallel(2, backend=make_each()) as parallel:
        pids = set(parallel(delayed(os.getpid)() for _ in range(20)))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        try:
            out = parallel(delayed(square)(i) for i in range(4))
        except TerminatedWorkerError:
            out = parallel(delayed(square)(i) for i in range(4))
        assert out == [0, 1, 4, 9]


def test_a_worker_is_killed_before_a_call_on_another_number_of_them():
    # more than once, as it takes some luck to be faster than who looks after them
    for n in range(10):
        parallel = Parallel(3 - n % 2, backend="loky", batch_size=1)
        os.kill(min(parallel(delayed(os.getpid)() for _ in range(12))), signal.SIGKILL)
        parallel = Parallel(2 + n % 2, backend="loky")
        try:
            out = parallel(delayed(square)(i) for i in range(4))
        except TerminatedWorkerError:
            out = parallel(delayed(square)(i) for i in range(4))
        assert out == [0, 1, 4, 9]


def test_an_argument_that_cannot_be_pickled(make_each):
    tasks = [delayed(square)(Unpicklable()) for _ in range(4)]
    with pytest.raises(pickle.PicklingError, match=r"the task to send.*'square'"):
        Parallel(2, backend=make_each())(tasks)


def test_a_function_that_cannot_be_pickled(make_each):
    lock = threading.Lock()

    def guarded(x):
        with lock:
            return x

    with pytest.raises(pickle.PicklingError, match=r"the task to send.*guarded"):
        Parallel(2, backend=make_each())(delayed(guarded)(i) for i in range(4))


def test_a_result_that_cannot_be_pickled(make_each):
    with pytest.raises(pickle.PicklingError, match=r"a result of 'make_lock'"):
        Parallel(2, backend=make_each())(delayed(make_lock)(i) for i in range(4))


def test_an_argument_that_cannot_be_read(make_each):
    tasks = [delayed(square)(UnreadableElsewhere()) for _ in range(4)]
    with pytest.raises(pickle.UnpicklingError, match=r"'square'.*no such thing here"):
        Parallel(2, backend=make_each())(tasks)


def test_a_result_that_cannot_be_read(make_each):
    with pytest.raises(pickle.UnpicklingError, match=r"'make_unreadable'"):
        Parallel(2, backend=make_each())(delayed(make_unreadable)(i) for i in range(4))


def test_an_error_that_cannot_be_read(make_each):
    with pytest.raises(Exception, match="OddError: 7"):
        Parallel(2, backend=make_each())([delayed(fail_oddly)(7)])


def test_frames_of_the_worker(make_each):
    with pytest.raises(ZeroDivisionError) as caught:
        Parallel(2, backend=make_each())([delayed(outer_frame)(0)])
    told = str(caught.value.__cause__)
    assert "outer_frame" in told
    assert "inner_frame" in told


@pytest.mark.parametrize(
    ("function", "error"), [(interrupt, KeyboardInterrupt), (leave, SystemExit)]
)
def test_errors_that_would_end_a_worker(make_each, function, error):
    with pytest.raises(error):
        Parallel(2, backend=make_each())(delayed(function)(3) for _ in range(4))


def test_an_initializer_that_fails(make_each):
    backend = make_each(initializer=refuse_to_start)
    with pytest.raises(TerminatedWorkerError):
        Parallel(2, backend=backend)(delayed(square)(i) for i in range(4))


def test_an_initializer_that_cannot_be_sent():
    lock = threading.Lock()
    backend = LokyBackend(initializer=lambda: lock)
    with pytest.raises(TypeError, match="lock"):
        Parallel(2, backend=backend)(delayed(square)(i) for i in range(4))


class Recorder:
    """Counts how often each batch calls back."""

    def __init__(self, backend):
        self.backend = backend
        self.changed = threading.Condition()
        self.calls = {}
        self.errors = []

    def submit(self, key, function, *args):
        def callback(out):
            try:
                self.backend.retrieve_result_callback(out)
            except BaseException as error:
                self.errors.append(error)
            with self.changed:
                self.calls[key] = self.calls.get(key, 0) + 1
                self.changed.notify_all()

        self.backend.submit(BatchedCalls([(function, args, {})], (None, 1)), callback)

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.calls) >= count, timeout=20)


def test_each_batch_calls_back_once_when_the_pool_ends_under_it(make):
    backend = make()
    backend.configure(n_jobs=2)
    recorder = Recorder(backend)
    recorder.submit("done", square, 2)
    recorder.wait_for(1)
    for i in range(20):
        recorder.submit(i, time.sleep, 60)
    started = time.monotonic()
    backend.abort_everything(ensure_ready=False)
    recorder.wait_for(21)
    backend.terminate()
    backend.terminate()
    assert time.monotonic() - started < 20
    assert set(recorder.calls.values()) == {1}
    assert len(recorder.errors) == 20
    assert {type(error) for error in recorder.errors} == {RuntimeError}


def test_each_batch_calls_back_once_when_a_worker_dies(make_each):
    backend = make_each()
    backend.configure(n_jobs=2)
    recorder = Recorder(backend)
    recorder.submit("unpicklable", square, Unpicklable())
    recorder.wait_for(1)
    for i in range(10):
        recorder.submit(i, time.sleep, 60)
    pool = backend._pool if hasattr(backend, "_pool") else None
    workers = pool._pool if pool is not None else backend._workers._processes.values()
    os.kill(next(iter(list(workers))).pid, signal.SIGKILL)
    recorder.wait_for(11)
    # the pool is broken: what comes later is told so
    recorder.submit("late", square, 2)
    recorder.wait_for(12)
    backend.abort_everything(ensure_ready=True)
    recorder.submit("again", square, 2)
    recorder.wait_for(13)
    backend.terminate()
    assert set(recorder.calls.values()) == {1}
    assert len(recorder.errors) == 12


def test_a_callback_that_fails_does_not_stop_the_others(make, capsys):
    backend = make()
    backend.configure(n_jobs=2)
    recorder = Recorder(backend)

    def broken(out):
        raise ValueError("from the callback")

    backend.submit(BatchedCalls([(square, (2,), {})], (None, 1)), broken)
    recorder.submit("next", square, 3)
    recorder.wait_for(1)
    backend.terminate()
    assert recorder.errors == []


def test_workers_are_gone_after_a_call():
    with Parallel(2, backend="multiprocessing") as parallel:
        pids = set(parallel(delayed(os.getpid)() for _ in range(4)))
        assert pids <= {child.pid for child in active_children()}
    assert not pids & {child.pid for child in active_children()}


def test_a_pool_that_recycles_its_workers():
    pids = Parallel(2, backend="multiprocessing", batch_size=1, maxtasksperchild=1)(
        delayed(os.getpid)() for _ in range(6)
    )
    assert len(set(pids)) == 6


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-9, "killed by SIGKILL, most often because the system ran out of memory"),
        (-11, "killed by SIGSEGV, by a segmentation fault in compiled code"),
        (-15, "killed by SIGTERM"),
        (-200, "killed by signal 200"),
        (1, "ended by itself with exit code 1"),
    ],
)
def test_exit_codes_in_words(code, text):
    assert describe_exit(code) == text


# ---------------------------------------------------------------- what is no task
@pytest.mark.parametrize(
    ("item", "kind"),
    [(3, TypeError), (None, TypeError), (abs, TypeError), ((abs, (1,)), ValueError)],
)
@pytest.mark.parametrize("place", [0, 30])
def test_an_item_that_is_no_task(make, item, kind, place):
    tasks = [delayed(abs)(i) for i in range(40)]
    tasks[place] = item
    with pytest.raises(kind, match="runs tasks made by `delayed`.*got an item"):
        Parallel(n_jobs=2, backend=make())(tasks)


# --------------------------------------------------------------- a forked process
def call_in_child(connection):
    connection.send(Parallel(n_jobs=2, backend="loky")(map(delayed(abs), [-1, -2, -3])))


@pytest.mark.skipif("fork" not in METHODS, reason="processes can't be forked here")
def test_a_process_forked_after_a_call_starts_workers_of_its_own():
    Parallel(n_jobs=2, backend="loky")(map(delayed(abs), range(3)))
    context = get_context("fork")
    here, there = context.Pipe()
    child = context.Process(target=call_in_child, args=(there,))
    child.start()
    try:
        assert here.poll(20)
        assert here.recv() == [1, 2, 3]
    finally:
        child.kill()
        child.join()
        here.close()
        there.close()
    assert Parallel(n_jobs=2, backend="loky")(map(delayed(abs), [-4])) == [4]
