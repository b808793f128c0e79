"""All kinds of calls in random order, with errors, kills and interrupts, for a while."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from joblib.test.test_process_orphans import wait_until_gone

#: seconds that it takes; `make soak` takes ten minutes
SECONDS = float(os.environ.get("JOBLIB_SOAK_SECONDS", "15"))
#: that a call may take at most, and the program to end
PATIENCE = 90.0
#: megabytes that the caller's memory may grow from start to end, which is what imports,
#: buffers and fragments of the heap come to, however long it goes on
CEILING = 96.0
#: and from warm to end, once it has gone on for long enough to have been warm
GROWTH = 32.0
LONG_ENOUGH = 120.0
#: open descriptors and threads likewise: what is about to close
SPARE = 8

PROGRAM = Path(__file__).with_name("process_soak.py")

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc"),
]


def of_session(number):
    """Return the processes of a session that are not over."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == number and fields[0] not in "ZX":
                found.append((entry / "cmdline").read_text().replace("\0", " ")[:200])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def folders_of(pid):
    """Return the folders of a process, or, of "*", of all."""
    return {
        str(path)
        for place in {"/dev/shm", tempfile.gettempdir()}
        for path in Path(place).glob(f"joblib_memmapping_folder_{pid}_*")
    }


def run(seconds, seed):
    """Run the program; return its figures, once all of it is gone."""
    older = folders_of("*")  # of processes that may have had its number before it
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(seconds), str(seed)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={k: v for k, v in os.environ.items() if k != "JOBLIB_TEMP_FOLDER"},
    )
    hung = threading.Event()

    def tell():  # where it hangs, before it is ended
        hung.set()
        process.send_signal(signal.SIGUSR1)

    watchdog = threading.Timer(seconds + PATIENCE, tell)
    last = threading.Timer(seconds + PATIENCE + 2, process.kill)
    watchdog.start()
    last.start()
    try:
        output, errors = process.communicate()
        assert not hung.is_set(), f"seed {seed}: it hangs\n{errors[-8000:]}"
        assert process.returncode == 0, f"seed {seed}\n{errors[-8000:]}"
        wait_until_gone(lambda: of_session(process.pid), 10)
        wait_until_gone(lambda: folders_of(process.pid) - older, 10)
    finally:
        for timer in (watchdog, last):
            timer.cancel()
            timer.join()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # as it should be
            pass
    return json.loads(output.splitlines()[-1])


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + PATIENCE + 60)
def test_calls_of_all_kinds():
    pytest.importorskip("numpy")
    seed = int.from_bytes(os.urandom(3), "big")
    figures = run(SECONDS, seed)
    print(f"seed {seed}, {SECONDS:.0f} s: {json.dumps(figures, indent=1)}")
    start, warm, end = figures["start"], figures["warm"], figures["end"]
    for now in (start, warm, end):
        assert now["processes left"] == []
        assert now["files left"] == []
    assert end["memory"] - start["memory"] <= CEILING, (start, warm, end)
    if SECONDS >= LONG_ENOUGH:
        assert end["memory"] - warm["memory"] <= GROWTH, (start, warm, end)
    assert end["descriptors"] - warm["descriptors"] <= SPARE, (start, warm, end)
    assert end["threads"] - warm["threads"] <= SPARE, (start, warm, end)
    for name in ("calls", "tasks", "kills", "interrupts", "errors"):
        assert figures[name] > 0
