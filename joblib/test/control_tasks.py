"""Functions that the tests of a run's controls have tasks call."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextvars import ContextVar

from joblib import Parallel, delayed, task_seed

PLACE = ContextVar("PLACE")
UNSET = ContextVar("UNSET")


def fail_for(bad, x):
    """Return x, unless it is one of those that fail."""
    if x in bad:
        raise KeyError(f"no {x}")
    return x


def die_for(bad, x):
    """Return x; the worker is killed if it is one of those."""
    if x in bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def stay_for(bad, x):
    """Return x; stay until somebody ends the process if it is one of those."""
    if x in bad:
        threading.Event().wait(50)
    return x


def take(seconds, x):
    time.sleep(seconds)
    return x


def return_lock(x):
    return threading.Lock() if x == 1 else x


def note(path):
    """Add a mark to a file; return how many there are."""
    with open(path, "ab", buffering=0) as file:
        file.write(b"x")
    return os.path.getsize(path)


def succeed_at(attempt, path):
    """Fail with OSError until it has been tried so often."""
    if note(path) < attempt:
        raise OSError("not yet")
    return os.path.getsize(path)


def die_until(attempt, path):
    """Have the worker killed until it has been tried so often."""
    if note(path) < attempt:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.path.getsize(path)


def draw(x=None):
    """Return a number that depends on the task's seed."""
    import numpy as np

    return int(np.random.default_rng(task_seed()).integers(1 << 40))


def draw_after(attempt, path):
    """Draw, fail, and draw again."""
    number = draw()
    if note(path) < attempt:
        raise OSError("not yet")
    return number


def draw_nested(n):
    """Draw, and have two calls of two tasks draw."""
    calls = [Parallel(n_jobs=n)(delayed(draw)(i) for i in range(2)) for _ in range(2)]
    return [draw(), *calls]


def fail_inside(x):
    """Tell how a call in this task takes an error."""
    try:
        Parallel(n_jobs=2)(delayed(fail_for)([1], i) for i in range(2))
    except KeyError:
        return "raised"
    return "returned"


def variables(x):
    return PLACE.get(None), UNSET.get(None)


def variables_inside(x):
    return Parallel(n_jobs=2)(delayed(variables)(i) for i in range(2))


def set_variable(x):
    before = PLACE.get(None)
    PLACE.set(f"changed by {x}")
    return before
