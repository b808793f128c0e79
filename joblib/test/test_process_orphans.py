"""What is left when a process that had workers is killed: nothing."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading

import pytest

from joblib._backends import lifeline, orphans

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs signals of POSIX")

#: seconds within which all must be gone
LIMIT = 10.0

PROGRAM = """
import os, re, sys, threading, time
import numpy as np
from joblib import Parallel, delayed, parallel_config

backend, method, busy = sys.argv[1:]

def work(array, busy):
    os.write(1, b"pid %d\\n" % os.getpid())
    if busy == "native":  # keeps Python's lock for longer than anyone will wait
        re.match("(a*)*b", "a" * 80)
    if busy != "idle":
        time.sleep(600)
    return np.zeros(300_000)

def main():
    options = {}
    if backend == "multiprocessing":
        import multiprocessing
        options["context"] = multiprocessing.get_context(method)
    with parallel_config(backend, n_jobs=2, **options):
        with Parallel() as parallel:
            parallel(delayed(work)(np.arange(300_000), busy) for _ in "ab")
            os.write(1, b"idle\\n")
            time.sleep(600)

if __name__ == "__main__":
    main()
"""


def wait_until_gone(what, seconds):
    """Wait until a function returns nothing; fail with what it returned last."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        left = what()
        if not left:
            return
        pause.wait(0.02)
    pytest.fail(f"still there: {left}")


def alive(pids):
    def is_running(pid):
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return [pid for pid in pids if is_running(pid)]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc")
@pytest.mark.parametrize("busy", ["busy", "idle", "native", "stopped"])
@pytest.mark.parametrize(
    "backend, method",
    [
        ("loky", "-"),
        ("multiprocessing", "fork"),
        ("multiprocessing", "spawn"),
        ("multiprocessing", "forkserver"),
    ],
)
def test_no_worker_and_no_file_outlives_a_killed_caller(
    backend, method, busy, tmp_path
):
    pytest.importorskip("numpy")
    if busy in ("native", "stopped") and sys.platform != "linux":
        pytest.skip("only Linux ends what can't run a thread")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    files = tmp_path / "files"
    files.mkdir()
    caller = subprocess.Popen(
        [sys.executable, str(program), backend, method, busy],
        stdout=subprocess.PIPE,
        env={**os.environ, "JOBLIB_TEMP_FOLDER": str(files)},
    )
    pids = set()
    try:
        for line in caller.stdout:
            if line == b"idle\n":
                break
            pids.add(int(line.split()[1]))
            if busy != "idle" and len(pids) == 2:
                break
        assert pids
        if busy == "stopped":
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
        assert any(files.iterdir())
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        wait_until_gone(lambda: alive(pids), LIMIT)
        wait_until_gone(lambda: list(files.iterdir()), LIMIT)
    finally:
        caller.kill()
        caller.wait()
        caller.stdout.close()
        for pid in alive(pids):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.stdin.close()
    process.wait()


@pytest.mark.parametrize("has_descriptors", [True, False])
def test_waiting_for_a_process_that_is_not_the_parent(
    sleeper, has_descriptors, monkeypatch
):
    monkeypatch.setattr(orphans, "LOOK_INTERVAL", 0.01)
    if not has_descriptors:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    thread = threading.Thread(target=orphans._wait_for_end, args=(sleeper.pid,))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    sleeper.kill()
    sleeper.wait()
    thread.join(10)
    assert not thread.is_alive()
    orphans._wait_for_end(sleeper.pid)  # gone already


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("has_descriptors", [True, False])
def test_a_child_ends_with_its_parent(has_descriptors, monkeypatch):
    monkeypatch.setattr(orphans, "LOOK_INTERVAL", 0.01)
    if not has_descriptors:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    reader, writer = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:  # the worker, which holds the pipe open
            orphans.end_with(os.getppid())
            os.write(writer, b"x")
            threading.Event().wait(60)
        threading.Event().wait(60)
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert select.select([reader], [], [], LIMIT)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.fixture
def own_line():
    """The line of a process that has none yet."""
    before, lifeline._held = lifeline._held, None
    yield lifeline.hold()
    lifeline._let_go()
    lifeline._held = before


@pytest.mark.skipif(sys.platform != "linux", reason="needs signals of Linux")
def test_a_line_is_told_from_what_has_its_number(own_line, tmp_path):
    assert lifeline.hold() == own_line
    descriptor = int(os.path.basename(own_line.path))
    os.close(descriptor)
    assert not lifeline.die_with(own_line)
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    os.dup2(other, descriptor)
    assert not lifeline.die_with(own_line)
    # what a forked child does leaves the file alone, and then there is a new line
    lifeline._let_go()
    os.fstat(descriptor)
    assert lifeline.hold() != own_line
    os.close(descriptor)
    os.close(other)


def refuse():
    raise OSError(errno.EMFILE, "Too many open files")


def test_without_a_descriptor_there_is_no_line(monkeypatch):
    monkeypatch.setattr(lifeline, "_held", None)
    monkeypatch.setattr(os, "pipe", refuse)
    assert lifeline.hold() is None


def test_other_systems_have_no_lines(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert lifeline.hold() is None


def test_equal_starts():
    assert orphans.Start(print, [1]) == orphans.Start(print, (1,))
    assert orphans.Start(print, [1]) != orphans.Start(print, [2])
    assert orphans.Start(None) != 5
    with pytest.raises(TypeError, match="initializer must be a callable, got 5"):
        orphans.Start(5)
