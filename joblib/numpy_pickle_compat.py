"""Read the files of releases before 0.10, which kept arrays in files of their own.

Next to a pickle lay one ``.npy`` file for each array, or, compressed, one ``.npy.z``
file; compressed pickles began with "ZF" and the length of what follows.
"""

from __future__ import annotations

import io
import os
import pickle
import zlib

from ._compress.codecs import ZFILE_PREFIX as _ZFILE_PREFIX
from ._persist.array_io import native_order
from ._persist.dtype_check import set_state
from ._persist.failures import (
    CorruptFileError,
    TruncatedFileError,
    explain_load_failure,
)

Unpickler = pickle._Unpickler

# The length is written in hexadecimal and filled up with blanks.
_LENGTH_WIDTH = len(hex(2**64 - 1)) + 1


def hex_str(an_int):
    """Return an integer in hexadecimal."""
    return f"{an_int:#x}"


def asbytes(s):
    """Return text as bytes; bytes as they are."""
    return s if isinstance(s, bytes) else s.encode("latin1")


def read_zfile(file_handle):
    """Return the content of a compressed file of old.

    Parameters
    ----------
    file_handle : file object
        Opened for reading in binary mode.

    Raises
    ------
    CorruptFileError
        If it is no such file.
    TruncatedFileError
        If it holds less than it says.
    """
    file_handle.seek(0)
    header = file_handle.read(len(_ZFILE_PREFIX) + _LENGTH_WIDTH)
    if header[: len(_ZFILE_PREFIX)] != _ZFILE_PREFIX:
        raise CorruptFileError("no compressed file of joblib < 0.10: ZF is missing")
    try:
        length = int(header[len(_ZFILE_PREFIX) :], 16)
    except ValueError as exc:
        raise CorruptFileError(f"bad length in the header {header!r}") from exc
    compressed = file_handle.read()
    if compressed[:1] == b" ":
        # Some of these releases wrote one blank more.
        compressed = compressed[1:]
    decoder = zlib.decompressobj()
    data = decoder.decompress(compressed, length + 1)
    if len(data) < length or (not data and not decoder.eof):
        raise TruncatedFileError(f"{length} bytes announced, {len(data)} found")
    if len(data) > length:
        raise CorruptFileError(f"more than the announced {length} bytes found")
    return data


def write_zfile(file_handle, data, compress=1):
    """Write `data` to a compressed file of old, at a level from 1 to 9."""
    length = hex_str(len(data)).ljust(_LENGTH_WIDTH)
    file_handle.write(_ZFILE_PREFIX + asbytes(length))
    packed = zlib.compress(asbytes(data), compress)
    file_handle.write(packed)


class NDArrayWrapper:
    """What stands for an array that is kept in a ``.npy`` file.

    Files name this class and its attributes: neither may ever change.
    """

    def __init__(self, filename, subclass, allow_mmap=True):
        vars(self).update(filename=filename, subclass=subclass, allow_mmap=allow_mmap)

    def read(self, unpickler):
        """Return the array, mapped if the unpickler's mode says so."""
        import numpy as np

        path = os.path.join(unpickler._dirname, self.filename)
        mode = unpickler.mmap_mode if getattr(self, "allow_mmap", True) else None
        # "w+" would empty the file that is being loaded.
        mode = "r+" if mode in ("w+", "write") else mode
        # Arrays of objects are pickles: as trusted as the file that names them.
        array = np.load(path, mmap_mode=mode, allow_pickle=True)
        if mode is None:
            array = native_order(array)
        if issubclass(self.subclass, np.matrix) and mode is None:
            return array.view(self.subclass)
        return array


class ZNDArrayWrapper(NDArrayWrapper):
    """What stands for an array that is kept in a ``.npy.z`` file.

    Files name this class and its attributes: neither may ever change.
    """

    def __init__(self, filename, init_args, state):
        vars(self).update(filename=filename, init_args=init_args, state=state)

    def read(self, unpickler):
        """Return the array; it cannot be mapped."""
        import numpy as np

        with open(os.path.join(unpickler._dirname, self.filename), "rb") as file:
            data = read_zfile(file)
        kind, *rest = self.init_args
        # Not by calling the class: subclasses take arguments of their own.
        array = np.ndarray.__new__(kind, *rest)
        array.__setstate__((*self.state, data))
        return native_order(array)


class ZipNumpyUnpickler(Unpickler):
    """Unpickle a file of a release before 0.10.

    Parameters
    ----------
    filename : str
        The file's name; the arrays lie beside it.
    file_handle : file object
        The file.
    mmap_mode : str or None, default None
        Map the arrays that are not compressed.
    """

    def __init__(self, filename, file_handle, mmap_mode=None):
        content = io.BytesIO(read_zfile(file_handle))
        super().__init__(content)
        self.file_handle = content
        self._dirname, self._filename = os.path.split(filename)
        self.mmap_mode = mmap_mode

    def load_build(self):
        """Set an object's state; called for pickle's opcode BUILD."""
        state = self.stack.pop()
        built = set_state(self.stack[-1], state)
        if isinstance(built, NDArrayWrapper):
            self.stack[-1] = built.read(self)

    dispatch = {**Unpickler.dispatch, pickle.BUILD[0]: load_build}


def load_compatibility(filename, make_unpickler=None):
    """Load a compressed file of a release before 0.10.

    Parameters
    ----------
    filename : str
        The pickle; the files of its arrays must lie in the same directory.
    make_unpickler : callable, optional
        Takes the name, the decompressed content and None; `ZipNumpyUnpickler` by
        default.

    Returns
    -------
    object
    """
    with open(filename, "rb") as file:
        try:
            if make_unpickler is None:
                return ZipNumpyUnpickler(filename, file).load()
            return make_unpickler(filename, io.BytesIO(read_zfile(file)), None).load()
        except Exception as exc:
            failure = explain_load_failure(exc, filename)
            if failure is exc:
                raise
            raise failure from exc
