"""Backends written as third parties write them, for the tests."""

from __future__ import annotations

import threading

from joblib import ParallelBackendBase


class _ThreadJob:
    def __init__(self, func, callback):
        self._func = func
        self._callback = callback
        self._outcome = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._outcome = (True, self._func())
        except BaseException as error:  # handed over by get
            self._outcome = (False, error)
        self._callback(self)

    def get(self):
        self._thread.join()
        good, value = self._outcome
        if good:
            return value
        raise value


class ApplyAsyncBackend(ParallelBackendBase):
    """The least there can be: `apply_async`, and jobs that have `get`."""

    def effective_n_jobs(self, n_jobs):
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return 2

    def apply_async(self, func, callback=None):
        return _ThreadJob(func, callback)


class InlineBackend(ParallelBackendBase):
    """Runs each batch within `submit`, and calls back before it returns."""

    supports_retrieve_callback = True
    supports_timeout = False
    depth = 0
    deepest = 0

    def effective_n_jobs(self, n_jobs):
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        return 2

    def submit(self, func, callback=None):
        self.depth += 1
        self.deepest = max(self.depth, self.deepest)
        try:
            out = func()
        except BaseException as error:  # handed over by the callback
            out = error
        callback(out)
        self.depth -= 1

    def retrieve_result_callback(self, out):
        if isinstance(out, BaseException):
            raise out
        return out


class ManualBackend(ParallelBackendBase):
    """Keeps the batches until the test runs them, one by one."""

    supports_retrieve_callback = True

    def __init__(self, n_jobs=2, **kwargs):
        super().__init__(**kwargs)
        self._count = n_jobs
        self.queue = []
        self.queued = threading.Condition()
        self.aborts = []

    def effective_n_jobs(self, n_jobs):
        return self._count

    def submit(self, func, callback=None):
        with self.queued:
            self.queue.append((func, callback))
            self.queued.notify_all()

    def wait_for(self, count):
        """Wait until `count` batches are queued."""
        with self.queued:
            assert self.queued.wait_for(lambda: len(self.queue) >= count, timeout=20)

    def run(self, index=0):
        """Take one batch off the queue and run it; return its callback."""
        with self.queued:
            func, callback = self.queue.pop(index)
        callback(func())
        return callback

    def retrieve_result_callback(self, out):
        return out

    def abort_everything(self, ensure_ready=True):
        self.aborts.append(ensure_ready)
