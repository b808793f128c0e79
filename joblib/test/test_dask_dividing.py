"""Batches of tasks that turn out to be slow are divided among the workers."""

from __future__ import annotations

import math
import os
import threading
from collections import Counter, deque
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

distributed = pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config  # noqa: E402
from joblib._dask import dividing, sizing  # noqa: E402
from joblib._dask.backend import DaskDistributedBackend  # noqa: E402
from joblib._dask.collecting import Lost  # noqa: E402
from joblib._dask.dividing import Divider, Division, portion  # noqa: E402
from joblib._dask.packing import Packed, Results  # noqa: E402
from joblib._dask.remote import run_batch  # noqa: E402
from joblib._dask.sharing import Sharing  # noqa: E402
from joblib._dask.shipment import Shipment  # noqa: E402
from joblib._dask.stints import Stint, cut_stints  # noqa: E402
from joblib._engine.batch import BatchedCalls  # noqa: E402

from .dask_common import (  # noqa: E402
    SECONDS,
    check_as_before,
    fail,
    hold,
    increment,
    small_cluster,
    tasks_left,
    wait_until_begun,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(30)]

WORKERS = 3

#: of what runs on workers that are threads of this process: each task, once it is run
done: Counter[int] = Counter()
_note = threading.Lock()


@pytest.fixture(scope="module")
def client():
    """Workers that are processes."""
    with small_cluster(n_workers=WORKERS) as client:
        yield client


@contextmanager
def cluster(processes):
    """Workers with one thread each, which run already."""
    with small_cluster(n_workers=WORKERS, processes=processes) as client:
        client.gather(
            [
                client.submit(increment, i, workers=[worker])
                for i, worker in enumerate(client.nthreads())
            ]
        )
        yield client


@pytest.fixture(scope="module")
def threads():
    """Workers that are threads of this process."""
    with cluster(processes=False) as client:
        yield client


@pytest.fixture(scope="module", params=["processes", "threads"])
def either(request):
    with cluster(request.param == "processes") as client:
        yield client


@pytest.fixture
def no_patience(monkeypatch):
    """Each worker leaves all but the first task of a batch to others."""
    monkeypatch.setattr(sizing, "PATIENCE", 0.0)
    monkeypatch.setattr(sizing, "LATE", 0)


@pytest.fixture
def all_in_one(monkeypatch):
    """Once one task is done, all that are left make one batch."""
    kind, size = DaskDistributedBackend, property(lambda _: 1_000, lambda *_: None)
    monkeypatch.setattr(kind, "compute_batch_size", lambda self: 1_000)
    monkeypatch.setattr(kind, "least_batch_size", size)


@pytest.fixture
def parts(monkeypatch):
    """How many tasks the parts of divided batches have."""
    sizes, part = [], Division.part

    def note(self, start, stop):
        sizes.append(stop - start)
        return part(self, start, stop)

    monkeypatch.setattr(Division, "part", note)
    return sizes


def run_once(x):
    with _note:
        done[x] += 1
    return x


def meet(name, x):
    """Wait until as many tasks as there are workers are here at the same time."""
    counter = distributed.Semaphore(max_leases=WORKERS - 1, name=name)
    everybody = distributed.Event(f"{name}-all")
    if not counter.acquire(timeout=0):
        everybody.set()  # the last one
    return x if everybody.wait(timeout=SECONDS) else "nobody came"


def quick_ones(n=100):
    return [delayed(increment)(i) for i in range(n)]


# ---------------------------------------------------------------- what users see
@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_slow_tasks_behind_quick_ones_run_at_the_same_time(
    either, all_in_one, parts, return_as
):
    slow = [delayed(meet)(f"{return_as}-{id(either)}", i) for i in range(WORKERS)]
    with parallel_config("dask", client=either):
        results = list(Parallel(return_as=return_as)([*quick_ones(), *slow]))
    expected = [*range(1, 101), *range(WORKERS)]
    if return_as == "generator_unordered":
        results, expected = sorted(results), sorted(expected)
    assert results == expected
    assert parts
    check_as_before(either)


@pytest.mark.parametrize("return_as", ["list", "generator", "generator_unordered"])
def test_each_task_is_run_once(threads, no_patience, parts, return_as):
    done.clear()
    with parallel_config("dask", client=threads):
        results = list(
            Parallel(return_as=return_as)(delayed(run_once)(i) for i in range(500))
        )
    assert (sorted(results) if return_as == "generator_unordered" else results) == list(
        range(500)
    )
    assert set(done) == set(range(500))
    assert set(done.values()) == {1}
    assert parts
    check_as_before(threads)


def test_results_from_processes(client, no_patience, parts):
    np = pytest.importorskip("numpy")
    with parallel_config("dask", client=client):
        outputs = Parallel()(delayed(np.full)(10_000, i) for i in range(60))
    assert [output[-1] for output in outputs] == list(range(60))
    assert parts


def test_large_shared_argument_goes_along(client, no_patience, parts):
    np = pytest.importorskip("numpy")
    array = np.arange(200_000)
    with parallel_config("dask", client=client):
        outputs = Parallel()(delayed(np.take)(array, i) for i in range(60))
    assert outputs == list(range(60))
    assert parts
    check_as_before(client)


def test_n_jobs_still_counts(threads, no_patience, parts):
    running, most = set(), []

    def run(x):
        with _note:
            running.add(x)
            most.append(len(running))
        try:
            return run_once(x)
        finally:
            running.discard(x)

    # functions that are defined here travel by value: the lists must not
    here["run"] = run
    with parallel_config("dask", client=threads, n_jobs=2):
        assert Parallel()(delayed(run_here)(i) for i in range(100)) == list(range(100))
    assert max(most) <= 2
    assert parts


here: dict = {}


def run_here(x):
    return here["run"](x)


def inner_sum(n):
    return sum(Parallel()(delayed(increment)(i) for i in range(n)))


def test_calls_within_tasks(either, no_patience, parts):
    """A task leaves what its own call has for it to others, too."""
    with parallel_config("dask", client=either):
        sums = Parallel()(delayed(inner_sum)(100) for _ in range(2 * WORKERS))
    assert sums == [5050] * 2 * WORKERS
    in_other_processes = either.scheduler.address.startswith("tcp")
    assert parts or in_other_processes
    check_as_before(either)


class Unpicklable:
    """A result that comes as far as the caller, and cannot be unpickled there."""

    def __reduce__(self):
        return raise_lookup_error, ()


def raise_lookup_error():
    raise LookupError("as a result")


def return_unpicklable(x):
    return Unpicklable()


def leave_with(x):
    raise SystemExit(x)


@pytest.mark.parametrize(
    ("function", "error"),
    [(return_unpicklable, LookupError), (leave_with, SystemExit)],
)
@pytest.mark.parametrize("place", [20, 90])
def test_what_fails_as_a_part_fails_the_same(
    client, no_patience, parts, function, error, place
):
    tasks = quick_ones()
    tasks[place] = delayed(function)(7)
    with parallel_config("dask", client=client):
        with pytest.raises(error):
            Parallel()(tasks)
    assert parts
    check_as_before(client)


def test_data_of_single_tasks_is_not_shared(client, no_patience, parts, monkeypatch):
    """It is sent twice, but there is no other task that uses it."""
    np = pytest.importorskip("numpy")
    shared = []
    monkeypatch.setattr(Sharing, "_scatter", lambda self, values: shared.append(values))
    with parallel_config("dask", client=client):
        tasks = [delayed(len)(np.full(2_000, i)) for i in range(100)]
        assert Parallel()(tasks) == [2_000] * 100
    assert parts
    assert not shared


def test_an_error_in_a_part(either, no_patience, parts):
    tasks = [*quick_ones(80), delayed(fail)(7), *quick_ones(19)]
    with parallel_config("dask", client=either):
        with pytest.raises(KeyError, match="no 7"):
            Parallel()(tasks)
    assert parts
    check_as_before(either)


def return_lock_late(x):
    return threading.Lock() if x == 90 else x


def test_a_result_of_a_part_that_cannot_be_pickled(client, no_patience, parts):
    with parallel_config("dask", client=client):
        with pytest.raises(Exception, match="return_lock_late.*pickle"):
            Parallel()(delayed(return_lock_late)(i) for i in range(100))
    assert parts
    check_as_before(client)


def end_process_once(name, x):
    """Have the worker killed that is at this task, the first time."""
    event = distributed.Event(name)
    if x == 0 and not event.is_set():
        distributed.Event(f"{name}-others").wait(timeout=SECONDS)
        event.set()
        os._exit(1)
    if x == WORKERS - 1:
        distributed.Event(f"{name}-others").set()
    return x


def test_a_worker_that_is_killed_having_left_the_rest(all_in_one, parts):
    slow = [delayed(end_process_once)("killed", i) for i in range(WORKERS)]
    with small_cluster(n_workers=WORKERS) as client:
        with parallel_config("dask", client=client):
            results = Parallel()([*quick_ones(), *slow])
        assert results == [*range(1, 101), *range(WORKERS)]
        assert parts
        assert tasks_left(client) == []


def test_giving_up_a_divided_batch(threads):
    """The parts are called off as well."""
    names = [f"given-up-{i}" for i in range(WORKERS)]
    held = [delayed(hold)(name, i) for i, name in enumerate(names)]
    with parallel_config("dask", client=threads):
        outputs = Parallel(return_as="generator")([*quick_ones(), *held])
        for name in names:  # all at the same time
            wait_until_begun(name, threads)
        with pytest.warns(UserWarning, match="cancelled"):
            outputs.close()
    for name in names:
        distributed.Event(f"{name}-go", client=threads).set()
    check_as_before(threads)


# ---------------------------------------------------------- what is not divided
@pytest.fixture
def seen(monkeypatch):
    """With how much patience each batch is sent."""
    found, pack = [], Packed.__reduce_ex__

    def note(self, protocol):
        found.append(self.patience)
        return pack(self, protocol)

    monkeypatch.setattr(Packed, "__reduce_ex__", note)
    return found


@pytest.mark.parametrize(
    ("context", "options"),
    [({}, {"batch_size": 10}), ({}, {"retries": 1}), ({"retries": 1}, {})],
    ids=str,
)
def test_what_stays_together(threads, no_patience, parts, seen, context, options):
    """A size that was asked for; and what the engine has more to do with."""
    with parallel_config("dask", client=threads, **context):
        Parallel(**options)(quick_ones())
    assert not any(patience is not None for patience in seen)
    assert not parts


def test_a_single_task_is_not_divided():
    backend = sizing.WorkerTimedBatches()
    assert backend.patience_with(10) is None  # nothing is known yet
    backend.batch_worked(4, 0.2)
    assert backend.patience_with(1) is None
    assert backend.patience_with(10) == pytest.approx(sizing.LATE * 0.5)
    assert backend.patience_with(2) == pytest.approx(sizing.LATE * 0.1)
    # no batch should take longer than this, whatever the first tasks have taken
    assert backend.patience_with(100) == backend.MAX_IDEAL_BATCH_DURATION
    for _ in range(40):
        backend.batch_worked(4, 0.0004)
    assert backend.patience_with(2) == sizing.PATIENCE
    backend.reset_batch_stats()
    assert backend.patience_with(10) is None


# -------------------------------------------------------------------- the pieces
def test_a_worker_leaves_what_it_has_no_time_for():
    batch = Packed.of(BatchedCalls([(increment, (i,), {}) for i in range(5)], None))
    batch.patience = 60.0
    results, _ = run_batch(batch)
    assert results.load() == [1, 2, 3, 4, 5]
    batch.patience = -1.0
    results, seconds, n_done = run_batch(batch)
    assert (results.load(), n_done) == ([1], 1)
    assert seconds > 0


def test_a_stint_is_cut_while_a_task_runs():
    stint = Stint([0, 1, 2], 60.0)
    begun = [stint.cut() if task == 1 else None for task in stint]
    assert begun == [None, 2]


def test_a_stint_that_is_cut_at_once_still_does_a_task():
    """Else nobody might do any: each would leave it to others."""
    stint = Stint([0, 1, 2], 60.0)
    assert stint.cut() == 1
    assert list(stint) == [0]


def test_what_is_not_under_way_is_not_cut():
    assert cut_stints(["no such key"]) == {}


def outcomes_of(division_of=4):
    out: list = []
    batch = BatchedCalls([(increment, (i,), {}) for i in range(division_of)], None)
    return Division(Shipment(batch, out.append)), out


def test_a_division_is_over_with_its_last_part():
    division, out = outcomes_of()
    part = division.part(1, 3)
    assert [args for _, args, _ in part.batch.items] == [(1,), (2,)]
    part.callback((["b", "c"], 0.5))
    division.take(3, (["d"], 0.25))
    assert out == []
    division.take(0, (["a"], 0.25, 1))
    assert out == [(["a", "b", "c", "d"], 1.0)]


def test_what_comes_twice_counts_once():
    """A worker that was killed is made up for by one that does all again."""
    division, out = outcomes_of()
    division.take(1, (["b", "c", "d"], 0.5))
    division.take(0, (["a", "other", "other", "other"], 0.5))
    division.take(1, (["b", "c", "d"], 0.5))
    assert out == [(["a", "b", "c", "d"], 1.0)]


def test_an_error_keeps_nothing_of_the_others(either, no_patience, parts):
    """Whoever keeps it would keep their data on the cluster."""
    np = pytest.importorskip("numpy")
    shared = np.arange(200_000)
    tasks = [delayed(np.take)(shared, i) for i in range(100)]
    tasks[80] = delayed(fail)(7)
    with parallel_config("dask", client=either):
        try:
            Parallel()(tasks)
        except KeyError as error:
            kept = error
    assert tasks_left(either) == []
    assert "no 7" in str(kept)
    assert parts


def test_how_many_parts():
    """One slow task among many is no reason to send each of the others by itself."""
    assert portion(10_000, 2, 5.0, shortest=0.2) == 625
    assert portion(10_000, 2, 1e-6, shortest=0.2) == 2_500
    assert portion(8, 2, 5.0, shortest=0.2) == 1
    assert portion(0, 0, 0.0, shortest=0.2) == 1


def test_results_are_loaded_once(monkeypatch):
    """Another time something else might come of it."""
    loads = []

    def load(packed):
        loads.append(packed)
        raise MemoryError("this time")

    monkeypatch.setattr(dividing, "load_results", load)
    division, out = outcomes_of()
    results = Results.of(["a"])
    division.take(0, (results, 0.25, 1))
    assert loads == [results]
    assert [str(lost.error) for lost in out] == ["this time"]


def test_a_divided_batch_is_learnt_from_as_a_whole_once_it_is_done():
    """Its size was the wrong one, and no other batch of that size may come back."""
    batch = BatchedCalls([(increment, (i,), {}) for i in range(4)], None)
    sizes, told, out = sizing.WorkerTimedBatches(), [], []
    sizes.batch_worked = lambda *args: told.append(args)
    division = Division(Shipment(batch, out.append), sizes)
    division.take(0, ([1], 0.5, 1))
    division.take(2, ([3, 4], 1.0))
    assert told == []
    division.take(1, ([2], 0.5))
    assert told == [(4, 2.0)]
    assert out == [([1, 2, 3, 4], 2.0)]


def test_a_backend_that_fails_to_learn_from_it_does_not_keep_the_call_waiting():
    batch = BatchedCalls([(increment, (1,), {})], None)
    sizes, out = sizing.WorkerTimedBatches(), []
    sizes.batch_worked = lambda *args: fail(3)
    with pytest.raises(KeyError, match="no 3"):
        Division(Shipment(batch, out.append), sizes).take(0, ([2], 0.5))
    assert out == [([2], 0.5)]


def test_a_part_that_fails_ends_it():
    division, out = outcomes_of()
    lost = Lost(RuntimeError("of the part"))
    division.take(1, lost)
    division.take(0, (["a", "b", "c", "d"], 0.5))
    assert out == [lost]


@pytest.fixture
def asked():
    return []


@pytest.fixture
def late(asked):
    """What divides a call's batches, and a batch that takes too long."""
    backend = sizing.WorkerTimedBatches()
    batch = BatchedCalls([(increment, (i,), {}) for i in range(4)], None)
    shipment = Shipment(batch, lambda out: None)
    shipment.patience, shipment.future = 0.5, SimpleNamespace(key="late")
    loop = SimpleNamespace(add_callback=lambda function, keys: asked.append(keys))
    client = SimpleNamespace(loop=loop)
    here = threading.Condition(), deque(), {shipment}
    return Divider(client, backend, *here, lambda: 2), shipment, here


def test_asks_for_what_is_late_once_at_a_time(late, asked):
    divider, _, _ = late
    divider.look(True)
    divider.look(True)
    assert asked == [["late"]]


def test_asks_nobody_while_results_come(late, asked):
    """It may be the way back that takes so long."""
    divider, shipment, (_, outbox, away) = late
    divider.look(False)
    assert asked == []


def test_asks_nobody_if_there_is_no_worker_for_it(late, asked):
    divider, shipment, (_, outbox, away) = late
    outbox.append(shipment)  # something else waits for one
    divider.look(True)
    outbox.clear()
    away.add(Shipment(shipment.batch, shipment.callback))  # both are busy
    divider.look(True)
    assert asked == []


def test_asks_nobody_for_what_is_in_time(late, asked):
    divider, shipment, _ = late
    shipment.due = math.inf
    divider.look(True)
    assert asked == []


def test_what_a_worker_leaves_waits_to_be_sent(late):
    divider, shipment, (_, outbox, away) = late
    divider.cut += [("late", 1), ("another call's", 2), ("late", 1)]
    divider.look(False)
    items = [part.batch.items for part in outbox]
    assert items == [[(increment, (i,), {})] for i in (1, 2, 3)]
    assert away == {shipment}


def test_what_cannot_be_divided_is_told(late, monkeypatch):
    """The call waits for it."""
    divider, shipment, _ = late
    told: list = []
    shipment.callback = told.append
    monkeypatch.setattr(Division, "part", lambda *_: 1 / 0)
    assert divider.receive(shipment, (["a"], 0.5, 1))
    assert [type(out.error) for out in told] == [ZeroDivisionError]


def test_a_call_is_done_though_workers_do_not_answer(threads, monkeypatch):
    async def silent(self, keys):
        raise OSError("no worker is reached")

    monkeypatch.setattr(Divider, "_cut", silent)
    name = "unanswered"
    tasks = [*quick_ones(), delayed(hold)(name, 1), delayed(increment)(1)]
    with parallel_config("dask", client=threads):
        outputs = Parallel(return_as="generator")(tasks)
        wait_until_begun(name, threads)
        distributed.Event(f"{name}-go", client=threads).set()
        assert list(outputs) == [*range(1, 101), 1, 2]
    check_as_before(threads)
