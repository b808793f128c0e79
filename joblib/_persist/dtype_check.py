"""Refuse dtypes that numpy would not make: on damaged ones it reads wild memory.

A pickled dtype sets its own flags, size and fields, and numpy believes them. A bit
that flipped on disk can so turn numbers into pointers.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from .failures import CorruptFileError

# The dtype found sound last, kept so that it is not taken for another: the arrays of
# a file mostly share theirs.
_sound: Any = None

_DEEPEST = 64  # dtypes within dtypes


def _has_sound_fields(dtype: Any, depth: int) -> bool:
    fields, names = dtype.fields, dtype.names
    if not isinstance(names, tuple) or not names:
        return False
    objects = False
    for name in names:
        field = fields.get(name) if isinstance(name, str) else None
        if not isinstance(field, tuple) or len(field) not in (2, 3):
            return False
        kind, offset = field[:2]
        if not isinstance(offset, int) or not _is_sound(kind, depth + 1):
            return False
        if offset < 0 or offset + kind.itemsize > dtype.itemsize:
            return False
        objects = objects or kind.hasobject
    return bool(dtype.hasobject) == objects and dtype.kind == "V"


def _is_sound(dtype: Any, depth: int = 0) -> bool:
    np: Any = importlib.import_module("numpy")
    if not isinstance(dtype, np.dtype) or depth > _DEEPEST or dtype.itemsize < 0:
        return False
    if dtype.alignment < 1:
        return False
    if dtype.fields is not None:
        return _has_sound_fields(dtype, depth)
    if dtype.names is not None:
        return False
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return bool(
            _is_sound(base, depth + 1)
            and isinstance(shape, tuple)
            and all(isinstance(extent, int) and extent >= 0 for extent in shape)
            and dtype.itemsize == base.itemsize * math.prod(shape)
            and bool(dtype.hasobject) == bool(base.hasobject)
        )
    try:
        # Strings tell the size, numbers do not.
        fresh = np.dtype(dtype.str if dtype.kind in "SUVmM" else dtype.char)
    except TypeError:
        return not dtype.hasobject  # a dtype of a third party
    return bool(
        fresh.num == dtype.num
        and fresh.itemsize == dtype.itemsize
        and fresh.alignment == dtype.alignment
        and fresh.flags == dtype.flags
    )


def check_dtype(dtype: Any) -> None:
    """Raise CorruptFileError if a file's dtype contradicts itself."""
    global _sound
    if dtype is _sound:
        return
    if not _is_sound(dtype):
        raise CorruptFileError("an array's dtype contradicts itself")
    _sound = dtype
