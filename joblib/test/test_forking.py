"""Threads that start forked workers at once do so one after the other."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait

import pytest

from joblib import Parallel, delayed
from joblib._forking import make_process

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


METHODS = ["fork", "spawn", "forkserver"]


def tell_name(_):
    return multiprocessing.current_process().name


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", METHODS)
def test_workers_have_the_names_that_pools_give(method):
    context = multiprocessing.get_context(method)
    [name] = Parallel(2, backend=context)([delayed(tell_name)(0)])
    with context.Pool(1) as pool:
        usual = pool.apply(tell_name, (0,))
        pool.close()
        pool.join()
    assert name.rstrip("0123456789") == usual.rstrip("0123456789")


def test_two_threads_ask_for_the_exit_code_at_once(monkeypatch):
    forkserver = pytest.importorskip("multiprocessing.forkserver")
    context = multiprocessing.get_context("forkserver")
    process = make_process(context, target=os._exit, args=(3,))
    process.start()
    wait([process.sentinel], 20)
    read_signed = forkserver.read_signed
    readers = []
    second = threading.Event()

    def read_slowly(descriptor):
        readers.append(descriptor)
        if len(readers) == 1:
            second.wait(0.2)  # which comes by then, if it comes
        else:
            second.set()
        return read_signed(descriptor)

    monkeypatch.setattr(forkserver, "read_signed", read_slowly)
    with ThreadPoolExecutor(2) as threads:
        codes = list(threads.map(lambda _: process.exitcode, range(2)))
    assert codes == [3, 3]
    assert len(readers) == 1
    assert process.exitcode == 3
    process.join()
