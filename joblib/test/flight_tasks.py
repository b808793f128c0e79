"""What the processes of the tests of ``Memory(lock=True)`` do, as they are told.

A worker process gets its orders, and reports, over one connection: also from within
the functions that it calls, which ask there how they are to end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from pathlib import Path

from joblib import Memory

PATIENCE = 30  # seconds, for what happens at once

_channel = None
_location = None


def compute(x):
    """End as the test says: ask over the connection."""
    _channel.send(("computing", x))
    order = _channel.recv()
    if order == "fail":
        raise RuntimeError("told to fail")
    if order == "unpicklable":
        return lambda: x
    return x, os.getpid()


def compute_and_fork(x):
    """Fork a child that lives until its standard input, a pipe, is closed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    _channel.send(("forked", child))
    # The parent of this process gets the other end, to outlive this one.
    _channel.recv()
    return x


def there(x, depth):
    """Call `back`, which calls this: they end when `depth` is 0."""
    _channel.send(("computing", "there"))
    _channel.recv()
    return (
        ["there"] if depth == 0 else ["there", *_cached(back, ["depth"])(x, depth - 1)]
    )


def back(x, depth):
    """Call `there`, which calls this: they end when `depth` is 0."""
    _channel.send(("computing", "back"))
    _channel.recv()
    return (
        ["back"] if depth == 0 else ["back", *_cached(there, ["depth"])(x, depth - 1)]
    )


def note(directory, x):
    """Add a line to a file, for the tests to count the computations."""
    with open(Path(directory) / f"computed-{x}", "a") as stream:
        stream.write(f"{os.getpid()}\n")
    return x


def double_deep(x, memory):
    """Call another cached function."""
    return memory.cache(double)(x)


def double(x):
    return 2 * x


def _cached(function, ignore=None, **options):
    memory = Memory(_location, lock=True, **{"verbose": 0, **options})
    return memory.cache(function, ignore=ignore)


class _Report:
    """A standard output whose lines go over the connection."""

    def write(self, text):
        if text.strip():
            _channel.send(("said", text.strip()))

    def flush(self):
        pass


def serve(channel, location):
    """Do what comes over the connection until it is None."""
    global _channel, _location
    _channel, _location = channel, location
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdout = _Report()
    while (order := channel.recv()) is not None:
        name, args, options = order
        ignore = ["depth"] if name in ("there", "back") else None
        try:
            cached = _cached(globals()[name], ignore, **options)
            result = cached(*args)
            channel.send(("result", result() if callable(result) else result))
        except (Exception, KeyboardInterrupt) as error:
            channel.send(("error", type(error).__name__))


def hammer(location, directory, seed, n_keys):
    """Ask for all keys again and again, in an order of its own."""
    import random

    cached = Memory(location, verbose=0, lock=True).cache(slow_note)
    order = random.Random(seed)
    keys = list(range(n_keys))
    for _ in range(3):
        order.shuffle(keys)
        for key in keys:
            assert cached(directory, key) == key


def slow_note(directory, x):
    """Take some time over the sum of many numbers."""
    note(directory, x)
    sum(range(2_000_000))
    return x


class Worker:
    """A process that does what it is told, as the test sees it."""

    def __init__(self, location):
        context = multiprocessing.get_context("spawn")
        self._channel, other = context.Pipe()
        self.process = context.Process(
            target=serve, args=(other, str(location)), daemon=True
        )
        self.process.start()
        other.close()

    @property
    def pid(self):
        return self.process.pid

    def ask(self, name, *args, **options):
        """Have a cached function called."""
        self._channel.send((name, args, options))

    def tell(self, order):
        """Let a function go on."""
        self._channel.send(order)

    def hear(self):
        """Wait for what it reports next."""
        assert self._channel.poll(PATIENCE), "nothing was reported"
        return self._channel.recv()

    def kill(self):
        self.process.kill()
        self.process.join()

    def end(self):
        try:
            self._channel.send(None)
        except OSError:
            pass  # it was killed
        self.process.join(1)
        self.process.kill()  # if the test has failed
        self.process.join()
        self._channel.close()
        self.process.close()
