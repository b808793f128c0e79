"""What is asked of a run beyond its results, on a dask cluster."""

from __future__ import annotations

import concurrent.futures
import logging
import threading

import pytest

distributed = pytest.importorskip("distributed")
np = pytest.importorskip("numpy")

from joblib import (  # noqa: E402
    Parallel,
    delayed,
    forward_context,
    parallel_config,
    register_task_context,
    unregister_task_context,
)
from joblib.test import control_tasks as tasks  # noqa: E402

from .dask_common import SECONDS, small_cluster, tasks_left  # noqa: E402
from .test_controls import check_error, expected  # noqa: E402
from .test_forwarding import current_precision, level, precision, with_precision  # noqa

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("threads of the cluster, which serves the whole file"),
]


@pytest.fixture(scope="module")
def cluster():
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    with small_cluster(n_workers=2) as client:
        yield client
    logger.setLevel(level)


@pytest.fixture
def client(cluster):
    """Of two workers with one thread each; nothing is left on them afterwards."""
    with parallel_config("dask", client=cluster):
        yield cluster
    assert tasks_left(cluster) == []


def run(function, *columns, **options):
    parallel = Parallel(**options)
    rows = zip(*columns, strict=True)
    return list(parallel(delayed(function)(*row) for row in rows))


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_an_error_in_the_place_of_its_result(client, return_as):
    out = run(
        tasks.fail_for, [[2]] * 20, range(20), on_error="return", return_as=return_as
    )
    failed = [one for one in out if not isinstance(one, int)]
    check_error(*failed)
    out.remove(failed[0])
    assert sorted(out) == [0, 1, *range(3, 20)]


def test_errors_that_are_kept_hold_nothing_on_the_cluster(client):
    out = run(tasks.fail_for, [range(5)] * 5, range(5), on_error="return")
    assert tasks_left(client) == []
    assert [type(one) for one in out] == [KeyError] * 5


def test_calls_in_tasks_are_not_concerned(client):
    with parallel_config(on_error="return"):
        assert run(tasks.fail_inside, range(2)) == ["raised", "raised"]


def test_what_cannot_be_pickled_is_the_error_of_its_task(client):
    out = run(tasks.return_lock, range(4), on_error="return")
    assert "can't be pickled" in str(out.pop(1))
    assert out == [0, 2, 3]
    out = run(id, [1, threading.Lock(), 2], on_error="return")
    assert [isinstance(one, Exception) for one in out] == [False, True, False]


@pytest.mark.slow
@pytest.mark.allow_leaks("a nanny may be about to start a worker")
def test_a_dead_worker_is_charged_to_its_task():
    # Of its own: a nanny whose worker dies while it is being started starts no other.
    with small_cluster(n_workers=3) as client, parallel_config("dask", client=client):
        out = run(tasks.die_for, [[3]] * 8, range(8), on_error="return")
    assert isinstance(out.pop(3), distributed.KilledWorker)
    assert out == [0, 1, 2, 4, 5, 6, 7]


def test_a_dead_scheduler_is_an_error_of_the_call():
    with small_cluster() as client:
        begun = distributed.Event("begun", client=client)

        def close():
            begun.wait(timeout=SECONDS)
            client.close()

        thread = threading.Thread(target=close)
        thread.start()
        with parallel_config("dask", client=client):
            with pytest.raises(RuntimeError, match="closed|cancelled"):
                run(begin_and_stay, [1, 2, 3], on_error="return", retries=2)
        thread.join()


def begin_and_stay(x):
    distributed.Event("begun").set()
    return tasks.take(1, x)


# --------------------------------------------------------------- task_timeout
def test_a_task_that_takes_too_long(client):
    options = {"on_error": "return", "task_timeout": 0.5}
    out = run(tasks.take, [0, 5, 0, 5, 0, 0], range(6), **options)
    for index in (3, 1):
        error = out.pop(index)
        assert isinstance(error, TimeoutError)
        assert f"Task {index}, a call of the function 'take'" in str(error)
    assert out == [0, 2, 4, 5]


def test_a_task_that_takes_too_long_ends_the_call(client):
    with pytest.raises(TimeoutError, match=r"Task 2, .*'take'.*=0\.5 seconds"):
        run(tasks.take, [0, 0, 5, 0], range(4), task_timeout=0.5)


def test_the_time_runs_from_the_start_of_the_task(client):
    out = run(tasks.take, [0.5] * 6, range(6), task_timeout=1.2, pre_dispatch="all")
    assert out == list(range(6))


def test_a_single_job_says_so(client):
    with pytest.raises(ValueError, match=r"n_jobs=1\) can't stop"):
        run(abs, [1], n_jobs=1, task_timeout=3)


def sum_inside(n):
    """Call twice, and tell how many threads the worker's pool has afterwards."""
    calls = [
        sum(Parallel()(delayed(abs)(-i) for i in range(n))),
        sum(Parallel(return_as="generator")(delayed(abs)(-i) for i in range(n))),
    ]
    worker = distributed.get_worker()
    return calls, len(worker.executor._threads)


def test_calls_in_tasks_with_a_time_limit_give_up_their_slot(client):
    # more of them than slots: they would wait for each other for ever
    out = run(sum_inside, [4] * 6, task_timeout=20)
    assert [calls for calls, _ in out] == [[6, 6]] * 6
    assert run(sum_inside, [4]) == [([6, 6], 1)]


def call_slowly(seconds):
    return sum(Parallel()(delayed(tasks.take)(seconds, i) for i in range(4)))


def test_the_calls_of_a_task_that_is_given_up_are_called_off(client):
    out = run(call_slowly, [2.0], task_timeout=0.5, on_error="return")
    assert [isinstance(one, TimeoutError) for one in out] == [True]
    assert tasks_left(client) == []
    assert run(call_slowly, [0.01]) == [6]


# -------------------------------------------------------------------- retries
@pytest.mark.parametrize("retry_on", [Exception, OSError, (KeyError, OSError)])
def test_a_task_is_tried_again(client, tmp_path, retry_on):
    path = tmp_path / "marks"
    assert run(tasks.succeed_at, [3], [path], retries=2, retry_on=retry_on) == [3]


def test_not_more_often_than_that(client, tmp_path):
    path = tmp_path / "marks"
    with pytest.raises(OSError, match="not yet"):
        run(tasks.succeed_at, [5], [path], retries=2)
    assert path.stat().st_size == 3


def test_other_errors_are_not_worth_a_retry(client, tmp_path):
    path = tmp_path / "marks"
    with pytest.raises(OSError, match="not yet"):
        run(tasks.succeed_at, [5], [path], retries=5, retry_on=KeyError)
    assert path.stat().st_size == 1


# ------------------------------------------------------------------- the others
@pytest.mark.parametrize("batch_size", ["auto", 3])
def test_seeds_are_the_children_of_the_calls(client, batch_size):
    out = run(tasks.draw, range(8), seed=5, batch_size=batch_size)
    assert out == expected(5, 8)


def test_calls_of_tasks_are_seeded_by_them(client, tmp_path):
    out = run(tasks.draw_nested, [2, 2], seed=3)
    with parallel_config("sequential"):
        assert out == run(tasks.draw_nested, [1, 1], seed=3)
    assert run(tasks.draw_after, [3], [tmp_path / "m"], retries=2, seed=5) == expected(
        5, 1
    )


@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_the_source_is_not_read_ahead_of_the_consumer(client, return_as):
    taken, ahead = 0, []

    def rows():
        for i in range(60):
            ahead.append(i + 1 - taken)
            yield delayed(abs)(-i)

    results = Parallel(return_as=return_as, max_pending_results=4)(rows())
    seen = []
    while True:
        taken += 1
        try:
            seen.append(next(results))
        except StopIteration:
            break
    assert sorted(seen) == list(range(60))
    assert max(ahead) <= 5


def test_a_call_is_called_off_by_another_thread(client):
    parallel = Parallel(on_error="return")
    begun = threading.Event()

    def rows():
        for i in range(100_000):
            yield delayed(tasks.take)(0.01, i)
            if i == 5:
                begun.set()

    thread = threading.Thread(target=lambda: begun.wait(20) and parallel.cancel())
    thread.start()
    with pytest.raises(concurrent.futures.CancelledError):
        parallel(rows())
    thread.join()
    assert tasks_left(client) == []
    assert parallel(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_what_holds_around_a_call_holds_in_its_tasks(client):
    place = "joblib.test.control_tasks:PLACE"
    token = tasks.PLACE.set("here")
    logging.getLogger("joblib.test.forwarded").setLevel(13)
    try:
        with parallel_config(wrap_task=forward_context(contextvars=[place])):
            out = run(tasks.variables_inside, range(2))
            assert run(level, range(2)) == [(13, True)] * 2
    finally:
        tasks.PLACE.reset(token)
        logging.getLogger("joblib.test.forwarded").setLevel(logging.NOTSET)
    assert out == [[("here", None)] * 2] * 2


def test_what_a_library_has_registered_holds_in_tasks(client):
    register_task_context("decimal", current_precision, with_precision)
    try:
        with with_precision(5):
            assert run(precision, range(4)) == [5] * 4
        assert run(precision, range(4)) == [28] * 4
    finally:
        unregister_task_context("decimal")


def test_where_there_is_no_worker_counting_asks_nobody_in_a_blocking_way(client):
    from joblib._dask.counting import CoreCount

    seen = []
    count = CoreCount(client, {}, 2, lambda: seen.append(count.cores))

    async def none(workers=None):
        return {}

    client.scheduler.ncores = none
    try:
        client.sync(count._count)
        assert (seen, count.cores) == ([], 2)
    finally:
        del client.scheduler.ncores
        client.sync(count._count)
