"""Large arguments, sent to the cluster once and shared by the tasks of a call."""

from __future__ import annotations

import types
import weakref
from collections import OrderedDict
from typing import Any

from .packing import Parcel
from .pulse import answer_of
from .remote import Slot

#: arguments up to this many bytes travel with their task
SMALL = 1_000
#: arguments from this many bytes on are shared the first time they are seen,
#: smaller ones when they are seen again
LARGE = 200_000
#: arguments from this many bytes on are sent to all workers at once, since each
#: will need them and fetching them from one another would come later
BROADCAST = 1_000_000
#: how many objects that can't be held by weak reference are kept
KEPT = 64

_NEVER_LARGE = frozenset(
    {
        bool,
        complex,
        float,
        int,
        range,
        slice,
        type,
        types.BuiltinFunctionType,
        types.FunctionType,
        types.ModuleType,
        type(None),
    }
)


def check_scatter(scatter: Any) -> None:
    """Raise TypeError unless `scatter` is None, a list or a tuple."""
    if scatter is not None and not isinstance(scatter, (list, tuple)):
        raise TypeError(f"scatter must be a list/tuple, got `{type(scatter).__name__}`")


def scatter_all(client: Any, objects: list[Any]) -> dict[int, Any]:
    """Send `objects` to all workers; return their futures by ``id``."""
    question = client.scatter(objects, broadcast=True, asynchronous=True)
    futures = answer_of(client, question)
    return dict(zip(map(id, objects), futures, strict=True))


class _Seen:
    """One large argument: how to know it again, and its future once shared."""

    __slots__ = ("future", "nbytes", "owner")

    def __init__(self, owner: Any, nbytes: int) -> None:
        self.owner = owner
        self.nbytes = nbytes
        self.future: Any = None


class Sharing:
    """The large arguments of one call.

    They are known by identity. Where Python allows it they are held by weak
    reference, so that a generator of large arguments used once each does not fill
    the caller's memory; futures go when their argument does, and with the call.
    Used by one thread.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    given : dict
        Futures of what was shared beforehand, by ``id``.
    in_process : bool
        Client and workers share a process: then objects are shared as they are.
    workers : list of str, optional
        The only workers to send to.
    """

    def __init__(
        self,
        client: Any,
        given: dict[int, Any],
        in_process: bool,
        workers: list[str] | None = None,
    ) -> None:
        self._client = client
        self._given = given
        self._in_process = in_process
        self._workers = workers
        self._weak: dict[int, _Seen] = {}
        self._strong: OrderedDict[int, _Seen] = OrderedDict()

    def take_out(self, items: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return tasks with slots for their shared arguments, and the futures."""
        futures: list[Any] = []
        # What is decided first holds for the whole batch: pickling sends an object
        # once, and the tasks of a batch see one object where the caller had one.
        decided: dict[int, Any] = {}

        def replace(value: Any) -> Any:
            if type(value) in _NEVER_LARGE:
                return value
            key = id(value)
            if key not in decided:
                future = self._future_of(value)
                if future is None:
                    decided[key] = value
                else:
                    decided[key] = Slot(len(futures))
                    futures.append(future)
            return decided[key]

        out = []
        for func, args, kwargs in items:
            new_args = tuple(map(replace, args))
            new_kwargs = (
                {name: replace(value) for name, value in kwargs.items()}
                if kwargs
                else kwargs
            )
            out.append((func, new_args, new_kwargs))
        return (out, futures) if futures else (items, futures)

    def forget(self, lost: list[Any]) -> None:
        """Drop futures whose data the cluster has lost, for it to be sent anew."""
        for table in (self._weak, self._strong):
            for key, seen in list(table.items()):
                if any(seen.future is future for future in lost):
                    table.pop(key, None)
        for key, given in list(self._given.items()):
            if any(given is future for future in lost):
                del self._given[key]

    def clear(self) -> None:
        """Let go of all futures, and the cluster of their data."""
        self._weak.clear()
        self._strong.clear()

    def _future_of(self, value: Any) -> Any:
        given = self._given.get(id(value))
        if given is not None:
            return given
        seen = self._find(value)
        if seen is None:
            nbytes = _size(value)
            if nbytes <= SMALL:
                return None
            seen = self._remember(value, nbytes)
            if nbytes < LARGE:
                return None
        if seen.future is None:
            seen.future = self._scatter(value, seen.nbytes)
        return seen.future

    def _find(self, value: Any) -> _Seen | None:
        key = id(value)
        seen = self._weak.get(key)
        if seen is not None:
            return seen if seen.owner() is value else None
        seen = self._strong.get(key)
        if seen is not None:
            self._strong.move_to_end(key)
        return seen

    def _remember(self, value: Any, nbytes: int) -> _Seen:
        key = id(value)
        # A worker of this process would itself keep the object from going.
        owner = None if self._in_process else self._weak_reference(value)
        if owner is not None:
            seen = self._weak[key] = _Seen(owner, nbytes)
            return seen
        seen = self._strong[key] = _Seen(value, nbytes)
        if len(self._strong) > KEPT:
            self._strong.popitem(last=False)
        return seen

    def _weak_reference(self, value: Any) -> weakref.ref[Any] | None:
        table, key = self._weak, id(value)
        try:
            return weakref.ref(value, lambda _: table.pop(key, None))
        except TypeError:  # lists, strings and the like
            return None

    def _scatter(self, value: Any, nbytes: int) -> Any:
        sent = value if self._in_process else Parcel.of(value)
        # In a list, because dask takes a list apart; without a hash of the
        # contents, because identity is what counts here.
        question = self._client.scatter(
            [sent],
            workers=self._workers,
            broadcast=nbytes >= BROADCAST,
            hash=False,
            asynchronous=True,
        )
        [future] = answer_of(self._client, question)
        return future


def _size(value: Any) -> int:
    from dask.sizeof import sizeof

    try:
        return int(sizeof(value))
    except Exception:  # a broken __sizeof__ is no reason not to run the task
        return 0
