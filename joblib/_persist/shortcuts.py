"""Let the C pickler do the work where it can.

Writing: most objects hold no array, and the C pickler writes them whole. When an
array turns up it stops, and the object is written again by the pickler that knows
arrays.

Reading: the C unpickler reads everything, arrays too. The description of an array
ends a frame of the pickle, so that when the unpickler has built it, the file stands
right at the array's elements; the next byte the unpickler asks for is an opcode. The
file it reads from (`joblib._persist.interposed`) then slips in one of its own, which
makes the unpickler call back with the description and take what it gets, the array,
in its place::

    file:       ... description BUILD | elements | next opcode ...
    unpickler:  ... description BUILD   BINPERSID   next opcode ...
                                        ^ persistent_load(description) -> array
"""

from __future__ import annotations

import copyreg
import pickle
import sys
from typing import Any

from .failures import CorruptFileError
from .guarded import GuardedUnpickler

# Stop gathering what is to be written to a file that cannot take it back.
_SPOOL_BYTES = 1 << 25
# Items of a container that are looked at to see whether it holds arrays.
_GLANCE = 64


class ArrayFound(Exception):
    """The C pickler met an array."""


class _SpoolFull(Exception):
    """Too much to keep in memory in case an array turns up."""


def array_types() -> tuple[Any, ...]:
    """The types whose elements are written outside the pickle.

    None of them is loaded if numpy is not.
    """
    np: Any = sys.modules.get("numpy")
    try:
        return (np.ndarray, np.matrix, np.memmap)
    except AttributeError:
        return ()  # not imported, or being imported right now


def _stop(array: Any) -> Any:
    raise ArrayFound


def shows_arrays(value: Any, types: tuple[Any, ...]) -> bool:
    """Whether a glance at the object shows an array, which rules the short way out."""
    if type(value) in types:
        return True
    if isinstance(value, dict):
        parts: Any = value.values()
    elif isinstance(value, (list, tuple)):
        parts = value
    else:
        parts = getattr(value, "__dict__", {}).values()
    return any(type(part) in types for part, _ in zip(parts, range(_GLANCE)))  # noqa: B905


def dump_plain(value: Any, file: Any, protocol: int) -> None:
    """Write an object without arrays with the C pickler.

    Raises
    ------
    ArrayFound
        If there are arrays. The file then holds a beginning that is to be undone.
    """
    pickler = pickle.Pickler(file, protocol)
    types = array_types()
    if types:
        if shows_arrays(value, types):
            raise ArrayFound
        table = dict(copyreg.dispatch_table)
        table.update(dict.fromkeys(types, _stop))
        pickler.dispatch_table = table
    pickler.dump(value)


class _Spool:
    """Keeps what is written, up to a limit."""

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self._room = _SPOOL_BYTES

    def write(self, data: Any) -> int:
        self._room -= len(data)
        if self._room < 0:
            raise _SpoolFull
        self.parts.append(bytes(data))
        return len(data)


def plain_pickle(value: Any, protocol: int) -> list[bytes] | None:
    """Return the pickle of an object in parts, or None if the short way is closed.

    For files that cannot take back what was written. None too if the object cannot be
    pickled at all: the long way then says why, in the words users know.
    """
    spool = _Spool()
    try:
        dump_plain(value, spool, protocol)
    except MemoryError:
        raise
    except Exception:
        return None
    return spool.parts


class ShortLoader(GuardedUnpickler):
    """The C unpickler, with the arrays taken from between the frames.

    Parameters
    ----------
    file : file object
        The file, decompressed.
    stand_ins : tuple of type
        The classes that describe arrays in a file, by whatever name it calls them.
    read_array : callable
        Takes a description once it is complete; returns the array, read from `file`.
    """

    def __init__(self, file: Any, stand_ins: tuple[type, ...], read_array: Any) -> None:
        super().__init__(file)
        self._stand_ins = stand_ins
        self._read_array = read_array

    def find_class(self, module: str, name: str) -> Any:
        found = super().find_class(module, name)
        if found not in self._stand_ins:
            return found
        source = self.source

        class Announced(found):  # type: ignore[misc,valid-type]
            """Tells the file that its elements are next."""

            def __setstate__(self, state: Any) -> None:
                self.__dict__.update(state)
                source.announce_array()

        return Announced

    def load(self) -> Any:
        """Return the object."""
        obj = super().load()
        if self.source.array_is_next:
            raise CorruptFileError("no array where one is announced")
        return obj

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, self._stand_ins):
            return self._read_array(pid)
        return super().persistent_load(pid)


class NestedUnpickler(GuardedUnpickler):
    """Reads an array of objects, a pickle of its own inside the file.

    Parameters
    ----------
    file : file object
        The file, at the nested pickle.
    find_class : callable
        That of the unpickler around it, whose rules hold here too.
    """

    def __init__(self, file: Any, find_class: Any) -> None:
        super().__init__(file)
        self._find_class = find_class

    def find_class(self, module: str, name: str) -> Any:
        found = self._find_class(module, name)
        self.watch_for(found)
        return found
