"""Read whole files of `dump`, of any release, by an allow-list."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import trust_arrays
from .failures import CorruptFileError, UntrustedTypeError
from .trust import Policy
from .trust_stream import INERT, ListedUnpickler, is_inert


class TrustedReader(ListedUnpickler):
    """Unpickle a file of `dump`, of any release, by an allow-list.

    Parameters
    ----------
    filename : str
        The file's name.
    file : file object
        The file, decompressed.
    policy : Policy
        The allow-list.
    ensure_native_byte_order : bool
        Bring arrays into this machine's byte order.
    mmap_mode : str or None
        Map the arrays instead of reading them.
    descriptions : tuple of type
        NumpyArrayWrapper, NDArrayWrapper and ZNDArrayWrapper.
    read_zfile : callable
        Decompresses the content of a ``.npy.z`` file.
    """

    def __init__(
        self,
        filename: str,
        file: Any,
        policy: Policy,
        ensure_native_byte_order: bool,
        mmap_mode: str | None,
        descriptions: tuple[Any, ...],
        read_zfile: Callable[[Any], bytes],
    ) -> None:
        super().__init__(file, policy, descriptions, set())
        self.filename = filename
        self.mmap_mode = mmap_mode
        self._dirname = os.path.dirname(filename)
        self._native = ensure_native_byte_order
        self._read_zfile = read_zfile
        self.compat_mode = False

    def _read_nested(self, file: Any) -> Any:
        nested = ListedUnpickler(file, self._policy, (), self._refused)
        try:
            return nested.load()
        except UntrustedTypeError:
            if nested.has_ended:
                return INERT  # there may be more names behind it
            raise

    def _take_array(self, wrapper: Any, state: Any) -> Any:
        if type(state) is not dict:
            raise CorruptFileError("an array is described by no dictionary")
        vars(wrapper).update(state)
        if type(wrapper) is self._descriptions[0]:
            return self._read_described(wrapper)
        self.compat_mode = True
        return trust_arrays.read_old_description(
            wrapper,
            type(wrapper) is self._descriptions[2],
            self._dirname,
            self.mmap_mode,
            is_inert,
            self._read_nested,
            self._read_zfile,
        )

    def _read_described(self, wrapper: Any) -> Any:
        trust_arrays.check_description(wrapper, is_inert)
        if wrapper.dtype.hasobject:
            array = self._read_nested(self.file_handle)
            if is_inert(array):
                return array
            return trust_arrays.check_nested(array, wrapper.dtype, wrapper.shape)
        if is_inert(wrapper.subclass):
            wrapper.read_array(self, False)
            return INERT
        return wrapper.read(self, self._native)


def trusted_readers(
    trusted: Any,
    native: bool,
    descriptions: tuple[Any, ...],
    load_old: Callable[[str, Any], Any],
    read_zfile: Callable[[Any], bytes],
) -> tuple[Callable[..., Any], Callable[[str], Any]]:
    """Return what makes unpicklers by an allow-list, and what reads zipped old files.

    Parameters
    ----------
    trusted : str, type, function or iterable of these
        As given to `load`.
    native : bool
        Bring arrays into this machine's byte order.
    descriptions, read_zfile
        As for `TrustedReader`.
    load_old : callable
        Takes the name of a zipped file and what makes unpicklers.
    """
    policy = Policy(trusted)

    def make(name: str, file: Any, mode: str | None) -> TrustedReader:
        return TrustedReader(name, file, policy, native, mode, descriptions, read_zfile)

    return make, lambda name: load_old(name, make)
