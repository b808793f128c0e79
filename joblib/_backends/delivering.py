"""The worker's half of a batch's journey: opened, run, and its results pickled.

Little is imported here, since each worker that starts has to wait for it; what only
few batches need is imported when one comes.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .._captured import CapturedError, capture_call
from .flat import flatten_results
from .output import show_rest
from .picklers import Reducers, dumps

if TYPE_CHECKING:
    from .culprit import Part


class Arrived:
    """A parcel as the worker gets it.

    Parameters
    ----------
    payload : object
        Something that has a buffer: the pickled batch.
    name : str
        Of the first task's function.
    main_by_reference : bool
        See `TaskPickler`.
    results : tuple or None
        The fields of the `ResultPlace` where to write large arrays.
    scattered : bool
        Whether the payload names scattered objects.
    """

    __slots__ = ("main_by_reference", "name", "payload", "results", "scattered")

    def __init__(
        self,
        payload: Any,
        name: str,
        main_by_reference: bool,
        results: tuple[Any, ...] | None,
        scattered: bool,
    ) -> None:
        self.payload: Any = payload
        self.name = name
        self.main_by_reference = main_by_reference
        self.results = results
        self.scattered = scattered

    @classmethod
    def read(cls, label: bytes, payload: Any) -> Arrived:
        """Return a parcel that came as a message; see `Parcel.message`."""
        return cls(payload, *pickle.loads(label))

    def open(self) -> Any:
        """Return the batch, and forget the bytes it was read from."""
        payload, self.payload = self.payload, None
        assert payload is not None
        try:
            if self.scattered:
                from .scattered import load

                return load(payload)
            return pickle.loads(payload)
        except Exception as error:
            raise pickle.UnpicklingError(
                f"The task {self.name!r} was sent to a worker process that can't "
                f"unpickle it ({type(error).__name__}: {error}). Is everything its "
                "function and arguments are made of importable there?"
            ) from error

    def reducers(self) -> Reducers:
        """Return how to reduce the arrays of results."""
        if "numpy" not in sys.modules:  # then there are none
            return {}
        from .._memmap.reducers import result_reducers
        from .._memmap.results import ResultPlace

        return result_reducers(
            None if self.results is None else ResultPlace(*self.results)
        )


def deliver(parcel: Arrived, begin: Callable[[], None] | None = None) -> bytes:
    """Run a parcel's batch on the worker; return the pickled results or error.

    `begin` is called when the batch has been opened, before it runs.
    """
    name = parcel.name

    def work() -> Any:
        batch = parcel.open()
        if begin is not None:
            begin()
        return batch()

    out = capture_call(work)
    show_rest()
    try:
        return dumps(flatten_results(out), parcel.reducers(), parcel.main_by_reference)
    except Exception as error:
        from .culprit import parts_of_results

        where = culprit_in(parts_of_results(out), parcel.main_by_reference)
        refusal = pickle.PicklingError(
            f"Could not pickle a result of {name!r} to send it back from the worker"
            f"{where} ({type(error).__name__}: {error})."
        )
        refusal.__cause__ = error
        return dumps(CapturedError(refusal), {})


def culprit_in(parts: Iterator[Part], main_by_reference: bool) -> str:
    """Say which part of something can't be pickled, if that can be told."""
    from .culprit import find_culprit

    def fails(obj: Any) -> bool:
        try:
            dumps(obj, _no_elements(), main_by_reference)
        except Exception:
            return True
        return False

    try:
        found = find_culprit(parts, fails)
    except Exception:  # of an object that cannot even be looked at
        found = None
    if found is None:
        return ""
    path, obj = found
    kind = f"{type(obj).__module__}.{type(obj).__qualname__}"
    return f": {path}, of type {kind}, can't be pickled"


def _no_elements() -> Reducers:
    """Reducers that make pickles of arrays small: their elements are not the matter."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return {}

    def reduce(array: Any) -> Any:
        return list, ([] if not array.dtype.hasobject else array.tolist(),)

    return {numpy.ndarray: reduce, numpy.memmap: reduce}
