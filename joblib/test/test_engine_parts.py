"""The pure parts of the engine: source, progress, arithmetic, captured errors."""

from __future__ import annotations

import pickle
import threading
from functools import partial
from unittest.mock import Mock

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._backends.base import ParallelBackendBase
from joblib._captured import (
    CapturedError,
    UnpicklableTaskError,
    capture_call,
    unwrap,
)
from joblib._engine.batch import BatchedCalls, name_of
from joblib._engine.credit import Credit, adapt_credit
from joblib._engine.progress import Snapshot, is_milestone, progress_line
from joblib._engine.source import Source, initial_tasks, share
from joblib._utils import _retrieve_traceback_capturing_wrapped_call as retrieve
from joblib._utils import _TracebackCapturingWrapper, eval_expr


# --------------------------------------------------------------------- source
@pytest.mark.parametrize(
    "given, n_jobs, tasks",
    [
        ("all", 3, None),
        (5, 3, 5),
        (2.7, 3, 2),
        ("2 * n_jobs", 3, 6),
        ("2*n_jobs", 3, 6),
        ("n_jobs // 2 + 1", 5, 3),
        ("1.5 * n_jobs", 4, 6),
    ],
)
def test_initial_tasks(given, n_jobs, tasks):
    assert initial_tasks(given, n_jobs) == tasks


def drain(source, size):
    batches = []
    while batch := source.take(size):
        batches.append(batch)
    return batches


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("n_jobs", [1, 2, 5])
@pytest.mark.parametrize("n", [0, 1, 10, 331])
@pytest.mark.parametrize("limit", [None, 1, 4, 50])
def test_a_source_gives_each_task_once(size, n_jobs, n, limit):
    source = Source(range(n), n_jobs, limit)
    first = drain(source, size) if limit is not None else []
    assert sum(map(len, first)) == min(n, limit or 0)
    source.release()
    rest = drain(source, size)
    assert [task for batch in first + rest for task in batch] == list(range(n))
    assert source.finished
    assert max(map(len, first + rest), default=0) <= size


def test_the_first_batches_share_the_budget():
    source = Source(range(100), n_jobs=4, limit=8)
    assert [len(batch) for batch in drain(source, 50)] == [2, 2, 1, 1, 1, 1]


def test_the_last_batches_shrink():
    source = Source(range(100), n_jobs=2, limit=None)
    sizes = [len(batch) for batch in drain(source, 40)]
    assert sum(sizes) == 100
    assert sizes[0] == 40 and sizes[-1] == 1
    assert sizes == sorted(sizes, reverse=True)
    assert share(40, 0, 2) == 1


@pytest.mark.parametrize("n_jobs", [1, 2, 24])
@pytest.mark.parametrize("n", [500, 3_000])
def test_batches_may_get_smaller_at_any_time(n_jobs, n):
    """As they do where the next tasks are slower, when a round of others is read."""
    source = Source(range(n), n_jobs, limit=None)
    asked = [100, 99, 50, 3, 1, 1, 60, 2]
    batches = [source.take(size) for size in asked]
    assert all(1 <= len(one) <= size for one, size in zip(batches, asked, strict=True))
    batches += drain(source, 10)
    assert [task for batch in batches for task in batch] == list(range(n))


def test_the_last_batches_do_not_shrink_below_the_least():
    source = Source(range(100), n_jobs=2, limit=None, fair=False)
    sizes = []
    while batch := source.take(40, 9):
        sizes.append(len(batch))
    assert sum(sizes) == 100
    assert sizes[0] == 40 and min(sizes[:-1]) == 9
    # nor does it make batches of those that were asked to be smaller
    source = Source(range(100), n_jobs=2, limit=None, fair=False)
    assert {len(source.take(3, 9)) for _ in range(33)} == {3}


def test_none_of_the_last_batches_has_more_than_its_share():
    """Though they would be worth more: the last tasks may be slow ones."""
    source = Source(range(8), n_jobs=4, limit=None)
    sizes = []
    while batch := source.take(40, 1000):
        sizes.append(len(batch))
    assert sizes == [2, 2, 1, 1, 1, 1]


def test_a_size_that_was_asked_for_is_kept():
    source = Source(range(10), n_jobs=2, limit=None, shrinks=False)
    assert [len(batch) for batch in drain(source, 4)] == [4, 4, 2]


def test_an_iterable_is_not_read_further_than_it_must():
    read = []
    source = Source((read.append(i) or i for i in range(50)), n_jobs=3, limit=4)
    assert drain(source, 1) == [[0], [1], [2], [3]]
    assert len(read) == 4
    source.release()
    source.take(1)
    assert len(read) == 5
    source.take(4)  # one round of batches ahead, to see the end in time
    assert len(read) <= 5 + 4 * 3


# ------------------------------------------------------------------- progress
def at(done, **kwargs):
    given = {
        "dispatched": done + 2,
        "total": None,
        "given_total": None,
        "finished": False,
        "elapsed": 1.0,
    }
    return Snapshot(done=done, **{**given, **kwargs})


def test_progress_lines():
    assert progress_line(at(3), verbose=0) is None
    assert progress_line(at(3), verbose=11) == "Done   3 tasks      | elapsed:    1.0s"
    assert (
        progress_line(at(3, given_total=40), verbose=11)
        == "Done  3 out of 40 | elapsed:    1.0s"
    )
    assert (
        progress_line(at(20, total=40), verbose=100)
        == "Done  20 out of  40 | elapsed:    1.0s remaining:    1.0s"
    )
    assert (
        progress_line(at(40, total=40, finished=True), verbose=1)
        == "Done  40 out of  40 | elapsed:    1.0s finished"
    )
    assert progress_line(at(0, total=0, finished=True), verbose=1).endswith("finished")
    assert progress_line(at(40, total=40), verbose=100) is None  # "finished" is next


@pytest.mark.parametrize("verbose", range(1, 11))
def test_more_verbose_means_more_lines(verbose):
    shown = [n for n in range(1, 2000) if is_milestone(n, verbose)]
    more = [n for n in range(1, 2000) if is_milestone(n, verbose + 1)]
    assert len(shown) <= len(more)
    lines = [progress_line(at(n, total=50), verbose) for n in range(51)]
    assert verbose // 2 <= sum(line is not None for line in lines) <= verbose


# ----------------------------------------------------------------- arithmetic
@pytest.mark.parametrize(
    "text, value",
    [("2 * 8", 16), ("-3 + 10", 7), ("7 // 2", 3), ("2 ** 3 % 5", 3), ("+(1.5)", 1.5)],
)
def test_arithmetic(text, value):
    assert eval_expr(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "x", "f(1)", "1 if 1 else 2", "[1]", "'a' * 3", "1; 2", "1 << 3", "1/0"],
)
def test_what_is_no_arithmetic(text):
    with pytest.raises(ValueError, match="not a valid or supported arithmetic"):
        eval_expr(text)


@pytest.mark.parametrize("text", ["9**9**9", "1e9", "1000 * 1001", "-9999999"])
def test_numbers_stay_small(text):
    with pytest.raises(ValueError, match="too large"):
        eval_expr(text)


# ------------------------------------------------------------------- captured
class Picky(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} {b}")


class Holds(Exception):
    def __init__(self, thing):
        super().__init__("held")
        self.thing = thing


def raise_it(error):
    raise error


def test_a_captured_error_keeps_its_type_and_frames():
    out = capture_call(lambda: raise_it(KeyError("k")))
    out = pickle.loads(pickle.dumps(out))
    with pytest.raises(KeyError, match="k") as caught:
        unwrap(out)
    assert "raise_it" in str(caught.value.__cause__)
    assert unwrap([1]) == [1]


@pytest.mark.parametrize(
    "error", [Picky(1, 2), Holds(threading.Lock())], ids=["unreadable", "unpicklable"]
)
def test_an_error_that_cannot_travel_is_told_of(error):
    out = pickle.loads(pickle.dumps(CapturedError(error)))
    with pytest.raises(UnpicklableTaskError, match=type(error).__name__) as caught:
        unwrap(out)
    assert str(error) in str(caught.value)


def test_the_capturing_wrapper():
    assert retrieve(_TracebackCapturingWrapper(dict)(a=1)) == {"a": 1}
    out = _TracebackCapturingWrapper(raise_it)(error=OSError("gone"))
    with pytest.raises(OSError, match="gone"):
        retrieve(pickle.loads(pickle.dumps(out)))


# ---------------------------------------------------------------------- tasks
def test_delayed_shows_what_it_wraps():
    def example(a, b=2):
        """Say something."""

    made = delayed(example)
    assert made.__name__ == "example" and made.__doc__ == "Say something."
    assert made.__wrapped__ is example
    assert made(1, b=3) == (example, (1,), {"b": 3})
    assert pickle.loads(pickle.dumps(delayed(abs)))(1) == (abs, (1,), {})

    class Owner:
        @delayed
        def method(self, x):
            return x

    owner = Owner()
    func, args, _ = owner.method(3)
    assert args == (owner, 3) and func(*args) == 3


def test_batches_as_other_projects_make_them():
    pickled = []
    batch = BatchedCalls(
        (delayed(abs)(-i) for i in range(3)),
        (None, None),
        lambda: pickled.append(1),
        {},
    )
    assert len(batch) == batch._size == 3
    assert batch() == [0, 1, 2]
    again = pickle.loads(pickle.dumps(batch))
    assert again() == [0, 1, 2] and pickled == [1]
    assert batch.name() == "abs"

    class Named(BatchedCalls):
        def __call__(self):
            return [self.items[0][0].__name__, *super().__call__()]

    assert Named([delayed(abs)(-1)], None)() == ["abs", 1]
    assert name_of(Named) == Named.__qualname__


class Evil:
    def __call__(self, x):
        return x

    def __getattr__(self, name):
        raise OSError(name)


def test_a_name_for_whatever_can_be_called():
    def answer():
        pass

    answer.__name__ = "other"
    assert name_of(Evil()) == "Evil"
    assert name_of(Mock()) == "Mock"
    assert name_of(partial(partial(answer))) == answer.__qualname__
    assert name_of(3) == "int"
    for wrap_task in (None, lambda f, a, k: f(*a, **k)):
        with parallel_config(wrap_task=wrap_task):
            assert Parallel(1)([delayed(Evil())(2)]) == [2]
            assert Parallel(2, prefer="threads")([delayed(Evil())(2)] * 2) == [2, 2]


class ByHand(ParallelBackendBase):
    """Keeps batches until the test completes them."""

    supports_retrieve_callback = True
    look_ahead = 3

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.waiting = []
        self.most_waiting = 0

    def effective_n_jobs(self, n_jobs):
        return 2

    def submit(self, func, callback):
        self.waiting.append((func, callback))
        self.most_waiting = max(self.most_waiting, len(self.waiting))

    def retrieve_result_callback(self, out):
        return out

    def complete_one(self):
        func, callback = self.waiting.pop(0)
        callback(func())


@pytest.mark.parametrize(
    "options, lapse, initial, most",
    [
        ({}, 0.001, 4, 4 + 3 * 2),
        ({}, 0.1, 4, 4),
        ({"pre_dispatch": 3}, 0.001, 3, 3),
        ({"pre_dispatch": "n_jobs"}, 0.001, 2, 2),
    ],
)
def test_more_batches_are_on_their_way_while_they_come_back_soon(
    options, lapse, initial, most, monkeypatch
):
    def adapt_with_lapse(credit, limit, *_):
        return adapt_credit(credit, limit, lapse)

    monkeypatch.setattr("joblib._engine.credit.adapt_credit", adapt_with_lapse)
    backend = ByHand()
    parallel = Parallel(
        2, backend=backend, batch_size=1, return_as="generator", **options
    )
    outputs = parallel(delayed(abs)(-n) for n in range(60))
    assert len(backend.waiting) == initial
    while backend.waiting:
        backend.complete_one()
    assert list(outputs) == list(range(60))
    assert backend.most_waiting == most


@pytest.mark.parametrize(
    "options, most",
    [({}, 12), ({"pre_dispatch": "n_jobs"}, 6), ({"pre_dispatch": 3}, 3)],
)
def test_more_batches_are_on_their_way_when_workers_join(options, most):
    backend = ByHand()
    backend.look_ahead = 0
    parallel = Parallel(
        2, backend=backend, batch_size=1, return_as="generator", **options
    )
    outputs = parallel(delayed(abs)(-n) for n in range(60))
    run = backend.waiting[0][1].run
    run.resize(6)
    assert len(backend.waiting) == most
    run.resize(1)  # those on their way stay there
    while backend.waiting:
        backend.complete_one()
        run.resize(6)
    assert list(outputs) == list(range(60))
    assert backend.most_waiting == most
    run.resize(8)  # too late, and no harm


@pytest.mark.timeout(30)
def test_a_batch_is_one_of_the_call_that_it_was_read_for():
    """The call ends, and the next one begins, while a completion is paid for."""
    backend = ByHand()
    with Parallel(2, backend=backend, return_as="generator") as parallel:
        first = parallel(delayed(abs)(-n) for n in range(60))
        run = backend.waiting[0][1].run
        make_job, second = run._make_job, []

        def end_call(*args):
            with pytest.warns(UserWarning, match="cancelled"):
                first.close()
            second.append(parallel(delayed(abs)(-n) for n in range(100, 110)))
            return make_job(*args)

        run._make_job = end_call
        backend.complete_one()
        while backend.waiting:
            backend.complete_one()
        assert list(second[0]) == list(range(100, 110))


def test_there_is_less_credit_for_larger_batches():
    credit = Credit(look_ahead=64, n_jobs=2)
    for _ in range(20):
        credit.learn(0.001, 1, 1)
    assert credit.granted == 128
    credit.learn(0.001, 13, 13)
    assert credit.granted == 9
    credit.learn(0.001, 500, 500)
    assert credit.granted == 2
    credit = Credit(look_ahead=4, n_jobs=2)
    for _ in range(20):
        credit.learn(0.001, 500, 500)
    assert credit.granted == 2


def test_there_is_no_credit_while_batches_grow():
    credit = Credit(look_ahead=64, n_jobs=2)
    for _ in range(20):
        credit.learn(0.001, 1, 40)
    assert credit.granted == 0
    credit.learn(0.001, 40, 40)
    assert credit.granted > 0


def test_credit_is_taken_back():
    credit = 0
    for _ in range(10):
        credit = adapt_credit(credit, 4, 0.001)
    assert credit == 4
    for _ in range(10):
        credit = adapt_credit(credit, 4, 1.0)
    assert credit == 0
