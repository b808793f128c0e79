"""Large arguments, sent to the cluster once and shared by the tasks of a call."""

from __future__ import annotations

import types
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from .carrying import Carrier
from .inside import DEPTH, WEIGHTLESS, Finder, is_copied, parts_of
from .packing import CannotPickle, Packed, Parcel
from .pulse import answer_of
from .remote import Slot
from .scattering import key_of_data
from .spreading import spread

#: arguments up to this many bytes travel with their task
SMALL = 1_000
#: arguments from this many bytes on are shared the first time they are seen,
#: smaller ones when they are seen again
LARGE = 200_000
#: arguments from this many bytes on are sent at once to as many workers as there are
#: batches that need them; of smaller ones they fetch copies from one another
BROADCAST = 1_000_000
#: the same for workers near the client; what goes together with such an argument goes
#: to as many, for a task waits for the last of what it needs
NEAR_BROADCAST = 100_000
#: batches of more bytes are searched for what makes them so heavy, and what has more
#: bytes is shared
HEAVY = 20_000
#: so many heavy batches of a call are searched, and after that one of so many
WEIGHINGS, WEIGHED_LATER = 16, 8
#: how many objects that can't be held by weak reference are kept
KEPT = 64

_NEVER_LARGE = WEIGHTLESS | {
    type,
    types.BuiltinFunctionType,
    types.FunctionType,
    types.ModuleType,
}

#: seconds in which data finds a worker while a call is under way
NO_WORKER = 3.0


class _Seen:
    """One large argument: how to know it again, and its future once shared."""

    __slots__ = ("fresh", "future", "nbytes", "owner", "stays", "uses")

    def __init__(self, owner: Any, nbytes: int, fresh: bool) -> None:
        self.owner = owner
        self.nbytes = nbytes
        #: each batch gets a copy of its own, as nobody expects it to be shared
        self.fresh = fresh
        #: it goes with its tasks
        self.stays = False
        self.future: Any = None
        #: by how many batches
        self.uses = 0


class Sharing:
    """The large arguments of one call, and its functions with much inside.

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
    carrier : Carrier, optional
        What takes large functions to the cluster, as far as it does.
    """

    def __init__(
        self,
        client: Any,
        given: dict[int, Any],
        in_process: bool,
        workers: list[str] | None = None,
        carrier: Carrier | None = None,
    ) -> None:
        self._client = client
        self._given = given
        self._in_process = in_process
        self._workers = workers
        self._carrier = carrier
        self._weak: dict[int, _Seen] = {}
        self._strong: OrderedDict[int, _Seen] = OrderedDict()
        #: how many batches were heavy
        self._heavy = 0
        self._found_by_weight = False
        #: whether something is shared that is inside of what tasks are made of
        self.looks_inside = False
        #: the code of functions that were heavy: others with the same are made anew
        self._codes: set[Any] = set()

    # ---------------------------------------------------------------- one round
    def survey(self, batches: list[list[Any]]) -> None:
        """Look at what is about to be sent, and send what is to be shared.

        All of it at once, and to as many workers as will need it, as far as these
        batches tell.
        """
        found: dict[int, tuple[Any, _Seen]] = {}
        for items in batches:
            for value in self._candidates(items):
                for thing, seen in self._known(value) or self._measure(value):
                    seen.uses += 1
                    if seen.future is None and _is_shared(seen):
                        found[id(thing)] = thing, seen
        if found:
            self._scatter(list(found.values()))
        if self._carrier is not None:
            self._carrier.look()

    def _candidates(self, items: list[Any]) -> list[Any]:
        """Return what of a batch may be large; each once."""
        found: dict[int, Any] = {}
        for func, args, kwargs in items:
            for value in args:
                if type(value) not in _NEVER_LARGE:
                    found[id(value)] = value
            for value in kwargs.values():
                if type(value) not in _NEVER_LARGE:
                    found[id(value)] = value
            if self._found_by_weight:
                for value in (func, *args, *kwargs.values()):
                    if self._known(value):
                        found[id(value)] = value
        for key in list(self._given):
            found.pop(key, None)
        return list(found.values())

    def _known(self, value: Any, depth: int = DEPTH) -> list[tuple[Any, _Seen]]:
        """Return what is known of a value, or else of what is inside of it."""
        seen = self._find(value)
        if seen is not None:
            return [(value, seen)]
        if not self.looks_inside or not depth:
            return []
        return [one for part in parts_of(value) for one in self._known(part, depth - 1)]

    def _measure(self, value: Any) -> list[tuple[Any, _Seen]]:
        """Remember a value that is large, or else what makes it so."""
        nbytes = _size(value)
        if nbytes <= SMALL:
            return []
        large = []
        if nbytes >= LARGE:
            sizes = [(part, _size(part)) for part in parts_of(value)]
            large = [(part, size) for part, size in sizes if size >= LARGE]
        if not large:
            return [(value, self._remember(value, nbytes, is_copied(value)))]
        self.looks_inside = True
        return [
            (part, self._find(part) or self._remember(part, size, fresh=True))
            for part, size in large
            if id(part) not in self._given
        ]

    def weigh(self, items: list[Any]) -> bool:
        """Look for what is large though dask does not say so, in a heavy batch.

        That may be an estimator, or a function with much in its closure. It is shared
        at once or, if it is not that large, when it is seen again. True if the batch
        is to be packed anew.
        """
        self._heavy += 1
        if self._heavy > WEIGHINGS and self._heavy % WEIGHED_LATER:
            return False
        values = {
            id(value): value
            for func, args, kwargs in items
            for value in (func, *args, *kwargs.values())
            if type(value) not in WEIGHTLESS and id(value) not in self._given
        }
        large = {}
        looked_inside = self.looks_inside
        for value in values.values():
            for thing, nbytes in self._heaviest(value, self._weight(value)):
                self._found_by_weight = True
                seen = self._remember(thing, nbytes, fresh=True)
                seen.uses = 1
                if _is_shared(seen):
                    large[id(thing)] = thing, seen
        if large:
            self._scatter(list(large.values()))
        return bool(large) or self.looks_inside is not looked_inside

    def _weight(self, value: Any) -> int:
        """Return the bytes of a value's pickle, without what is known already.

        Some of that may be about to be scattered.
        """
        finder = Finder(lambda obj: self._given.get(id(obj)) or self._find(obj))
        if finder.find(value) is not None:
            return 0
        try:
            nbytes = Packed.of(value, find=finder.find).nbytes
        except CannotPickle:  # it has gone well with the batch; let it be
            return 0
        if finder.futures:
            self._found_by_weight = self.looks_inside = True
        return nbytes

    def _heaviest(
        self, value: Any, nbytes: int, depth: int = DEPTH
    ) -> list[tuple[Any, int]]:
        """Return what makes a value heavy, and how heavy that is.

        That is the value itself unless it may be made anew for each task, such as a
        bound method, and most of it is in something that need not be.
        """
        if nbytes <= HEAVY:
            return []
        if type(value) is types.FunctionType and value.__code__ not in self._codes:
            self._codes.add(value.__code__)
        elif depth:
            weights = [
                (part, self._weight(part))
                for part in parts_of(value)
                if type(part) not in WEIGHTLESS
            ]
            heavy = [(part, weight) for part, weight in weights if weight > HEAVY]
            if 2 * sum(weight for _, weight in heavy) >= nbytes:
                self.looks_inside = True
                return [
                    one for each in heavy for one in self._heaviest(*each, depth - 1)
                ]
        return [(value, nbytes)]

    def finder(self, given: Sequence[Any] = ()) -> Finder:
        """Return what finds all that is shared, and the futures `given`."""
        return Finder(self._future_of, given)

    def take_out(self, items: list[Any]) -> tuple[list[Any], list[Any]]:
        """Return tasks with slots for their shared arguments, and the futures."""
        futures: list[Any] = []
        slots: dict[int, Slot] = {}

        def replace(value: Any) -> Any:
            if type(value) in _NEVER_LARGE and not self._found_by_weight:
                return value
            slot = slots.get(id(value))
            if slot is None:
                future = self._future_of(value)
                if future is None:
                    return value
                slot = slots[id(value)] = Slot(len(futures))
                futures.append(future)
            return slot

        out = []
        for func, args, kwargs in items:
            new_func = replace(func) if self._found_by_weight else func
            new_args = tuple(map(replace, args))
            new_kwargs = (
                {name: replace(value) for name, value in kwargs.items()}
                if kwargs
                else kwargs
            )
            out.append((new_func, new_args, new_kwargs))
        return (out, futures) if futures else (items, futures)

    def forget(self, lost: list[Any]) -> None:
        """Drop futures whose data the cluster has lost, for it to be sent anew."""
        for table in (self._weak, self._strong):
            for key, seen in list(table.items()):
                if any(seen.future is future for future in lost):
                    table.pop(key, None)
        for key, given in list(self._given.items()):
            if any(given is future for future in lost):
                self._given.pop(key, None)  # another call may have been here

    def clear(self) -> None:
        """Let go of all futures, and the cluster of their data."""
        for table in (self._weak, self._strong):
            for seen in list(table.values()):
                seen.future = None  # whoever else still knows of it
        self._weak.clear()
        self._strong.clear()
        if self._carrier is not None:
            self._carrier.close()

    def _future_of(self, value: Any) -> Any:
        given = self._given.get(id(value))
        if given is not None:
            return given
        seen = self._find(value)
        return None if seen is None else seen.future

    def _find(self, value: Any) -> _Seen | None:
        key = id(value)
        seen = self._weak.get(key)
        if seen is not None:
            return seen if seen.owner() is value else None
        seen = self._strong.get(key)
        if seen is not None:
            self._strong.move_to_end(key)
        return seen

    def _remember(self, value: Any, nbytes: int, fresh: bool = False) -> _Seen:
        key = id(value)
        # A worker of this process would itself keep the object from going.
        owner = None if self._in_process else self._weak_reference(value)
        if owner is not None:
            seen = self._weak[key] = _Seen(owner, nbytes, fresh)
            return seen
        seen = self._strong[key] = _Seen(value, nbytes, fresh)
        if len(self._strong) > KEPT:
            self._strong.popitem(last=False)
        return seen

    def _weak_reference(self, value: Any) -> weakref.ref[Any] | None:
        table, key = self._weak, id(value)
        try:
            return weakref.ref(value, lambda _: table.pop(key, None))
        except TypeError:  # lists, strings and the like
            return None

    def _scatter(self, found: list[tuple[Any, _Seen]]) -> None:
        """Send what has been found, in one message for each number of copies."""
        groups: dict[tuple[int, int], dict[str, Any]] = {}
        owners: dict[str, _Seen] = {}
        heavy = any(seen.nbytes >= NEAR_BROADCAST for _, seen in found)
        for value, seen in found:
            try:
                sent = self._packed(value, seen.fresh)
            except CannotPickle:  # the batch will say what it is
                continue
            if isinstance(sent, Packed) and sent.may_hold_futures:
                seen.stays = True  # their results are meant
                continue
            if self._carrier is not None and self._carrier.takes(value, sent):
                seen.future = self._carrier.carry(value, sent)
                continue
            near = seen.uses if heavy else 1
            far = seen.uses if seen.nbytes >= BROADCAST else 1
            key = key_of_data(value)
            groups.setdefault((near, far), {})[key] = sent
            owners[key] = seen
        for (near, far), data in groups.items():
            question = spread(
                self._client, data, self._workers, near, far, timeout=NO_WORKER
            )
            for key, future in answer_of(self._client, question).items():
                owners[key].future = future

    def _packed(self, value: Any, fresh: bool) -> Any:
        if fresh:
            # With nothing beside the pickle: what is loaded would use that in place.
            return Packed.of(value, copy=True)
        return value if self._in_process else Parcel.of(value)


def _is_shared(seen: _Seen) -> bool:
    return not seen.stays and (seen.nbytes >= LARGE or seen.uses > 1)


def _size(value: Any) -> int:
    from dask.sizeof import sizeof

    try:
        return int(sizeof(value))
    except Exception:  # a broken __sizeof__ is no reason not to run the task
        return 0
