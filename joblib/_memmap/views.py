"""Which arrays live in a mapped file, and how a worker opens them there again."""

from __future__ import annotations

import mmap
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from .changed import may_differ

Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


def backing_memmap(array: Any) -> Any:
    """Return the `numpy.memmap` whose file holds the data of `array`, or None.

    Arithmetic on a memmap gives an object of that class with its data in
    ordinary memory: for those the answer is None, as it is for arrays on a
    bare `mmap.mmap`, of which no file name is known.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:  # then nobody has made an array
        return None
    while isinstance(array, numpy.ndarray):
        if isinstance(array.base, mmap.mmap):
            named = isinstance(array, numpy.memmap) and array.filename is not None
            return array if named else None
        array = array.base
    return None


def has_shareable_memory(a: Any) -> bool:
    """Return True if `a` is backed by a mapped file that other processes can open.

    Parameters
    ----------
    a : numpy.ndarray
        Any array; views count as the array they look into.
    """
    return backing_memmap(a) is not None


def reduce_plain(array: Any) -> Reduced:
    """Reduce an array to its bytes, for any pickle protocol."""
    import numpy as np

    data = pickle.dumps(np.asarray(array), pickle.HIGHEST_PROTOCOL)
    return pickle.loads, (data,)


def reduce_into_pickle(array: Any) -> Any:
    """Reduce an array for a pickler of protocol 5, which copies the bytes once."""
    import numpy as np

    return np.asarray(array).__reduce_ex__(5)


def _extent(array: Any) -> tuple[int, int]:
    """Return the addresses of the first byte of `array`, and of that after the last."""
    low = high = array.__array_interface__["data"][0]
    for length, stride in zip(array.shape, array.strides, strict=True):
        if stride < 0:
            low += (length - 1) * stride
        else:
            high += (length - 1) * stride
    return low, high + array.itemsize


def reduce_mapped(array: Any, backing: Any) -> Reduced | None:
    """Reduce an array to its place in the file of `backing`.

    None if the file is gone, or has not what this process has written to the array.
    """
    if array.size == 0 or not os.path.exists(backing.filename):
        return None
    low, high = _extent(array)
    offset = low - _extent(backing)[0] + backing.offset
    if may_differ(backing, low, offset, high - low):
        return None
    # "w+" made the file; opening it so once more would empty it
    mode = "r+" if backing.mode == "w+" else backing.mode
    where = (str(backing.filename), mode, offset)
    if array.flags.c_contiguous:
        return open_contiguous, (*where, array.dtype, array.shape, "C")
    if array.flags.f_contiguous:
        return open_contiguous, (*where, array.dtype, array.shape, "F")
    start = array.__array_interface__["data"][0] - low
    view = (array.dtype, array.shape, array.strides, start)
    return open_strided, (*where, high - low, *view)


def open_contiguous(
    filename: str, mode: Any, offset: int, dtype: Any, shape: Any, order: Any
) -> Any:
    """Map a contiguous array: `offset` is in bytes from the start of the file."""
    import numpy as np

    return np.memmap(
        filename, dtype=dtype, mode=mode, offset=offset, shape=shape, order=order
    )


def open_strided(
    filename: str,
    mode: Any,
    offset: int,
    n_bytes: int,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    start: int = 0,
) -> Any:
    """Map `n_bytes` of a file from `offset`, and return a view with `strides`.

    The view's first element is `start` bytes behind `offset`, which matters
    where strides are negative.
    """
    import numpy as np

    buffer = np.memmap(
        filename, dtype=np.uint8, mode=mode, offset=offset, shape=(n_bytes,)
    )
    return np.ndarray(shape, dtype=dtype, buffer=buffer, offset=start, strides=strides)
