"""Processes that are killed at any moment while they share a cache that evicts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

from joblib import Memory

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")

N_PROCESSES = 8
N_KEYS = 40
LONGEST_START = 30.0  # seconds

PROGRAM = """
import os, random, sys, warnings
sys.path.insert(0, sys.argv[2])
from soaked import expected, work
import joblib

warnings.simplefilter("ignore")
cached = joblib.Memory(sys.argv[1], verbose=0{options}).cache(work)
memory = joblib.Memory(sys.argv[1], verbose=0)
choose = random.Random(os.getpid())
print("ready", flush=True)
while True:
    x = choose.randrange({n_keys})
    value = cached(x)
    if value != expected(x):
        print("WRONG", x, repr(value)[:200], flush=True)
    if choose.random() < 0.03:
        memory.reduce_size(items_limit=10)
"""

FUNCTIONS = """
def expected(x):
    return [x, str(x) * 50 * (1 + x % 7), bytes([x]) * (3000 * (x % 5))]


def work(x):
    return [x, str(x) * 50 * (1 + x % 7), bytes([x]) * (3000 * (x % 5))]
"""


class Crowd:
    """Processes of which one after the other is killed and replaced."""

    def __init__(self, program, *arguments):
        self.command = [sys.executable, "-c", program, *arguments]
        self.environment = dict(os.environ)
        package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
        self.environment["PYTHONPATH"] = package
        self.processes = []
        self.readers = []
        self.said = []
        self.begun = threading.Event()
        self.n_killed = 0
        self.n_ended = 0

    def start(self):
        process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reader = threading.Thread(target=self.read, args=(process,))
        reader.start()
        self.processes.append(process)
        self.readers.append(reader)

    def read(self, process):
        with process.stdout as stream:
            for line in stream:
                self.said.append(line)
                self.begun.set()

    def kill(self, process):
        self.n_ended += process.poll() is not None  # by itself, which none may
        process.kill()
        process.wait(30)
        self.processes.remove(process)
        self.n_killed += 1

    def run(self, seconds, choose):
        begin = time.monotonic()
        try:
            for _ in range(N_PROCESSES):
                self.start()
            # On a busy machine they take long to come as far as their first call.
            assert self.begun.wait(LONGEST_START)
            pace = max(0.3, (time.monotonic() - begin) / 2)
            end = time.monotonic() + seconds
            while time.monotonic() < end or self.n_killed < N_PROCESSES:
                # As if by accident: nothing tells when a process is about to write.
                time.sleep(choose.uniform(0, pace))
                self.kill(choose.choice(self.processes))
                self.start()
        finally:
            for process in list(self.processes):
                self.kill(process)
            for reader in self.readers:
                reader.join(30)
            print(f"{self.n_killed} killed, {len(self.said)} of them at work")


def soak(tmp_path, seconds, options=""):
    directory = tmp_path / "cache"
    (tmp_path / "soaked.py").write_text(FUNCTIONS)
    program = PROGRAM.format(n_keys=N_KEYS, options=options)
    crowd = Crowd(program, str(directory), str(tmp_path))
    crowd.run(seconds, random.Random(0))
    assert {line.strip() for line in crowd.said} == {"ready"}
    assert crowd.n_ended == 0
    assert crowd.n_killed >= 2 * N_PROCESSES
    assert len(crowd.said) >= 3, "hardly any came as far as its first call"
    check_what_is_left(tmp_path, directory)
    return crowd


def left_by_writers(memory):
    """Files that were being written, and directories that were being removed."""
    root = Path(memory.store_backend.location)
    marks = ("output.pkl.", "metadata.json.", "func_code.py.", ".removed-")
    return [path for path in root.rglob("*") if path.name.startswith(marks)]


def check_what_is_left(tmp_path, directory):
    """Every entry loads, or is a clean miss; a sweep leaves no temporary file."""
    sys.path.insert(0, str(tmp_path))
    try:
        import soaked

        memory = Memory(directory, verbose=0)
        memory.reduce_size(items_limit=10**6)
        # Beside a complete result it goes with that, or when that is written anew.
        for path in left_by_writers(memory):
            assert {"output.pkl", "metadata.json"} <= set(os.listdir(path.parent))
        cached = memory.cache(soaked.work)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for x in range(N_KEYS):
                if cached.check_call_in_cache(x):
                    reference = cached.call_and_shelve(x)
                    assert reference.get() == soaked.expected(x)
                assert cached(x) == soaked.expected(x)
                assert cached.check_call_in_cache(x)
        memory.reduce_size(items_limit=0)
        assert left_by_writers(memory) == []
        assert memory.store_backend.get_items() == []
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("soaked", None)


@pytest.mark.slow
def test_killed_processes_leave_a_cache_that_is_right(tmp_path):
    soak(tmp_path, 3)


@pytest.mark.soak
@pytest.mark.timeout(180)
@pytest.mark.parametrize("options", ["", ", max_size='100K'"])
def test_killed_processes_for_a_long_time(tmp_path, options):
    seconds = 60 if "JOBLIB_SOAK_SECONDS" in os.environ else 10
    crowd = soak(tmp_path, seconds, options)
    assert crowd.n_killed > 1.5 * seconds
