"""Tasks of one function, kept as the columns of their arguments."""

from __future__ import annotations

import gc
import operator
import pickle
import weakref

import pytest

from joblib import delayed
from joblib._engine.batch import BatchedCalls, Plan
from joblib._engine.columns import FEWEST, Ahead, Columns, joined
from joblib._engine.source import Source

N = 100


class NoTruth:
    """Can't be compared, as arrays can't."""

    def __eq__(self, other):
        return self

    def __bool__(self):
        raise ValueError("ambiguous")

    __hash__ = None


def tasks_of(function, n=N, n_args=1):
    return [delayed(function)(*range(i, i + n_args)) for i in range(n)]


@pytest.mark.parametrize("n_args", [1, 2, 3])
def test_they_are_the_same_tasks(n_args):
    tasks = tasks_of(max, n_args=n_args)
    columns = Columns.of(tasks)
    assert len(columns) == N
    assert list(columns) == tasks
    assert columns[0] == tasks[0]
    assert columns[-1] == tasks[-1]
    assert columns[3:7] == tasks[3:7]
    assert columns[90:200] == tasks[90:]
    with pytest.raises(IndexError):
        columns[N]
    assert list(pickle.loads(pickle.dumps(columns))) == tasks


def test_each_task_has_keywords_of_its_own():
    """A wrapper may change them."""
    columns = Columns.of(tasks_of(abs))
    first, second = columns[0], columns[0]
    assert first[2] == {} and first[2] is not second[2]
    first, second, *_ = columns
    assert first[2] is not second[2]


def test_what_tasks_share_they_share():
    shared = [1]
    columns = Columns.of([delayed(len)(shared)] * N)
    assert all(args[0] is shared for _, args, _ in columns)
    loaded = list(pickle.loads(pickle.dumps(columns)))
    assert all(args[0] is loaded[0][1][0] for _, args, _ in loaded)


@pytest.mark.parametrize(
    "odd",
    [
        delayed(len)("a"),
        delayed(None)(7),
        (abs, (1,), NoTruth()),
        delayed(abs)(),
        delayed(abs)(1, 2),
        delayed(abs)(1, a=2),
        (abs, [1], {}),
        (abs, "a", {}),
        [abs, (1,), {}],
        (abs, (1,), None),
        (abs, (1,)),
        7,
        None,
    ],
    ids=repr,
)
@pytest.mark.parametrize("at", [0, 50, N])
def test_what_does_not_fit_leaves_them_as_they_are(odd, at):
    tasks = tasks_of(abs)
    tasks.insert(at, odd)
    assert Columns.of(tasks) is None
    ahead = Ahead(compact=True)
    assert ahead.extend(tasks) == len(ahead) == N + 1
    taken = ahead.take(N + 1)
    assert type(taken) is list
    assert taken == tasks


@pytest.mark.parametrize(
    "tasks", [[], tasks_of(abs, FEWEST - 1), [delayed(dict)()] * N]
)
def test_few_tasks_and_those_without_arguments_stay_a_list(tasks):
    assert Columns.of(tasks) is None
    ahead = Ahead(compact=True)
    ahead.extend(tasks)
    assert ahead.take(N) == tasks


def test_what_is_ahead_comes_in_order_in_columns_where_it_can():
    tasks = tasks_of(abs)
    mixed = tasks + [delayed(abs)(-1, key=3)] + tasks
    ahead = Ahead(compact=True)
    for start in range(0, len(mixed), 7):
        ahead.extend(mixed[start : start + 7])
    taken = []
    while ahead:
        taken.append(ahead.take(40))
    assert [task for part in taken for task in part] == mixed
    kinds = [type(part) for part in taken]
    assert kinds == [Columns, Columns, list, Columns, Columns, list]


def test_others_get_lists():
    ahead = Ahead(compact=False)
    ahead.extend(tasks_of(abs))
    assert type(ahead.take(N)) is list


def test_parts_are_joined():
    tasks = tasks_of(max, n_args=2)
    parts = [Columns.of(tasks[:40]), Columns.of(tasks[40:60]), Columns.of(tasks[60:])]
    together = joined(parts)
    assert type(together) is Columns
    assert list(together) == tasks
    mixed = joined([parts[0], tasks[40:50], Columns.of(tasks_of(min, n_args=2))])
    assert mixed == tasks[:50] + tasks_of(min, n_args=2)
    assert joined([tasks[:1], tasks[1:]]) == tasks
    ones, twos = Columns.of(tasks_of(max)), parts[0]
    assert joined([ones, twos]) == tasks_of(max) + tasks[:40]


def test_a_batch_keeps_them_and_runs_them():
    columns = Columns.of([delayed(operator.neg)(i) for i in range(N)])
    batch = BatchedCalls(columns, Plan(None))
    assert batch.items is columns
    assert len(batch) == N
    assert batch.name() == "neg"
    assert batch() == [-i for i in range(N)]
    assert pickle.loads(pickle.dumps(batch))() == batch()


def test_a_source_gives_them_only_if_told_to():
    for compact in (True, False):
        source = Source(iter(tasks_of(abs)), 1, None, compact=compact)
        taken = source.take(50)
        assert (type(taken) is Columns) is compact
        assert list(taken) == tasks_of(abs)[:50]


def test_nothing_is_kept_of_what_was_not_given_out():
    class Big:
        def __call__(self, x):
            return x

    function, value = Big(), Big()
    alive = [weakref.ref(function), weakref.ref(value)]
    source = Source([delayed(function)(value)] * 100, 2, None, compact=True)
    source.take(20)
    source.iterator = iter(())
    source.drop()
    del function, value
    assert [one() for one in alive] == [None, None]


def test_an_iterable_that_fails_fails():
    def fail():
        yield from tasks_of(abs, 20)
        raise KeyError("no more")

    source = Source(fail(), 1, None, compact=True)
    assert len(source.take(10)) == 10
    with pytest.raises(KeyError, match="no more"):
        source.take(50)


def test_the_garbage_collector_passes_over_them():
    """What this is for: of so many tasks hardly any are left to look at."""
    gc.collect()
    columns = Columns.of(tasks_of(abs, 10_000))
    gc.collect()
    before = len(gc.get_objects())
    assert len(columns) == 10_000
    del columns
    gc.collect()
    assert before - len(gc.get_objects()) < 100
