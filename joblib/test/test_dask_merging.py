"""Batches of short tasks that wait to be sent go to the cluster in larger ones."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
import weakref
from collections import deque

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._captured import CapturedError  # noqa: E402
from joblib._dask import merging, sizing  # noqa: E402
from joblib._dask.collecting import Lost  # noqa: E402
from joblib._dask.dividing import Division  # noqa: E402
from joblib._dask.merging import Merger, hand_out, may_join, merged  # noqa: E402
from joblib._dask.packing import Results  # noqa: E402
from joblib._dask.shipment import Shipment  # noqa: E402
from joblib._dask.sizing import WorkerTimedBatches  # noqa: E402
from joblib._engine.batch import BatchedCalls, Plan  # noqa: E402
from joblib._engine.drawing import OpenBatch  # noqa: E402

from .dask_common import (  # noqa: E402
    EITHER_WAY,
    SECONDS,
    check_as_before,
    fail,
    hold,
    increment,
    small_cluster,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

WORKERS = 3
FIRST = merging.FIRST * WORKERS


@pytest.fixture(scope="module")
def client():
    """Workers that are processes."""
    with small_cluster(n_workers=WORKERS) as client:
        yield client


@pytest.fixture
def threads():
    """Workers that are threads of this process, some of which a waiting task leaves."""
    with small_cluster(n_workers=WORKERS, processes=False) as client:
        yield client


@pytest.fixture
def patient(monkeypatch):
    """The first results are waited for, however slow this machine is."""
    monkeypatch.setattr(merging, "HOLDING", SECONDS)


@pytest.fixture
def quick(monkeypatch, patient):
    """Tasks are taken for very short, however slow this machine is."""
    worked = WorkerTimedBatches.batch_worked

    def note(self, batch_size, seconds):
        worked(self, batch_size, batch_size * 1e-5)

    monkeypatch.setattr(WorkerTimedBatches, "batch_worked", note)


@pytest.fixture
def sizes(client, monkeypatch):
    """How many tasks each batch has that is sent."""
    found, send = [], client.map

    def note(function, *columns, **options):
        names = [re.search(r"_(\d+)_calls-", key) for key in options["key"]]
        found.extend(int(name[1]) for name in names)
        return send(function, *columns, **options)

    monkeypatch.setattr(client, "map", note)
    return found


@pytest.fixture
def joined(monkeypatch):
    """How many batches are put together, each time."""
    counts = []

    def note(shipments):
        counts.append(len(shipments))
        return merged(shipments)

    monkeypatch.setattr(merging, "merged", note)
    return counts


# ---------------------------------------------------------------- what users see
@pytest.mark.parametrize("n_jobs", [-1, 2])
@pytest.mark.parametrize("pre_dispatch", ["all", "500*n_jobs"])
@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_short_tasks_go_in_few_batches(
    client, quick, sizes, joined, return_as, pre_dispatch, n_jobs
):
    with parallel_config("dask", client=client, n_jobs=n_jobs):
        parallel = Parallel(pre_dispatch=pre_dispatch, return_as=return_as)
        results = list(parallel(delayed(increment)(i) for i in range(2_000)))
    if return_as == "generator_unordered":
        results.sort()
    assert results == list(range(1, 2_001))
    assert sum(sizes) == 2_000
    assert len(sizes) < 200
    assert joined
    check_as_before(client)


def test_a_large_argument_that_all_share(client, quick, joined):
    np = pytest.importorskip("numpy")
    array = np.arange(200_000)
    with parallel_config("dask", client=client):
        outputs = Parallel(pre_dispatch="all")(
            delayed(np.take)(array, i) for i in range(500)
        )
    assert outputs == list(range(500))
    assert joined
    check_as_before(client)


def test_by_default_batches_go_as_they_are(client, quick, joined):
    with parallel_config("dask", client=client):
        for n_jobs in (-1, 2):
            outputs = Parallel(n_jobs)(delayed(increment)(i) for i in range(500))
            assert outputs == list(range(1, 501))
    assert not joined


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_batches_of_nothing_go_together(
    threads, patient, monkeypatch, joined, return_as
):
    """However many workers there are, which each get one and another one ahead."""
    monkeypatch.setattr(sizing, "MOST_TASKS", 10)
    monkeypatch.setattr(sizing, "MOST_TASKS_EACH", 20)
    worked = WorkerTimedBatches.batch_worked

    def note(self, batch_size, seconds):
        worked(self, batch_size, batch_size * 1e-7)

    monkeypatch.setattr(WorkerTimedBatches, "batch_worked", note)
    with parallel_config("dask", client=threads):
        results = Parallel(return_as=return_as)(
            delayed(increment)(i) for i in range(5_000)
        )
        results = list(results)
    if return_as == "generator_unordered":
        results.sort()
    assert results == list(range(1, 5_001))
    assert joined
    check_as_before(threads)


def test_with_many_workers_one_batch_each_is_sent_first(
    client, quick, sizes, monkeypatch
):
    """Of tasks of next to nothing the second ones would cost more than all others."""
    monkeypatch.setattr(merging, "MANY_JOBS", WORKERS)
    monkeypatch.setattr(merging, "HOLDING_EACH", SECONDS)
    monkeypatch.setattr(merging, "LONGEST_SECOND", SECONDS)
    with parallel_config("dask", client=client):
        outputs = Parallel()(delayed(increment)(i) for i in range(500))
    assert outputs == list(range(1, 501))
    assert sizes[:WORKERS] == [1] * WORKERS
    assert sizes[WORKERS] == WORKERS  # all that waited
    check_as_before(client)


@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_an_error_in_a_joined_batch_is_the_tasks_own(client, quick, joined, return_as):
    tasks = [delayed(increment)(i) for i in range(500)]
    tasks[300] = delayed(fail)(7)
    with parallel_config("dask", client=client):
        with pytest.raises(KeyError, match="no 7"):
            list(Parallel(pre_dispatch="all", return_as=return_as)(tasks))
    assert joined
    check_as_before(client)


def test_an_argument_that_cannot_be_pickled_is_named(client, quick, joined):
    tasks = [delayed(increment)(i) for i in range(500)]
    tasks[300] = delayed(increment)(threading.Lock())
    with parallel_config("dask", client=client):
        with pytest.raises(Exception, match="Argument 0 of the function 'increment'"):
            Parallel(pre_dispatch="all")(tasks)
    assert joined
    check_as_before(client)


def test_an_error_that_is_returned_stands_in_one_place(client, quick, sizes):
    tasks = [delayed(increment)(i) for i in range(100)]
    tasks[70] = delayed(fail)(7)
    with parallel_config("dask", client=client):
        outputs = Parallel(pre_dispatch="all", on_error="return")(tasks)
    assert isinstance(outputs.pop(70), KeyError)
    assert outputs == [i + 1 for i in range(100) if i != 70]
    assert set(sizes) == {1}
    check_as_before(client)


async def _see(dask_scheduler, number):
    deadline = time.monotonic() + SECONDS
    while len(dask_scheduler.tasks) < number and time.monotonic() < deadline:
        await asyncio.sleep(0.005)
    return len(dask_scheduler.tasks)


@pytest.mark.parametrize("number", [FIRST + 1, 5 * FIRST])
def test_the_scheduler_sees_all_long_tasks(client, sizes, number):
    """By them an adaptive cluster sees that it should grow."""
    name = f"long-{number}"
    with parallel_config("dask", client=client):
        parallel = Parallel(pre_dispatch="all", return_as="generator")
        outputs = parallel(delayed(hold)(name, i) for i in range(number))
        assert client.run_on_scheduler(_see, number=number) >= number
        distributed.Event(f"{name}-go", client=client).set()
        assert list(outputs) == list(range(number))
    assert sizes == [1] * number
    check_as_before(client)


def test_what_comes_late_is_not_held_back(client, sizes):
    """The first ones have long been under way; nobody has to come for the others."""
    name, more = "late", threading.Event()

    def tasks():
        for i in range(FIRST):
            yield delayed(hold)(name, i)
        more.wait(SECONDS)
        for i in range(FIRST, 3 * FIRST):
            yield delayed(hold)(name, i)

    with parallel_config("dask", client=client):
        parallel = Parallel(pre_dispatch="all", return_as="generator")
        threading.Thread(
            target=lambda: (wait_until_begun(name, client), more.set())
        ).start()
        outputs = parallel(tasks())
        assert client.run_on_scheduler(_see, number=3 * FIRST) >= 3 * FIRST
        distributed.Event(f"{name}-go", client=client).set()
        assert list(outputs) == list(range(3 * FIRST))
    check_as_before(client)


def couriers():
    return [
        thread
        for thread in threading.enumerate()
        if thread.name == "joblib-dask-courier"
    ]


def test_giving_up_while_batches_are_held_back(client, patient, sizes):
    name = "given-up"
    with parallel_config("dask", client=client):
        parallel = Parallel(pre_dispatch="all", return_as="generator")
        outputs = parallel(delayed(hold)(name, i) for i in range(200))
        wait_until_begun(name, client)
        here = couriers()
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    for courier in here:
        courier.join(SECONDS)
        assert not courier.is_alive()
    assert sizes == [1] * FIRST
    distributed.Event(f"{name}-go", client=client).set()
    check_as_before(client)


def test_an_error_while_batches_are_held_back(client, patient, sizes):
    name = "failed"
    tasks = [delayed(hold)(name, i) for i in range(200)]
    tasks[0] = delayed(fail)(7)
    with parallel_config("dask", client=client):
        with pytest.raises(KeyError, match="no 7"):
            Parallel(pre_dispatch="all")(tasks)
    assert FIRST <= len(sizes) <= FIRST + 1  # instead of the one that has come back
    assert set(sizes) == {1}
    distributed.Event(f"{name}-go", client=client).set()
    check_as_before(client)


def inner_sum(n):
    return sum(Parallel(pre_dispatch="all")(delayed(increment)(i) for i in range(n)))


@EITHER_WAY
def test_calls_within_tasks(threads, quick, joined, options):
    """A task puts batches together as well that it runs itself."""
    with parallel_config("dask", client=threads, **options):
        assert Parallel()([delayed(inner_sum)(1_000)]) == [500_500]
        assert joined or not options  # if it runs them itself, there may be none
        sums = Parallel()(delayed(inner_sum)(100) for _ in range(2 * WORKERS))
    assert sums == [5_050] * 2 * WORKERS
    check_as_before(threads)


@pytest.mark.parametrize("return_as", ["list", "generator"])
def test_what_was_joined_may_be_divided(client, quick, joined, monkeypatch, return_as):
    monkeypatch.setattr(sizing, "PATIENCE", 0.0)
    monkeypatch.setattr(sizing, "LATE", 0)
    parts, part = [], Division.part

    def note(self, start, stop):
        parts.append(stop - start)
        return part(self, start, stop)

    monkeypatch.setattr(Division, "part", note)
    with parallel_config("dask", client=client):
        parallel = Parallel(pre_dispatch="all", return_as=return_as)
        outputs = list(parallel(delayed(increment)(i) for i in range(200)))
    assert outputs == list(range(1, 201))
    assert parts
    assert joined
    check_as_before(client)


# -------------------------------------------------------------------- the pieces
PLAN = Plan(None)


def shipment_of(numbers, out=None, plan=PLAN, **options):
    batch = BatchedCalls([(increment, (i,), {}) for i in numbers], plan)
    return Shipment(batch, (out if out is not None else []).append, **options)


@pytest.mark.parametrize("results", [["a", "b", "c"], Results.of(["a", "b", "c"])])
def test_each_batch_hears_of_its_own_tasks(results):
    first, second = [], []
    together = merged([shipment_of([0, 1], first), shipment_of([2], second)])
    assert [args for _, args, _ in together.batch.items] == [(0,), (1,), (2,)]
    together.callback((results, 3.0))
    assert first == [(["a", "b"], 2.0)]
    assert second == [(["c"], 1.0)]


def test_each_batch_hears_what_all_have_failed_with():
    for failure in (Lost(KeyError("a")), (CapturedError(SystemExit(1)), 0.5)):
        first, second = [], []
        merged([shipment_of([0], first), shipment_of([1], second)]).callback(failure)
        assert first == second == [failure]


def raise_error():
    raise SystemExit("while it was loaded")


class Unloadable:
    def __reduce__(self):
        return raise_error, ()


def test_each_batch_hears_what_cannot_be_loaded():
    first, second = [], []
    together = merged([shipment_of([0], first), shipment_of([1], second)])
    together.callback((Results.of([Unloadable(), 1]), 0.5))
    assert [type(lost.error) for lost in first + second] == [SystemExit] * 2


class Result:
    """Something that can be seen to be gone."""


def test_a_callback_that_raises_keeps_nothing_from_the_others(monkeypatch):
    reported, kept, heard = [], [], []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args))
    results = [Result() for _ in range(3)]
    alive = [weakref.ref(result) for result in results]

    def callback(out):
        del out
        try:
            raise MemoryError("in a callback")
        except MemoryError as error:
            kept.append(error)
            raise

    waiting = deque([(1, callback), (1, lambda out: heard.append(len(out[0])))])
    waiting.append((1, callback))
    out = results, 0.5
    del results
    hand_out(waiting, out)
    del out
    assert heard == [1]
    assert [args.exc_value for args in reported] == kept
    assert len(kept) == 2
    gc.collect()
    assert [one() for one in alive] == [None] * 3


def test_what_may_go_together():
    first, other = shipment_of([0]), shipment_of([1])
    assert may_join(first, first)
    assert may_join(other, first)
    assert not may_join(shipment_of([1], is_part=True), first)
    assert not may_join(shipment_of([1], plan=Plan(None)), first)
    opened = Shipment(OpenBatch(first.batch.items, PLAN, None, None), print)
    assert not may_join(opened, first)
    assert not may_join(first, opened)
    told = Shipment(BatchedCalls(first.batch.items, PLAN, print), print)
    assert not may_join(told, first)
    other.sendings = 1
    assert not may_join(other, first)


class Outbox:
    """A merger and what it works on."""

    def __init__(self, number, sizes):
        self.outbox = deque(shipment_of([i]) for i in range(number))
        self.away = set()
        given = threading.Condition(), self.outbox, self.away
        self.merger = Merger(sizes, *given, lambda: 2)

    def send(self):
        """Send what may go; return how many tasks each batch has."""
        self.merger.look()
        found = []
        while self.outbox and not self.merger.holds():
            shipment = self.merger.take()
            shipment.sendings += 1
            self.away.add(shipment)
            found.append(len(shipment.batch.items))
        return found


def test_batches_are_joined_once_something_is_known(patient):
    sizes = WorkerTimedBatches()
    box = Outbox(100, sizes)
    assert box.send() == [1] * 8
    assert 0 < box.merger.pause <= SECONDS
    assert box.send() == []
    sizes.batch_worked(1, 0.02)
    assert box.merger.pause == float("inf")
    # a quarter of a second each, and the last ones half of an equal share
    found = box.send()
    assert sum(found) == 92
    assert found == sorted(found, reverse=True)
    assert found[0] == 13
    assert found[-1] == 1


def test_nobody_waits_for_ever(monkeypatch):
    monkeypatch.setattr(merging, "HOLDING", 0.0)
    box = Outbox(100, WorkerTimedBatches())
    assert box.send() == [1] * 100
    assert box.merger.pause == float("inf")


def test_what_is_long_goes_as_it_is(patient):
    sizes = WorkerTimedBatches()
    box = Outbox(100, sizes)
    box.send()
    sizes.batch_worked(1, 5.0)
    assert box.send() == [1] * 92


def test_second_batches_wait_if_there_are_many_jobs(patient, monkeypatch):
    monkeypatch.setattr(merging, "MANY_JOBS", 2)
    monkeypatch.setattr(merging, "HOLDING_EACH", SECONDS)
    monkeypatch.setattr(merging, "LONGEST_SECOND", SECONDS - 1)
    sizes = WorkerTimedBatches()
    box = Outbox(4, sizes)
    assert box.send() == [1] * 2
    assert 0 < box.merger.pause <= SECONDS - 1
    assert box.send() == []
    sizes.batch_worked(1, 0.0005)
    assert box.merger.pause == float("inf")
    assert box.send() == [2]  # a millisecond
    # from now on they go as they are
    box.outbox.extend(shipment_of([i]) for i in range(3))
    assert box.send() == [1] * 3


def test_second_batches_that_have_waited_go_as_they_are_if_they_are_long(
    patient, monkeypatch
):
    monkeypatch.setattr(merging, "MANY_JOBS", 2)
    monkeypatch.setattr(merging, "HOLDING_EACH", SECONDS)
    sizes = WorkerTimedBatches()
    box = Outbox(4, sizes)
    monkeypatch.setattr(merging, "LONGEST_SECOND", SECONDS)
    assert box.send() == [1] * 2
    sizes.batch_worked(1, 0.004)
    assert box.send() == [1] * 2


def test_second_batches_do_not_wait_for_long(patient, monkeypatch):
    """The first tasks may be long ones: the cluster is to see all that there are."""
    monkeypatch.setattr(merging, "MANY_JOBS", 2)
    monkeypatch.setattr(merging, "HOLDING_EACH", 0.0)
    box = Outbox(100, WorkerTimedBatches())
    assert box.send() == [1] * 8  # then there are more to wait for the first results
    assert 0 < box.merger.pause


def test_second_batches_of_few_jobs_do_not_wait(patient):
    box = Outbox(4, WorkerTimedBatches())
    assert box.send() == [1] * 4


def test_batches_of_nothing_are_joined_however_few_there_are(patient):
    sizes = WorkerTimedBatches()
    sizes.serve(24)
    box = Outbox(4, sizes)
    assert box.send() == [1] * 4
    while sizes.joint_size == 1:
        size = sizes.compute_batch_size()
        sizes.batch_worked(size, size * 1e-7)
    joint = sizes.joint_size
    assert joint >= 2_000
    box.outbox.extend(shipment_of(range(1_000)) for _ in range(5))
    found = box.send()
    assert sum(found) == 5_000
    assert found[0] == joint // 1_000 * 1_000
    for _ in range(20):
        sizes.batch_worked(1_000, 100.0)  # the next ones are longer
    box.outbox.extend(shipment_of([i]) for i in range(3))
    assert box.send() == [1] * 3


def test_what_is_not_to_be_divided_goes_as_it_is(patient):
    assert Outbox(100, None).send() == [1] * 100


def test_what_is_sent_again_is_not_held_back(patient):
    box = Outbox(100, WorkerTimedBatches())
    box.send()
    again = box.away.pop()
    box.outbox.appendleft(again)
    box.away.add(shipment_of([0]))
    assert not box.merger.holds()
    assert box.merger.take() is again
    assert box.merger.holds()


def test_what_cannot_be_joined_stays_in_the_outbox(patient, monkeypatch):
    """Else its call would wait for it for ever."""

    def fail_to_join(shipments):
        raise MemoryError

    monkeypatch.setattr(merging, "merged", fail_to_join)
    sizes = WorkerTimedBatches()
    box = Outbox(100, sizes)
    box.send()
    sizes.batch_worked(1, 1e-5)
    with pytest.raises(MemoryError):
        box.send()
    assert len(box.outbox) == 92
