"""How the size of the next batch is decided."""

from __future__ import annotations

import re
from itertools import chain, repeat

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._backends.autobatch import AutoBatchingMixin, decide_batch_size
from joblib._dask import sizing
from joblib._dask.collecting import Lost
from joblib._dask.shipment import Shipment
from joblib._engine.batch import BatchedCalls

SHORT, LONG = 0.2, 2.0


@pytest.mark.parametrize(
    ("size", "duration", "expected"),
    [
        # nothing measured yet
        (1, 0.0, (1, None)),
        (7, 0.0, (7, None)),
        # far too fast: by the root of what is missing
        (1, 1e-6, (447, "fast")),
        (10, 0.001, (141, "fast")),
        # too fast: as much as one step allows
        (10, 0.0126, (40, "fast")),
        # a little too fast: a little more
        (10, 0.1, (25, "fast")),
        (10, 0.19, (14, "fast")),
        # grows at all
        (1, 0.199, (2, "fast")),
        # as it should be
        (1, SHORT, (1, None)),
        (10, 1.0, (10, None)),
        (10, LONG, (10, None)),
        # too slow
        (10, 2.5, (2, "slow")),
        (100, 4.0, (15, "slow")),
        (10, 1000.0, (1, "slow")),
        # too slow, but there is nothing to be done
        (1, 50.0, (1, None)),
    ],
)
def test_decision(size, duration, expected):
    assert decide_batch_size(size, duration, SHORT, LONG) == expected


class Told(list):
    verbose = 11

    def _print(self, message):
        self.append(message)


@pytest.fixture
def batching():
    mixin = AutoBatchingMixin()
    mixin.parallel = Told()
    return mixin


def test_the_size_follows_the_measurements(batching):
    assert batching.compute_batch_size() == 1
    batching.batch_completed(1, 0.01)
    assert batching.compute_batch_size() == 4
    # what was measured of the old size is forgotten
    assert batching.compute_batch_size() == 4
    batching.batch_completed(4, 5.0)
    assert batching.compute_batch_size() == 1
    fast, slow = batching.parallel
    assert fast == "Batch computation too fast (0.01s.) Setting batch_size=4."
    assert slow == "Batch computation too slow (5.0s.) Setting batch_size=1."


def test_quiet_below_the_verbosity(batching):
    batching.parallel.verbose = 10
    batching.batch_completed(1, 0.01)
    assert batching.compute_batch_size() == 4
    assert batching.parallel == []


def test_durations_are_smoothed_and_others_ignored(batching):
    batching.batch_completed(1, 1.0)
    batching.batch_completed(2, 100.0)
    assert batching._smoothed_batch_duration == 1.0
    batching.batch_completed(1, 2.0)
    assert batching._smoothed_batch_duration == 1.25


def test_the_last_batches_stay_worth_sending(batching):
    assert batching.least_batch_size == 1
    batching.batch_completed(1000, 0.01)
    assert batching.least_batch_size == 100
    batching.batch_completed(1000, 0.0)  # a clock that has not moved
    assert batching.least_batch_size == 100
    batching.batch_completed(1, 0.5)
    assert batching.least_batch_size == 1


class Noting(sizing.WorkerTimedBatches):
    """Sizes of a call whose batches can be divided; notes what it is told of."""

    divided = True

    def __init__(self):
        super().__init__()
        self.told = []

    def batch_worked(self, batch_size, seconds):
        self.told.append((batch_size, seconds))
        super().batch_worked(batch_size, seconds)

    def learn(self, times, seconds, batch_size=1):
        for _ in range(times):
            self.batch_worked(batch_size, batch_size * seconds)


@pytest.mark.parametrize("divided", [True, False])
def test_batches_that_can_be_divided_may_be_larger_than_that(divided):
    sizes = Noting()
    sizes.divided = divided
    sizes.learn(1, 0.00001)
    assert sizes.least_batch_size == sizes.FORESIGHT
    sizes.learn(15, 0.00001)
    assert sizes.least_batch_size == 16 * (16 if divided else sizes.FORESIGHT)


def test_batches_that_can_be_divided_grow_with_what_is_known():
    """In one step, however far it is, once many tasks were seen to be short."""
    few, many = Noting(), Noting()
    few.learn(2, 0.0001)
    many.learn(100, 0.0001)
    assert few.compute_batch_size() == few.MAX_GROWTH
    assert many.compute_batch_size() == 2500  # 1.25 times the shortest, of 0.2 s
    few.learn(1, 0.0001, few.MAX_GROWTH)
    assert few.compute_batch_size() == 2500


@pytest.mark.parametrize(("workers", "most"), [(2, 4_000), (24, 1_000)])
def test_batches_of_nothing_do_not_fill_the_memory(workers, most):
    sizes = Noting()
    sizes.serve(workers)
    seen, reasons = [], []
    sizes._tell = lambda *reason: reasons.append(reason)
    for _ in range(20):
        size = sizes.compute_batch_size()
        seen.append(size)
        for _ in range(workers):
            sizes.batch_worked(size, size * 1e-7)
        assert sizes.least_batch_size <= most
    assert seen[-1] == most == max(seen)
    assert len(reasons) == len(set(seen)) - 1  # not again and again of the same


@pytest.mark.parametrize(
    ("workers", "each", "joint"),
    [
        (24, 1e-7, 4_000),  # tasks of nothing
        (8, 1e-7, 4_000),
        (24, 4e-6, 2_500),  # 10 ms
        (24, 2e-5, 500),  # less than one batch has: it goes as it is
        (24, 1e-3, 1),  # batches are long enough
        (2, 1e-7, 1),  # and large enough
    ],
)
def test_batches_of_nothing_go_together(workers, each, joint):
    sizes = Noting()
    sizes.serve(workers)
    assert sizes.joint_size == 1
    for _ in range(20):
        size = sizes.compute_batch_size()
        sizes.batch_worked(size, size * each)
    assert sizes.joint_size == pytest.approx(joint, abs=1)


def test_batches_go_together_as_far_as_is_known():
    sizes = Noting()
    sizes.serve(24)
    sizes.divided = True
    for _ in range(48):
        sizes.batch_worked(1, 1e-7)
    assert sizes.joint_size == 1
    assert sizes.compute_batch_size() == sizing.MOST_TASKS_EACH
    assert sizes.joint_size == 48 * 48


def test_how_many_tasks_last_so_long():
    sizes = Noting()
    assert sizes.lasting(1.0) == 1
    sizes.divided = False
    sizes.learn(10, 0.01)
    assert sizes.lasting(0.3) == 30
    assert sizes.lasting(100.0) == 10 * sizes.FORESIGHT
    assert sizes.lasting(0.001) == 1


def test_batches_grow_by_those_of_another_size_until_one_comes_back():
    """The first result decides for all that are sent before the next one."""
    sizes = Noting()
    sizes.learn(1, 0.00001)
    first = sizes.compute_batch_size()
    for _ in range(15):
        sizes.learn(1, 0.00001)
        assert sizes.compute_batch_size() == first  # it may be the only short one
    sizes.learn(84, 0.00001)
    assert sizes.compute_batch_size() == sizing.MOST_TASKS


def test_batches_do_not_grow_by_others_if_some_of_them_are_long():
    sizes = Noting()
    sizes.learn(1, 0.00001)
    first = sizes.compute_batch_size()
    sizes.learn(1, 1.0)
    sizes.learn(98, 0.00001)
    assert sizes.compute_batch_size() == first


def test_batches_shrink_once_they_take_too_long():
    sizes = Noting()
    sizes.learn(100, 0.0001)
    size = sizes.compute_batch_size()
    sizes.learn(3, 0.0001, size)
    sizes.learn(1, 1.0, size)
    assert sizes.compute_batch_size() <= 5


def test_what_is_told_at_any_time_gives_a_size():
    """Sizes are asked for by other threads than the one that learns."""
    sizes = Noting()
    sizes._each = 3.0
    assert sizes.compute_batch_size() == 1
    sizes.learn(1, 5.0)
    assert sizes.compute_batch_size() == 1


def test_verbose_calls_are_told_what_the_size_comes_from(batching):
    sizes = Noting()
    batching.parallel.verbose, sizes.parallel = 11, batching.parallel
    sizes.learn(1, 0.00001)
    first = sizes.compute_batch_size()
    sizes.learn(99, 0.00001)
    sizes.compute_batch_size()
    told = re.search(r"too fast \((.*)s\.\)", batching.parallel[-1])
    assert float(told[1]) == pytest.approx(first * 0.00001)


def test_what_comes_together_is_learnt_from_together():
    """Whole batches, and those of which a worker has done a part; not what is lost."""
    shipment = Shipment(BatchedCalls([(abs, (1,), {})] * 5, None), print)
    outs = [([1] * 5, 0.5), ([1] * 2, 0.2, 2), Lost(ValueError())]
    sizes = Noting()
    sizing.learn_from([(shipment, out) for out in outs], sizes)
    assert sizes.told == [(5, 0.5), (2, 0.2)]
    sizing.learn_from([(shipment, outs[0])], None)
    assert len(sizes.told) == 2


def test_the_last_batches_are_no_larger_than_the_tasks_seen_to_be_short(batching):
    for n in (1, 2, 3):
        batching.batch_completed(1, 0.00001)
        assert batching.least_batch_size == n
    batching.batch_completed(60, 0.0006)
    assert batching.least_batch_size == 63
    batching.reset_batch_stats()
    batching.batch_completed(1, 0.00001)
    assert batching.least_batch_size == 1


def test_reset(batching):
    batching.batch_completed(1000, 0.01)
    batching.batch_completed(1, 0.01)
    batching.compute_batch_size()
    batching.batch_completed(4, 0.01)
    batching.reset_batch_stats()
    assert batching.least_batch_size == 1
    assert batching._effective_batch_size == 1
    assert batching._smoothed_batch_duration == 0.0


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_fast_tasks_travel_together(backend):
    with Parallel(2, backend=backend) as parallel:
        out = parallel(delayed(abs)(-i) for i in range(2000))
        assert out == list(range(2000))
        assert parallel._backend.compute_batch_size() > 1
    assert parallel._backend._effective_batch_size == 1


# ------------------------------------------------------------------- whole calls
@pytest.mark.parametrize(
    ("backend", "return_as"),
    [
        *(("threading", "list"), ("loky", "list"), ("multiprocessing", "list")),
        *(("threading", "generator"), ("loky", "generator_unordered")),
    ],
)
def test_a_call_whose_batches_get_smaller(monkeypatch, backend, return_as):
    """Much smaller, as where the next tasks are slower, with many tasks still to come."""
    sizes = chain([1] * 4, [200] * 3, repeat(3))
    monkeypatch.setattr(
        AutoBatchingMixin, "compute_batch_size", lambda self: next(sizes)
    )
    with parallel_config(backend, n_jobs=2):
        out = Parallel(return_as=return_as)(delayed(abs)(-i) for i in range(2000))
    assert sorted(out) == list(range(2000))
