"""Progress and traces on a dask cluster, of processes and of threads."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("distributed")

from joblib import Parallel, delayed, parallel_config, trace  # noqa: E402
from joblib.test import trace_tasks as tasks  # noqa: E402

from .dask_common import small_cluster  # noqa: E402
from .test_progress import Told, many  # noqa: E402
from .test_trace import consistent  # noqa: E402

pytestmark = [
    pytest.mark.timeout(30),
    pytest.mark.allow_leaks("threads of the cluster's workers"),
]


@pytest.fixture(scope="module", params=[True, False], ids=["processes", "threads"])
def client(request):
    with small_cluster(n_workers=2, processes=request.param) as client:
        yield client


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"on_error": "return"}])
def test_progress(client, options):
    told = Told()
    with parallel_config("dask", progress=told):
        assert Parallel(**options)(list(many(20))) == list(range(20))
    told.check(20, total_first=20)


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"on_error": "return"}])
def test_every_task(client, options):
    with trace() as t, parallel_config("dask"):
        assert Parallel(**options)(many(20)) == list(range(20))
    timeline = consistent(t.timeline)
    assert [task.name for task in timeline.tasks] == ["same"] * 20
    assert timeline.calls[0].backend == "DaskDistributedBackend"


def test_calls_within_tasks(client):
    with parallel_config("dask"), trace() as t:
        assert Parallel()(many(6, tasks.outer_of_context, 5)) == [15] * 6
    timeline = consistent(t.timeline)
    assert [call.level for call in timeline.calls] == [0] + [1] * 6
    inner = [task for task in timeline.tasks if task.level == 1]
    assert [task.name for task in inner] == ["inner"] * 30
    assert len({task.parent for task in inner}) == 6


def test_tasks_that_fail(client):
    with parallel_config("dask"), trace() as t:
        with pytest.raises(KeyError) as caught:
            Parallel(batch_size=1)(many(9, tasks.fail_at, 4))
        assert vars(caught.value) == {}
    errors = [task.error for task in t.timeline.tasks if task.error is not None]
    assert errors == ["KeyError: 'no 4'"]
    with parallel_config("dask", on_error="return"), trace() as t:
        out = Parallel()(many(9, tasks.fail_at, 4))
    assert vars(out[4]) == {}
    consistent(t.timeline)
    errors = [task.error for task in t.timeline.tasks if task.error is not None]
    assert errors == ["KeyError: 'no 4'"]
    assert len(t.timeline.tasks) == 9


def test_large_arguments_that_are_sent_once(client):
    np = pytest.importorskip("numpy")
    array = np.ones(300_000)
    with parallel_config("dask"), trace() as t:
        Parallel()(delayed(np.sum)(array) for _ in range(4))
    assert {task.bytes_in for task in t.timeline.tasks} == {2_400_000}
    assert {task.bytes_out for task in t.timeline.tasks} == {8}


def test_lanes_are_the_workers_threads(client):
    with parallel_config("dask"), trace() as t:
        pids = Parallel(batch_size=1)(delayed(os.getpid)() for _ in range(10))
    lanes = {t.timeline.lanes[task.lane].pid for task in t.timeline.tasks}
    assert lanes == set(pids)
