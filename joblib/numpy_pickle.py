"""`dump` and `load`: pickle files in which arrays are stored as they lie in memory.

A file is a pickle, compressed or not, interrupted by the elements of arrays. In the
pickle proper a `NumpyArrayWrapper` describes each array, and its elements follow
right behind the description; `joblib._persist.array_io` has the layout. Elements are
thus written from and read into their final place without a copy, and can be mapped.
"""

from __future__ import annotations

import os
import pickle

from ._persist import arguments, array_io
from ._persist.abbreviation import around_the_shape
from ._persist.dtype_check import check_dtype, set_state
from ._persist.failures import (
    CorruptFileError,
    TruncatedFileError,
    UntrustedTypeError,
)
from ._persist.reading import read_object
from ._persist.shortcuts import NestedUnpickler, ShortLoader, array_types
from ._persist.writing import write_to_file, write_to_path
from .compressor import _COMPRESSORS, BinaryZlibFile, register_compressor  # noqa: F401
from .numpy_pickle_compat import (
    NDArrayWrapper,
    ZNDArrayWrapper,
    load_compatibility,
    read_zfile,
)
from .numpy_pickle_utils import (
    BUFFER_SIZE,
    _ensure_native_byte_order,
    _validate_fileobject_and_memmap,
)

__all__ = [
    "BUFFER_SIZE",
    "CorruptFileError",
    "NumpyArrayWrapper",
    "NumpyPickler",
    "NumpyUnpickler",
    "TruncatedFileError",
    "UntrustedTypeError",
    "_validate_fileobject_and_memmap",
    "dump",
    "load",
    "load_compatibility",
]

Pickler = pickle._Pickler
Unpickler = pickle._Unpickler

NUMPY_ARRAY_ALIGNMENT_BYTES = array_io.ALIGNMENT_BYTES


class NumpyArrayWrapper:
    """What stands for an array in the pickle stream; its elements follow in the file.

    Files name this class and its attributes: neither may ever change.

    Parameters
    ----------
    subclass : type
        The array's class.
    shape : tuple of int
        Its shape.
    order : {"C", "F"}
        The order in which its elements are stored.
    dtype : numpy.dtype
        Its dtype. An array of objects is stored as a pickle of its own.
    allow_mmap : bool, default False
        Whether the elements may be mapped.
    numpy_array_alignment_bytes : int or None, default 16
        The multiple of bytes at which the elements begin; None for no padding.
    """

    def __init__(
        self,
        subclass,
        shape,
        order,
        dtype,
        allow_mmap=False,
        numpy_array_alignment_bytes=NUMPY_ARRAY_ALIGNMENT_BYTES,
    ):
        # In the order in which files have them.
        vars(self).update(
            subclass=subclass,
            shape=shape,
            order=order,
            dtype=dtype,
            allow_mmap=allow_mmap,
            numpy_array_alignment_bytes=numpy_array_alignment_bytes,
        )

    @property
    def _alignment(self):
        """The alignment; None for files of releases that had none."""
        return vars(self).get("numpy_array_alignment_bytes")

    def write_array(self, array, pickler):
        """Write the elements of `array` to the pickler's file."""
        if array.dtype.hasobject:
            # As upstream writes it, but for those who ask for an old protocol: an old
            # Python is to read it.
            default = pickler.proto >= pickle.DEFAULT_PROTOCOL
            protocol = pickle.HIGHEST_PROTOCOL if default else pickler.proto
            pickle.dump(array, pickler.file_handle, protocol=protocol)
            return
        array_io.write_elements(pickler.file_handle, array, self._alignment)

    def read_array(self, unpickler, ensure_native_byte_order):
        """Read the elements from the unpickler's file into a new array."""
        check_dtype(self.dtype)
        if self.dtype.hasobject:
            return NestedUnpickler(unpickler.file_handle, unpickler.find_class).load()
        if self._alignment is not None:
            array_io.skip_padding(unpickler.file_handle)
        array = array_io.read_elements(
            unpickler.file_handle, self.shape, self.dtype, self.order
        )
        return _ensure_native_byte_order(array) if ensure_native_byte_order else array

    def read_mmap(self, unpickler):
        """Map the elements from the unpickler's file."""
        if self._alignment is not None:
            array_io.skip_padding(unpickler.file_handle)
        return array_io.map_elements(
            unpickler.file_handle,
            unpickler.filename,
            unpickler.mmap_mode,
            self.shape,
            self.dtype,
            self.order,
        )

    def read(self, unpickler, ensure_native_byte_order):
        """Return the array that this object describes.

        Parameters
        ----------
        unpickler : NumpyUnpickler
            Whose file stands right behind the description.
        ensure_native_byte_order : bool
            Bring arrays read into memory into this machine's byte order.
        """
        if self.allow_mmap and unpickler.mmap_mode is not None:
            return self.read_mmap(unpickler)
        array = self.read_array(unpickler, ensure_native_byte_order)
        if issubclass(self.subclass, _numpy().matrix) and array.ndim == 2:
            return array.view(self.subclass)
        return array


# The classes that describe an array which is to be found elsewhere.
_DESCRIPTIONS = (NumpyArrayWrapper, NDArrayWrapper, ZNDArrayWrapper)


def _numpy():
    import numpy as np

    return np


class NumpyPickler(Pickler):
    """Pickle an object into a file, its arrays as `NumpyArrayWrapper` and elements.

    Parameters
    ----------
    fp : file object
        Opened for writing in binary mode.
    protocol : int or None, default None
        The protocol of pickle; None for Python's default.
    """

    def __init__(self, fp, protocol=None):
        super().__init__(fp, pickle.DEFAULT_PROTOCOL if protocol is None else protocol)
        self.file_handle = fp
        self._array_types = array_types()
        self._can_align = array_io.position_of(fp) is not None
        # By class, order and dtype: what a description holds before and after the
        # shape, once its parts are in the memo.
        self._described = {}

    def save(self, obj):
        """Write one object; called for each part, too."""
        if type(obj) in self._array_types:
            self._save_array(obj)
        else:
            Pickler.save(self, obj)

    def _save_array(self, array):
        flags = array.flags
        order = "F" if flags.f_contiguous and not flags.c_contiguous else "C"
        dtype = array.dtype
        wrapper = NumpyArrayWrapper(
            type(array),
            array.shape,
            order,
            dtype,
            allow_mmap=not dtype.hasobject,
            numpy_array_alignment_bytes=(
                NUMPY_ARRAY_ALIGNMENT_BYTES if self._can_align else None
            ),
        )
        # The memo keeps the dtypes it holds alive, so an id stays what it is.
        key = type(array), order, id(dtype)
        known = self._described.get(key)
        if known is not None:
            self.write(known[0])
            Pickler.save(self, wrapper.shape)
            self.write(known[1])
        else:
            Pickler.save(self, wrapper)
            if self.proto >= 2:
                known = around_the_shape(wrapper, self.memo, self.get)
                if known is not None:
                    self._described[key] = known
        self._end_frame()
        wrapper.write_array(array, self)

    def _end_frame(self):
        """Write out the frame of the pickle: it must not span what is no part of it."""
        if self.framer.current_frame is not None:
            self.framer.commit_frame(force=True)


class NumpyUnpickler(Unpickler):
    """Unpickle an object from a file written by `NumpyPickler`.

    Override `find_class` to restrict what a file may name; arrays of objects, which
    are pickles of their own, are read under the same rules.

    Parameters
    ----------
    filename : str
        The file's name, for mapping it and for errors.
    file_handle : file object
        The file, decompressed.
    ensure_native_byte_order : bool
        Bring arrays into this machine's byte order.
    mmap_mode : str or None, default None
        Map the arrays instead of reading them.
    """

    def __init__(self, filename, file_handle, ensure_native_byte_order, mmap_mode=None):
        super().__init__(file_handle)
        self.file_handle = file_handle
        self.filename = filename
        # Where the arrays of files of releases before 0.10 lie.
        self._dirname = os.path.dirname(filename)
        self.mmap_mode = mmap_mode
        self.ensure_native_byte_order = ensure_native_byte_order
        self.compat_mode = False

    def load_build(self):
        """Set an object's state; called for pickle's opcode BUILD."""
        state = self.stack.pop()
        built = set_state(self.stack[-1], state)
        if isinstance(built, _DESCRIPTIONS):
            self.stack[-1] = self._take_array(built)

    def _take_array(self, wrapper):
        if isinstance(wrapper, NumpyArrayWrapper):
            return wrapper.read(self, self.ensure_native_byte_order)
        self.compat_mode = True
        return wrapper.read(self)

    dispatch = {**Unpickler.dispatch, pickle.BUILD[0]: load_build}


class _ShortUnpickler(NumpyUnpickler):
    """A `NumpyUnpickler` whose stream the C unpickler reads."""

    def load(self):
        """Return the object."""
        loader = ShortLoader(self.file_handle, _DESCRIPTIONS, self._take_array)
        self.find_class = loader.find_class
        try:
            return loader.load()
        finally:
            del self.find_class


def _dump_at_length(value, file, protocol):
    NumpyPickler(file, protocol=protocol).dump(value)


def dump(value, filename, compress=0, protocol=None):
    """Store a Python object in a file.

    Parameters
    ----------
    value : object
        Anything picklable; made for objects that hold large numpy arrays.
    filename : str, os.PathLike or file object
        Where to. A path is only replaced once the new file is complete: whatever goes
        wrong before, the old file stays. A file object is written to directly.
    compress : int, bool, str or tuple, default 0
        A level from 0 (none) to 9 (small), a method ("zlib", "gzip", "bz2", "lzma",
        "xz", "lz4", "zstd", or one of `register_compressor`), or a tuple of method
        and level. True is level 3. The extension of a path (".z", ".gz", ".bz2",
        ".lzma", ".xz", ".lz4", ".zst") selects its method where none is given.
    protocol : int or None, default None
        The protocol of pickle; None for Python's default.

    Returns
    -------
    list of str or None
        The path written to, or None for a file object.

    Raises
    ------
    ValueError
        If `filename` or `compress` is none of the above, or the method's library is
        not installed.
    pickle.PicklingError
        If a part of `value` cannot be pickled.

    See Also
    --------
    load : read it back.

    Notes
    -----
    Compressed arrays can't be mapped into memory by `load`, and take longer to read.

    Examples
    --------
    >>> import joblib, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "squares.joblib")
    >>> joblib.dump([i ** 2 for i in range(4)], path) == [path]
    True
    >>> joblib.load(path)
    [0, 1, 4, 9]
    """
    path = arguments.path_to_write(filename)
    compression = arguments.parse_compress(compress, path)
    if protocol is None:
        protocol = pickle.DEFAULT_PROTOCOL
    if path is not None:
        write_to_path(value, path, compression, protocol, _dump_at_length)
        return [path]
    write_to_file(value, filename, compression, protocol, _dump_at_length)
    return None


def load(filename, mmap_mode=None, ensure_native_byte_order="auto", *, trusted=None):
    """Read an object from a file written by `dump`.

    Loading a pickle runs what it says: never load a file you have no reason to trust,
    or say with `trusted` what it may hold.

    Parameters
    ----------
    filename : str, os.PathLike or file object
        Where from. Compression is recognised by itself.
    mmap_mode : {None, "r+", "r", "w+", "c"}, default None
        Map the arrays from the file instead of reading them: "r" read-only, "r+"
        writing back to the file, "c" writing to memory only; "w+" is taken for "r+".
        Has no effect on compressed files and on files in memory, but for a warning.
    ensure_native_byte_order : bool or "auto", default "auto"
        Bring arrays into this machine's byte order. "auto" does so unless they are
        mapped.
    trusted : str, type, function or iterable of these, optional
        The only names that the file may use, besides the safe types of Python and
        numpy: types and functions, their full names ("package.module.Name"), or
        patterns ("sklearn.*") for the types that a package defines. Slower for files
        of many objects. By default the file may use, and run, everything.

    Returns
    -------
    object

    Raises
    ------
    UntrustedTypeError
        If the file uses other names than `trusted` allows. It lists all of them
        (`names`); nothing of them was run or imported.
    FileNotFoundError
        If there is no such file.
    EOFError
        If the file is truncated.
    pickle.UnpicklingError
        If it is damaged, or no file of `dump`.
    ValueError
        If arguments contradict each other, or a compressed file's library is not
        installed.

    See Also
    --------
    dump : write such a file.
    """
    ensure_native = arguments.parse_byte_order(ensure_native_byte_order, mmap_mode)

    def make_unpickler(name, file, mode):
        return _ShortUnpickler(name, file, ensure_native, mmap_mode=mode)

    load_old = load_compatibility
    if trusted is not None:
        from ._persist.trust_files import trusted_readers

        make_unpickler, load_old = trusted_readers(
            trusted, ensure_native, _DESCRIPTIONS, load_compatibility, read_zfile
        )
    if hasattr(filename, "read"):
        name = arguments.name_of_file(filename)
        return read_object(filename, name, mmap_mode, make_unpickler, load_old, False)
    path = os.fspath(filename)
    # What is mapped is not read.
    with open(path, "rb", buffering=-1 if mmap_mode else BUFFER_SIZE) as file:
        return read_object(file, path, mmap_mode, make_unpickler, load_old, True)


def load_temporary_memmap(filename, mmap_mode, unlink_on_gc_collect):
    """Map the one array that a file holds; the file goes when its folder does."""
    return load(filename, mmap_mode=mmap_mode)
