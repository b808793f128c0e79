"""The bytes of an array, in order and without a copy of the whole.

Whoever gets here holds an array, so numpy is loaded already.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

# Elements of an array that is not contiguous are gathered this many bytes at a time.
GATHER_BYTES = 1 << 24


def array_chunks(array: Any) -> Iterator[memoryview]:
    """Yield the array's elements as flat byte buffers, none of them empty.

    Contiguous memory comes in one piece, as it lies: column by column for a
    Fortran-ordered array. Anything else is gathered row by row, piecewise.
    """
    np: Any = importlib.import_module("numpy")
    if array.nbytes == 0:
        return
    plain = array.view(np.ndarray) if type(array) is not np.ndarray else array
    if plain.flags.c_contiguous:
        yield memoryview(plain.reshape(-1).view(np.uint8))
    elif plain.flags.f_contiguous:
        yield memoryview(plain.T.reshape(-1).view(np.uint8))
    else:
        pieces = np.nditer(
            plain,
            flags=["external_loop", "buffered", "zerosize_ok"],
            buffersize=max(GATHER_BYTES // plain.itemsize, 1),
            order="C",
        )
        for piece in pieces:
            # The iterator may hand out strided pieces of the array itself.
            yield memoryview(np.ascontiguousarray(piece).view(np.uint8))
