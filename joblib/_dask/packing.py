"""Objects as bytes, pickled by us so that failures are ours to explain.

dask would pickle what it is given on its event loop, where an error is logged and
nobody waits for it any more. A `Packed` object is nothing but bytes and can always
be sent; large buffers in it are neither copied by pickling nor by unpickling.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

from .._engine.batch import name_of

#: buffers of at least this many bytes travel beside the pickle instead of in it
OUT_OF_BAND = 1 << 14

PROTOCOL = 5


class CannotPickle(Exception):
    """Says that it was pickling that failed; the error itself is its cause."""


#: returns the number of what travels another way, None of all else
Find = Callable[[Any], int | None]


def dump(
    obj: Any, *, copy: bool = False, find: Find | None = None
) -> tuple[bytes, list[Any]]:
    """Return the pickle of `obj` and the buffers that stand beside it.

    The C pickler is tried first: cloudpickle is ten times slower, and only needed
    for what can't be imported on the worker. With `copy` all is in the pickle, and
    with `find` a number wherever that knows one, however deep inside.
    """
    import cloudpickle

    buffers: list[Any] = []

    def keep_in_band(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if copy or view.nbytes < OUT_OF_BAND:
            return True
        buffers.append(view)
        return False

    if find is not None:
        file = io.BytesIO()
        pickler = cloudpickle.Pickler(file, PROTOCOL, buffer_callback=keep_in_band)
        pickler.persistent_id = find
        pickler.dump(obj)
        return file.getvalue(), buffers
    if not cloudpickle.list_registry_pickle_by_value():
        try:
            data = pickle.dumps(obj, PROTOCOL, buffer_callback=keep_in_band)
        except Exception:  # whatever it is, cloudpickle may know better
            pass
        else:
            if b"__main__" not in data:
                return data, buffers
        buffers.clear()
    data = cloudpickle.dumps(obj, PROTOCOL, buffer_callback=keep_in_band)
    return data, buffers


class _Unpickler(pickle.Unpickler):
    """Unpickles what has the numbers of other objects in it."""

    def __init__(self, file: Any, buffers: Any, values: Sequence[Any]) -> None:
        super().__init__(file, buffers=buffers)
        self._values = values

    def persistent_load(self, number: int) -> Any:
        """Return the object of this number."""
        return self._values[number]


class Packed:
    """A pickled object, loaded anew by each call of `load`.

    Attributes
    ----------
    origin : BatchedCalls or None
        The batch whose results these are, for an error to name its function.
    patience : float or None
        Seconds after which a worker that runs this batch leaves the rest of it.
    """

    __slots__ = ("_buffers", "_head", "origin", "patience")

    def __init__(
        self, head: Any, buffers: list[Any], patience: float | None = None
    ) -> None:
        self._head = head
        self._buffers = buffers
        self.origin: Any = None
        self.patience = patience

    @classmethod
    def of(cls, obj: Any, *, copy: bool = False, find: Find | None = None) -> Packed:
        """Pickle `obj`; raise `CannotPickle` if that is not possible."""
        try:
            return cls(*dump(obj, copy=copy, find=find))
        except Exception as error:
            raise CannotPickle from error

    @property
    def may_hold_futures(self) -> bool:
        """Whether the pickle names what futures are made of."""
        return b"distributed.client" in self._head

    @property
    def nbytes(self) -> int:
        return len(self._head) + sum(len(part) for part in self._buffers)

    def load(self) -> Any:
        return pickle.loads(self._head, buffers=map(_writeable, self._buffers))

    def load_with(self, values: Sequence[Any]) -> Any:
        """Load it, with `values` in the places of their numbers."""
        buffers = map(_writeable, self._buffers)
        return _Unpickler(io.BytesIO(self._head), buffers, values).load()

    def apart(self) -> Packed:
        """Return the same with buffers of its own: what was pickled may change."""
        return type(self)(self._head, [bytearray(part) for part in self._buffers])

    def __sizeof__(self) -> int:
        # what dask.sizeof goes by when a worker decides what to spill
        return object.__sizeof__(self) + self.nbytes

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        parts = _portable(self._head, self._buffers, protocol)
        return type(self), parts if self.patience is None else (*parts, self.patience)


class Results(Packed):
    """The results of a batch, whose buffers dask sends as they are.

    They come by the scheduler, on whose connections pickle has no buffers beside it.
    """

    __slots__ = ()

    def frames(self) -> tuple[dict[str, Any], list[Any]]:
        """Return what dask sends: a header, and parts that it does not copy."""
        return {}, [self._head, *self._buffers]

    @classmethod
    def of_frames(cls, header: dict[str, Any], frames: list[Any]) -> Results:
        """Return what was sent so."""
        return cls(frames[0], frames[1:])


@cache
def teach_dask() -> None:
    """Have dask send `Results` so. Both ends have to be told."""
    from distributed.protocol.serialize import register_serialization

    register_serialization(Results, Results.frames, Results.of_frames)


class Parcel(Packed):
    """A pickled object that is loaded once a process and shared by its tasks."""

    __slots__ = ("_lock", "_loaded", "_value")

    def __init__(self, head: Any, buffers: list[Any]) -> None:
        super().__init__(head, buffers)
        self._lock = threading.Lock()
        self._loaded = False
        self._value: Any = None

    def load(self) -> Any:
        with self._lock:
            if not self._loaded:
                self._value = super().load()
                self._loaded = True
            return self._value


def _writeable(part: Any) -> Any:
    # On some ways a buffer comes out read-only, and what is made of it would be,
    # too. What was read-only in the first place is marked so in the pickle.
    return bytearray(part) if memoryview(part).readonly else part


def _portable(head: Any, buffers: list[Any], protocol: int) -> tuple[Any, list[Any]]:
    if protocol < 5:
        return bytes(head), [bytes(part) for part in buffers]
    head = pickle.PickleBuffer(head) if len(head) >= OUT_OF_BAND else bytes(head)
    return head, [pickle.PickleBuffer(part) for part in buffers]


def _pickles(obj: Any) -> bool:
    try:
        dump(obj)
    except Exception:
        return False
    return True


def explain_batch(batch: Any, failed: CannotPickle) -> pickle.PicklingError:
    """Return the error that names what of a batch can't be pickled."""
    for func, args, kwargs in batch.items:
        name = name_of(func)
        if not _pickles(func):
            what = f"The function {name!r} can't be pickled"
            break
        named: list[tuple[Any, Any]] = [*enumerate(args), *kwargs.items()]
        bad = [(key, value) for key, value in named if not _pickles(value)]
        if bad:
            key, value = bad[0]
            what = (
                f"Argument {key!r} of the function {name!r}, of type "
                f"{type(value).__qualname__!r}, can't be pickled"
            )
            break
    else:
        what = f"A batch of calls of the function {batch.name()!r} can't be pickled"
    return pickle.PicklingError(
        f"{what}, which is needed to send it to the workers of the cluster: "
        f"{_reason(failed)}"
    )


def note(error: BaseException, text: str) -> None:
    """Have an error say more, its type and message being as they are."""
    if sys.version_info >= (3, 11):
        error.add_note(text)


def load_results(packed: Packed) -> Any:
    """Return a batch's results; an error says what was unpickled."""
    try:
        return packed.load()
    except Exception as error:
        with suppress(Exception):  # a function that raises when asked its name
            name = packed.origin.name()
            note(error, f"This happened while results of {name!r} were unpickled.")
        raise


def explain_scatter(index: int, obj: Any, failed: CannotPickle) -> pickle.PicklingError:
    """Return the error for what a context is to scatter, and can't be pickled."""
    return pickle.PicklingError(
        f"Object {index} of scatter=, of type {type(obj).__qualname__!r}, can't be "
        "pickled, which is needed to send it to the workers of the cluster: "
        f"{_reason(failed)}"
    )


def explain_result(
    name: str, results: list[Any], failed: CannotPickle
) -> pickle.PicklingError:
    """Return the error that names the result that can't be pickled."""
    bad = next((item for item in results if not _pickles(item)), results)
    return pickle.PicklingError(
        f"The result of the function {name!r}, of type {type(bad).__qualname__!r}, "
        "can't be pickled, which is needed to send it back from the worker: "
        f"{_reason(failed)}"
    )


def _reason(failed: CannotPickle) -> str:
    return f"{type(failed.__cause__).__name__}: {failed.__cause__}"


if sys.modules.get("distributed") is not None:
    # A worker may be sent results before it has run anything of ours, by one that retires.
    teach_dask()
