"""Ctrl-C: a call on processes ends at once, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import get_all_start_methods

import pytest
from loky import get_reusable_executor

import joblib
from joblib import Parallel, delayed
from joblib._backends.messages import is_available
from joblib._backends.workers import SharedWorkers
from joblib.test.test_process_orphans import alive, wait_until_gone

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX"),
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc"),
]

METHODS = sorted({"fork", "spawn", "forkserver"} & set(get_all_start_methods()))

#: seconds from the signal until the caller and all workers are gone
LIMIT = 1.0
#: a machine that is busy with something else may be slow once
ATTEMPTS = 3

PROGRAM = """
import os, sys, time
from multiprocessing import get_context
import numpy as np
from joblib import Parallel, delayed

method, state = sys.argv[1:]

def work(array, busy):
    os.write(1, b"pid %d\\n" % os.getpid())
    if busy:
        time.sleep(600)
    time.sleep(0.05)
    return np.zeros(300_000)

def main():
    backend = method if method == "loky" else get_context(method)
    array = np.arange(300_000)
    with Parallel(2, backend=backend, batch_size=1) as parallel:
        parallel(delayed(work)(array, state == "busy") for _ in range(4))
        os.write(1, b"idle\\n")
        time.sleep(600)

if __name__ == "__main__":
    main()
"""


def interrupt(program, method, state, whom, files):
    """Interrupt a program; return what it says, and how long it went on."""
    caller = subprocess.Popen(
        [sys.executable, str(program), method, state],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "JOBLIB_TEMP_FOLDER": str(files)},
        start_new_session=True,
    )
    timer = threading.Timer(50, caller.kill)
    timer.start()
    pids = set()
    try:
        for line in caller.stdout:
            if line == b"idle\n":
                break
            pids.add(int(line.split()[1]))
            if state == "busy" and len(pids) == 2:
                break
        assert pids
        assert any(files.iterdir())
        started = time.monotonic()
        if whom == "group":  # as a terminal does
            os.killpg(caller.pid, signal.SIGINT)
        else:
            caller.send_signal(signal.SIGINT)
        caller.wait()
        wait_until_gone(lambda: alive(pids), 10)
        seconds = time.monotonic() - started
        wait_until_gone(lambda: list(files.iterdir()), 10)
        said = caller.stderr.read().decode()
        assert caller.returncode == -signal.SIGINT, said
        return said, seconds
    finally:
        timer.cancel()
        timer.join()
        caller.kill()
        caller.communicate()
        for pid in alive(pids):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("whom", ["group", "caller"])
@pytest.mark.parametrize("state", ["busy", "idle"])
@pytest.mark.parametrize("method", ["loky", *METHODS])
def test_an_interrupt_ends_all_at_once(method, state, whom, tmp_path):
    pytest.importorskip("numpy")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    files = tmp_path / "files"
    files.mkdir()
    took = []
    while not took or (took[-1] > LIMIT and len(took) < ATTEMPTS):
        said, seconds = interrupt(program, method, state, whom, files)
        took.append(seconds)
        assert said.rstrip().endswith("KeyboardInterrupt"), said
    assert took[-1] <= LIMIT, took


IDLE = """
import os, signal, time
from joblib import Parallel, delayed

def pids():
    return set(Parallel(2, backend="loky", batch_size=1)(
        delayed(os.getpid)() for _ in range(20)
    ))

if __name__ == "__main__":
    before = set()
    while len(before) < 2:  # both have started
        before |= pids()
    for _ in range(10):
        try:
            os.killpg(0, signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            pass
        assert pids() <= before
    print("fine")
"""


def test_workers_that_wait_are_not_interrupted(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(IDLE)
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        timeout=50,
        start_new_session=True,
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.skipif(not is_available(), reason="loky's own workers heed them all")
def test_workers_that_start_are_not_interrupted(monkeypatch):
    joblib.shutdown()
    start = SharedWorkers._adjust_process_count
    interrupted = []

    def start_and_interrupt(self):
        start(self)
        for pid in set(self._processes).difference(interrupted):
            os.kill(pid, signal.SIGINT)
            interrupted.append(pid)

    monkeypatch.setattr(SharedWorkers, "_adjust_process_count", start_and_interrupt)
    parallel = Parallel(2, backend="loky")
    assert parallel(delayed(abs)(-i) for i in range(5)) == list(range(5))
    assert len(interrupted) == 2
    assert set(get_reusable_executor(reuse=True)._processes) == set(interrupted)
