"""Refuse states that numpy would not write: on damaged ones it reads wild memory.

A pickled dtype sets its own flags, size and fields, and numpy believes them. A bit
that flipped on disk can so turn numbers into pointers. A pickled array of objects
sets its own size, however few objects follow.
"""

from __future__ import annotations

import importlib
import math
import pickle
import sys
from typing import Any

from .failures import CorruptFileError

# The dtype found sound last, kept so that it is not taken for another: the arrays of
# a file mostly share theirs.
_sound: Any = None

_DEEPEST = 64  # dtypes within dtypes

# The flags of numpy's that a structured dtype has where a field of it holds objects,
# and those that it never has in one or the other case: each makes numpy follow
# pointers, or call functions that structured dtypes lack.
_WITH_OBJECTS = 0x1B
_NEVER_WITH_OBJECTS = 0x64
_NEVER_WITHOUT = 0x67


def _has_sound_fields(dtype: Any, depth: int) -> bool:
    fields, names = dtype.fields, dtype.names
    if not isinstance(names, tuple):
        return False
    spans = []
    for name in names:
        field = fields.get(name) if isinstance(name, str) else None
        if not isinstance(field, tuple) or len(field) not in (2, 3):
            return False
        kind, offset = field[:2]
        if not isinstance(offset, int) or not _is_sound(kind, depth + 1):
            return False
        if offset < 0 or offset + kind.itemsize > dtype.itemsize:
            return False
        spans.append((offset, offset + kind.itemsize, bool(kind.hasobject)))
    if any(holds for _, _, holds in spans):
        flags = dtype.flags & (_WITH_OBJECTS | _NEVER_WITH_OBJECTS)
        sound = flags == _WITH_OBJECTS and not _objects_overlap(spans)
    else:
        sound = not dtype.flags & _NEVER_WITHOUT
    return bool(sound and dtype.kind == "V")


def _objects_overlap(spans: list[tuple[int, int, bool]]) -> bool:
    """Whether a field that holds objects shares memory with another."""
    end, holds = 0, False
    for start, stop, objects in sorted(spans):
        if start < end and (objects or holds):
            return True
        if stop > end:
            end, holds = stop, objects
    return False


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


class _Stack:
    """What the Python unpickler's opcode works on."""

    def __init__(self, *items: Any) -> None:
        self.stack = list(items)


def _is_unit(data: Any) -> bool:
    """Whether `data` is what a pickled dtype of times says of itself."""
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and isinstance(data[0], (dict, type(None)))
        and isinstance(data[1], tuple)
        and len(data[1]) == 4
        and isinstance(data[1][0], (bytes, str))
        and all(isinstance(number, int) for number in data[1][1:])
    )


def _check_dtype_state(dtype: Any, state: Any) -> None:
    """Look at what numpy takes for granted: it reads some of it by position."""
    kinds: tuple[Any, ...] = (
        int,
        (str, bytes),
        (tuple, type(None)),
        (tuple, type(None)),
    )
    kinds += ((dict, type(None)), int, int, int, object)
    times = dtype.kind in "mM"
    sound = (
        isinstance(state, tuple)
        and len(state) in ((9,) if times else (8, 9))
        and all(map(isinstance, state, kinds[: len(state)]))
        and state[0] in (3, 4)
        and all(type(name) is str for name in state[3] or ())
        and (state[3] is None) == (state[4] is None)
        and (not times or _is_unit(state[8]))
    )
    if sound and state[2] is not None:
        sound = len(state[2]) == 2 and _is_sound(state[2][0])
    if not sound:
        raise CorruptFileError(f"a dtype cannot have the state {state!r:.200}")


def _numpy_states(array: Any, state: Any, np: Any) -> list[Any]:
    """List what numpy itself will be given of an array's state.

    A subclass of others may put numpy's state beside its own, and take it out again.
    """
    for kind in type(array).__mro__:
        if "__setstate__" in vars(kind):
            if kind.__module__.partition(".")[0] == "numpy":
                return [state]
            break
    if not isinstance(state, (tuple, list)):
        return []
    return [
        part
        for part in (state, *state)
        if isinstance(part, tuple) and len(part) >= 5 and isinstance(part[2], np.dtype)
    ]


def _check_array_state(state: Any) -> None:
    if not isinstance(state, tuple) or len(state) < 5:
        raise CorruptFileError(f"an array cannot have the state {type(state)}")
    shape, dtype, elements = state[1], state[2], state[4]
    if getattr(dtype, "hasobject", False) and isinstance(elements, list):
        sound = isinstance(shape, tuple) and all(isinstance(n, int) for n in shape)
        if not sound or math.prod(shape) != len(elements):
            raise CorruptFileError(f"{len(elements)} objects for the shape {shape!r}")


def set_state(obj: Any, state: Any) -> Any:
    """Do what pickle's opcode BUILD does, once the state is found sound.

    Returns
    -------
    object
        `obj`.
    """
    np: Any = sys.modules.get("numpy")
    if np is not None and isinstance(obj, np.ndarray):
        for part in _numpy_states(obj, state, np):
            _check_array_state(part)
    elif np is not None and isinstance(obj, np.dtype):
        _check_dtype_state(obj, state)
    getattr(pickle, "_Unpickler").load_build(_Stack(obj, state))  # noqa: B009
    if np is not None and isinstance(obj, np.dtype) and not _is_sound(obj):
        raise CorruptFileError("a dtype contradicts itself")
    return obj
