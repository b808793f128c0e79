"""Helpers of `dump` and `load` that other projects import; the parts are elsewhere."""

import io
import pickle

from ._compress.registry import CODECS, detect_method
from ._persist import array_io
from ._persist.opening import is_raw_file, opened_for_load

__all__ = ["BUFFER_SIZE", "_validate_fileobject_and_memmap", "xrange"]

#: bytes read ahead from files, and gathered before they are written
BUFFER_SIZE = 2**18
_IO_BUFFER_SIZE = io.DEFAULT_BUFFER_SIZE if io.DEFAULT_BUFFER_SIZE > 2**20 else 2**20

# Imported from here by scripts that once ran on Python 2.
xrange = range

Pickler, Unpickler = pickle._Pickler, pickle._Unpickler
_COMPRESSORS = CODECS
_detect_compressor = detect_method
_is_raw_file = is_raw_file
_validate_fileobject_and_memmap = opened_for_load
_is_numpy_array_byte_order_mismatch = array_io.is_foreign_order
_ensure_native_byte_order = array_io.native_order
