"""What tasks print in worker processes is seen while the call runs, wherever it goes."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import get_all_start_methods

import pytest

METHODS = sorted({"fork", "spawn", "forkserver"} & set(get_all_start_methods()))

PROGRAM = """
import os, signal, sys, time
from multiprocessing import get_context
from joblib import Parallel, delayed

def say_and_wait(n, path):
    print("out of", n)
    print("error of", n, file=sys.stderr)
    while not os.path.exists(path):
        time.sleep(0.01)

def say_a_part(n):
    print("dot", end="")

def say_and_die(n):
    print("last words")
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    method, path = sys.argv[1:]
    backend = method if method == "loky" else get_context(method)
    with Parallel(2, backend=backend) as parallel:
        parallel(delayed(say_and_wait)(n, path) for n in range(2))
        parallel([delayed(say_a_part)(0)])
        print(";", flush=True)
    try:
        Parallel(2, backend=backend)([delayed(say_and_die)(0)])
    except Exception as error:
        sys.exit(type(error).__name__ != "TerminatedWorkerError")
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("method", ["loky", *METHODS])
def test_lines_come_through_a_pipe_at_once(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    go_on = tmp_path / "go_on"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, str(program), method, str(go_on)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    timer = threading.Timer(50, process.kill)
    timer.start()
    try:
        # read while the tasks wait: what was kept back would never come
        for stream, text in ((process.stdout, "out"), (process.stderr, "error")):
            lines = sorted(stream.readline() for _ in range(2))
            assert lines == [f"{text} of 0\n", f"{text} of 1\n"]
        go_on.touch()
        rest, errors = process.communicate()
        assert process.returncode == 0, errors
        assert rest == "dot;\nlast words\n"
    finally:
        timer.cancel()
        timer.join()
        process.kill()
        process.communicate()


CELLS = (
    """
import os, sys
from multiprocessing import get_context
from joblib import Parallel, delayed

def say(n):
    print("out of", n)
    print("error of", n, file=sys.stderr)
    os.write(1, b"raw\\n")
""",
    "Parallel(2, backend='loky')(delayed(say)(n) for n in range(3))",
    "Parallel(2, backend='loky')(delayed(say)(n) for n in range(3, 6))",
    "Parallel(2, backend=get_context('fork'))(delayed(say)(n) for n in range(3))",
    "Parallel(2, backend=get_context('spawn'))(delayed(say)(n) for n in range(3))",
)


UNWANTED = ("PYTHONUNBUFFERED", "PYTEST_CURRENT_TEST")


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A client of a Jupyter kernel that runs in this interpreter."""
    pytest.importorskip("ipykernel")
    manager_of = pytest.importorskip("jupyter_client.manager")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    # By the last one a kernel knows that it is tested, and leaves its output alone.
    env = {k: v for k, v in os.environ.items() if k not in UNWANTED}
    manager = manager_of.KernelManager()
    manager.kernel_spec.argv[0] = sys.executable
    manager.start_kernel(env=env)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=50)
        yield client
    finally:
        client.stop_channels()
        manager.shutdown_kernel()  # if killed at once, its resource tracker is, too
        manager.cleanup_resources()


@pytest.mark.skipif("fork" not in METHODS, reason="needs fork")
@pytest.mark.filterwarnings("ignore")  # of Jupyter's packages, which are many
@pytest.mark.allow_leaks("Jupyter's client and zmq keep threads")
@pytest.mark.timeout(120)
def test_a_notebook_shows_it_below_the_cell(kernel):
    for index, cell in enumerate(CELLS):
        shown = {"stdout": "", "stderr": ""}

        def lines(shown=shown):
            return {name: sorted(text.splitlines()) for name, text in shown.items()}

        reply = kernel.execute(cell, reply=True, timeout=100)
        assert reply["content"]["status"] == "ok", reply["content"]
        if index == 0:
            continue
        numbers = range(3, 6) if index == 2 else range(3)
        wanted = {
            "stdout": [f"out of {n}" for n in numbers] + ["raw"] * 3,
            "stderr": [f"error of {n}" for n in numbers],
        }
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # the kernel sends it in its own time
            # the kernel's own stream writes pieces of lines in a fork, which may mix
            letters = [sorted("\n".join([*each, ""])) for each in wanted.values()]
            mixed = "fork" in cell and [*map(sorted, shown.values())] == letters
            if mixed or lines() == wanted:
                break
            with suppress(queue.Empty):
                message = kernel.get_iopub_msg(timeout=1)
                if message["msg_type"] == "stream":
                    assert message["parent_header"] == reply["parent_header"]
                    shown[message["content"]["name"]] += message["content"]["text"]
        if "fork" in cell:
            assert [*map(sorted, shown.values())] == letters
        else:
            assert lines() == wanted
