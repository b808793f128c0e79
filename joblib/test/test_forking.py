"""Threads that start forked workers at once do so one after the other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PROGRAM = """
import os, sys, threading, time, warnings
from multiprocessing import get_context
from joblib import Parallel, delayed

warnings.simplefilter("ignore")
forking = set()

def begin():
    forking.add(threading.get_ident())
    time.sleep(0.01)  # so that another thread comes to this point

def end():
    forking.discard(threading.get_ident())

def refuse(event, args):
    if event == "os.fork" and forking:
        raise RuntimeError("two forks at once")

def check_as_filelock_does():
    os.register_at_fork(before=begin, after_in_parent=end, after_in_child=forking.clear)
    sys.addaudithook(refuse)

def call():
    fork = get_context("fork")
    for n in range(3):
        out = Parallel(2, backend=fork)(delayed(divmod)(i, 7) for i in range(5))
        assert out == [(0, i) for i in range(5)]
        fine.append(n)

fine = []
if sys.argv[1] == "filelock":
    import filelock
else:
    check_as_filelock_does()
threads = [threading.Thread(target=call) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(fine))
"""


@pytest.mark.parametrize("check", ["ours", "filelock"])
def test_threads_that_fork_at_once(check):
    if check == "filelock":
        pytest.importorskip("filelock")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, check],
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert done.stdout == "12\n", done.stderr
    assert "two forks" not in done.stderr
