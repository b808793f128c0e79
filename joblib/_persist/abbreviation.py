"""Describe the second array like the first: most of it is in the pickler's memo.

The general way takes an instance apart by way of some thirty calls. Between two
arrays of one class, order and dtype only the shape differs, so the opcodes before and
after the shape are made once. What they make is not memoized: nothing refers to it.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any


def _constant(value: int | bool | None) -> bytes:
    if value is None:
        return pickle.NONE
    if isinstance(value, bool):
        return pickle.NEWTRUE if value else pickle.NEWFALSE
    return pickle.BININT1 + bytes((value,))


def around_the_shape(
    wrapper: Any, memo: dict[int, tuple[int, Any]], recall_index: Callable[[int], bytes]
) -> tuple[bytes, bytes] | None:
    """Return the opcodes before and after the shape in an array's description.

    Parameters
    ----------
    wrapper : NumpyArrayWrapper
        The description; one like it has been pickled.
    memo : dict
        The pickler's, from ``id(obj)`` to ``(index, obj)``.
    recall_index : callable
        Returns the opcode that recalls a memo's entry.

    Returns
    -------
    tuple of bytes or None
        None if part of the description is not in the memo.
    """
    state = vars(wrapper)
    kind = type(wrapper)
    parts = [kind, *state, wrapper.subclass, wrapper.order, wrapper.dtype]
    if any(id(part) not in memo for part in parts):
        return None

    def recall(obj: Any) -> bytes:
        return recall_index(memo[id(obj)][0])

    key = {name: recall(name) for name in state}
    before = [
        recall(kind),
        pickle.EMPTY_TUPLE + pickle.NEWOBJ + pickle.EMPTY_DICT + pickle.MARK,
        key["subclass"] + recall(wrapper.subclass),
        key["shape"],
    ]
    after = [
        key["order"] + recall(wrapper.order),
        key["dtype"] + recall(wrapper.dtype),
        key["allow_mmap"] + _constant(wrapper.allow_mmap),
        key["numpy_array_alignment_bytes"],
        _constant(wrapper.numpy_array_alignment_bytes),
        pickle.SETITEMS + pickle.BUILD,
    ]
    return b"".join(before), b"".join(after)
