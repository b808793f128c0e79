"""Workers that are started before loky is imported: they are used, or they are gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from joblib._backends import headstart, recruit
from joblib._backends.messages import is_available
from joblib.test.test_process_orphans import LIMIT, alive, wait_until_gone

pytestmark = [
    pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs /proc"),
    pytest.mark.skipif(not is_available(), reason="there is no exchange here"),
]

COMMON = """
import contextlib, os, signal, sys
from joblib import Parallel, delayed, parallel_config
from joblib._backends import headstart

begun = []
original = headstart.Recruit.__init__

def note(self):
    original(self)
    begun.append(self.pid)

headstart.Recruit.__init__ = note

def who(i):
    return os.getpid()

def children():
    found = []
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):  # of a thread that has just ended
            with open(f"/proc/self/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found

assert "loky" not in sys.modules
"""


def run(program, **env):
    """Run a program to its end; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", COMMON + program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_the_first_call_gets_them():
    run(
        """
def look(i):
    return os.getpid(), os.getenv("OMP_NUM_THREADS"), os.getcwd(), sys.path

with parallel_config("loky", inner_max_num_threads=3):
    found = Parallel(n_jobs=2)(delayed(look)(i) for i in range(40))
    for pid, threads, folder, path in found:
        assert pid in begun, (pid, begun)
        assert threads == "3"
        assert folder == os.getcwd()
        assert path[1:] == sys.path[1:]
    assert headstart.take() is None
    # they end with the pool, and others come after them
    from joblib import shutdown
    shutdown()
    assert not set(begun) & set(children())
    assert not set(begun) & set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(9)))
assert len(begun) == 2
"""
    )


@pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="with one core there are no workers"
)
def test_of_all_cores_one_starts_early():
    run(
        """
pids = set()
while len(pids) < 2:
    pids |= set(Parallel(n_jobs=-1)(delayed(who)(i) for i in range(30)))
assert len(begun) == 1 and begun[0] in pids, (pids, begun)
""",
        LOKY_MAX_CPU_COUNT="2",
    )


def test_one_that_is_not_needed_is_ended():
    run(
        """
assert Parallel(n_jobs=-1)(delayed(who)(i) for i in range(3)) == [os.getpid()] * 3
assert len(begun) == 1
assert not set(begun) & set(children())
""",
        LOKY_MAX_CPU_COUNT="1",
    )


@pytest.mark.parametrize(
    "call",
    [
        "Parallel(n_jobs=2)([])",
        "Parallel(n_jobs=2, mmap_mode='zzz')([delayed(who)(0)])",
        "Parallel(n_jobs=2, batch_size=0)([delayed(who)(0)])",
        "Parallel(n_jobs=2)(5)",
        "Parallel(n_jobs=2)(1 / 0 for _ in range(3))",
    ],
)
def test_none_stays_of_a_call_that_needs_none(call):
    run(
        f"""
try:
    assert {call} == []
except (ValueError, TypeError, ZeroDivisionError):
    pass
assert not set(begun) & set(children()), (begun, children())
"""
    )


def test_workers_of_a_context_start_when_they_are_needed():
    run(
        """
os.environ["JOBLIB_TEST_GONE"] = "x"
with Parallel(n_jobs=2) as parallel:
    os.environ["JOBLIB_TEST_SET"] = "y"
    del os.environ["JOBLIB_TEST_GONE"]
    names = ["JOBLIB_TEST_SET", "JOBLIB_TEST_GONE"]
    assert parallel(delayed(os.getenv)(name) for name in names) == ["y", None]
assert begun == []
"""
    )


def test_an_environment_that_has_changed_is_the_workers_too():
    run(
        """
def tasks():
    os.environ["JOBLIB_TEST_SET"] = "y"
    for _ in range(4):
        yield delayed(os.getenv)("JOBLIB_TEST_SET")

assert Parallel(n_jobs=2)(tasks()) == ["y"] * 4
assert len(begun) == 2
assert not set(begun) & set(children())
"""
    )


@pytest.mark.parametrize(
    "start",
    [
        "import os\nlog = open(os.devnull)",
        "import numpy",
    ],
)
def test_those_whose_start_is_not_plain_are_not_used(tmp_path, start):
    (tmp_path / "sitecustomize.py").write_text(start)
    run(
        """
assert not set(begun) & set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(9)))
assert len(begun) == 2
assert not set(begun) & set(children())
""",
        PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    )


def test_another_package_of_the_name_is_not_used(tmp_path):
    package = tmp_path / "joblib"
    (package / "_backends").mkdir(parents=True)
    for folder in (package, package / "_backends"):
        (folder / "__init__.py").touch()
    lines = ["import os", "def main(): os.write(3, b'here')"]
    (package / "_backends" / "recruit.py").write_text("\n".join(lines))
    run(
        f"""
sys.path.remove("")  # the folder where it runs, that of the moment
os.chdir({str(tmp_path)!r})
assert not set(begun) & set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(9)))
assert len(begun) == 2
"""
    )


def test_one_that_hangs_is_replaced():
    run(
        """
headstart.PATIENCE = 0.1
headstart.begin(2)
for pid in begun:
    os.kill(pid, signal.SIGSTOP)
assert not set(begun) & set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(9)))
assert not set(begun) & set(children())
"""
    )


def test_few_descriptors_are_enough():
    run(
        """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
held = []
while True:  # the numbers that are free are the highest ones
    try:
        held.append(os.dup(0))
    except OSError:
        break
for number in held[-24:]:
    os.close(number)
assert set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(9))) <= set(begun)
"""
    )


@pytest.mark.parametrize("start", ["early", "as usual"])
@pytest.mark.parametrize("closed", ["0", "1", "01"])  # loky needs the last one
def test_a_program_without_streams_has_workers(tmp_path, closed, start):
    outcome = tmp_path / "outcome"
    program = (
        COMMON
        + f"""
if {start!r} == "as usual":
    import loky
try:
    outcome = Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(9))
except BaseException as error:
    outcome = error
with open({str(outcome)!r}, "w") as file:
    file.write(repr(outcome))
"""
    )
    closing = " ".join(f"{number}>&-" for number in closed)
    command = f'exec "$0" -c "$1" {closing}'
    subprocess.run(["sh", "-c", command, sys.executable, program], timeout=60)
    assert outcome.read_text() == repr(list(range(9)))


def test_blocked_signals_stay_blocked():
    run(
        """
def blocked(i):
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
found = Parallel(n_jobs=2)(delayed(blocked)(i) for i in range(4))
assert found == [{signal.SIGUSR1}] * 4, found
assert len(begun) == 2
"""
    )


def test_no_others_start_where_loky_is_there_or_must_not_be_used():
    run(
        """
assert Parallel(n_jobs=1)([delayed(who)(0)]) == [os.getpid()]
assert Parallel(n_jobs=2, prefer="threads")([delayed(who)(0)]) == [os.getpid()]
assert begun == []
import loky
Parallel(n_jobs=2)(delayed(who)(i) for i in range(3))
assert begun == []
"""
    )


def test_a_dead_one_is_replaced():
    run(
        """
headstart.begin(2)
os.kill(begun[0], signal.SIGKILL)
os.waitid(os.P_PID, begun[0], os.WEXITED | os.WNOWAIT)
pids = set()
while len(pids) < 2:
    pids |= set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(20)))
assert begun[0] not in pids and begun[1] in pids, (pids, begun)
assert begun[0] not in children()
"""
    )


def test_one_that_dies_later_is_a_dead_worker():
    run(
        """
def die(i):
    os.kill(os.getpid(), signal.SIGKILL)

try:
    Parallel(n_jobs=2)(delayed(die)(i) for i in range(2))
except Exception as error:
    assert type(error).__name__ == "TerminatedWorkerError", error
    assert "SIGKILL" in str(error), error
else:
    raise AssertionError("no error")
assert len(begun) == 2
assert Parallel(n_jobs=2)(delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
"""
    )


def test_workers_that_cannot_be_launched_are_not_left():
    run(
        """
import threading
lock = threading.Lock()
try:
    with parallel_config("loky", initializer=print, initargs=(lock,)):
        Parallel(n_jobs=2)(delayed(who)(i) for i in range(2))
except Exception as error:
    assert "lock" in str(error), error
else:
    raise AssertionError("no error")
assert len(begun) == 2
assert not set(begun) & set(children()), (begun, children())
"""
    )


def test_none_outlives_a_caller_that_is_killed_before_it_has_use_for_them():
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            COMMON + "headstart.begin(3)\nprint(*begun, flush=True)\nsignal.pause()",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONINSPECT": "1"},
    )
    try:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 3
        assert alive(pids) == pids
    finally:
        process.kill()
        _, errors = process.communicate()
    wait_until_gone(lambda: alive(pids), LIMIT)
    assert errors == ""  # which they would have written, too


def test_a_forked_child_leaves_them_to_its_parent():
    run(
        """
headstart.begin(2)
child = os.fork()
if not child:
    os._exit(0 if headstart.take() is None else 1)
assert os.waitpid(child, 0)[1] == 0
assert set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(9))) <= set(begun)
"""
    )


def test_an_interrupt_while_they_start_spares_them():
    run(
        """
headstart.begin(2)
for pid in begun:
    os.kill(pid, signal.SIGINT)
pids = set()
while len(pids) < 2:
    pids |= set(Parallel(n_jobs=2)(delayed(who)(i) for i in range(20)))
assert pids == set(begun)
"""
    )


def test_where_none_can_be_started_there_is_none(monkeypatch):
    monkeypatch.setattr(headstart, "_begun", False)
    monkeypatch.delitem(sys.modules, "loky", raising=False)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    headstart.begin(2)
    assert headstart.take() is None


def test_descriptors_get_the_numbers_that_they_have_elsewhere():
    pipes = [os.pipe() for _ in range(3)]
    ends = [end for pair in pipes for end in pair]
    contents = [os.fstat(end).st_ino for end in ends]
    # each gets the number that the next one has now
    numbers = ends[1:] + ends[:1]
    recruit._place(ends, numbers)
    try:
        assert [os.fstat(number).st_ino for number in numbers] == contents
        assert not any(os.get_inheritable(number) for number in numbers)
    finally:
        for number in numbers:
            os.close(number)


def test_orders_that_are_cut_short_are_none():
    for sent in (b"", (100).to_bytes(8, "little") + b"x" * 50):
        ours, theirs = socket.socketpair()
        with theirs:
            with ours:
                ours.sendall(sent)
            assert recruit._receive(theirs) is None


def test_one_that_hangs_is_ended(monkeypatch):
    one = headstart.Recruit()
    os.kill(one.pid, signal.SIGSTOP)
    one.dismiss()
    assert alive([one.pid]) == []
