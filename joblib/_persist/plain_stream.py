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
import pickle
from collections.abc import Callable, Iterable, Iterator
from struct import Struct
from typing import Any

_BATCH = 1000  # items between two marks, as pickle has it
_FLOAT = Struct(">cd").pack
_LENGTH = Struct("<cI").pack
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


def sorted_items(
    pairs: Iterable[tuple[Any, Any]], key_digest: Callable[[Any], str]
) -> list[tuple[Any, Any]]:
    """Order a dictionary's items by key; by the keys' digests if keys don't compare.

    In the second case the digests stand for the keys.
    """
    pairs = list(pairs)
    try:
        return sorted(pairs)
    except _UNSORTABLE:
        return sorted((key_digest(key), value) for key, value in pairs)


def sorted_members(members: Iterable[Any], digest: Callable[[Any], str]) -> list[Any]:
    """Order a set's members; their digests if they don't compare."""
    members = list(members)
    try:
        return sorted(members)
    except _UNSORTABLE:
        return sorted(map(digest, members))


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    if len(items) <= _BATCH:
        yield items
        return
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def make_save(
    write: Callable[[bytes], Any],
    memo: dict[int, tuple[int, Any]],
    other: Callable[[Any], None],
    key_digest: Callable[[Any], str],
) -> Callable[[Any], None]:
    """Return ``save(obj)``, which writes `obj` and its parts.

    Parameters
    ----------
    write : callable
        Takes the bytes of the stream.
    memo : dict
        The pickler's memo, from ``id(obj)`` to ``(index, obj)``.
    other : callable
        Saves an object of a type that is not written here.
    key_digest : callable
        The digest by which keys are ordered that have no order of their own.
    """
    atoms = ATOMS
    atom_for = atoms.get

    def memoize(obj: Any) -> None:
        index = len(memo)
        memo[id(obj)] = index, obj
        write(
            b"q" + index.to_bytes(1, "little") if index < 256 else _LENGTH(b"r", index)
        )

    def recall(index: int) -> None:
        write(
            b"h" + index.to_bytes(1, "little") if index < 256 else _LENGTH(b"j", index)
        )

    def save_parts(parts: Iterable[Any]) -> None:
        for part in parts:
            atom = atom_for(type(part))
            if atom is not None:
                write(atom(part))
            else:
                save(part)

    def save_list(obj: list[Any]) -> None:
        write(b"]")
        memoize(obj)
        for batch in _batches(obj):
            if len(batch) > 1:
                write(b"(")
                save_parts(batch)
                write(b"e")
            elif batch:
                save(batch[0])
                write(b"a")

    def save_tuple(obj: tuple[Any, ...]) -> None:
        size = len(obj)
        if size == 0:
            write(b")")
            return
        if size > 3:
            write(b"(")
        save_parts(obj)
        known = memo.get(id(obj))
        if known is not None:
            # A part of the tuple held the tuple, which is thus complete: drop the
            # parts just written and recall it.
            write(b"1" if size > 3 else b"0" * size)
            recall(known[0])
            return
        write((b"\x85", b"\x86", b"\x87", b"t")[min(size, 4) - 1])
        memoize(obj)

    def save_dict(obj: dict[Any, Any]) -> None:
        write(b"}")
        memoize(obj)
        if not obj:
            return
        if set(map(type, obj)) == {str}:
            items = [(key, obj[key]) for key in sorted(obj)]
        else:
            items = sorted_items(obj.items(), key_digest)
        for batch in _batches(items):
            if len(batch) > 1:
                write(b"(")
            for pair in batch:
                save_parts(pair)
            write(b"u" if len(batch) > 1 else b"s")

    def save_bytes(obj: bytes) -> None:
        size = len(obj)
        if size <= 0xFF:
            write(bytes((0x43, size)) + obj)
        elif size <= _LONGEST_BYTES:
            write(_LENGTH(b"B", size) + obj)
        else:
            other(obj)

    containers: dict[type, Callable[[Any], None]] = {
        list: save_list,
        tuple: save_tuple,
        dict: save_dict,
        bytes: save_bytes,
    }

    def save(obj: Any) -> None:
        kind = type(obj)
        atom = atom_for(kind)
        if atom is not None:
            write(atom(obj))
            return
        container = containers.get(kind)
        if container is None:
            other(obj)
            return
        known = memo.get(id(obj))
        if known is not None:
            recall(known[0])
        else:
            container(obj)

    return save
