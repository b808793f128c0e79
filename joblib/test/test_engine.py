"""One call from dispatch to result: order, errors, generators, interrupts, debts."""

from __future__ import annotations

import contextlib
import gc
import signal
import threading
import time
import traceback
import warnings
import weakref
from queue import SimpleQueue

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._engine.run import Run
from joblib._engine.states import State
from joblib._parallel_backends import ThreadingBackend
from joblib.parallel import BatchCompletionCallBack
from joblib.test.backends import InlineBackend, ManualBackend

LONG = 20  # seconds that no test should need


def square(x):
    return x * x


def fail(x):
    raise KeyError(x)


def in_thread(function):
    """Run `function` in a thread; return a callable that waits for its result."""
    out = []

    def target():
        try:
            out.append((True, function()))
        except BaseException as error:  # handed to the caller
            out.append((False, error))

    thread = threading.Thread(target=target)
    thread.start()

    def result():
        thread.join(LONG)
        assert not thread.is_alive()
        good, value = out[0]
        if good:
            return value
        raise value

    return result


# ------------------------------------------------------------------- dispatch
def test_pre_dispatch_bounds_what_is_read_ahead():
    backend = ManualBackend(2)
    read = []

    def tasks():
        for i in range(10):
            read.append(i)
            yield delayed(square)(i)

    result = in_thread(lambda: Parallel(2, backend=backend, pre_dispatch=3)(tasks()))
    backend.wait_for(3)
    assert read == [0, 1, 2]
    backend.run()
    backend.wait_for(3)
    assert read == [0, 1, 2, 3]
    for _ in range(9):
        backend.wait_for(1)
        backend.run()
    assert result() == [i * i for i in range(10)]


def test_a_slow_iterable_stops_no_other_worker():
    # Thread A sits in the caller's iterable; B completes meanwhile, and must not
    # wait for A: its batch is dispatched by A later.
    backend = ManualBackend(2)
    entered, go_on = threading.Event(), threading.Event()

    def tasks():
        for i in range(5):
            if i == 2:
                entered.set()
                assert go_on.wait(LONG)
            yield delayed(square)(i)

    result = in_thread(lambda: Parallel(2, backend=backend, pre_dispatch=2)(tasks()))
    backend.wait_for(2)
    first = in_thread(backend.run)  # dispatches number 2: stuck in `tasks`
    assert entered.wait(LONG)
    backend.run()  # returns, although nothing can be dispatched now
    assert not backend.queue
    go_on.set()
    first()
    backend.wait_for(2)  # both debts were paid
    for _ in range(3):
        backend.wait_for(1)
        backend.run()
    assert result() == [0, 1, 4, 9, 16]


def test_a_late_or_double_completion_changes_nothing():
    backend = ManualBackend(2)
    parallel = Parallel(2, backend=backend)
    result = in_thread(lambda: parallel(delayed(square)(i) for i in range(2)))
    backend.wait_for(2)
    callback = backend.run()
    callback(["wrong"])
    backend.run()
    assert result() == [0, 1]
    run = parallel._run
    result = in_thread(lambda: parallel(delayed(square)(i) for i in (5, 6)))
    backend.wait_for(2)
    callback(["of the call before"])
    backend.run()
    backend.run()
    assert result() == [25, 36]
    assert run.state is State.DONE and run.n_completed_tasks == 2


def test_submit_that_raises_ends_the_call():
    class Broken(ManualBackend):
        def submit(self, func, callback=None):
            raise OSError("no room")

    backend = Broken(2)
    with pytest.raises(OSError, match="no room"):
        Parallel(2, backend=backend)(delayed(square)(i) for i in range(3))
    assert backend.aborts == [False]


def test_a_callback_that_fails_ends_the_call():
    class Bar(Parallel):
        def print_progress(self):
            if self.n_completed_tasks >= 3:
                raise RuntimeError("no bar")

    with pytest.raises(RuntimeError, match="no bar"):
        Bar(2, backend="threading")(delayed(square)(i) for i in range(50))


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("n", [0, 1, 7, 200])
def test_counters(batch_size, n):
    parallel = Parallel(2, backend="threading", batch_size=batch_size)
    assert parallel.n_dispatched_tasks == 0
    parallel(delayed(square)(i) for i in range(n))
    assert parallel.n_dispatched_tasks == parallel.n_completed_tasks == n
    assert (parallel.n_dispatched_batches == 0) == (n == 0)


# --------------------------------------------------------------------- errors
def test_the_traceback_shows_the_task(generator_backend):
    with pytest.raises(KeyError) as caught:
        Parallel(2, backend=generator_backend)(delayed(fail)(i) for i in range(3))
    text = "".join(
        traceback.format_exception(type(caught.value), caught.value, caught.tb)
    )
    assert "in fail" in text and "raise KeyError(x)" in text


def test_the_first_error_wins_and_no_result_is_kept():
    backend = InlineBackend()
    parallel = Parallel(2, backend=backend)
    with pytest.raises(KeyError, match="3"):
        parallel(delayed(fail if i >= 3 else square)(i) for i in range(9))
    assert parallel._run.error is None and not parallel._run.jobs


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_what_is_no_task_is_told(n_jobs):
    parallel = Parallel(n_jobs, backend="threading")
    with pytest.raises(TypeError, match=r"made by `delayed`.*type 'int'.*: 49"):
        parallel([square(7)])
    with pytest.raises(TypeError, match=r"made by `delayed`.*type 'function'"):
        parallel([square])
    with pytest.raises(TypeError, match=r"made by `delayed`.*type 'NoneType'"):
        parallel([None])
    with pytest.raises(ValueError, match=r"made by `delayed`.*type 'tuple'"):
        parallel([(square, (1,))])
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        parallel(5)
    with pytest.raises(TypeError, match=r"square\(\) takes 1 positional"):
        parallel([delayed(square)(1, 2)])
    assert parallel([delayed(square)(7)]) == [49]


@pytest.mark.parametrize(
    "options, error, match",
    [
        ({"return_as": "set"}, ValueError, "'generator_unordered'.*got: 'set'"),
        ({"batch_size": 0}, ValueError, "'auto' or a positive integer, got: 0"),
        ({"batch_size": "big"}, ValueError, "positive integer, got: 'big'"),
        ({"n_jobs": "many"}, ValueError, "n_jobs could not be converted.*'many'"),
        ({"n_jobs": []}, ValueError, r"n_jobs could not be converted.*\[\]"),
        ({"backend": 5}, ValueError, "Invalid backend: 5, expected one of"),
        ({"prefer": "speed"}, ValueError, "prefer=speed is not a valid"),
        ({"require": "speed"}, ValueError, "require=speed is not a valid"),
    ],
)
def test_bad_arguments(options, error, match):
    with pytest.raises(error, match=match):
        Parallel(**options)


@pytest.mark.parametrize(
    "pre_dispatch, error",
    [
        ("3 * jobs", ValueError),
        ("__import__('os')", ValueError),
        ("n_jobs - 2", ValueError),
        (0, ValueError),
        (-1, ValueError),
        (float("nan"), ValueError),
        ([], TypeError),
        (None, TypeError),
    ],
)
def test_bad_pre_dispatch(pre_dispatch, error):
    parallel = Parallel(2, backend="threading", pre_dispatch=pre_dispatch)
    with pytest.raises(error):
        parallel(delayed(square)(i) for i in range(3))
    parallel.pre_dispatch = "all"
    assert parallel([delayed(square)(2)]) == [4]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["threading", "loky", "multiprocessing"])
def test_no_jobs_is_an_error(name):
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        Parallel(0, backend=name)([delayed(square)(1)])


def test_an_interrupt_of_the_caller(monkeypatch):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals go to the main thread")
    started, release = threading.Event(), threading.Event()

    def block(i):
        started.set()
        release.wait(LONG)

    # the signal is raised in the main thread while it waits for results
    timer = threading.Thread(
        target=lambda: (started.wait(LONG), signal.pthread_kill(main, signal.SIGINT))
    )
    main = threading.get_ident()
    timer.start()
    parallel = Parallel(2, backend="threading")
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        parallel(delayed(block)(i) for i in range(4))
    assert time.monotonic() - begun < LONG / 2
    release.set()
    timer.join()
    assert parallel([delayed(square)(3)]) == [9]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs pthread_kill")
@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_an_interrupt_that_another_thread_takes(return_as):
    # It does not end the system call that the main thread waits in.
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals go to the main thread")
    release = threading.Event()
    parallel = Parallel(2, backend="threading", return_as=return_as)

    def block(i):
        if i == 0:
            while parallel._run.awaited is None:
                time.sleep(0)  # until the caller is about to wait
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        release.wait(LONG)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(parallel(delayed(block)(i) for i in range(4)))
    assert time.monotonic() - begun < LONG / 2
    release.set()


def test_an_interrupt_of_a_task():
    def interrupted(i):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Parallel(2, backend="threading")(delayed(interrupted)(i) for i in range(4))


@pytest.mark.parametrize("drawn", [False, True])
def test_an_error_of_the_iterable_is_known_before_anyone_else_reads(monkeypatch, drawn):
    # An iterator that has raised looks exhausted to the next who asks: the call
    # must be given up by then, or it ends well, with results missing.
    real_fail = Run.fail
    drained = []

    class Drawing(ManualBackend):
        lets_workers_draw = drawn

    backend = Drawing(2)

    def fail_later(run, error):
        if not drained:
            drained.append(None)
            while backend.queue:
                backend.run(-1)
            drained[0] = run.drained()
        real_fail(run, error)

    def tasks():
        yield delayed(square)(0)
        yield delayed(square)(1)
        raise LookupError("no more to be had")

    monkeypatch.setattr(Run, "fail", fail_later)
    result = in_thread(lambda: Parallel(2, backend=backend, pre_dispatch=2)(tasks()))
    backend.wait_for(2)
    with contextlib.suppress(LookupError):  # a drawing worker raises it itself
        backend.run()
    with pytest.raises(LookupError, match="no more to be had"):
        result()
    assert drained == [False]


@pytest.mark.parametrize("name", ["threading", "loky"])
def test_a_batch_callback_that_fails_ends_the_call(monkeypatch, name):
    class Counting(BatchCompletionCallBack):
        def __call__(self, *args, **kwargs):
            raise RuntimeError("no bar")

    parallel = Parallel(2, backend=name)
    with monkeypatch.context() as patch:
        patch.setattr("joblib.parallel.BatchCompletionCallBack", Counting)
        result = in_thread(lambda: parallel(delayed(square)(i) for i in range(20)))
        with pytest.raises(RuntimeError, match="no bar"):
            result()
    assert parallel(delayed(square)(i) for i in range(3)) == [0, 1, 4]


# ----------------------------------------------------------------- generators
def test_results_come_while_others_are_still_at_work():
    backend = ManualBackend(2)
    results = Parallel(2, backend=backend, return_as="generator")(
        delayed(square)(i) for i in range(4)
    )
    backend.run(1)
    backend.run(0)
    assert next(results) == 0
    assert next(results) == 1
    backend.run()
    assert next(results) == 4
    backend.run()
    assert list(results) == [9]


def test_unordered_results_come_as_they_are_done():
    backend = ManualBackend(2)
    results = Parallel(2, backend=backend, return_as="generator_unordered")(
        delayed(square)(i) for i in range(3)
    )
    backend.run(1)
    assert next(results) == 1
    backend.run(1)
    assert next(results) == 4
    backend.run(0)
    assert list(results) == [0]


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_a_closed_generator_aborts_once(return_as):
    backend = ManualBackend(2)
    parallel = Parallel(2, backend=backend, return_as=return_as)
    results = parallel(delayed(square)(i) for i in range(10))
    backend.run(0)
    next(results)
    backend.run(0)
    with pytest.warns(UserWarning, match="1 tasks have been successfully executed"):
        results.close()
    assert backend.aborts == [False]
    results.close()
    late = backend.queue[0][1]
    late([0])
    assert backend.aborts == [False]
    assert parallel._aborting


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
@pytest.mark.parametrize("n_unread", [0, 2])
def test_a_generator_whose_tasks_have_ended_aborts_nothing(return_as, n_unread):
    backend = ManualBackend(2)
    results = Parallel(2, backend=backend, return_as=return_as)(
        delayed(square)(i) for i in range(4)
    )
    for _ in range(4):
        backend.run(0)
    assert [next(results) for _ in range(4 - n_unread)] == [0, 1, 4, 9][: 4 - n_unread]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        results.close()
    assert backend.aborts == []
    assert len(told) == (n_unread > 0)


def test_a_dropped_generator_is_closed():
    backend = ManualBackend(2)
    parallel = Parallel(2, backend=backend, return_as="generator")
    results = parallel(delayed(square)(i) for i in range(10))
    gone = weakref.finalize(results, lambda: None)
    with pytest.warns(UserWarning, match="have been cancelled"):
        del results
        gc.collect()
    assert not gone.alive
    assert backend.aborts == [False]


def test_a_generator_closed_on_another_thread():
    backend = ManualBackend(2)
    parallel = Parallel(2, backend=backend, return_as="generator")
    results = parallel(delayed(square)(i) for i in range(10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_thread(results.close)()
    # and the object can be used again at once
    results = parallel(delayed(square)(i) for i in range(1))
    assert backend.aborts == [False]
    backend.run(-1)
    assert list(results) == [0]


def test_a_with_block_waits_for_what_another_thread_ends(monkeypatch):
    order = []
    entered, left = threading.Event(), threading.Event()

    class Slow(ManualBackend):
        def abort_everything(self, ensure_ready=True):
            entered.set()
            assert left.wait(LONG)
            order.append("abort")

        def terminate(self):
            order.append("terminate")

    waits = Run.wait_until_over

    def wait_until_over(run):
        left.set()
        waits(run)

    monkeypatch.setattr(Run, "wait_until_over", wait_until_over)
    with Parallel(2, backend=Slow(2), return_as="generator") as parallel:
        results = parallel(delayed(square)(i) for i in range(10))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            in_thread(results.close)()
        assert entered.wait(LONG)
    assert order == ["abort", "terminate"]


def test_the_collector_may_close_a_generator_anywhere():
    # Generators in cycles, collected at every other step of another call: also
    # where that call's thread holds a lock of the engine.
    def calls():
        threshold = gc.get_threshold()
        try:
            for step in range(1, 150):
                gc.disable()
                box = [
                    Parallel(2, backend="threading", return_as="generator")(
                        delayed(square)(i) for i in range(20)
                    )
                ]
                box.append(box)
                del box
                gc.set_threshold(step)
                gc.enable()
                assert Parallel(2, backend="threading")([delayed(square)(2)]) == [4]
        finally:
            gc.set_threshold(*threshold)
            gc.enable()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        in_thread(calls)()
        gc.collect()


def test_an_error_of_the_consumer_ends_the_call():
    backend = ManualBackend(2)
    with pytest.raises(ZeroDivisionError):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Parallel(2, backend=backend, return_as="generator") as parallel:
                results = parallel(delayed(square)(i) for i in range(4))
                backend.run(0)
                for _ in results:
                    raise ZeroDivisionError
    assert len(backend.aborts) == 1
    with pytest.raises(RuntimeError, match="ended before all its results"):
        next(results)


def test_an_error_thrown_into_the_generator():
    results = Parallel(2, backend="threading", return_as="generator")(
        delayed(square)(i) for i in range(4)
    )
    next(results)
    with pytest.raises(LookupError):
        results.throw(LookupError())
    assert list(results) == []


def test_results_are_not_kept_by_the_run():
    class Result:
        pass

    def make(i):
        return Result()

    backend = ManualBackend(2)
    results = Parallel(
        2, backend=backend, return_as="generator", batch_size=3, pre_dispatch="all"
    )(delayed(make)(i) for i in range(6))
    while backend.queue:
        backend.run()
    for _ in range(6):
        result = next(results)
        gone = weakref.ref(result)
        del result
        assert gone() is None
    assert list(results) == []


def test_a_generator_with_one_job_is_lazy():
    done = []
    results = Parallel(1, return_as="generator")(
        delayed(done.append)(i) for i in range(3)
    )
    assert done == []
    next(results)
    assert done == [0]
    results.close()
    assert done == [0]


# -------------------------------------------------------------- reuse, reentry
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_object_runs_one_call_at_a_time(n_jobs):
    parallel = Parallel(n_jobs, backend="threading", return_as="generator")
    results = parallel(delayed(square)(i) for i in range(3))
    with pytest.raises(RuntimeError, match="is already running"):
        parallel([delayed(square)(1)])
    assert list(results) == [0, 1, 4]
    assert list(parallel([delayed(square)(5)])) == [25]


def test_a_call_out_of_its_own_task_is_an_error():
    parallel = Parallel(2, backend="threading")

    def again(i):
        return parallel([delayed(square)(i)])

    with pytest.raises(RuntimeError, match="is already running"):
        parallel(delayed(again)(i) for i in range(3))


def test_calls_in_one_context_at_the_same_time():
    with parallel_config("threading", n_jobs=2):
        first = Parallel(return_as="generator")(delayed(square)(i) for i in range(50))
        assert next(first) == 0
        assert Parallel()(delayed(square)(i) for i in range(3)) == [0, 1, 4]
        assert list(first) == [i * i for i in range(1, 50)]


def test_nested_calls_on_threads_do_not_disturb_each_other():
    def inner(i):
        return sum(Parallel(2)(delayed(square)(j) for j in range(i)))

    for _ in range(20):
        out = Parallel(4, backend="threading")(delayed(inner)(i) for i in range(8))
        assert out == [sum(j * j for j in range(i)) for i in range(8)]


def test_a_with_block_keeps_the_workers():
    started = []

    class Counting(ThreadingBackend):
        def configure(self, *args, **kwargs):
            started.append(1)
            return super().configure(*args, **kwargs)

    with Parallel(2, backend=Counting()) as parallel:
        for n in (3, 0, 5):
            assert parallel(delayed(square)(i) for i in range(n)) == [
                i * i for i in range(n)
            ]
        with pytest.raises(KeyError):
            parallel([delayed(fail)(1)])
        assert parallel([delayed(square)(4)]) == [16]
    assert len(started) == 1
    assert parallel([delayed(square)(4)]) == [16]
    assert len(started) == 2


# ----------------------------------------------------------------------- time
def test_the_timeout_counts_from_being_waited_for():
    backend = ManualBackend(2)
    results = Parallel(2, backend=backend, timeout=0.2, return_as="generator")(
        delayed(square)(i) for i in range(2)
    )
    backend.run(0)
    assert next(results) == 0
    with pytest.raises(TimeoutError, match=r"timeout=0\.2 seconds"):
        next(results)
    assert backend.aborts == [False]


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_the_timeout_does_not_count_what_the_iterable_takes(return_as):
    done = threading.Event()

    def tasks():
        yield from (delayed(square)(i) for i in range(4))
        done.wait(0.4)  # nobody sets it
        yield delayed(square)(4)

    parallel = Parallel(2, backend="threading", timeout=0.1, return_as=return_as)
    assert sorted(parallel(tasks())) == [0, 1, 4, 9, 16]


def test_a_timeout_is_of_the_type_of_older_releases_too():
    import multiprocessing

    backend = ManualBackend(2)
    for return_as in ("list", "generator_unordered"):
        parallel = Parallel(2, backend=backend, timeout=0.05, return_as=return_as)
        with pytest.raises(multiprocessing.TimeoutError):
            list(parallel(delayed(square)(i) for i in range(2)))


def test_no_timeout_without_parallelism():
    with pytest.warns(UserWarning, match="'SequentialBackend' does not support"):
        assert Parallel(1, timeout=3)([delayed(square)(3)]) == [9]


# --------------------------------------------------- what is drawn, and what stays
def test_an_iterable_that_waits_for_results():
    # each task but the first is made of the result before it
    made = []
    results = None

    def tasks():
        yield delayed(square)(2)
        for _ in range(5):
            yield delayed(square)(made_ready.get(timeout=LONG))

    made_ready = SimpleQueue()
    for return_as in ("generator", "generator_unordered"):
        made.clear()
        results = Parallel(2, backend="threading", return_as=return_as, pre_dispatch=1)(
            tasks()
        )
        for result in results:
            made.append(result)
            made_ready.put(result % 1000)
        while not made_ready.empty():
            made_ready.get()
        assert made == [4, 16, 256, 65536, 287296, 87616]


def test_a_long_task_after_short_ones_holds_up_nobody():
    # Three short tasks, then one that waits until all others are done: whoever
    # draws it must not keep the others' results or tasks to itself.
    done = [threading.Event() for _ in range(40)]

    def task(i):
        if i == 3:
            assert all(event.wait(LONG) for event in done if event is not done[3])
        done[i].set()
        return i

    out = Parallel(2, backend="threading")(delayed(task)(i) for i in range(40))
    assert out == list(range(40))


def test_nothing_is_kept_in_a_cycle():
    class Owned(ThreadingBackend):
        pass

    gc.collect()
    gc.disable()
    try:
        for n_jobs in (1, 2):
            backend = Owned()
            parallel = Parallel(n_jobs, backend=backend)
            assert parallel(delayed(square)(i) for i in range(5)) == [0, 1, 4, 9, 16]
            gone = [weakref.ref(backend), weakref.ref(parallel)]
            del backend, parallel
            assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()
