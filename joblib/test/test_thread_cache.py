"""Threads between two calls: used again, ended when nobody needs them."""

from __future__ import annotations

import contextvars
import os
import threading

import pytest

from joblib import Parallel, delayed
from joblib._backends import thread_cache

LONG = 20


def ident(_):
    return threading.get_ident()


def test_calls_in_a_row_share_their_threads():
    seen = set()
    for _ in range(20):
        seen |= set(Parallel(2, backend="threading")(delayed(ident)(i) for i in "abcd"))
    assert len(seen) < 20
    assert threading.get_ident() not in seen


def test_a_thread_that_is_still_at_work_is_not_used():
    release, started = threading.Event(), threading.Event()
    busy = []

    def block(i):
        busy.append(threading.get_ident())
        started.set()
        release.wait(LONG)

    results = Parallel(2, backend="threading", return_as="generator")(
        delayed(block)(i) for i in range(2)
    )
    assert started.wait(LONG)
    with pytest.warns(UserWarning, match="cancelled"):
        results.close()
    try:
        used = Parallel(2, backend="threading")(delayed(ident)(i) for i in range(8))
        assert not set(used) & set(busy)
    finally:
        release.set()


def test_threads_end_when_nobody_needs_them(monkeypatch):
    monkeypatch.setattr(thread_cache, "IDLE_SECONDS", 0.01)
    ran = threading.Event()
    thread = thread_cache.start(lambda: ran.set() or True)
    assert ran.wait(LONG)
    thread.join(LONG)
    assert not thread.is_alive()
    assert thread not in thread_cache._idle


def test_context_variables_start_empty_for_each_call():
    variable = contextvars.ContextVar("variable", default="empty")

    def task(i):
        before = variable.get()
        variable.set(i)
        return before

    for _ in range(3):
        out = Parallel(2, backend="threading")([delayed(task)(i) for i in range(2)])
        assert "empty" in out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_starts_its_own_threads():
    Parallel(2, backend="threading")(delayed(ident)(i) for i in range(4))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            out = Parallel(2, backend="threading")(delayed(abs)(-i) for i in range(9))
            code = 0 if out == list(range(9)) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
