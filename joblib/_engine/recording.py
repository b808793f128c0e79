"""What a trace takes down while tasks run: when, where, how large, what went wrong.

A batch takes the records of its tasks down on the thread that runs it. In the process
that made the call they go straight to where it puts them; elsewhere they travel back with
the batch's results, or with the error that takes their place, so that any backend can
bring them. Calls that a task makes add theirs to its batch's.

It stands beside the task wrappers, outermost, and not among them: a wrapper costs more
for each task than this may, and an enclosing one would see results with records.
"""

from __future__ import annotations

import itertools
import os
import platform
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from .._captured import RemoteTraceback
from .batch import name_of, run_wrapped
from .context import TRACES, current

#: the clock of this machine: all its processes read the same
clock = time.perf_counter

#: where records go in the process of a trace: its process, and the list, by its name
_sinks: dict[str, tuple[int, list[Any]]] = {}

#: the same in the process that makes a call, by the call's number
_calls: dict[int, tuple[int, Any]] = {}

#: of the task at work in this thread: `.task`, its number; `.sink`, where records go
_here = threading.local()

#: what an error brings its records in
_ATTACHED = "_joblib_records"

#: a task: number, name, start, end, bytes in, bytes out, error or None
Row = tuple[int, str, float, float, int, int, "str | None"]


@dataclass(slots=True)
class Place:
    """A thread, and how far its machine's clock is from the time of day."""

    host: str
    pid: int
    thread: int
    epoch: float

    @classmethod
    def here(cls) -> Place:
        """Return the calling thread's."""
        epoch = time.time() - clock()
        return cls(host(), os.getpid(), threading.get_native_id(), epoch)


def same_clock(a: Place, b: Place) -> bool:
    """Tell whether two places have one clock; two machines may have one name."""
    return a.host == b.host and abs(a.epoch - b.epoch) < 1


@dataclass(slots=True)
class TasksSeen:
    """Tasks that a thread ran one after the other.

    `bound` says between which moments of another machine's clock they ran: where that
    is, a moment before they started, and one after they had ended.
    """

    call: int
    place: Place
    rows: list[Row]
    bound: tuple[Place, float, float] | None = None


@dataclass(slots=True)
class CallSeen:
    """A call of `Parallel`; `parent` is the number of the task that made it, or None."""

    number: int
    parent: int | None
    backend: str
    n_jobs: int
    place: Place
    start: float
    end: float | None = None  # while it goes on


def host() -> str:
    """Return the name of this machine."""
    return platform.node()


_numbers: tuple[int, Iterator[int]] = (0, iter(()))


def numbers() -> Iterator[int]:
    """Return what gives out numbers that no other process gives out."""
    global _numbers
    process = os.getpid()
    if _numbers[0] != process:  # a fork has its parent's
        first = random.SystemRandom().getrandbits(70) << 32
        _numbers = (process, itertools.count(first))
    return _numbers[1]


# ---------------------------------------------------------------------- sizes
_FIXED = {type(None): 0, bool: 1, int: 8, float: 8, complex: 16}
_SAMPLE = 16  # elements of a container that are looked at


def size_of(value: Any, depth: int = 2) -> int:
    """Estimate the bytes that a value takes to move; a memory-mapped array's are 0.

    >>> size_of(b"12345"), size_of([1.5] * 1000), size_of(None)
    (5, 8000, 0)
    """
    kind = type(value)
    size = _FIXED.get(kind)
    if size is not None:
        return size
    if kind is str or kind is bytes or kind is bytearray:
        return len(value)
    try:
        if kind is list or kind is tuple or kind is set or kind is dict:
            if not value or not depth:
                return 8 * len(value)
            flat = itertools.chain(*value.items()) if kind is dict else value
            sample = list(itertools.islice(flat, _SAMPLE))
            share = sum(size_of(item, depth - 1) for item in sample) / len(sample)
            return int(share * len(value) * (2 if kind is dict else 1))
        nbytes = getattr(value, "nbytes", None)
        if isinstance(nbytes, int):
            return 0 if kind.__name__ == "memmap" else nbytes
        if hasattr(value, "memory_usage") and hasattr(value, "iloc"):  # of pandas
            usage = value.memory_usage()
            return int(usage.sum() if hasattr(usage, "sum") else usage)
        return sys.getsizeof(value)
    except Exception:  # an object of somebody's making: then it has none
        return 0


def _size_of_arguments(args: Any, kwargs: Any) -> int:
    size = 0
    for value in args:
        fixed = _FIXED.get(type(value))
        size += size_of(value) if fixed is None else fixed
    if kwargs:
        for value in kwargs.values():
            size += size_of(value)
    return size


# ------------------------------------------------------------------ one batch
class Recorded(list[Any]):
    """The results of a batch, with the records of what ran in it."""

    records: list[Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _recorded, (list(self), self.records)


def _recorded(results: list[Any], records: list[Any]) -> Recorded:
    made = Recorded(results)
    made.records = records
    return made


class Recording:
    """The tasks that a thread runs for a call; `run` is called for each."""

    __slots__ = ("_call", "_next", "_place", "_wrappers", "is_direct", "rows", "sink")

    def __init__(self, recorder: Recorder, wrappers: tuple[Any, ...]) -> None:
        self._call = recorder.call
        self._wrappers = wrappers
        self._next = numbers().__next__
        self._place = Place.here()
        sink = recorder.sink_here()
        self.is_direct = sink is not None
        self.sink: Any = [] if sink is None else sink
        self.rows: list[Row] = []

    def run(self, task: Any) -> Any:
        """Run a task; return its result."""
        func, args, kwargs = task
        number = self._next()
        here = _here.__dict__
        before = here.get("task"), here.get("sink")
        here["task"], here["sink"] = number, self.sink
        start = clock()
        try:
            if self._wrappers:
                result = run_wrapped(self._wrappers, task)
            else:
                result = func(*args, **kwargs)
        except BaseException as error:
            size = _size_of_arguments(args, kwargs)
            row = (number, name_of(func), start, clock(), size, 0, _told(error))
            self.rows.append(row)
            raise
        finally:
            here["task"], here["sink"] = before
        end = clock()
        size = _size_of_arguments(args, kwargs)
        kept = None
        if isinstance(result, BaseException):
            if isinstance(result.__cause__, RemoteTraceback):  # on_error="return"
                kept = _told(result)
        name = getattr(func, "__qualname__", None)
        if type(name) is not str:
            name = name_of(func)
        self.rows.append((number, name, start, end, size, size_of(result), kept))
        return result

    def close(self) -> None:
        """Hand the records over."""
        if self.rows:
            self.sink.append(TasksSeen(self._call, self._place, self.rows))
            self.rows = []


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]


class Recorder:
    """Says to the batches of a call that their tasks are to be taken down.

    Parameters
    ----------
    traces : tuple of str
        The names of the traces.
    call : int
        The number of the call.
    """

    __slots__ = ("call", "traces")

    def __init__(self, traces: tuple[str, ...], call: int) -> None:
        self.traces = traces
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return Recorder, (self.traces, self.call)

    def recording(self, wrappers: tuple[Any, ...]) -> Recording:
        """Return what runs the tasks of a batch on this thread."""
        return Recording(self, wrappers)

    def sink_here(self) -> Any:
        """Return where records go, if this process makes the call; else None."""
        process, sink = _calls.get(self.call, (0, None))
        return sink if process == os.getpid() else None

    def results(self, items: Iterable[Any], wrappers: tuple[Any, ...]) -> list[Any]:
        """Run the tasks of a batch; return their results, with the records if need be."""
        recording = Recording(self, wrappers)
        try:
            results = list(map(recording.run, items))
        except BaseException as error:
            recording.close()
            try:
                setattr(error, _ATTACHED, () if recording.is_direct else recording.sink)
            except Exception:  # it takes no attributes: then they are lost
                pass
            raise
        recording.close()
        return results if recording.is_direct else _recorded(results, recording.sink)


class _Several:
    """The sinks of traces one within the other."""

    def __init__(self, sinks: list[list[Any]]) -> None:
        self._sinks = sinks

    def append(self, record: Any) -> None:
        for sink in self._sinks:
            sink.append(record)


def _sink_of(traces: tuple[str, ...]) -> Any:
    process = os.getpid()
    found = [
        known[1]
        for known in map(_sinks.get, traces)
        if known is not None and known[0] == process
    ]
    if not found:
        return None
    return found[0] if len(found) == 1 else _Several(found)


# ------------------------------------------------------------------- one call
def open_sink(name: str) -> list[Any]:
    """Begin to take records for a trace of this process; return where they go."""
    sink: list[Any] = []
    _sinks[name] = (os.getpid(), sink)
    return sink


def close_sink(name: str) -> None:
    """Take no more records for a trace."""
    _sinks.pop(name, None)


class TracedCall:
    """A call under way whose tasks are taken down; in the process that makes it.

    Parameters
    ----------
    traces : tuple of str
    backend : str
        The name of the backend's class.
    n_jobs : int
    """

    def __init__(self, traces: tuple[str, ...], backend: str, n_jobs: int) -> None:
        number = next(numbers())
        self.recorder = Recorder(traces, number)
        here = _here.__dict__
        sink = _sink_of(traces)
        self._sink = here.get("sink") if sink is None else sink
        if self._sink is not None:
            _calls[number] = os.getpid(), self._sink
        start = clock()
        self._place = place = Place.here()
        self._seen: CallSeen | None = CallSeen(
            number, here.get("task"), backend, n_jobs, place, start
        )
        if self._sink is not None:
            self._sink.append(self._seen)
        self._start = start
        self._untold: set[int] = set()  # errors that brought no records

    def receiving(self, retrieve: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Return a function that takes the records off what `retrieve` returns."""

        def received(out: Any) -> Any:
            try:
                results = retrieve(out)
            except BaseException as error:
                records = getattr(error, "__dict__", {}).pop(_ATTACHED, None)
                if records is None:
                    self._untold.add(id(error))
                else:
                    self._take(records)
                raise
            return self.unpacked(results)

        return received

    def unpacked(self, results: Any) -> Any:
        """Return the results of a batch; take their records off them."""
        if type(results) is not Recorded:
            return results
        self._take(results.records)
        return list(results)

    def lost(self, name: str, dispatched: float, error: BaseException) -> None:
        """Take a task down if nothing came back of it but an error.

        `dispatched` is a time of day.
        """
        if id(error) not in self._untold:
            return
        self._untold.discard(id(error))
        place = Place("", 0, 0, time.time() - clock())
        start = max(dispatched - place.epoch, self._start)
        row = (next(numbers()), name, start, clock(), 0, 0, _told(error))
        self._take([TasksSeen(self.recorder.call, place, [row])])

    def _take(self, records: Any) -> None:
        sink = self._sink
        if sink is None:
            return
        now = clock()
        for record in records:
            if type(record) is TasksSeen and record.bound is None:
                if not same_clock(record.place, self._place):
                    record.bound = (self._place, self._start, now)
            sink.append(record)

    def end(self) -> None:
        """Take down that the call is over."""
        seen, self._seen = self._seen, None
        if seen is not None:
            seen.end = clock()
            _calls.pop(seen.number, None)


def traced_call(backend: Any, n_jobs: int) -> TracedCall | None:
    """Return the record of a call that begins now; None where no trace is on."""
    traces = current().get(TRACES)
    return TracedCall(traces, type(backend).__name__, n_jobs) if traces else None
