"""`trace`: what it records, on each backend, and what it makes of it."""

from __future__ import annotations

import gc
import os
import pickle
import threading
import warnings
import weakref

import pytest

from joblib import Parallel, delayed, parallel_config, shutdown, trace
from joblib._engine import recording
from joblib._engine.recording import CallSeen, Place, TasksSeen, size_of
from joblib._tracing.assembly import assemble
from joblib._tracing.summary import summary_of
from joblib._tracing.timeline import Call, Lane, Task, Timeline
from joblib._tracing.totals import figures_of
from joblib.test import trace_tasks as tasks
from joblib.test.backends import ApplyAsyncBackend, InlineBackend

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*apply_async.*:DeprecationWarning"),
]

NAMES = ["sequential", "threading", "loky", "multiprocessing"]
PROCESSES = ["loky", "multiprocessing"]


def many(n, function=tasks.same, *given):
    return (delayed(function)(*given, i) for i in range(n))


def consistent(timeline):
    """Check what holds for every timeline."""
    for task in timeline.tasks:
        call = timeline.calls[task.call]
        assert task.level == call.level
        assert task.parent == call.parent
        assert 0 <= task.start <= task.end <= timeline.duration
        assert call.start <= task.start
        assert task.lane < len(timeline.lanes)
    for call in timeline.calls:
        assert 0 <= call.start <= call.end <= timeline.duration
        if call.parent is not None:
            parent = timeline.tasks[call.parent]
            assert parent.level == call.level - 1
            assert parent.start <= call.start <= call.end <= parent.end
    assert [t.start for t in timeline.tasks] == sorted(t.start for t in timeline.tasks)
    counts = [
        sum(t.call == n for t in timeline.tasks) for n in range(len(timeline.calls))
    ]
    assert counts == [call.n_tasks for call in timeline.calls]
    return timeline


# ------------------------------------------------------------------- recorded
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("backend", [*NAMES, ApplyAsyncBackend, InlineBackend])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"timeout": 50}])
def test_every_task_on_each_backend(backend, n_jobs, options):
    is_process = backend in PROCESSES and n_jobs == 2
    backend = backend if isinstance(backend, str) else backend()
    with trace() as t, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not support timeout")
        out = Parallel(n_jobs=n_jobs, backend=backend, **options)(many(20))
    assert out == list(range(20))
    timeline = consistent(t.timeline)
    assert [task.name for task in timeline.tasks] == ["same"] * 20
    assert {(task.bytes_in, task.bytes_out) for task in timeline.tasks} == {(8, 8)}
    (call,) = timeline.calls
    assert (call.level, call.parent) == (0, None)
    pids = {timeline.lanes[task.lane].pid for task in timeline.tasks}
    assert (os.getpid() not in pids) == is_process
    assert timeline.lanes[0].pid == os.getpid()
    assert timeline.lanes[0].thread == threading.get_native_id()


@pytest.mark.parametrize("backend", NAMES[:3])
@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators(backend, return_as):
    with trace() as t:
        out = Parallel(n_jobs=2, backend=backend, return_as=return_as)(many(20))
        assert sorted(out) == list(range(20))
    assert len(consistent(t.timeline).tasks) == 20


@pytest.mark.filterwarnings("ignore:.*-backed parallel loops cannot be")
@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize("within", [*NAMES, None])
def test_calls_within_tasks(backend, within):
    with trace() as t:
        out = Parallel(n_jobs=2, backend=backend)(many(3, tasks.outer, within, 4))
    assert out == [10] * 3
    timeline = consistent(t.timeline)
    assert [call.level for call in timeline.calls] == [0, 1, 1, 1]
    inner = [task for task in timeline.tasks if task.level == 1]
    assert [task.name for task in inner] == ["inner"] * 12
    outers = [n for n, task in enumerate(timeline.tasks) if task.level == 0]
    assert {task.parent for task in inner} == set(outers)
    assert {timeline.tasks[n].name for n in outers} == {"outer"}


@pytest.mark.parametrize("backend", NAMES)
@pytest.mark.parametrize(
    "options", [{"seed": 1}, {"retries": 2}, {"on_error": "return"}, {"progress": abs}]
)
def test_with_controls(backend, options):
    if "progress" in options:
        options = {"progress": lambda *now: None}
    with trace() as t, parallel_config(**options):
        Parallel(n_jobs=2, backend=backend)(many(5))
    assert [task.name for task in consistent(t.timeline).tasks] == ["same"] * 5


@pytest.mark.parametrize("backend", PROCESSES)
def test_with_a_limit_to_each_task(backend):
    with trace() as t:
        Parallel(n_jobs=2, backend=backend, task_timeout=50)(many(5))
    assert [task.name for task in consistent(t.timeline).tasks] == ["same"] * 5


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("backend", [*NAMES, InlineBackend])
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_tasks_that_fail(backend, n_jobs, on_error):
    backend = backend if isinstance(backend, str) else backend()
    parallel = Parallel(
        n_jobs=n_jobs, backend=backend, on_error=on_error, batch_size=3, pre_dispatch=1
    )
    with trace() as t:
        try:
            out = parallel(many(9, tasks.fail_at, 4))
        except KeyError as error:
            assert vars(error) == {}
            assert on_error == "raise"
        else:
            assert on_error == "return"
            assert vars(out[4]) == {}
    timeline = consistent(t.timeline)
    errors = [task.error for task in timeline.tasks if task.error is not None]
    assert errors == ["KeyError: 'no 4'"]
    assert len(timeline.tasks) >= 5
    if on_error == "return":
        assert len(timeline.tasks) == 9
    assert "Failed: 1 task" in summary_of(timeline)


@pytest.mark.parametrize("backend", NAMES)
def test_an_error_that_takes_no_attributes(backend):
    with trace() as t, pytest.raises(tasks.Slotted):
        Parallel(n_jobs=2, backend=backend)(many(1, tasks.fail_without_attributes))
    assert len(consistent(t.timeline).tasks) <= 1


@pytest.mark.parametrize("backend", PROCESSES)
def test_a_task_whose_worker_dies(backend):
    with trace() as t:
        out = Parallel(n_jobs=2, backend=backend, on_error="return")(
            many(5, tasks.die_at, 3)
        )
    assert isinstance(out[3], Exception)
    timeline = consistent(t.timeline)
    (lost,) = [task for task in timeline.tasks if task.error is not None]
    assert lost.name == "die_at"
    assert timeline.lanes[lost.lane].label == "lost"
    assert len(timeline.tasks) == 5


@pytest.mark.parametrize("backend", NAMES)
def test_what_others_wrap_tasks_in_sees_no_records(backend):
    with parallel_config(wrap_task=doubled), trace() as t:
        out = Parallel(n_jobs=2, backend=backend)(many(4))
    assert out == [0, 2, 4, 6]
    assert len(t.timeline.tasks) == 4
    with trace() as t, parallel_config(wrap_task=doubled):
        out = Parallel(n_jobs=2, backend=backend)(many(4))
        with parallel_config(wrap_task=None):
            Parallel(n_jobs=2, backend=backend)(many(4))
    assert out == [0, 2, 4, 6]
    assert [task.name for task in t.timeline.tasks] == ["same"] * 8


def doubled(func, args, kwargs):
    return 2 * func(*args, **kwargs)


@pytest.mark.parametrize("backend", NAMES)
def test_one_trace_within_another(backend):
    with trace() as around:
        Parallel(n_jobs=2, backend=backend)(many(3))
        with trace() as within:
            Parallel(n_jobs=2, backend=backend)(many(5, tasks.outer, "sequential", 2))
    assert len(consistent(within.timeline).tasks) == 15
    assert len(consistent(around.timeline).tasks) == 18


def test_only_what_is_made_in_the_block_and_its_thread():
    Parallel(n_jobs=2, prefer="threads")(many(3))
    with trace() as t:
        thread = threading.Thread(
            target=lambda: Parallel(n_jobs=2, prefer="threads")(many(3))
        )
        thread.start()
        thread.join()
    Parallel(n_jobs=2, prefer="threads")(many(3))
    assert t.timeline.tasks == []
    assert "No task" in summary_of(t.timeline)


def test_nothing_is_kept_alive():
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)
    with trace() as t:
        Parallel(n_jobs=2, prefer="threads")(delayed(id)(big) for _ in range(3))
    del big
    gc.collect()
    assert gone() is None
    assert recording._sinks == {}
    assert len(t.timeline.tasks) == 3


def test_it_can_be_used_again_but_not_twice_at_a_time():
    t = trace()
    with pytest.raises(RuntimeError, match="Nothing has been recorded"):
        t.timeline  # noqa: B018
    for n in (2, 3):
        with t:
            with pytest.raises(RuntimeError, match="being recorded"):
                t.__enter__()
            Parallel(n_jobs=1)(many(n))
            assert len(t.timeline.tasks) == n  # so far
        assert len(t.timeline.tasks) == n


@pytest.mark.parametrize("backend", NAMES)
def test_results_are_what_they_are_without(backend):
    """A list of the engine's own, whatever came back."""
    with trace():
        parallel = Parallel(n_jobs=2, backend=backend, batch_size=2)
        out = parallel(delayed(list)(range(i)) for i in range(4))
    assert type(out) is list
    assert out == [[], [0], [0, 1], [0, 1, 2]]
    assert {type(each) for each in out} == {list}


def test_records_can_be_pickled():
    results = recording._recorded([1], [TasksSeen(1, Place("h", 1, 2, 3.0), [])])
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(results, protocol))
        assert copy == [1]
        assert copy.records == results.records


def test_a_forked_process_gives_out_other_numbers():
    process = os.getpid()
    first = next(recording.numbers())
    recording._numbers = (process + 1, recording._numbers[1])
    assert abs(next(recording.numbers()) - first) > 1


# ------------------------------------------------------------------------ sizes
def test_sizes():
    np = pytest.importorskip("numpy")
    assert size_of(np.zeros(1000)) == 8000
    assert size_of([np.zeros(1000)] * 3) == 24_000
    assert size_of({"a": np.zeros(10), "b": np.zeros(10)}) >= 160
    assert size_of("abc") == 3
    assert size_of([]) == 0
    deep = []
    for _ in range(1000):
        deep = [deep]
    assert size_of(deep) >= 0

    class Odd:
        @property
        def nbytes(self):
            raise OSError

        def __sizeof__(self):
            raise OSError

    assert size_of(Odd()) == 0


def test_a_memory_mapped_array_counts_nothing(tmp_path):
    np = pytest.importorskip("numpy")
    array = np.memmap(tmp_path / "a", shape=1000, mode="w+")
    assert size_of(array) == 0


def test_size_of_a_frame():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": range(1000)})
    assert 8000 <= size_of(frame) <= 9000
    assert 8000 <= size_of(frame["a"]) <= 9000


# ----------------------------------------------------------------------- clocks
@pytest.mark.parametrize("ahead", [-5000.0, 5000.0])
def test_another_machine_with_another_clock(ahead, tmp_path):
    try:
        with Parallel(n_jobs=2, backend="loky") as parallel:
            changed = set(parallel(many(2, tasks.elsewhere, ahead, tmp_path)))
            assert len(changed) == 2
            with trace() as t:
                parallel(many(20, tasks.outer, "threading", 2))
    finally:
        shutdown()
    there = [lane.host == "elsewhere" for lane in t.timeline.lanes]
    pids = {
        lane.pid
        for lane, is_there in zip(t.timeline.lanes, there, strict=True)
        if is_there
    }
    assert pids
    assert pids <= changed
    consistent(t.timeline)


def at(host, epoch):
    return Place(host, 1, 1, epoch)


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (200.0, 15.0),  # the time of day may be believed: 15 s after the start here
        (204.0, 16.0),  # it says 19, but the batch had ended at 16 + 1
        (190.0, 12.0),  # it says 5, but the call began at 12
    ],
)
def test_the_time_of_day_is_believed_within_bounds(there, expected):
    """A batch of a second, at 1015 by its clock; the caller's has 0 at 1000 - 200."""
    caller, other = at("here", 1200.0), at("there", there)
    batch = TasksSeen(1, other, [(2, "f", 1015.0, 1016.0, 0, 0, None)])
    batch.bound = (caller, 12.0, 17.0)
    call = CallSeen(1, None, "B", 2, caller, 11.0, 18.0)
    timeline = assemble([call, batch], caller, 0.0, 20.0)
    (task,) = timeline.tasks
    assert task.start == pytest.approx(expected)
    assert task.end - task.start == pytest.approx(1.0)


def test_a_clock_that_is_known_by_way_of_another():
    caller, first, second = at("a", 0.0), at("b", 100.0), at("c", 10_000.0)
    outer_call = CallSeen(1, None, "B", 1, caller, 1.0, 9.0)
    outer_task = TasksSeen(1, first, [(2, "outer", -98.0, -93.0, 0, 0, None)])
    outer_task.bound = (caller, 1.0, 8.0)
    inner_call = CallSeen(3, 2, "B", 1, first, -97.0, -94.0)
    inner_task = TasksSeen(3, second, [(4, "inner", -9996.0, -9995.0, 0, 0, None)])
    inner_task.bound = (first, -97.0, -94.0)
    seen = [inner_call, inner_task, outer_call, outer_task]
    timeline = consistent(assemble(seen, caller, 0.0, 10.0))
    assert [task.start for task in timeline.tasks] == [2.0, 4.0]
    assert timeline.lanes[2].label.startswith("b, ")


def test_threads_that_were_there_one_after_the_other_share_a_lane():
    caller = at("a", 0.0)

    def batch(thread, number, start, end):
        place = Place("a", 2, thread, 0.0)
        return TasksSeen(1, place, [(number, "f", start, end, 0, 0, None)])

    seen = [
        CallSeen(1, None, "B", 2, caller, 0.0, 9.0),
        batch(10, 2, 1.0, 4.0),
        batch(11, 3, 2.0, 3.0),
        batch(12, 4, 3.0, 5.0),
        batch(13, 5, 4.5, 6.0),
    ]
    timeline = consistent(assemble(seen, caller, 0.0, 10.0))
    assert [task.lane for task in timeline.tasks] == [1, 2, 2, 1]
    assert [lane.thread for lane in timeline.lanes[1:]] == [10, 11]


def test_two_machines_of_one_name():
    caller, other = at("localhost", 0.0), at("localhost", 5000.0)
    batch = TasksSeen(1, other, [(2, "f", -4998.0, -4997.0, 0, 0, None)])
    batch.bound = (caller, 1.0, 5.0)
    call = CallSeen(1, None, "B", 2, caller, 1.0, 5.0)
    (task,) = assemble([call, batch], caller, 0.0, 20.0).tasks
    assert task.start == pytest.approx(2.0)


# ---------------------------------------------------------------------- figures
def timeline_of(spans, n_jobs=2, backend="LokyBackend", lanes=2, own=True, size=8):
    """A call of tasks at (lane, start, end)."""
    end = max(end for *_, end in spans)
    found = [Lane("h", 1, 1, "caller")]
    found += [Lane("h", 1 if own else 2 + n, 2 + n, f"w{n}") for n in range(lanes)]
    return Timeline(
        0.0,
        end,
        found,
        [Call(None, 0, backend, n_jobs, len(spans), 0, 0.0, end)],
        [
            Task("f", 0, None, 0, 1 + lane, start, end, size, 8, None)
            for lane, start, end in spans
        ],
    )


def test_busy_share():
    found = figures_of(timeline_of([(0, 0, 1), (1, 0, 0.5)]))
    assert (found.busy, found.window, found.workers) == (1.5, 1, 2)
    assert found.share == 0.75


def test_a_task_that_waits_for_its_own_call_is_not_busy():
    timeline = Timeline(
        0.0,
        10.0,
        [Lane("h", 1, 1, "caller"), Lane("h", 2, 2, "w")],
        [Call(None, 0, "B", 1, 1, 0, 0.0, 10.0), Call(0, 1, "B", 1, 1, 1, 2.0, 8.0)],
        [
            Task("outer", 0, None, 0, 1, 0.0, 10.0, 0, 0, None),
            Task("inner", 1, 0, 1, 1, 3.0, 7.0, 0, 0, None),
        ],
    )
    found = figures_of(timeline)
    assert found.own == [4.0, 4.0]
    assert found.share == 0.8


@pytest.mark.parametrize(
    ("timeline", "advice"),
    [
        (
            timeline_of([(0, i * 1e-3, i * 1e-3 + 4e-5) for i in range(50)], own=False),
            "pass batch_size, or use threads",
        ),
        (timeline_of([(0, 0, 1), (1, 0, 9)]), "start long tasks first"),
        (
            timeline_of([(0, 0, 1), (1, 0, 1)], n_jobs=8),
            "fewer tasks (2) than jobs (8)",
        ),
        (
            timeline_of([(i, 0, 1) for i in (0, 1)], own=False, size=10**9),
            "arguments of up to 1.0 GB",
        ),
        (timeline_of([(0, 0, 1), (1, 0, 1)]), None),
    ],
)
def test_advice(timeline, advice):
    text = summary_of(timeline)
    if advice is None:
        assert "Advice" not in text
    else:
        assert advice in text


def test_the_summary_is_printed(capsys):
    with trace() as t:
        Parallel(n_jobs=2, prefer="threads")(many(1000))
    t.summary()
    out = capsys.readouterr().out
    assert out.startswith("1,000 tasks of 1 call in ")
    assert "At work:" in out


# ------------------------------------------------------------------------ files
@pytest.mark.parametrize("extension", [".html", ".svg", ".png", ".json", ".csv"])
def test_files(tmp_path, extension):
    if extension == ".png":
        pytest.importorskip("matplotlib")
    path = tmp_path / f"run{extension}"
    path.write_text("before")
    with trace(path):
        Parallel(n_jobs=2, backend="loky")(many(3, tasks.outer, "sequential", 4))
    assert path.stat().st_size > 200
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_file_is_there_after_an_error(tmp_path):
    with pytest.raises(KeyError), trace(tmp_path / "run.csv"):
        Parallel(n_jobs=2, prefer="threads")(many(9, tasks.fail_at, 0))
    assert "KeyError" in (tmp_path / "run.csv").read_text()


def test_what_can_not_be_written(tmp_path):
    for wrong in ("run.txt", "run", tmp_path / "a.HTM"):
        with pytest.raises(ValueError, match=r"one of \.html, .*got: "):
            trace(wrong)
    with pytest.raises(FileNotFoundError, match="no directory"):
        trace(tmp_path / "missing" / "run.html")
    with pytest.raises(TypeError):
        trace(3)
    (tmp_path / "run.csv").mkdir()
    with pytest.raises(OSError, match="run.csv"), trace(tmp_path / "run.csv"):
        Parallel(n_jobs=1)(many(1))
    with (
        pytest.warns(UserWarning, match="could not be written"),
        pytest.raises(KeyError),
        trace(tmp_path / "run.csv") as t,
    ):
        Parallel(n_jobs=1)(many(9, tasks.fail_at, 0))
    assert len(t.timeline.tasks) == 1


def test_the_context_is_put_back():
    from joblib._engine.context import current

    before = current()
    with trace(), warnings.catch_warnings():
        assert current() is not before
    assert current() is before
