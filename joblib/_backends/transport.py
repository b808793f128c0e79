"""How a batch travels to another process, and its results come back.

::

    caller            whoever sends it          worker                   caller
    Transport.pack -> Parcel.pickled -> deliver: load, run, dump -> unpack

Batches and results are pickled here and travel as bytes: what can't be
pickled, or read back, fails its own batch with an error that names the
function, and never the queue or the pool underneath. A batch is pickled late,
when it is about to be sent, so that only few take up memory twice.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from typing import Any

from .._captured import CapturedError, unwrap
from .._engine.batch import BatchedCalls, name_of
from .._memmap.store import Dump
from .arrays import CallArrays
from .delivering import Arrived, culprit_in
from .flat import flatten_tasks
from .messages import Outgoing
from .outgoing import check_tasks
from .picklers import dumps
from .repeats import Repeats
from .scattered import Scattered

HOW_TO_WRITE = (
    "Large arrays are mapped into the workers, read-only. With mmap_mode='c' "
    '(Parallel(mmap_mode="c") or parallel_config(..., mmap_mode="c")) each worker may '
    "write to a copy of its own, of which only the pages written to take memory. "
    "max_nbytes=None sends every task a full copy."
)

#: from this verbosity on a call says what it sends again and again
TELLING_VERBOSITY = 10


class Parcel:
    """A batch on its way; pickles to what `deliver` takes on the worker.

    Parameters
    ----------
    batch : callable
        What the worker is to run.
    transport : Transport
        How it is pickled.
    """

    __slots__ = ("batch", "error", "has_mapped", "leases", "name", "transport")

    def __init__(self, batch: Callable[[], Any], transport: Transport) -> None:
        self.batch: Callable[[], Any] | None = batch
        self.transport = transport
        self.error: BaseException | None = None
        #: the files that the batch's arrays are in
        self.leases: list[Dump] = []
        #: whether there were any
        self.has_mapped = False
        label = getattr(batch, "name", None)
        self.name = label() if callable(label) else name_of(batch)

    def __reduce__(self) -> tuple[Any, ...]:
        return Arrived, (self.pickled(), *self.transport.label(self.name))

    def message(self, number: int) -> Outgoing:
        """Return the message by which the batch gets to a worker of the exchange."""
        return Outgoing(number, self.transport.pickled_label(self.name), self.pickled())

    def pickled(self) -> bytes:
        """Return the pickle of the batch.

        Raises
        ------
        pickle.PicklingError
            If there is none; the error is kept as well.
        """
        transport = self.transport
        by_reference = transport.main_by_reference
        scattered = transport.scattered
        reducers = transport.arrays.reducers(self.leases)
        name_of = scattered.name_of if scattered else None
        batch = self.batch
        try:
            if name_of is None and isinstance(batch, BatchedCalls):
                items = flatten_tasks(batch.items)
                if items is not batch.items:
                    batch = batch.with_items(items)
            payload = dumps(batch, reducers, by_reference, name_of)
            self.has_mapped = bool(self.leases) or bool(scattered)
        except Exception as error:
            from .culprit import parts_of_tasks

            tasks = getattr(self.batch, "items", ())
            where = culprit_in(parts_of_tasks(tasks), by_reference)
            self.error = pickle.PicklingError(
                "Could not pickle the task to send it to the workers: in a call of "
                f"{self.name!r}{where} ({type(error).__name__}: {error})."
            )
            self.error.__cause__ = error
            raise self.error from error
        if transport.repeats is not None and isinstance(self.batch, BatchedCalls):
            transport.repeats.note(self.batch.items, self.name, len(payload))
        return payload

    def release(self) -> None:
        """Let go of the batch and its files, once its outcome is known."""
        self.batch = None
        self.transport.arrays.give_back(self.leases)


class Transport:
    """Packs the batches of one call, and unpacks their results.

    Parameters
    ----------
    arrays : CallArrays
        Carries the call's arrays.
    main_by_reference : bool, default=False
        See `TaskPickler`.
    scatter : list or tuple, default=()
        Objects that many tasks are given, to be sent once.
    """

    def __init__(
        self,
        arrays: CallArrays,
        main_by_reference: bool = False,
        scatter: list[Any] | tuple[Any, ...] = (),
    ) -> None:
        self.arrays = arrays
        self.main_by_reference = main_by_reference
        self.scattered = Scattered(scatter, arrays.place, self._dumps_alone)
        #: set where what is sent again and again is to be told
        self.repeats: Repeats | None = None
        self._labels: dict[str, bytes] = {}

    def label(self, name: str) -> tuple[Any, ...]:
        """Return what a worker needs to know of a batch before it opens it."""
        place = self.arrays.results
        results = None if place is None else tuple(place)  # nothing to import
        return name, self.main_by_reference, results, bool(self.scattered)

    def pickled_label(self, name: str) -> bytes:
        """Return the pickle of `label`, made once for each name."""
        label = self._labels.get(name)
        if label is None:
            label = self._labels[name] = pickle.dumps(self.label(name))
        return label

    def watch_repeats(self, parallel: Any) -> None:
        """From now on, find out what is sent again and again, if a call is verbose."""
        if getattr(parallel, "verbose", 0) >= TELLING_VERBOSITY:
            self.repeats = Repeats(lambda obj: len(self._dumps_alone(obj)))

    def tell_repeats(self, parallel: Any, backend: str) -> None:
        """Say what was sent again and again, once a call."""
        if self.repeats is not None:
            for line in self.repeats.tell(backend):
                parallel._print(line)

    def _dumps_alone(self, obj: Any) -> bytes:
        # the files of its arrays stay as long as its own: to the end of the call
        return dumps(obj, self.arrays.reducers([]), self.main_by_reference)

    def close(self) -> None:
        """Delete the call's files. Idempotent."""
        self.arrays.close()

    def pack(self, batch: Callable[[], Any]) -> Parcel:
        """Return `batch` in a form that any queue can carry."""
        check_tasks(batch)
        return Parcel(batch, self)

    def unpack(self, payload: Any, parcel: Parcel) -> Any:
        """Return the results that a worker sent, or raise the task's error."""
        try:
            out = pickle.loads(payload)
        except Exception as error:
            raise pickle.UnpicklingError(
                f"A result of {parcel.name!r} came back from a worker process and can't "
                f"be unpickled here ({type(error).__name__}: {error})."
            ) from error
        if parcel.has_mapped and isinstance(out, CapturedError):
            _advise_on_writing(out.error)
        return unwrap(out)


def _advise_on_writing(error: BaseException) -> None:
    """Add to the error of a task that wrote to a mapped array how it may do so."""
    if not (isinstance(error, ValueError) and "read-only" in str(error)):
        return
    if sys.version_info >= (3, 11):
        error.add_note(HOW_TO_WRITE)
    elif isinstance(error.args[0], str):
        error.args = (f"{error.args[0]}\n{HOW_TO_WRITE}", *error.args[1:])
