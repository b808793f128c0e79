"""Where worker processes may be started, and how many."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings

import pytest

import joblib
from joblib import Parallel, delayed, effective_n_jobs
from joblib._backends.admission import Situation, admit
from joblib._backends.loky import LokyBackend
from joblib._backends.multiprocessing import MultiprocessingBackend

FREE = Situation(True, False, False, False)
NO_PROCESSES = FREE._replace(processes_work=False)
DAEMONIC = FREE._replace(daemonic=True)
IN_LOKY = FREE._replace(loky_worker=True)
IN_THREAD = FREE._replace(worker_thread=True)


@pytest.mark.parametrize(
    ("n_jobs", "situation", "nests", "count", "obstacle"),
    [
        (3, FREE, False, 3, None),
        (None, FREE, False, 1, None),
        (-1, FREE, False, 8, None),
        (-2, FREE, False, 7, None),
        (-100, FREE, False, 1, None),
        (3, NO_PROCESSES, True, 1, None),
        (3, DAEMONIC, True, 1, "daemonic"),
        (-1, DAEMONIC, True, 1, "daemonic"),
        (1, DAEMONIC, True, 1, None),
        (3, IN_LOKY, True, 3, None),
        (3, IN_LOKY, False, 1, "below loky"),
        (3, IN_THREAD, True, 1, "below threads"),
        (None, IN_THREAD, True, 1, None),
    ],
)
def test_admission(n_jobs, situation, nests, count, obstacle):
    decision = admit(n_jobs, 8, situation, may_nest_in_loky=nests)
    assert decision.n_jobs == count
    assert (decision.obstacle is None) == (obstacle is None)
    assert obstacle is None or obstacle in decision.obstacle


@pytest.mark.parametrize("situation", [FREE, NO_PROCESSES, DAEMONIC])
def test_zero_jobs(situation):
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        admit(0, 8, situation, may_nest_in_loky=True)


@pytest.mark.parametrize("backend", [LokyBackend, MultiprocessingBackend])
def test_threads(backend):
    def count(level, into):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            into.append(backend(nesting_level=level).effective_n_jobs(3))
        into.append([str(w.message) for w in caught])

    own, worker = [], []
    for level, into in ((0, own), (1, worker)):
        thread = threading.Thread(target=count, args=(level, into))
        thread.start()
        thread.join()
    assert own == [3, []]
    assert worker[0] == 1
    assert "backed parallel loops cannot be nested below threads" in worker[1][0]


def nested_call(backend):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        out = Parallel(2, backend=backend)(delayed(abs)(-i) for i in range(3))
    return out, [str(w.message) for w in caught]


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("outer", "inner", "warned"),
    [
        ("loky", "multiprocessing", "nested below loky's processes"),
        ("multiprocessing", "loky", "daemonic"),
        ("multiprocessing", "multiprocessing", "daemonic"),
        ("loky", "loky", None),
    ],
)
def test_nesting(outer, inner, warned):
    [(out, messages)] = Parallel(2, backend=outer)([delayed(nested_call)(inner)])
    assert out == [0, 1, 2]
    assert bool(messages) == (warned is not None)
    assert warned is None or warned in messages[0]


UNPROTECTED = """
from multiprocessing import get_context
from joblib import Parallel, delayed
print("main module runs")
Parallel(2, backend=get_context("spawn"))(delayed(abs)(i) for i in range(3))
"""


def test_a_main_module_without_protection(tmp_path):
    script = tmp_path / "unprotected.py"
    script.write_text(UNPROTECTED)
    root = os.path.dirname(os.path.dirname(joblib.__file__))
    run = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert run.returncode == 1
    assert "if __name__ == '__main__':" in run.stderr
    assert "TerminatedWorkerError" in run.stderr


@pytest.mark.parametrize("value", ["0", "false"])
def test_switched_off(value):
    code = """if True:
        import os, sys
        from joblib import Parallel, delayed, cpu_count, effective_n_jobs
        from joblib._multiprocessing_helpers import default_context, mp
        assert mp is None and default_context() is None
        assert cpu_count() == 1
        out = Parallel(2)(delayed(os.getpid)() for _ in range(2))
        assert set(out) == {os.getpid()}
        assert "loky" not in sys.modules
    """
    env = {**os.environ, "JOBLIB_MULTIPROCESSING": value, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=30)


def test_start_method_from_the_environment(monkeypatch):
    from joblib._multiprocessing_helpers import default_context

    monkeypatch.setenv("JOBLIB_START_METHOD", "spawn")
    assert default_context().get_start_method() == "spawn"
    monkeypatch.setenv("JOBLIB_START_METHOD", "teleport")
    with pytest.raises(ValueError, match=r"JOBLIB_START_METHOD='teleport'.*spawn"):
        default_context()


def test_asking_for_the_context_does_not_fix_it():
    code = """if True:
        from joblib._multiprocessing_helpers import default_context
        default_context()
        import multiprocessing
        multiprocessing.set_start_method("spawn")
        assert default_context().get_start_method() == "spawn"
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_semaphores_that_do_not_work(monkeypatch):
    from joblib import _multiprocessing_helpers as helpers

    def refuse():
        raise OSError("function not implemented")

    monkeypatch.setattr(helpers, "_semaphores_work", refuse)
    with pytest.warns(UserWarning, match="serial mode"):
        assert helpers._usable_multiprocessing() is None
    monkeypatch.setattr(helpers, "mp", None)
    assert effective_n_jobs(1) == 1
