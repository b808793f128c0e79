"""
A backend in forty lines
========================

A backend decides where tasks run. This one hands them to any executor of the standard
library's ``concurrent.futures``: the class below is all of it, and it passes the whole
contract that joblib's own backends are held to.
"""

# %%
# The backend
# -----------
# Two methods are required: how many tasks can run at once, and how a batch of tasks is
# started. ``submit`` gets a function without arguments, and a callback that it has to call
# exactly once, when the function has ended, however it ended. What the callback is called
# with comes back to ``retrieve_result_callback``, which returns the results or raises.

# sphinx_gallery_thumbnail_path = "_static/life_of_a_task.svg"
from concurrent.futures import CancelledError, ThreadPoolExecutor

import joblib
from joblib import Parallel, ParallelBackendBase, delayed, parallel_config


class ExecutorBackend(ParallelBackendBase):
    """Runs tasks on an executor of `concurrent.futures`."""

    supports_retrieve_callback = True  # and with it generators and timeouts
    supports_sharedmem = uses_threads = True
    default_n_jobs = -1
    executor = None

    def effective_n_jobs(self, n_jobs):
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(joblib.cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs=1, parallel=None, **options):
        self.n_jobs = super().configure(n_jobs, parallel)
        self.executor = ThreadPoolExecutor(self.n_jobs)
        return self.n_jobs

    def sibling(self):
        return type(self)()  # for a call that begins while this one goes on

    def submit(self, func, callback=None):
        future = self.executor.submit(func)
        future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future):
        try:
            return future.result()
        except CancelledError as error:
            raise RuntimeError("The call that it was part of was aborted.") from error

    def abort_everything(self, ensure_ready=True):
        self.executor.shutdown(wait=False, cancel_futures=True)
        if ensure_ready:
            self.executor = ThreadPoolExecutor(self.n_jobs)

    def terminate(self):
        if self.executor is not None:
            self.executor.shutdown(wait=False)
            self.executor = None


# %%
# In use
# ------
# Once it is registered its name is as good as "loky" or "dask". Generators, timeouts,
# nested calls and seeds come with the engine.

joblib.register_parallel_backend("executor", ExecutorBackend)


def square(x):
    """Return the square of a number."""
    return x * x


with parallel_config("executor", n_jobs=2):
    print(joblib.explain_backend())
    print(Parallel()(delayed(square)(i) for i in range(10)))
    print(sum(Parallel(return_as="generator")(delayed(square)(i) for i in range(100))))

# %%
# A hook around each task
# -----------------------
# ``wrap_task`` returns what runs around every task, where the task runs: a place for
# setting up a connection, a device or a clock. The ``finally`` of a wrapper holds even if
# the task fails.

import threading
import time
from collections import Counter

busy = Counter()


def clock(func, args, kwargs):
    """Run a task and note the seconds, by thread."""
    start = time.perf_counter()
    try:
        return func(*args, **kwargs)
    finally:
        busy[threading.current_thread().name] += time.perf_counter() - start


class TimedBackend(ExecutorBackend):
    """As above, with a clock around each task."""

    def wrap_task(self):
        return clock


Parallel(n_jobs=2, backend=TimedBackend())(delayed(time.sleep)(0.02) for _ in range(10))
for thread, seconds in sorted(busy.items()):
    print(f"{thread.rpartition('_')[2]}: {seconds:.2f} s")

# %%
# Held to the contract
# --------------------
# ``joblib.testing`` has the checks that the bundled backends pass: results in order,
# errors of tasks and of the iterable, each hook at its time, callbacks exactly once, nested
# calls, generators closed early, timeouts. In a test suite ``backend_checks()`` is what to
# parametrize a test with.

from joblib.testing import backend_checks

for check in backend_checks():
    check(ExecutorBackend, 2)
    print(f"{check.__name__:<24}{check.__doc__.splitlines()[0]}")

# %%
# For processes instead of threads, change the executor and drop the two flags: the tasks of
# a process pool do not see the caller's memory. What is pickled then is the function that
# ``submit`` gets.
