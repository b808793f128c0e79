"""The fast half of hashing: write builtin containers and atoms straight to a stream.

``pickle._Pickler`` spends most of its time finding out what to call next. This
writer emits the same bytes for the types that make up most of what is hashed, looks
at items without a call each, and passes all else to the pickler, whose memo and
stream it shares (the pickler calls back into it for the parts)::

    writer.save(obj) -- builtin type --> stream
                     \\-- other types -> pickler -- parts --> writer.save

What the stream looks like is frozen: digests name cached results on disk. It is
protocol 3 with strings and bytes never memoized, dictionaries in sorted order, and
sets replaced by ordered stand-ins.
"""

from __future__ import annotations

import decimal
import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any

from .array_bytes import ArrayDigester

_BATCH = 1000  # items between two marks, as pickle has it
_FLOAT = Struct(">cd").pack
_LENGTH = Struct("<cI").pack
_PUT = tuple(bytes((0x71, n)) for n in range(256))
_GET = tuple(bytes((0x68, n)) for n in range(256))
_INT1 = tuple(bytes((0x4B, n)) for n in range(256))
_INT2 = Struct("<cH").pack
_INT4 = Struct("<ci").pack
_LONGEST_TEXT = 0xFFFFFFFF
_LONGEST_BYTES = 0xFFFF  # longer ones are left to the pickler
# What comparing keys raises: no common order, or decimals that are not numbers.
_UNSORTABLE = (TypeError, decimal.InvalidOperation)


def _int_bytes(value: int) -> bytes:
    if 0 <= value <= 0xFFFF:
        return _INT1[value] if value <= 0xFF else _INT2(b"M", value)
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _INT4(b"J", value)
    body = pickle.encode_long(value)
    if len(body) < 256:
        return bytes((0x8A, len(body))) + body
    return _INT4(b"\x8b", len(body)) + body


def _text_bytes(value: str) -> bytes:
    body = value.encode("utf-8", "surrogatepass")
    return _LENGTH(b"X", len(body)) + body


ATOMS: dict[type, Callable[[Any], bytes]] = {
    int: _int_bytes,
    str: _text_bytes,
    float: lambda value: _FLOAT(b"G", value),
    bool: lambda value: b"\x88" if value else b"\x89",
    type(None): lambda value: b"N",
}


_ATOM_FOR = ATOMS.get
_TUPLE_END = (b")", b"\x85", b"\x86", b"\x87")


# Their hashes, and thus their places in a set, are the same in every process.
_SAME_HASH = (int, float, complex, bool)


def _keeps_its_place(member: Any) -> bool:
    if type(member) in (tuple, frozenset):
        return all(map(_keeps_its_place, member))
    return type(member) in _SAME_HASH


def _chance_rules(members: list[Any]) -> bool:
    """Whether these, which could be sorted, are frozen sets: sorted as they came."""
    return (
        len(members) > 1
        and isinstance(members[0], frozenset)
        and not all(map(_keeps_its_place, members))
    )


def sorted_items(
    pairs: Iterable[tuple[Any, Any]], key_digest: Callable[[Any], str]
) -> list[tuple[Any, Any]]:
    """Order a dictionary's items by key; by the keys' digests if keys don't compare.

    In the second case the digests stand for the keys.
    """
    pairs = list(pairs)
    try:
        in_order = sorted(pairs)
    except _UNSORTABLE:
        return sorted((key_digest(key), value) for key, value in pairs)
    if len(pairs) > 1 and isinstance(pairs[0][0], frozenset):
        if _chance_rules([key for key, _ in pairs]):
            return sorted(pairs, key=lambda pair: key_digest(pair[0]))
    return in_order


def sorted_members(members: Iterable[Any], digest: Callable[[Any], str]) -> list[Any]:
    """Order a set's members; their digests if they don't compare."""
    members = list(members)
    try:
        in_order = sorted(members)
    except _UNSORTABLE:
        return sorted(map(digest, members))
    return sorted(members, key=digest) if _chance_rules(members) else in_order


def members_of_frozen(members: Iterable[Any], digest: Callable[[Any], str]) -> Any:
    """List a frozen set's members: as they come, or in order if chance rules there."""
    members = list(members)
    if len(members) < 2 or all(map(_keeps_its_place, members)):
        return members
    if set(map(type, members)) in ({str}, {bytes}):
        return sorted(members)
    return sorted(members, key=digest)


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    if len(items) <= _BATCH:
        yield items
        return
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


class PlainWriter:
    """Writes the stream; `other` is for subclasses to provide.

    Parameters
    ----------
    arrays : ArrayDigester or None
        Digests the buffers of arrays; None while numpy is not loaded.
    """

    __slots__ = ("_array_class", "_arrays", "memo", "stream", "write")

    def __init__(self, arrays: ArrayDigester | None) -> None:
        self.stream = io.BytesIO()
        self.write = self.stream.write
        # From id(obj) to (index, obj), as pickle has it.
        self.memo: dict[int, tuple[int, Any]] = {}
        self._arrays = arrays
        self._array_class = None if arrays is None else arrays.array_class

    def other(self, obj: Any) -> None:
        """Save an object of a type that is not written here."""
        raise NotImplementedError

    def key_digest(self, key: Any) -> str:
        """The digest by which keys are ordered that have no order of their own."""
        raise NotImplementedError

    def save(self, obj: Any) -> None:
        """Write `obj` and its parts."""
        kind = type(obj)
        atom = _ATOM_FOR(kind)
        if atom is not None:
            self.write(atom(obj))
            return
        container = _CONTAINER_FOR(kind)
        if container is None:
            if kind is self._array_class and not obj.dtype.hasobject:
                self._save_array(obj)
            else:
                self.other(obj)
            return
        known = self.memo.get(id(obj))
        if known is not None:
            self._recall(known[0])
        else:
            container(self, obj)

    def _memoize(self, obj: Any) -> None:
        memo = self.memo
        index = len(memo)
        memo[id(obj)] = index, obj
        self.write(_PUT[index] if index < 256 else _LENGTH(b"r", index))

    def _recall(self, index: int) -> None:
        self.write(_GET[index] if index < 256 else _LENGTH(b"j", index))

    def _save_parts(self, parts: Iterable[Any]) -> None:
        write = self.write
        for part in parts:
            atom = _ATOM_FOR(type(part))
            if atom is not None:
                write(atom(part))
            else:
                self.save(part)

    def _save_list(self, obj: list[Any]) -> None:
        self.write(b"]")
        self._memoize(obj)
        for batch in _batches(obj):
            if len(batch) > 1:
                self.write(b"(")
                self._save_parts(batch)
                self.write(b"e")
            elif batch:
                self.save(batch[0])
                self.write(b"a")

    def _save_tuple(self, obj: tuple[Any, ...]) -> None:
        size = len(obj)
        if size == 0:
            self.write(b")")
            return
        if size > 3:
            self.write(b"(")
        self._save_parts(obj)
        known = self.memo.get(id(obj))
        if known is not None:
            # A part of the tuple held the tuple, which is thus complete: drop the
            # parts just written and recall it.
            self.write(b"1" if size > 3 else b"0" * size)
            self._recall(known[0])
            return
        self.write(_TUPLE_END[size] if size < 4 else b"t")
        self._memoize(obj)

    def _save_dict(self, obj: dict[Any, Any]) -> None:
        write = self.write
        write(b"}")
        self._memoize(obj)
        if not obj:
            return
        if set(map(type, obj)) == {str}:
            items = [(key, obj[key]) for key in sorted(obj)]
        else:
            items = sorted_items(obj.items(), self.key_digest)
        for batch in _batches(items):
            if len(batch) > 1:
                write(b"(")
            for pair in batch:
                self._save_parts(pair)
            write(b"u" if len(batch) > 1 else b"s")

    def _save_bytes(self, obj: bytes) -> None:
        size = len(obj)
        if size <= 0xFF:
            self.write(bytes((0x43, size)) + obj)
        elif size <= _LONGEST_BYTES:
            self.write(_LENGTH(b"B", size) + obj)
        else:
            self.other(obj)

    def _save_array(self, obj: Any) -> None:
        """Write what ``save(arrays.stand_in(obj))`` would, for a plain array."""
        arrays: Any = self._arrays
        arrays.digest_array(obj)
        arrays.digest_dtype(obj.dtype)
        known = self.memo.get(id(self._array_class))
        if known is None:
            self.write(b"cnumpy\nndarray\n")
            self._memoize(self._array_class)
        else:
            self._recall(known[0])
        inner = shape, strides = obj.shape, obj.strides
        self.write(b"(X\x06\x00\x00\x00HASHED")
        self._save_tuple(shape)
        self._save_tuple(strides)
        self.write(b"t")
        self._memoize(inner)  # counts in the memo, where it lives on
        self.write(b"\x86")
        self._memoize((inner,))


_CONTAINERS: dict[type, Callable[[PlainWriter, Any], None]] = {
    list: PlainWriter._save_list,
    tuple: PlainWriter._save_tuple,
    dict: PlainWriter._save_dict,
    bytes: PlainWriter._save_bytes,
}
_CONTAINER_FOR = _CONTAINERS.get
