"""Checks that hold for every test: none leaves a thread, a process or a file behind.

What a test started must be gone soon after its end. What may stay is listed below,
with the reason: it is kept on purpose, by the library that made it, to be used
again. The reusable pool of worker processes is such a thing; it is shut down at the
end of each test file.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    import psutil
except ImportError:  # children are then not looked at
    psutil = None

try:
    import hypothesis
except ImportError:
    pass
else:
    # The same examples in each run, and nothing kept on disk.
    hypothesis.settings.register_profile(
        "joblib", derandomize=True, database=None, deadline=None, print_blob=False
    )
    hypothesis.settings.load_profile("joblib")

try:
    # Fixtures for tests that start a cluster; they come with distributed.
    from distributed.utils_test import cleanup, loop, loop_in_thread  # noqa: F401
except ImportError:
    pass

SOAK_TIMEOUT = 300.0  # seconds for a soak test that says nothing else
GRACE = 10.0  # seconds that a thread, a process or a file has to go away

#: beginnings of the names of threads that may outlive a test
LASTING_THREADS = {
    "Dask-Offload": "distributed: one pool for the life of the process",
    "IO loop": "distributed: shared by the clients of the process",
    "Profile": "distributed: the profiler's thread ends at its next tick",
    "TCP-Executor": "distributed: name look-ups, for the life of the process",
    "joblib-thread": "joblib: kept for a second, for the next call",
    "asyncio_": "asyncio: the event loop's own pool ends with the loop",
    "joblib-exchange": "joblib: belongs to loky's reusable pool",
    "ExecutorManagerThread": "loky: belongs to the reusable pool",
    "QueueFeederThread": "loky: belongs to the reusable pool",
    "QueueManagerThread": "loky: belongs to the reusable pool",
}
#: words in the command lines of child processes that may outlive a test
LASTING_PROCESSES = {
    "resource_tracker": "loky, multiprocessing: one for the life of the process",
    "forkserver": "multiprocessing: one for the life of the process",
    "popen_loky": "loky: the workers of the reusable pool",
    "LokyProcess": "loky: the workers of the reusable pool",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give soak tests more time, but for those with a timeout mark of their own."""
    for item in items:
        soak = item.get_closest_marker("soak")
        if soak is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SOAK_TIMEOUT))


def lasting_threads() -> set[threading.Thread]:
    """Return the threads that are alive and that no test has to answer for."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(tuple(LASTING_THREADS))
    }


def child_processes() -> dict[int, str]:
    """Return {pid: command line} of the children that a test has to answer for."""
    if psutil is None:
        return {}
    children = {}
    for child in psutil.Process().children():
        try:
            command = " ".join(child.cmdline())
            dead = child.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if not dead and not any(word in command for word in LASTING_PROCESSES):
            children[child.pid] = command
    return children


def temporary_files() -> set[str]:
    """Return the memory-mapped files that this process has made and not removed."""
    roots = {tempfile.gettempdir(), "/dev/shm", os.environ.get("JOBLIB_TEMP_FOLDER")}
    pattern = f"joblib_memmapping_folder_{os.getpid()}_*"
    return {
        str(file)
        for root in roots
        if root and os.path.isdir(root)
        for folder in Path(root).glob(pattern)
        for file in folder.rglob("*")
        if file.is_file()
    }


def leaks_since(
    threads: set[threading.Thread], children: dict[int, str], files: set[str]
) -> list[str]:
    """Say what there is that was not there before, a line for each thing."""
    found = [
        f"thread {thread.name!r}"
        for thread in set(threading.enumerate()) - threads - lasting_threads()
    ]
    found += [
        f"process {pid}: {command[:200]}"
        for pid, command in child_processes().items()
        if pid not in children
    ]
    found += [f"file {name}" for name in temporary_files() - files]
    return sorted(found)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Report as an error what a test leaves behind, after a grace period.

    Mark a test ``allow_leaks("why")`` if something may stay.
    """
    before = (set(threading.enumerate()), child_processes(), temporary_files())
    yield
    if request.node.get_closest_marker("allow_leaks"):
        return
    if not leaks_since(*before):
        return
    # Threads and processes end, and files go, in their own time: objects that
    # hold them may first have to be collected.
    gc.collect()
    deadline = time.monotonic() + GRACE
    while (found := leaks_since(*before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    if found:
        pytest.fail(
            f"left behind {GRACE:.0f} s after the test:\n  " + "\n  ".join(found),
            pytrace=False,
        )


@pytest.fixture(scope="module", autouse=True)
def end_reusable_pool() -> Iterator[None]:
    """Shut the reusable pool of worker processes down after each test file."""
    yield
    reusable = sys.modules.get("loky.reusable_executor")
    executor = getattr(reusable, "_executor", None)  # loky < 3.7: one in a process
    storage = getattr(reusable, "_executor_storage", None)  # one for each thread
    executor = getattr(storage, "executor", executor)
    if executor is not None:
        executor.shutdown(wait=True, kill_workers=True)
