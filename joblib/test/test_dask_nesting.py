"""Calls inside the tasks of a dask cluster: they share it and never lock it up."""

from __future__ import annotations

import contextvars
import os
import threading

import pytest

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import DaskDistributedBackend  # noqa: E402
from joblib._dask.parents import current_task  # noqa: E402
from joblib._dask.slots import SlotReleased  # noqa: E402

from .dask_common import (  # noqa: E402
    EITHER_WAY,
    fail,
    hold,
    increment,
    pool_sizes,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.allow_leaks("threads of the shared cluster's worker"),
    pytest.mark.timeout(30),
]


@pytest.fixture(scope="module", params=["processes", "threads"])
def client(request):
    """The client of a cluster whose one worker has one thread."""
    with small_cluster(processes=request.param == "processes") as client:
        yield client


@pytest.fixture(autouse=True)
def leave_the_worker_as_it_was(request):
    """Check that a test gives back all threads and tasks."""
    yield
    if "client" in request.fixturenames:
        client = request.getfixturevalue("client")
        assert tasks_left(client) == []
        # The thread that leaves for one that rejoins does so at its next turn.
        client.submit(abs, -1, pure=False).result()
        assert pool_sizes(client) == [(1, 1)]


def tree(depth, x):
    """Return the sum of the leaves under a node, each level a call of its own."""
    if depth == 0:
        return x
    return sum(Parallel()(delayed(tree)(depth - 1, 3 * x + i) for i in range(3)))


def priorities(depth, annotated=None):
    """Return this task's priority, and those of the tasks of two calls in a row."""
    key = distributed.utils.thread_state.key
    # dask sorts by it, upwards
    own = -distributed.get_worker().state.tasks[key].priority[0]
    if not depth:
        return own, []
    with dask.annotate(**({} if annotated is None else {"priority": annotated})):
        tasks = [delayed(priorities)(depth - 1) for _ in range(2)]
        return own, [Parallel(batch_size=1)(tasks) for _ in range(2)]


@pytest.mark.parametrize("base", [0, 7, -7])
def test_calls_that_began_first_end_first(client, base):
    # with a key of the user's, by which to see the tasks, all of them go to the cluster
    with parallel_config("dask", client=client, priority=base, key="seen"):
        [(top, calls)] = Parallel()([delayed(priorities)(2)])
    assert top == base
    [first], [second] = ({own for own, _ in call} for call in calls)
    # before tasks that have not started, and in the order of the calls
    assert base + 1 <= second < first <= base + 2
    deeper = [own for call in calls for _, inner in call for c in inner for own, _ in c]
    assert len(deeper) == 16
    assert all(base + 2 <= own <= base + 3 for own in deeper)


def test_a_priority_that_was_annotated_in_a_task_stays(client):
    with parallel_config("dask", client=client):
        [(_, calls)] = Parallel()([delayed(priorities)(1, annotated=-3)])
    assert {own for call in calls for own, _ in call} == {-3}


@EITHER_WAY
@pytest.mark.parametrize("attempt", range(5))
def test_three_levels_on_one_thread(client, attempt, options):
    expected = sum(range(27))
    with parallel_config("dask", **options):
        assert Parallel()([delayed(tree)(3, 0)]) == [expected]


def several_calls(n):
    out = [Parallel()(delayed(increment)(i) for i in range(3)) for _ in range(n)]
    with Parallel() as parallel:
        out += [parallel(delayed(increment)(i) for i in range(3)) for _ in range(n)]
    return out


@EITHER_WAY
def test_several_calls_in_one_task(client, options):
    with parallel_config("dask", **options):
        out = Parallel()(delayed(several_calls)(2) for _ in range(3))
    assert out == [[[1, 2, 3]] * 4] * 3


def generators(kind):
    make = Parallel(return_as=kind)
    first = make(delayed(increment)(i) for i in range(4))
    out = [next(first)]
    second = Parallel(return_as=kind)(delayed(increment)(i) for i in range(3))
    out += [next(second)]
    out += [*first, *second]
    unfinished = Parallel(return_as=kind)(delayed(increment)(i) for i in range(2))
    next(unfinished)
    list(unfinished)
    return sorted(out)


@pytest.mark.parametrize("kind", ["generator", "generator_unordered"])
def test_generators_that_overlap_in_one_task(client, kind):
    with parallel_config("dask"):
        assert Parallel()([delayed(generators)(kind)]) == [[1, 1, 2, 2, 3, 3, 4]]


def survive_an_error():
    try:
        Parallel()(delayed(fail)(i) for i in range(4))
    except KeyError as error:
        return str(error), Parallel()(delayed(increment)(i) for i in range(2))


def call_what_fails():
    return Parallel()([delayed(fail)(7)])


def test_an_error_two_levels_down(client):
    with parallel_config("dask"):
        [(message, after)] = Parallel()([delayed(survive_an_error)()])
        assert "no " in message
        assert after == [1, 2]

        with pytest.raises(KeyError, match="no ") as caught:
            Parallel()([delayed(call_what_fails)()])
    assert "in fail" in str(caught.value.__cause__)


def ask_from_a_thread():
    out = []
    thread = threading.Thread(target=lambda: out.append(in_a_thread()))
    thread.start()
    # The thread has no slot to give up, and this one holds the only one.
    distributed.secede()
    thread.join()
    return out


def in_a_thread():
    client = distributed.get_client()
    with parallel_config("dask", client=client):
        return Parallel()(delayed(increment)(i) for i in range(3))


def test_a_thread_that_a_task_started(client):
    with parallel_config("dask"):
        assert Parallel()([delayed(ask_from_a_thread)()]) == [[[1, 2, 3]]]


def share_memory():
    mine = []
    pids = Parallel(n_jobs=2, require="sharedmem")(
        delayed(note_process)(mine, i) for i in range(4)
    )
    return sorted(mine), set(pids) == {os.getpid()}


def note_process(shared, i):
    shared.append(i)
    return os.getpid()


def test_shared_memory_inside_a_task_is_the_workers(client):
    with parallel_config("dask"):
        assert Parallel()([delayed(share_memory)()]) == [([0, 1, 2, 3], True)]


def describe_backend():
    parallel = Parallel()
    backend = parallel._backend
    return type(backend).__name__, parallel.n_jobs, backend.client.scheduler.address


def test_tasks_get_the_same_cluster(client):
    with parallel_config("dask"):
        [(name, n_jobs, address)] = Parallel()([delayed(describe_backend)()])
    assert name == DaskDistributedBackend.__name__
    assert n_jobs == -1
    assert address == client.scheduler.address


def call_and_hold(name):
    return Parallel()([delayed(hold)(name, 1), *(delayed(increment)(i) for i in "ab")])


def call_without_asking():
    """Make a call on a worker, where asking for the number of cores fails."""
    from joblib._dask import clients

    client = distributed.get_client()
    clients._KNOWN.pop(client, None)
    client.nthreads = None  # would be called before there is a first batch
    try:
        return Parallel()(delayed(increment)(i) for i in range(3))
    finally:
        del client.nthreads


def test_a_call_in_a_task_is_told_how_many_cores_there_are(client):
    with parallel_config("dask"):
        assert Parallel()([delayed(call_without_asking)()]) == [[1, 2, 3]]


def test_a_cancelled_task_takes_its_own_tasks_along(client):
    name = f"orphans-{client.id}"
    with parallel_config("dask"):
        outputs = Parallel(return_as="generator")([delayed(call_and_hold)(name)])
        wait_until_begun(name, client)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    try:
        assert tasks_left(client) == []
    finally:
        distributed.Event(f"{name}-go", client=client).set()


# ------------------------------------------------------------------- the slot
def overlapping_contexts():
    first, second = SlotReleased(), SlotReleased()
    pool = distributed.get_worker().executors["default"]._threads
    here = threading.current_thread()
    seen = [here in pool]
    first.__enter__()
    second.__enter__()
    seen.append(here in pool)
    first.__exit__(None, None, None)
    seen.append(here in pool)
    second.__exit__(None, None, None)
    seen.append(here in pool)
    return seen


def test_a_thread_rejoins_after_its_last_wait(client):
    future = client.submit(overlapping_contexts, pure=False)
    assert future.result() == [True, False, False, True]


def rejoin_after_an_error():
    here = threading.current_thread()
    try:
        with SlotReleased():
            raise KeyError("x")
    except KeyError:
        return here in distributed.get_worker().executors["default"]._threads


def test_a_thread_rejoins_after_an_error(client):
    assert client.submit(rejoin_after_an_error, pure=False).result()


def leave_by_hand():
    distributed.secede()
    with SlotReleased():
        pass
    pool = distributed.get_worker().executors["default"]._threads
    return threading.current_thread() in pool


def test_a_thread_that_left_by_itself_stays_away(client):
    assert not client.submit(leave_by_hand, pure=False).result()


def closed_elsewhere():
    context = SlotReleased()
    context.__enter__()
    thread = threading.Thread(target=context.__exit__, args=(None, None, None))
    thread.start()
    thread.join()
    pool = distributed.get_worker().executors["default"]._threads
    return thread in pool, threading.current_thread() in pool


def test_nobody_rejoins_in_anothers_name(client):
    future = client.submit(closed_elsewhere, pure=False)
    assert future.result() == (False, False)


def test_outside_of_a_worker_there_is_nothing_to_give_up():
    with SlotReleased(), SlotReleased():
        pass


#: contexts of tasks of workers in this process
CONTEXTS = []


def keep_context():
    CONTEXTS.append(contextvars.copy_context())


def address():
    return distributed.get_worker().address


def is_called_off():
    context = CONTEXTS.pop()
    is_anothers = context.run(address) != address()
    return is_anothers, context.run(current_task).is_called_off()


def call_beside():
    """Make a call for this worker only, which has one slot."""
    options = {"workers": [address()]}
    context = CONTEXTS.pop()
    is_anothers = context.run(address) != address()

    def nested():
        with parallel_config("dask", **options):
            return Parallel(batch_size=1)(delayed(increment)(i) for i in range(3))

    return is_anothers, context.run(nested)


@pytest.mark.parametrize(
    "function, result", [(is_called_off, False), (call_beside, [1, 2, 3])]
)
def test_a_task_is_known_in_the_context_of_another_worker(function, result):
    """Workers in one process may share what was made in a task of one of them."""
    with small_cluster(n_workers=2, processes=False) as client:
        one, other = client.scheduler_info()["workers"]
        client.submit(keep_context, workers=[one]).result()
        found = client.submit(function, workers=[other]).result()
    assert found == (True, result)
