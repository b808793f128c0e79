"""How a batch travels to another process, and its results come back.

::

    caller            feeder thread             worker                   caller
    Transport.pack -> Parcel.__reduce__ -> deliver: load, run, dump -> unpack

Batches and results are pickled here and travel as bytes: what can't be
pickled, or read back, fails its own batch with an error that names the
function, and never the queue or the pool underneath. A batch is pickled late,
by the thread that feeds the queue, so that only those about to be sent take up
memory twice.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import cloudpickle

from .._captured import CapturedError, capture_call, unwrap
from .._engine.batch import name_of
from .._memmap.reducers import result_reducers
from .._memmap.results import ResultPlace
from .._memmap.store import Dump
from .arrays import CallArrays
from .outgoing import check_tasks

Reducers = Mapping[type, Callable[[Any], Any]]

_MAIN_NAMES = ("__main__", "__mp_main__")


def _reachable_in_main(obj: Any) -> bool:
    """Whether the main module has `obj` under its own name."""
    found: Any = sys.modules.get(obj.__module__)
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is obj


class TaskPickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles what travels between processes.

    Parameters
    ----------
    file : file object
        Where the pickle is written.
    reducers : mapping of type to callable
        How to reduce objects of certain types, before any other way.
    main_by_reference : bool, default=False
        Whether the workers have the caller's main module, so that functions
        and classes of it are named and not sent. It keeps the module's globals
        (which may be large) out of the pickle.
    """

    def __init__(
        self, file: io.BytesIO, reducers: Reducers, main_by_reference: bool = False
    ) -> None:
        # read by the base class when it is initialised, hence set before
        self.dispatch_table = ChainMap(
            dict(reducers), _shared_reducers(), cloudpickle.Pickler.dispatch_table
        )
        self._main_by_reference = main_by_reference
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)

    def reducer_override(self, obj: Any) -> Any:
        if (
            self._main_by_reference
            and isinstance(obj, (FunctionType, type))
            and obj.__module__ in _MAIN_NAMES
            and _reachable_in_main(obj)
        ):
            return NotImplemented
        return super().reducer_override(obj)


def _shared_reducers() -> dict[type, Any]:
    """Return the reducers for pipes, sockets and the like, those of loky."""
    reduction = sys.modules.get("loky.backend.reduction")
    if reduction is not None:
        return getattr(reduction, "_dispatch_table", {})
    from multiprocessing.reduction import ForkingPickler

    return getattr(ForkingPickler, "_extra_reducers", {})


def _plainly(obj: Any, reducers: Reducers, main_by_reference: bool) -> bytes | None:
    """Pickle without cloudpickle, in a tenth of the time; None if that won't do.

    It won't if plain pickle fails, or names something that the other process
    would look for in vain: what lives in the main module, or in a module that
    the user wants sent by value.
    """
    if cloudpickle.list_registry_pickle_by_value():
        return None
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {
        **copyreg.dispatch_table,
        **_shared_reducers(),
        **reducers,
    }
    try:
        pickler.dump(obj)
    except Exception:  # told again by cloudpickle, if it can't do better
        return None
    data = buffer.getvalue()
    # Whatever is named is named in full. Text that looks so does no harm.
    if not main_by_reference and (b"__main__" in data or b"__mp_main__" in data):
        return None
    return data


def dumps(obj: Any, reducers: Reducers, main_by_reference: bool = False) -> bytes:
    """Pickle `obj`, with the pickler that `loky.set_loky_pickler` asked for."""
    reduction = sys.modules.get("loky.backend.reduction")
    if reduction is not None and reduction.get_loky_pickler_name() != "cloudpickle":
        buffer = io.BytesIO()
        reduction.dump(obj, buffer, dict(reducers), pickle.HIGHEST_PROTOCOL)
        return buffer.getvalue()
    data = _plainly(obj, reducers, main_by_reference)
    if data is None:
        buffer = io.BytesIO()
        TaskPickler(buffer, reducers, main_by_reference).dump(obj)
        data = buffer.getvalue()
    return data


class Arrived:
    """A parcel as the worker gets it."""

    __slots__ = ("main_by_reference", "name", "payload", "results")

    def __init__(
        self,
        payload: bytes,
        name: str,
        main_by_reference: bool,
        results: ResultPlace | None,
    ) -> None:
        self.payload: bytes | None = payload
        self.name = name
        self.main_by_reference = main_by_reference
        self.results = results

    def open(self) -> Any:
        """Return the batch, and forget the bytes it was read from."""
        payload, self.payload = self.payload, None
        assert payload is not None
        try:
            return pickle.loads(payload)
        except Exception as error:
            raise pickle.UnpicklingError(
                f"The task {self.name!r} was sent to a worker process that can't "
                f"unpickle it ({type(error).__name__}: {error}). Is everything its "
                "function and arguments are made of importable there?"
            ) from error


def deliver(parcel: Arrived) -> bytes:
    """Run a parcel's batch on the worker; return the pickled results or error."""
    name = parcel.name
    out = capture_call(lambda: parcel.open()())
    try:
        return dumps(out, result_reducers(parcel.results), parcel.main_by_reference)
    except Exception as error:
        refusal = pickle.PicklingError(
            f"Could not pickle a result of {name!r} to send it back from the worker "
            f"({type(error).__name__}: {error})."
        )
        refusal.__cause__ = error
        return dumps(CapturedError(refusal), {})


class Parcel:
    """A batch on its way; pickles to what `deliver` takes on the worker.

    Parameters
    ----------
    batch : callable
        What the worker is to run.
    transport : Transport
        How it is pickled.
    """

    __slots__ = ("batch", "error", "leases", "name", "transport")

    def __init__(self, batch: Callable[[], Any], transport: Transport) -> None:
        self.batch: Callable[[], Any] | None = batch
        self.transport = transport
        self.error: BaseException | None = None
        #: the files that the batch's arrays are in
        self.leases: list[Dump] = []
        label = getattr(batch, "name", None)
        self.name = label() if callable(label) else name_of(batch)

    def __reduce__(self) -> tuple[Any, ...]:
        by_reference = self.transport.main_by_reference
        arrays = self.transport.arrays
        reducers = arrays.reducers(self.leases)
        try:
            payload = dumps(self.batch, reducers, by_reference)
        except Exception as error:
            self.error = pickle.PicklingError(
                "Could not pickle the task to send it to the workers: function "
                f"{self.name!r} or one of its arguments can't be pickled "
                f"({type(error).__name__}: {error})."
            )
            self.error.__cause__ = error
            raise self.error from error
        return Arrived, (payload, self.name, by_reference, arrays.results)

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
    """

    def __init__(self, arrays: CallArrays, main_by_reference: bool = False) -> None:
        self.arrays = arrays
        self.main_by_reference = main_by_reference

    def close(self) -> None:
        """Delete the call's files. Idempotent."""
        self.arrays.close()

    def pack(self, batch: Callable[[], Any]) -> Parcel:
        """Return `batch` in a form that any queue can carry."""
        check_tasks(batch)
        return Parcel(batch, self)

    def unpack(self, payload: bytes, name: str = "") -> Any:
        """Return the results that a worker sent, or raise the task's error."""
        try:
            out = pickle.loads(payload)
        except Exception as error:
            raise pickle.UnpicklingError(
                f"A result of {name!r} came back from a worker process and can't be "
                f"unpickled here ({type(error).__name__}: {error})."
            ) from error
        return unwrap(out)
