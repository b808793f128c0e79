"""The bytes of an array, in order and without a copy of the whole; their digest.

Whoever gets here holds an array, so numpy is loaded already.
"""

from __future__ import annotations

import importlib
import pickle
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


# The C pickler's protocol for dtypes; another would change the digests of arrays.
_DTYPE_PROTOCOL = 4
# Pickles of dtypes by identity; the dtype is kept too, so that its id is not reused.
_DTYPE_PICKLES: dict[int, tuple[Any, bytes]] = {}
_DTYPE_PICKLES_KEPT = 64


class ArrayDigester:
    """Puts arrays and dtypes into a digest on a way beside the pickle stream.

    Parameters
    ----------
    update : callable
        Takes the bytes to digest.
    np : module
        Numpy.
    coerce_mmap : bool
        Make no difference between ``memmap`` and ``ndarray``.
    """

    def __init__(self, update: Any, np: Any, coerce_mmap: bool) -> None:
        self.array_class = np.ndarray
        self._np = np
        self._update = update
        self._coerce_mmap = coerce_mmap

    def digest_array(self, array: Any) -> None:
        """Digest the elements of an array that holds no objects."""
        if (
            array.flags.c_contiguous
            and array.nbytes
            and type(array) is self.array_class
        ):
            self._update(memoryview(array.reshape(-1).view("u1")))
            return
        for chunk in array_chunks(array):
            self._update(chunk)

    def digest_dtype(self, dtype: Any) -> None:
        """Digest a dtype: equal ones that differ in identity come out the same."""
        kept = _DTYPE_PICKLES.get(id(dtype))
        if kept is None:
            kept = dtype, pickle.dumps(dtype, protocol=_DTYPE_PROTOCOL)
            if dtype.isbuiltin == 1 and len(_DTYPE_PICKLES) < _DTYPE_PICKLES_KEPT:
                _DTYPE_PICKLES[id(dtype)] = kept
        self._update(b"_HASHED_DTYPE")
        self._update(kept[1])

    def stand_in(self, obj: Any) -> Any:
        """Digest an array's elements; return what to pickle for it.

        Returns None for what is no array, holds objects, or is masked: the pickler
        takes these apart.
        """
        np = self._np
        if not isinstance(obj, np.ndarray) or obj.dtype.hasobject:
            return None
        if getattr(obj, "_mask", np.False_) is not np.False_:
            return None
        self.digest_array(obj)
        kind = obj.__class__
        if self._coerce_mmap and isinstance(obj, np.memmap):
            kind = np.ndarray
        return kind, ("HASHED", obj.dtype, obj.shape, obj.strides)
