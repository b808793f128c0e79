"""What is asked of a run beyond its results, on each backend."""

from __future__ import annotations

import concurrent.futures
import gc
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref

import pytest

np = pytest.importorskip("numpy")

import joblib  # noqa: E402
from joblib import Parallel, delayed, parallel_config, task_seed  # noqa: E402
from joblib.test import control_tasks as tasks  # noqa: E402
from joblib.test.backends import ApplyAsyncBackend, InlineBackend  # noqa: E402

pytestmark = [
    pytest.mark.timeout(60),
    # Python warns of every fork in a process that has threads
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    # a backend of old times says so at each submit
    pytest.mark.filterwarnings("ignore:.*apply_async.*:DeprecationWarning"),
]

PROCESSES = ["loky", "multiprocessing"]
NAMES = ["sequential", "threading", *PROCESSES]
GENERATORS = ["sequential", "threading", "loky"]


@pytest.fixture(params=NAMES)
def name(request):
    """Of each bundled backend."""
    return request.param


@pytest.fixture(params=PROCESSES)
def processes(request):
    """Of each that runs tasks in processes."""
    return request.param


def run(backend, function, *columns, **options):
    parallel = Parallel(n_jobs=2, backend=backend, **options)
    return list(parallel(delayed(function)(*row) for row in zip(*columns, strict=True)))


# --------------------------------------------------------------- wrong values
WRONG = [
    ("on_error", "ignore", ValueError, "'raise' or 'return', got: 'ignore'"),
    ("on_error", None, ValueError, "'raise' or 'return'"),
    ("on_error", ["return"], ValueError, "'raise' or 'return'"),
    ("task_timeout", -1, ValueError, "positive"),
    ("task_timeout", 0, ValueError, "positive"),
    ("task_timeout", math.nan, ValueError, "positive"),
    ("task_timeout", math.inf, ValueError, "finite"),
    ("task_timeout", "1s", TypeError, "number of seconds or None, got '1s'"),
    ("task_timeout", True, TypeError, "number of seconds"),
    ("retries", -1, ValueError, "at least 0, got: -1"),
    ("retries", 1.5, TypeError, "integer, got 1.5"),
    ("retries", None, TypeError, "integer"),
    ("retries", True, TypeError, "integer"),
    ("retry_on", "OSError", TypeError, "subclass of Exception"),
    ("retry_on", (), TypeError, "subclass of Exception"),
    ("retry_on", (OSError, 3), TypeError, "subclass of Exception"),
    ("retry_on", KeyboardInterrupt, TypeError, "subclass of Exception"),
    ("max_pending_results", 0, ValueError, "at least 1"),
    ("max_pending_results", 2.0, TypeError, "integer"),
    ("seed", -1, ValueError, "negative"),
    ("seed", [1, -1], ValueError, "negative"),
    ("seed", 1.5, TypeError, "an integer, a sequence"),
    ("seed", "abc", TypeError, "an integer, a sequence"),
    ("seed", [], TypeError, "an integer, a sequence"),
    ("seed", True, TypeError, "an integer, a sequence"),
]


@pytest.mark.parametrize(("option", "value", "kind", "match"), WRONG)
def test_wrong_values(option, value, kind, match):
    with pytest.raises(kind, match=match):
        Parallel(**{option: value})
    with pytest.raises(kind, match=match):
        parallel_config(**{option: value})


def test_a_wrong_value_leaves_the_context_as_it_was():
    with pytest.raises(ValueError, match="on_error"):
        parallel_config("threading", n_jobs=7, on_error="never")
    assert Parallel().n_jobs == 1


# ------------------------------------------------------------------- on_error
def check_error(error):
    assert type(error) is KeyError
    assert error.args == ("no 2",)
    assert error.__traceback__ is None
    assert 'raise KeyError(f"no {x}")' in str(error.__cause__)


def test_an_error_in_the_place_of_its_result(name):
    out = run(name, tasks.fail_for, [[2]] * 6, range(6), on_error="return")
    check_error(out.pop(2))
    assert out == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("backend", GENERATORS)
@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_errors_from_generators(backend, return_as):
    out = run(
        backend,
        tasks.fail_for,
        [[2]] * 20,
        range(20),
        on_error="return",
        return_as=return_as,
        batch_size=5,
    )
    failed = [one for one in out if not isinstance(one, int)]
    check_error(*failed)
    if return_as == "generator":
        assert out[2] is failed[0]
    out.remove(failed[0])
    assert sorted(out) == [0, 1, *range(3, 20)]


def test_the_context_says_it_for_a_library(name):
    with parallel_config(name, n_jobs=2, on_error="return"):
        out = Parallel()(delayed(tasks.fail_for)([0, 1], i) for i in range(3))
        assert [type(one) for one in out] == [KeyError, KeyError, int]
        with pytest.raises(KeyError, match="no 0"):
            Parallel(on_error="raise")(delayed(tasks.fail_for)([0], i) for i in [0])


def test_calls_in_tasks_are_not_concerned(name):
    with parallel_config(name, n_jobs=2, on_error="return", retries=1):
        out = Parallel()(delayed(tasks.fail_inside)(i) for i in range(2))
    assert out == ["raised", "raised"]


def test_with_parallel_one_call_after_the_other(name):
    with Parallel(2, backend=name, on_error="return") as parallel:
        for _ in range(3):
            out = parallel(delayed(tasks.fail_for)([2], i) for i in range(4))
            check_error(out[2])
            assert parallel.n_completed_tasks == 4


def test_what_is_no_task_is_an_error_of_the_call(name):
    with pytest.raises(TypeError, match="forgotten"):
        Parallel(2, backend=name, on_error="return")([delayed(abs)(1), 3])


def test_an_error_of_the_iterable_ends_the_call(name):
    def rows():
        yield delayed(abs)(-1)
        raise LookupError("no more rows")

    with pytest.raises(LookupError, match="no more rows"):
        Parallel(2, backend=name, on_error="return")(rows())


def test_an_interrupt_is_not_kept():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Parallel(2, prefer="threads", on_error="return")([delayed(interrupt)()])


def test_what_cannot_be_pickled_is_the_error_of_its_task(processes):
    out = run(processes, tasks.return_lock, range(4), on_error="return")
    assert isinstance(out.pop(1), pickle.PicklingError)
    assert out == [0, 2, 3]
    out = run(processes, id, [1, threading.Lock(), 2], on_error="return")
    assert [isinstance(one, pickle.PicklingError) for one in out] == [
        False,
        True,
        False,
    ]


def test_errors_kept_can_be_pickled(processes):
    out = run(
        processes,
        tasks.stay_for,
        [[0]] * 2,
        range(2),
        on_error="return",
        task_timeout=1,
    )
    again = pickle.loads(pickle.dumps(out[0]))
    assert type(again) is type(out[0])
    assert str(again) == str(out[0])


# ------------------------------------------------------------- dead processes
def test_a_dead_worker_is_charged_to_its_task(processes):
    out = run(processes, tasks.die_for, [[1, 4]] * 8, range(8), on_error="return")
    for index in (4, 1):
        error = out.pop(index)
        assert type(error).__name__ == "TerminatedWorkerError"
        assert "'die_for'" in str(error)
        assert "SIGKILL" in str(error)
    assert out == [0, 2, 3, 5, 6, 7]


def test_a_dead_worker_ends_the_call_if_errors_are_raised(processes):
    with pytest.raises(Exception, match="SIGKILL") as caught:
        run(processes, tasks.die_for, [[1]] * 8, range(8), retries=1)
    assert type(caught.value).__name__ == "TerminatedWorkerError"


def test_a_worker_killed_between_tasks_is_nobodys_fault(processes):
    with Parallel(2, backend=processes, on_error="return") as parallel:
        pids = set(parallel(delayed(os.getpid)() for _ in range(4)))
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        out = parallel(delayed(abs)(-i) for i in range(6))
    assert out == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays_when_the_caller_is_ended(processes, signum, tmp_path):
    script = (
        "import sys, os\n"
        "from joblib import Parallel, delayed\n"
        "from joblib.test.control_tasks import note, stay_for\n"
        "def work(i):\n"
        "    with open(sys.argv[1] + str(os.getpid()), 'w'): pass\n"
        "    os.write(1, b'ready\\n')\n"  # in one piece, whoever else writes
        "    return stay_for([i], i)\n"
        "if __name__ == '__main__':\n"
        f"    Parallel(2, backend={processes!r}, on_error='return')(\n"
        "        delayed(work)(i) for i in range(4))\n"
    )
    path = tmp_path / "script.py"
    path.write_text(script)
    child = subprocess.Popen(
        [sys.executable, str(path), str(tmp_path / "pid")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with child:
        assert [child.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        if signum == signal.SIGINT:
            os.killpg(child.pid, signum)  # as a terminal does
        else:
            child.kill()
        _, told = child.communicate(timeout=30)  # ends when the workers have gone, too
    assert child.returncode != 0
    if signum == signal.SIGINT:
        assert "KeyboardInterrupt" in told
    psutil = pytest.importorskip("psutil")
    workers = [int(each.name[3:]) for each in tmp_path.glob("pid*")]
    assert len(workers) == 2
    gone = threading.Event()
    for _ in range(100):
        if not any(psutil.pid_exists(pid) for pid in workers):
            break
        gone.wait(0.1)
    assert [pid for pid in workers if psutil.pid_exists(pid)] == []


def test_shutdown_ends_these_workers_as_well(processes):
    begun = threading.Event()

    def rows():
        yield from (delayed(tasks.stay_for)([i], i) for i in range(2))
        begun.set()
        yield delayed(abs)(1)

    def shut_down():
        begun.wait(30)
        joblib.shutdown()

    thread = threading.Thread(target=shut_down)
    thread.start()
    with pytest.raises(RuntimeError, match="shut down before this task ended"):
        Parallel(2, backend=processes, retries=1, retry_on=OSError)(rows())
    thread.join()


class Held:
    pass


def test_errors_that_are_kept_keep_nothing_alive():
    held = []

    def fail():
        mine = Held()
        held.append(weakref.ref(mine))
        try:
            raise KeyError("first")
        except KeyError:
            raise LookupError("second")  # noqa: B904 - its context is the point

    parallel = Parallel(2, prefer="threads", on_error="return")
    out = parallel([delayed(fail)()])
    gc.collect()
    assert [type(one) for one in out] == [LookupError]
    assert "KeyError: 'first'" in str(out[0].__cause__)
    assert [reference() for reference in held] == [None]


# --------------------------------------------------------------- task_timeout
def test_a_task_that_takes_too_long(processes):
    out = run(
        processes,
        tasks.stay_for,
        [[1, 3]] * 6,
        range(6),
        on_error="return",
        task_timeout=0.5,
    )
    for index in (3, 1):
        error = out.pop(index)
        assert isinstance(error, TimeoutError)
        assert f"Task {index}, a call of the function 'stay_for'" in str(error)
        assert "task_timeout=0.5" in str(error)
    assert out == [0, 2, 4, 5]


def test_a_task_that_takes_too_long_ends_the_call(processes):
    with pytest.raises(TimeoutError, match=r"Task 2, .*'stay_for'.*=0\.5 seconds"):
        run(processes, tasks.stay_for, [[2]] * 6, range(6), task_timeout=0.5)


def test_the_time_runs_from_the_start_of_the_task(processes):
    # the last one is given out two seconds before it ends
    out = run(
        processes, tasks.take, [0.5] * 8, range(8), task_timeout=1.5, pre_dispatch="all"
    )
    assert out == list(range(8))


@pytest.mark.parametrize("backend", ["threading", "sequential"])
def test_who_cannot_stop_a_function_says_so(backend):
    with pytest.raises(ValueError, match=r"can't stop a function.*task_timeout=3"):
        run(backend, abs, [1, 2], task_timeout=3)
    with parallel_config(backend, n_jobs=2, task_timeout=3):
        with pytest.raises(ValueError, match="task_timeout=3"):
            Parallel()(delayed(abs)(i) for i in range(2))


def test_a_single_job_says_so(processes):
    with pytest.raises(ValueError, match=r"n_jobs=1\) can't stop"):
        Parallel(1, backend=processes, task_timeout=3)([delayed(abs)(1)])


def test_timeout_keeps_its_meaning(processes):
    with pytest.raises(TimeoutError, match=r"timeout=0\.5 seconds of being waited"):
        run(processes, tasks.stay_for, [[1]], [1], timeout=0.5, task_timeout=30)


# -------------------------------------------------------------------- retries
def test_a_task_is_tried_again(name, tmp_path):
    out = run(name, tasks.succeed_at, [3], [tmp_path / "marks"], retries=2)
    assert out == [3]


def test_not_more_often_than_that(name, tmp_path):
    path = tmp_path / "marks"
    with pytest.raises(OSError, match="not yet"):
        run(name, tasks.succeed_at, [5], [path], retries=2)
    assert path.stat().st_size == 3


def test_the_last_error_is_kept(name, tmp_path):
    path = tmp_path / "marks"
    out = run(name, tasks.succeed_at, [9], [path], retries=1, on_error="return")
    assert [type(one) for one in out] == [OSError]
    assert path.stat().st_size == 2


def test_other_errors_are_not_worth_a_retry(name, tmp_path):
    path = tmp_path / "marks"
    options = {"retries": 5, "retry_on": (KeyError, ZeroDivisionError)}
    with pytest.raises(OSError, match="not yet"):
        run(name, tasks.succeed_at, [5], [path], **options)
    assert path.stat().st_size == 1


def test_a_task_whose_worker_died_is_tried_again(processes, tmp_path):
    out = run(processes, tasks.die_until, [3], [tmp_path / "marks"], retries=2)
    assert out == [3]


def test_a_wrapper_runs_around_each_try(name, tmp_path):
    wrapped = tmp_path / "wrapped"
    with parallel_config(wrap_task=Marking(wrapped)):
        run(name, tasks.succeed_at, [3], [tmp_path / "marks"], retries=2)
    assert wrapped.stat().st_size == 3


class Marking:
    def __init__(self, path):
        self.path = path

    def __call__(self, func, args, kwargs):
        tasks.note(self.path)
        return func(*args, **kwargs)


# ----------------------------------------------------------------------- seed
def expected(seed, n):
    children = np.random.SeedSequence(seed).spawn(n)
    return [int(np.random.default_rng(child).integers(1 << 40)) for child in children]


@pytest.mark.parametrize("batch_size", ["auto", 1, 3])
def test_seeds_are_the_children_of_the_calls(name, batch_size):
    out = run(name, tasks.draw, range(8), seed=5, batch_size=batch_size)
    assert out == expected(5, 8)
    assert len(set(out)) == 8


@pytest.mark.parametrize("seed", [[1, 2, 3], np.int64(7), np.random.SeedSequence(9)])
def test_kinds_of_seeds(seed):
    parallel = Parallel(2, prefer="threads", seed=seed)
    first = parallel(delayed(tasks.draw)() for _ in range(3))
    entropy = seed.entropy if isinstance(seed, np.random.SeedSequence) else seed
    assert first == expected(entropy, 3)
    assert parallel(delayed(tasks.draw)() for _ in range(3)) == first


def test_a_retry_has_the_same_seed(name, tmp_path):
    out = run(name, tasks.draw_after, [3], [tmp_path / "marks"], retries=2, seed=5)
    assert out == expected(5, 1)


def test_the_calls_of_a_context_have_seeds_of_their_own(name):
    with parallel_config(name, n_jobs=2, seed=5):
        calls = [Parallel()(delayed(tasks.draw)() for _ in range(2)) for _ in range(3)]
    assert calls[0] == expected(5, 2)
    assert len({number for call in calls for number in call}) == 6
    with parallel_config("sequential", seed=5):
        again = [Parallel()(delayed(tasks.draw)() for _ in range(2)) for _ in range(3)]
    assert again == calls


def test_calls_of_tasks_are_seeded_by_them(name):
    out = run(name, tasks.draw_nested, [2, 2], seed=3)
    assert out == Parallel(1, seed=3)(delayed(tasks.draw_nested)(1) for _ in range(2))
    own, first, second = zip(*out, strict=True)
    numbers = [*own, *sum(first, []), *sum(second, [])]
    assert len(set(numbers)) == len(numbers) == 10


def test_without_a_seed(name):
    with pytest.raises(RuntimeError, match=r"Parallel\(seed=0\)"):
        run(name, tasks.draw, range(2))
    with pytest.raises(RuntimeError, match="outside of a task"):
        task_seed()
    with parallel_config(seed=1), pytest.raises(RuntimeError, match="outside"):
        Parallel(seed=None)([delayed(tasks.draw)()])


# ----------------------------------------------------------------- back-pressure
@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_the_source_is_not_read_ahead_of_the_consumer(backend, return_as, most):
    taken, ahead = 0, []

    def rows():
        for i in range(100):
            ahead.append(i + 1 - taken)
            yield delayed(abs)(-i)

    parallel = Parallel(
        2, backend=backend, return_as=return_as, max_pending_results=most
    )
    results = parallel(rows())
    seen = []
    while True:
        # Counted before it is taken: what is read meanwhile may count on that.
        taken += 1
        try:
            seen.append(next(results))
        except StopIteration:
            break
    assert sorted(seen) == list(range(100))
    if return_as == "generator":
        assert seen == list(range(100))
    assert max(ahead) <= most + 1
    # no more than that waits, at any time: one may be in the consumer's hands


def test_a_consumer_that_stops_stops_the_source():
    read = []

    def rows():
        for i in range(100):
            read.append(i)
            yield delayed(abs)(i)

    parallel = Parallel(
        2, prefer="threads", return_as="generator", max_pending_results=4
    )
    results = parallel(rows())
    assert [next(results) for _ in range(10)] == list(range(10))
    with pytest.warns(UserWarning, match="not used"):
        results.close()
    assert len(read) <= 14


def test_the_feeder_hands_on_what_the_iterable_raises():
    def rows():
        yield from (delayed(abs)(i) for i in range(5))
        raise LookupError("no more rows")

    parallel = Parallel(
        2, prefer="threads", return_as="generator", max_pending_results=2
    )
    with pytest.raises(LookupError, match="no more rows"):
        list(parallel(rows()))


def test_back_pressure_is_for_generators():
    with pytest.raises(ValueError, match="return_as='list'"):
        Parallel(2, max_pending_results=3)
    with parallel_config("threading", n_jobs=2, max_pending_results=1):
        assert Parallel()(delayed(abs)(i) for i in range(9)) == list(range(9))


# --------------------------------------------------------------------- cancel
def test_a_call_is_called_off_by_another_thread(name):
    begun = threading.Event()
    parallel = Parallel(2, backend=name)

    def rows():
        for i in range(100_000):
            yield delayed(tasks.take)(0.01, i)
            if i == 5:
                begun.set()

    def cancel():
        begun.wait(30)
        results.append(parallel.cancel())

    results = []
    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(concurrent.futures.CancelledError, match=r"Parallel\.cancel"):
        parallel(rows())
    thread.join()
    assert results == [True]
    assert parallel.cancel() is False
    assert parallel(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


@pytest.mark.parametrize("backend", GENERATORS)
def test_a_generator_is_called_off_between_two_results(backend):
    with Parallel(2, backend=backend, return_as="generator") as parallel:
        results = parallel(delayed(abs)(i) for i in range(10_000))
        assert next(results) == 0
        assert parallel.cancel() is True
        with pytest.raises(concurrent.futures.CancelledError):
            next(results)
        assert list(parallel(delayed(abs)(-i) for i in range(3))) == [0, 1, 2]


def test_nothing_to_call_off():
    parallel = Parallel(2, prefer="threads")
    assert parallel.cancel() is False
    parallel([delayed(abs)(1)])
    assert parallel.cancel() is False


# ------------------------------------------------------------- other backends
def test_a_backend_of_others_does_what_needs_nothing_of_it(tmp_path):
    out = Parallel(backend=InlineBackend(), on_error="return", retries=1)(
        delayed(tasks.fail_for)([1], i) for i in range(3)
    )
    assert [type(one) for one in out] == [int, KeyError, int]
    assert run(InlineBackend(), tasks.draw, range(4), seed=5) == expected(5, 4)
    with pytest.raises(ValueError, match="InlineBackend can't stop a function"):
        Parallel(backend=InlineBackend(), task_timeout=1)([delayed(abs)(1)])


@pytest.mark.parametrize(
    "option", [{"on_error": "return"}, {"retries": 1}], ids=["errors", "retries"]
)
def test_a_backend_without_callback_says_that_it_cannot(option):
    with pytest.raises(ValueError, match="ApplyAsyncBackend hands results over only"):
        Parallel(2, backend=ApplyAsyncBackend(), **option)([delayed(abs)(1)])


def test_a_backend_without_callback_gives_seeds():
    assert run(ApplyAsyncBackend(), tasks.draw, range(4), seed=5) == expected(5, 4)
