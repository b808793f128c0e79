"""`progress=`: a bar, a line, or a function that is told."""

from __future__ import annotations

import builtins
import io
import sys
import threading

import pytest

from joblib import Parallel, delayed, parallel_config
from joblib._engine import meter
from joblib.test import trace_tasks as tasks
from joblib.test.backends import ApplyAsyncBackend, InlineBackend

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*apply_async.*:DeprecationWarning"),
]

NAMES = ["sequential", "threading", "loky", "multiprocessing"]
OTHERS = [ApplyAsyncBackend, InlineBackend]


def many(n, function=tasks.same, *given):
    return (delayed(function)(*given, i) for i in range(n))


class Told:
    """Takes down what it is told; fails if it is told two things at a time."""

    def __init__(self):
        self.seen = []
        self._alone = threading.Lock()

    def __call__(self, done, total, seconds):
        assert self._alone.acquire(False)
        try:
            self.seen.append((done, total, seconds))
        finally:
            self._alone.release()

    def check(self, n, total_first=None):
        done = [now[0] for now in self.seen]
        assert done == sorted(done)
        assert self.seen[-1][:2] == (n, n)
        assert self.seen[0][1] == total_first
        seconds = [now[2] for now in self.seen]
        assert seconds == sorted(seconds)
        assert seconds[0] >= 0


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("backend", [*NAMES, *OTHERS])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"on_error": "return"}])
def test_a_function_is_told_of_all_tasks(backend, n_jobs, options):
    backend = backend if isinstance(backend, str) else backend()
    if isinstance(backend, ApplyAsyncBackend) and "on_error" in options:
        pytest.skip("it can't keep errors")
    told = Told()
    out = Parallel(n_jobs=n_jobs, backend=backend, progress=told, **options)(many(20))
    assert out == list(range(20))
    told.check(20)


@pytest.mark.parametrize("backend", NAMES[:3])
@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators(backend, return_as):
    told = Told()
    parallel = Parallel(n_jobs=2, backend=backend, return_as=return_as, progress=told)
    assert sorted(parallel(list(many(20)))) == list(range(20))
    told.check(20, total_first=20)
    assert list(parallel([])) == []
    assert told.seen[-1][:2] == (0, 0)


@pytest.mark.parametrize("backend", NAMES)
def test_calls_within_tasks_are_quiet(backend):
    """The context's progress is that of the calls made in it."""
    told = Told()
    with parallel_config(progress=told):
        out = Parallel(n_jobs=2, backend=backend)(many(4, tasks.outer, "sequential", 5))
    assert out == [15] * 4
    told.check(4)


@pytest.mark.parametrize("backend", NAMES)
def test_calls_within_tasks_show_what_they_are_asked_to(backend):
    out = Parallel(n_jobs=2, backend=backend)(many(2, tasks.with_progress))
    assert out == [[1, 2, 3, 3]] * 2 or out == [[1, 2, 3]] * 2


def test_a_call_may_be_quiet_in_a_context():
    told = Told()
    with parallel_config(progress=told):
        Parallel(n_jobs=2, prefer="threads", progress=False)(many(5))
        assert told.seen == []
        with parallel_config(progress=None):
            Parallel(n_jobs=2, prefer="threads")(many(5))
        assert told.seen == []
        Parallel(n_jobs=2, prefer="threads")(many(5))
    told.check(5)


@pytest.mark.parametrize("backend", [*NAMES, InlineBackend])
@pytest.mark.parametrize("at", [1, 10])
def test_an_error_in_it_ends_the_call(backend, at):
    def fail(done, total, seconds):
        if done >= at:
            raise OSError("no room for this")

    backend = backend if isinstance(backend, str) else backend()
    parallel = Parallel(n_jobs=2, backend=backend, progress=fail, batch_size=1)
    with pytest.raises(OSError, match="no room"):
        parallel(many(10))
    parallel = Parallel(n_jobs=2, backend="threading")
    assert parallel(many(3)) == [0, 1, 2]


@pytest.mark.parametrize("backend", NAMES)
def test_a_task_that_fails(backend):
    told = Told()
    with pytest.raises(KeyError):
        Parallel(n_jobs=2, backend=backend, progress=told)(many(9, tasks.fail_at, 5))
    assert all(done < 9 for done, _, _ in told.seen)
    told = Told()
    out = Parallel(n_jobs=2, backend=backend, progress=told, on_error="return")(
        many(9, tasks.fail_at, 5)
    )
    assert isinstance(out[5], KeyError)
    told.check(9)


@pytest.mark.parametrize("wrong", [3, 0, 1.5, [], b"label"])
def test_wrong_values(wrong):
    for make in (Parallel, parallel_config):
        with pytest.raises(TypeError, match=r"bool, a label or a callable"):
            make(progress=wrong)


# ----------------------------------------------------------------------- shown
@pytest.fixture
def no_tqdm(monkeypatch):
    """An installation without tqdm."""
    real = builtins.__import__

    def importing(name, *args, **kwargs):
        if name.startswith("tqdm"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


@pytest.mark.parametrize("backend", NAMES)
def test_a_bar_of_tqdm(backend, capsys):
    pytest.importorskip("tqdm")
    Parallel(n_jobs=2, backend=backend, progress="digits")(list(many(30)))
    shown = capsys.readouterr()
    assert "digits: 100%" in shown.err
    assert "30/30" in shown.err
    assert shown.out == ""


def test_a_bar_of_unknown_length(capsys):
    pytest.importorskip("tqdm")
    Parallel(n_jobs=2, prefer="threads", progress=True)(many(30))
    assert "30/30" in capsys.readouterr().err


def test_a_bar_goes_when_the_call_fails(capsys):
    tqdm = pytest.importorskip("tqdm")
    before = len(tqdm.tqdm._instances)
    with pytest.raises(KeyError):
        Parallel(n_jobs=2, prefer="threads", progress=True)(many(9, tasks.fail_at, 5))
    results = Parallel(
        n_jobs=2, prefer="threads", progress=True, return_as="generator"
    )(many(100))
    next(results)
    with pytest.warns(UserWarning, match="have been cancelled"):
        results.close()
    assert len(tqdm.tqdm._instances) == before


@pytest.mark.usefixtures("no_tqdm")
def test_a_line_without_tqdm(capsys):
    Parallel(n_jobs=2, prefer="threads", progress="digits")(list(many(30)))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("digits: ")
    assert lines[-1].startswith("digits: 30/30, ")
    assert len(lines) <= 2  # a line every ten seconds, and the last


@pytest.mark.usefixtures("no_tqdm")
def test_a_line_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(meter, "TERMINAL_SECONDS", 0.0)
    Parallel(n_jobs=1, progress=True)(many(3))
    parts = sys.stderr.getvalue().split("\r")
    assert [part.split(",")[0] for part in parts] == [
        "",
        "tasks: 1",
        "tasks: 2",
        "tasks: 3",
        "tasks: 3/3",
    ]
    assert parts[-1].endswith("\n")


@pytest.mark.usefixtures("no_tqdm")
@pytest.mark.parametrize("closed", [True, False])
def test_without_a_place_to_show_it(monkeypatch, closed):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream if closed else None)
    assert Parallel(n_jobs=1, progress=True)(many(3)) == [0, 1, 2]


def test_without_stderr_tqdm_is_not_asked(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert Parallel(n_jobs=1, progress=True)(many(3)) == [0, 1, 2]


# --------------------------------------------------------------------- recipes
def test_a_recipe_that_overrides_print_progress_still_works():
    class WithBar(Parallel):
        def print_progress(self):
            self.counts.append(self.n_completed_tasks)

    told = Told()
    parallel = WithBar(n_jobs=2, prefer="threads", progress=told)
    parallel.counts = []
    parallel(many(10))
    told.check(10)
    assert parallel.counts[-1] == 10


def test_a_recipe_that_replaces_the_callback_still_works(monkeypatch):
    import joblib.parallel

    counted = []

    class Counting(joblib.parallel.BatchCompletionCallBack):
        def __call__(self, *args, **kwargs):
            counted.append(self.batch_size)
            return super().__call__(*args, **kwargs)

    monkeypatch.setattr(joblib.parallel, "BatchCompletionCallBack", Counting)
    told = Told()
    Parallel(n_jobs=2, prefer="threads", progress=told)(many(10))
    told.check(10)
    assert sum(counted) == 10
