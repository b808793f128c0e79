"""Workers on dask get all their threads back, whatever becomes of nested calls."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import slots  # noqa: E402

from .dask_command import wait_for  # noqa: E402
from .dask_common import (  # noqa: E402
    EITHER_WAY,
    fail,
    hold,
    increment,
    pool_sizes,
    process_id,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.allow_leaks("threads of the shared cluster's workers"),
    pytest.mark.timeout(30),
    pytest.mark.filterwarnings("ignore:.*still being processed by the workers"),
]

THREADS = 2


@pytest.fixture(scope="module", params=["processes", "threads"])
def client(request):
    with small_cluster(
        n_workers=2,
        threads_per_worker=THREADS,
        processes=request.param == "processes",
    ) as client:
        yield client


def at_once(client):
    """Return how many tasks the workers run at one time, by having them meet."""
    count = 2 * THREADS
    futures = client.map(meet, range(count), [count] * count, pure=False)
    return sum(client.gather(futures))


def meet(i, count):
    name = "all-are-here"
    with distributed.Lock(f"{name}-lock"):
        here = distributed.Variable(name)
        try:
            n = here.get(timeout="10ms")
        except TimeoutError:
            n = 0
        here.set(n + 1)
        if n + 1 == count:
            distributed.Event(name).set()
    return distributed.Event(name).wait(timeout=10)


@pytest.fixture(autouse=True)
def all_threads_are_back(client):
    yield
    assert tasks_left(client) == []
    # A thread that leaves for one that has come back does so at its next turn.
    wanted = [(THREADS, THREADS)] * 2

    def back():
        futures = client.map(abs, range(20), pure=False)
        client.gather(futures)
        return pool_sizes(client) == wanted

    wait_for(back, f"pools of {wanted}", 5)
    distributed.Event("all-are-here", client=client).clear()
    distributed.Variable("all-are-here", client=client).set(0)
    assert at_once(client) == 2 * THREADS
    assert tasks_left(client) == []


_secede_here, _SECESSIONS = slots._secede_here, [0]


def count_secessions():
    """Count how often threads of this worker leave its pool from now on."""

    def secede():
        _SECESSIONS[0] += 1
        return _secede_here()

    _SECESSIONS[0], slots._secede_here = 0, secede


def secessions():
    """Count no longer; return how often threads have left."""
    slots._secede_here = _secede_here
    return _SECESSIONS[0]


# ------------------------------------------------------------------ every path
def call(kind, n=4):
    """One nested call of each kind; return what it came to."""
    tasks = [delayed(increment)(i) for i in range(n)]
    if kind == "list":
        return Parallel()(tasks)
    if kind == "error":
        with pytest.raises(KeyError):
            Parallel(batch_size=1)([*tasks, delayed(fail)(1)])
        return "failed"
    if kind == "timeout":
        with pytest.raises(TimeoutError):
            Parallel(timeout=0.01)([delayed(hold)("slow", 1)])
        return "late"
    if kind == "iterable":
        with pytest.raises(ZeroDivisionError):
            Parallel()(delayed(increment)(1 // i) for i in (1, 1, 0))
        return "bad input"
    if kind == "pickle":
        with pytest.raises(Exception, match="can't be pickled"):
            Parallel()([delayed(increment)(threading.Lock())])
        return "unpicklable"
    outputs = Parallel(return_as="generator", pre_dispatch="all")(tasks)
    first = next(outputs)
    if kind == "generator":
        return [first, *outputs]
    if kind == "closed":
        outputs.close()
    else:
        del outputs
        gc.collect()
    return first


OUTCOMES = {
    "list": [1, 2, 3, 4],
    "error": "failed",
    "iterable": "bad input",
    "pickle": "unpicklable",
    "generator": [1, 2, 3, 4],
    "closed": 1,
    "collected": 1,
}


@EITHER_WAY
@pytest.mark.parametrize("kind", [*OUTCOMES])
def test_each_kind_of_call_in_a_task(client, kind, options):
    client.run(count_secessions)
    try:
        with parallel_config("dask", **options):
            out = Parallel(batch_size=1)(delayed(call)(kind) for _ in range(6))
    finally:
        left = max(client.run(secessions).values())
    assert out == [OUTCOMES[kind]] * 6
    if options:  # an iterable that raises is not waited for
        assert left > 0 or kind == "iterable"


#: whether the pool was locked each time that it was to start a thread
LOCKED = []


def watch_pool(dask_worker):
    pool = dask_worker.executors["default"]
    adjust = pool._adjust_thread_count

    def watched():
        LOCKED.append(pool._shutdown_lock.locked())
        adjust()

    pool._adjust_thread_count = watched


def was_locked(dask_worker):
    del dask_worker.executors["default"]._adjust_thread_count
    found = set(LOCKED)
    LOCKED.clear()
    return found


def test_a_pool_starts_its_threads_one_after_the_other(client):
    """Two at a time, for the same place, would leave it with one too many."""
    client.run(watch_pool)
    try:
        with parallel_config("dask", key="leaves"):
            Parallel(batch_size=1)(delayed(call)("list") for _ in range(6))
    finally:
        found = client.run(was_locked).values()
    assert set.union(*found) == {True}


def several(kinds):
    return [call(kind) for kind in kinds]


@EITHER_WAY
def test_one_call_after_the_other_in_one_task(client, options):
    kinds = [*OUTCOMES, *reversed(OUTCOMES)]
    expected = [OUTCOMES[kind] for kind in kinds]
    with parallel_config("dask", **options):
        out = Parallel(batch_size=1)(delayed(several)(kinds) for _ in range(4))
    assert out == [expected] * 4


def test_a_call_in_a_task_that_takes_too_long(client):
    with parallel_config("dask"):
        assert Parallel()([delayed(call)("timeout")]) == ["late"]
    distributed.Event("slow-go", client=client).set()


def call_and_hold(name, n=10):
    return Parallel(batch_size=1)(delayed(hold)(name, i) for i in range(n))


@EITHER_WAY
@pytest.mark.parametrize("level", [1, 2])
def test_cancelled_while_they_wait(client, level, request, options):
    name = request.node.name
    task = delayed(call_and_hold)(name)
    for _ in range(level - 1):
        task = delayed(nest)(task)
    with parallel_config("dask", **options):
        outputs = Parallel(return_as="generator", batch_size=1)([task] * 3)
        wait_until_begun(name, client)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    assert tasks_left(client) == []
    distributed.Event(f"{name}-go", client=client).set()


def nest(task):
    return Parallel()([task])


def nest_all(tasks):
    return Parallel(batch_size=1)(tasks)


@EITHER_WAY
def test_an_error_while_others_wait(client, request, options):
    """One of several nested calls fails; the callers of the others are cancelled."""
    name = request.node.name
    with parallel_config("dask", **options), pytest.raises(KeyError):
        Parallel(batch_size=1, pre_dispatch="all")(
            [
                delayed(call_and_hold)(name, 1),
                delayed(nest_all)([delayed(fail_later)(name)]),
            ]
        )
    assert tasks_left(client) == []
    distributed.Event(f"{name}-go", client=client).set()


def fail_later(name):
    assert distributed.Event(f"{name}-begun").wait(timeout=10)
    raise KeyError(name)


# ------------------------------------------------------ threads, shared memory
def in_threads(n):
    """Call from threads that a task has started; each on the task's cluster."""
    out = []

    def work(client):
        with parallel_config("dask", client=client):
            out.append(Parallel()(delayed(increment)(i) for i in range(3)))

    client = distributed.get_client()
    threads = [threading.Thread(target=work, args=(client,)) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def test_threads_that_tasks_have_started(client):
    with parallel_config("dask"):
        out = Parallel()([delayed(in_threads)(3)])
    assert out == [[[1, 2, 3]] * 3]


def shared(n):
    """Shared memory in a task, and the cluster again inside of that."""
    squares = [0] * n

    def fill(i):
        squares[i] = i * i
        with parallel_config("dask"):
            return Parallel()(delayed(process_id)(k) for k in range(2))

    Parallel(n_jobs=2, require="sharedmem")(delayed(fill)(i) for i in range(n))
    return squares


def test_shared_memory_in_tasks(client):
    with parallel_config("dask"):
        out = Parallel(batch_size=1)(delayed(shared)(n) for n in range(1, 4))
    assert out == [[0], [0, 1], [0, 1, 4]]


class Actor:
    def calls(self, options):
        with parallel_config("dask"):
            return list(Parallel(**options)(delayed(increment)(i) for i in range(20)))


@pytest.mark.parametrize("options", [{}, {"return_as": "generator"}], ids=str)
def test_a_call_of_an_actor(client, options):
    """Its thread has a key, but there is no such task."""
    future = client.submit(Actor, actor=True, pure=False)
    actor = future.result()
    assert actor.calls(options).result(timeout=20) == list(range(1, 21))
    client.cancel([future])  # dask keeps an actor for longer than its future


def call_on_another_executor(n):
    outputs = Parallel(return_as="generator")(delayed(increment)(i) for i in range(n))
    return list(outputs)


def test_tasks_on_another_executor_give_their_slots_up():
    """They have no place in the pool of the worker, which counts them nevertheless."""
    with ThreadPoolExecutor(4) as pool:
        options = {"n_workers": 2, "processes": False, "executor": {"other": pool}}
        with small_cluster(**options) as client, dask.annotate(executor="other"):
            with parallel_config("dask", client=client):
                out = Parallel(batch_size=1, timeout=20)(
                    delayed(call_on_another_executor)(3) for _ in range(4)
                )
            assert tasks_left(client) == []
    assert out == [[1, 2, 3]] * 4
