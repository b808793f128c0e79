"""Array buffers between the pickle streams of a file: write, read and map them.

The layout, which files of all releases since 0.10 share::

    [pickle ... array's description] [n] [0xff * n] [elements] [pickle goes on ...]

where the padding of n bytes (1 to 16, counted by the byte before) makes the elements
start at a multiple of 16 bytes, so that they can be mapped where they lie. Arrays
written to files that cannot tell their position, and those of releases before 1.2,
have neither.
"""

from __future__ import annotations

import importlib
import math
import warnings
from typing import Any

from ..backports import make_memmap
from .array_bytes import array_chunks
from .dtype_check import check_dtype
from .failures import CorruptFileError, TruncatedFileError
from .parallel_read import WORTHWHILE_BYTES, fill_in_parallel, thread_count
from .sizes import CHECKED_BYTES, bytes_left, position_of

__all__ = [
    "ALIGNMENT_BYTES",
    "bytes_left",
    "is_foreign_order",
    "map_elements",
    "native_order",
    "padding_for",
    "position_of",
    "read_elements",
    "skip_padding",
    "write_elements",
]

ALIGNMENT_BYTES = 16
# Below this, padding and elements go out in one write.
_SMALL_BYTES = 1 << 14
# Compressors take no more at a time: some copy what they are given.
_WRITE_BYTES = 1 << 24
# Decompressors are asked for no more at a time: most make bytes of it all first.
_READ_BYTES = 1 << 20


def padding_for(position: int, alignment: int) -> bytes:
    """The counted padding that makes what follows start at a multiple of `alignment`."""
    size = alignment - (position + 1) % alignment
    return bytes((size,)) + b"\xff" * size


def write_elements(file: Any, array: Any, alignment: int | None) -> None:
    """Write an array's elements, padded if `alignment` is given."""
    padding = b""
    if alignment is not None:
        padding = padding_for(file.tell(), alignment)
    if array.nbytes <= _SMALL_BYTES:
        file.write(padding + array.tobytes("A"))
        return
    if padding:
        file.write(padding)
    for chunk in array_chunks(array):
        if len(chunk) <= _WRITE_BYTES:
            file.write(chunk)
            continue
        for start in range(0, len(chunk), _WRITE_BYTES):
            file.write(chunk[start : start + _WRITE_BYTES])


def _fill(file: Any, buffer: memoryview) -> int:
    """Read into all of `buffer`; return how far the file reached."""
    done = 0
    if not hasattr(file, "readinto"):
        while done < len(buffer):
            part = file.read(min(len(buffer) - done, _READ_BYTES))
            if not part:
                break
            buffer[done : done + len(part)] = part
            done += len(part)
        return done
    while done < len(buffer):
        got = file.readinto(buffer[done : done + _READ_BYTES])
        if not got:
            break
        done += got
    return done


def _fill_from_disk(file: Any, buffer: memoryview) -> int:
    """Like `_fill`, for a file of which `bytes_left` knows the size."""
    n_threads = thread_count() if len(buffer) >= WORTHWHILE_BYTES else 1
    if n_threads == 1:
        return _fill(file, buffer)
    position = file.tell()
    done = fill_in_parallel(file.fileno(), position, buffer, n_threads)
    file.seek(position + done)
    return done


def skip_padding(file: Any) -> None:
    """Read past the padding of an array that has one."""
    count = file.read(1)
    if not count:
        raise TruncatedFileError("EOF: the padding before an array is missing")
    if _fill(file, memoryview(bytearray(count[0]))) < count[0]:
        raise TruncatedFileError("EOF: the padding before an array is incomplete")


def _expect(announced: int, present: int) -> None:
    if present < announced:
        raise TruncatedFileError(
            f"EOF: reading array data, expected {announced} bytes got {present}"
        )


def _byte_size(shape: Any, dtype: Any) -> int:
    """The size of the elements, after a look at what the file says they are."""
    np: Any = importlib.import_module("numpy")
    check_dtype(dtype)
    sound = (
        isinstance(shape, tuple)
        and all(isinstance(extent, (int, np.integer)) for extent in shape)
        and all(extent >= 0 for extent in shape)
    )
    if not sound:
        raise CorruptFileError(f"an array is announced with the shape {shape!r}")
    return math.prod(int(extent) for extent in shape) * int(dtype.itemsize)


def read_elements(file: Any, shape: Any, dtype: Any, order: str) -> Any:
    """Return a new array filled from the file."""
    np: Any = importlib.import_module("numpy")
    size = _byte_size(shape, dtype)
    fill = _fill
    if size > CHECKED_BYTES:
        left = bytes_left(file)
        if left is not None:
            _expect(size, left)
            fill = _fill_from_disk
    array = np.empty(shape, dtype=dtype, order="F" if order == "F" else "C")
    if size:
        flat = array.T if order == "F" else array
        _expect(size, fill(file, memoryview(flat.reshape(-1).view(np.uint8))))
    return array


def map_elements(
    file: Any, filename: str, mode: str, shape: Any, dtype: Any, order: str
) -> Any:
    """Return the elements mapped from the file, and move the file past them."""
    size = _byte_size(shape, dtype)
    left = bytes_left(file)
    if left is not None:
        # Mapping for writing would make a file that is too short longer.
        _expect(size, left)
    offset = file.tell()
    mapped = make_memmap(
        filename,
        dtype=dtype,
        shape=shape,
        order="F" if order == "F" else "C",
        # "w+" would empty the file that is being loaded.
        mode="r+" if mode == "w+" else mode,
        offset=offset,
    )
    file.seek(offset + size)
    if offset % ALIGNMENT_BYTES and size:
        warnings.warn(
            f"The memmapped array of shape {shape} loaded from the file {filename} is "
            "not aligned in memory, and compiled code that takes alignment for granted "
            "may end in a segmentation fault. The file was written by joblib < 1.2: "
            "dump the object again to align its arrays.",
            stacklevel=10,
        )
    return mapped


def is_foreign_order(array: Any) -> bool:
    """Whether an array, or a field of it, has the byte order of other machines."""
    return not array.dtype.isnative


def native_order(array: Any) -> Any:
    """The array in this machine's byte order; itself if it is so already."""
    if not is_foreign_order(array):
        return array
    native = array.dtype.newbyteorder("=")
    if array.dtype.fields is not None:
        return array.astype(native)  # fields may differ in their order
    return array.byteswap(inplace=True).view(native)
