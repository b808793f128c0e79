"""Functions that the tests of progress and traces have tasks call."""

from __future__ import annotations

import os
import signal
import time

from joblib import Parallel, delayed
from joblib._engine import recording


def same(x):
    return x


def inner(x):
    return x + 1


def outer(backend, n, x):
    return sum(Parallel(n_jobs=2, backend=backend)(delayed(inner)(i) for i in range(n)))


def outer_of_context(n, x):
    return sum(Parallel()(delayed(inner)(i) for i in range(n)))


def take(seconds, x):
    time.sleep(seconds)
    return x


def fail_at(bad, x):
    if x == bad:
        raise KeyError(f"no {x}")
    return x


class Slotted(Exception):
    """Takes no attributes, and forgets those that it has when it is pickled."""

    def __reduce__(self):
        return Slotted, ()


def fail_without_attributes(x):
    raise Slotted


def die_at(bad, x):
    if x == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def elsewhere(seconds, folder, x):
    """Have this process look like one of another machine, with a clock of its own.

    So that each of two workers does, its task 0 or 1 waits for the other one.
    """
    (folder / str(x)).touch()
    while not (folder / str(1 - x)).exists():  # the test's timeout is the limit
        time.sleep(0.01)
    recording.host = lambda: "elsewhere"
    recording.clock = lambda: time.perf_counter() + seconds
    return os.getpid()


def with_progress(x):
    """Make a call that shows its own progress."""
    seen = []
    Parallel(n_jobs=1, progress=lambda *now: seen.append(now))(
        delayed(same)(i) for i in range(3)
    )
    return [done for done, _, _ in seen]
