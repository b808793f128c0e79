"""Functions that the tests of a run's controls have tasks call."""

from __future__ import annotations

import dataclasses
import decimal
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


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    """Lets nobody set its attributes."""

    code: int


class TwoArguments(Exception):
    """Can be pickled, and not read back."""

    def __init__(self, a, b):
        super().__init__(f"{a} {b}")


def fail_frozen(x):
    raise Frozen(x)


def fail_until(attempt, path):
    """Fail with an exception that does not travel until it has been tried so often."""
    if note(path) < attempt:
        raise TwoArguments(1, 2)
    return os.path.getsize(path)


def raise_for(bad, kind, x):
    if x in bad:
        raise kind
    return x


def with_precision(i):
    """Change the decimal context; return what it is after others had time to."""
    decimal.getcontext().prec = i
    time.sleep(0.02)
    return decimal.getcontext().prec


def die_while_sending(x):
    """Be killed while the result is on its way, with a child that keeps the line."""
    if x == 0:
        if os.fork() == 0:
            os.close(1)
            os.close(2)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(10)
            while True:
                signal.pause()
        threading.Thread(target=_die_in_write, daemon=True).start()
        return b"x" * 50_000_000
    return x


def _die_in_write():
    here = f"/proc/self/task/{os.getpid()}/syscall"
    while True:
        with open(here) as file:
            words = file.read().split()
        if len(words) > 3 and words[0] == "1" and int(words[3], 16) > 1_000_000:
            break
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def fail_to_start():
    raise OSError("no such licence")


class Group(Exception):
    """Holds others, as an ExceptionGroup does."""

    def __init__(self, *exceptions):
        super().__init__("group")
        self.exceptions = exceptions


def fail_in_group(x):
    local = Local()
    try:
        try:
            raise KeyError(local.name)
        except KeyError as inner:
            raise Group(inner) from None
    finally:
        del local


class Local:
    """Something that a task has at hand."""

    name = "local"
