"""Read the arrays of a file that is not trusted: descriptions are checked, then read.

The wrapper classes of all releases are read here. What they say of shape, order, file
and class is held against what `dump` writes; objects inside arrays are pickles, read
under the rules of the file that holds them.
"""

from __future__ import annotations

import ast
import importlib
import os
import struct
from collections.abc import Callable
from typing import Any

from .array_io import native_order, read_elements
from .failures import CorruptFileError, TruncatedFileError

_NPY_MAGIC = b"\x93NUMPY"
_MOST_HEADER_BYTES = 1 << 16


def _np() -> Any:
    return importlib.import_module("numpy")


def _state_of(wrapper: Any, required: set[str], allowed: set[str]) -> dict[str, Any]:
    state: dict[str, Any] = vars(wrapper)
    if not required <= set(state) <= allowed:
        raise CorruptFileError(f"an array is described by {sorted(map(str, state))}")
    return state


def _check_class(cls: Any, is_refused: Callable[[Any], bool]) -> bool:
    """Raise if it is no class of arrays; return whether it is a matrix."""
    np = _np()
    if is_refused(cls):
        return False
    if not isinstance(cls, type) or not issubclass(cls, np.ndarray):
        raise CorruptFileError(
            "an array is announced of a class that is none of arrays"
        )
    return issubclass(cls, np.matrix)


def check_description(wrapper: Any, is_refused: Callable[[Any], bool]) -> None:
    """Raise if a NumpyArrayWrapper does not say what `dump` lets it say.

    Parameters
    ----------
    wrapper : NumpyArrayWrapper
        With the state that the file gives it.
    is_refused : callable
        Whether something stands for a name that is not trusted.
    """
    np = _np()
    required = {"subclass", "shape", "order", "dtype", "allow_mmap"}
    state = _state_of(wrapper, required, {*required, "numpy_array_alignment_bytes"})
    _check_class(state["subclass"], is_refused)
    alignment = state.get("numpy_array_alignment_bytes")
    sound = (
        type(state["shape"]) is tuple
        and all(type(extent) is int and extent >= 0 for extent in state["shape"])
        and type(state["order"]) is str
        and state["order"] in ("C", "F")
        and isinstance(state["dtype"], np.dtype)
        and type(state["allow_mmap"]) is bool
        and (alignment is None or type(alignment) is int)
        and not (state["allow_mmap"] and state["dtype"].hasobject)
    )
    if not sound:
        raise CorruptFileError("an array is described as dump describes none")


def companion(directory: str, filename: Any) -> str:
    """The path of a file that lies beside a pickle of old."""
    if (
        type(filename) is not str
        or filename in ("", ".", "..")
        or os.path.basename(filename) != filename
        or "\0" in filename
    ):
        raise CorruptFileError(
            f"an array is said to lie in {filename!r}, which is no file beside this one"
        )
    return os.path.join(directory, filename)


def _read_npy_header(file: Any) -> tuple[Any, Any, Any]:
    start = file.read(8)
    if start[:6] != _NPY_MAGIC or len(start) < 8:
        raise CorruptFileError("a file of an array is no .npy file")
    form = "<H" if start[6] == 1 else "<I"
    raw = file.read(struct.calcsize(form))
    if len(raw) < struct.calcsize(form):
        raise TruncatedFileError("EOF: a .npy file ends in its header")
    (size,) = struct.unpack(form, raw)
    if size > _MOST_HEADER_BYTES:
        raise CorruptFileError("a .npy file with an oversized header")
    try:
        header = ast.literal_eval(file.read(size).decode("latin-1"))
        return header["shape"], header["fortran_order"], header["descr"]
    except (SyntaxError, ValueError, TypeError, KeyError, RecursionError) as exc:
        raise CorruptFileError(f"a .npy file with a bad header: {exc}") from exc


def read_npy(path: str, mode: str | None, read_nested: Callable[[Any], Any]) -> Any:
    """Return the array in a ``.npy`` file; its objects are read under our rules.

    Parameters
    ----------
    path : str
        The file.
    mode : str or None
        How to map it; None to read it.
    read_nested : callable
        Takes a file that stands at a pickle; returns the object in it.
    """
    np = _np()
    with open(path, "rb") as file:
        shape, fortran, descr = _read_npy_header(file)
        dtype = np.lib.format.descr_to_dtype(descr)
        if dtype.hasobject:
            nested = read_nested(file)
            return check_nested(nested, dtype, shape)
        if mode is None:
            array = read_elements(file, shape, dtype, "F" if fortran else "C")
            return native_order(array)
    # "w+" would empty the file that is being loaded.
    mode = "r+" if mode in ("w+", "write") else mode
    return np.load(path, mmap_mode=mode, allow_pickle=False)


def check_nested(array: Any, dtype: Any, shape: Any) -> Any:
    """Return an array of objects if it is the one that was announced."""
    np = _np()
    if not isinstance(array, np.ndarray) or not array.dtype.hasobject:
        raise CorruptFileError("no array of objects where one is announced")
    if array.shape != shape:
        raise CorruptFileError("an array of objects of another shape than announced")
    return array


def read_old_description(
    wrapper: Any,
    zipped: bool,
    directory: str,
    mode: str | None,
    is_refused: Callable[[Any], bool],
    read_nested: Callable[[Any], Any],
    read_zfile: Callable[[Any], bytes],
) -> Any:
    """Return the array that a wrapper of a release before 0.10 stands for.

    Parameters
    ----------
    wrapper : NDArrayWrapper or ZNDArrayWrapper
        With the state that the file gives it.
    zipped : bool
        It is a ZNDArrayWrapper.
    directory : str
        Where the arrays lie.
    mode : str or None
        How to map them.
    is_refused, read_nested : callable
        As above.
    read_zfile : callable
        Decompresses the content of an open file.
    """
    np = _np()
    if not zipped:
        state = _state_of(
            wrapper, {"filename", "subclass"}, {"filename", "subclass", "allow_mmap"}
        )
        is_matrix = _check_class(state["subclass"], is_refused)
        if type(state.get("allow_mmap", True)) is not bool:
            raise CorruptFileError("an array is described as dump describes none")
        mode = mode if state.get("allow_mmap", True) else None
        path = companion(directory, state["filename"])
        array = read_npy(path, mode, read_nested)
        return array.view(state["subclass"]) if is_matrix and mode is None else array
    required = {"filename", "init_args", "state"}
    state = _state_of(wrapper, required, required)
    if type(state["init_args"]) is not tuple or type(state["state"]) is not tuple:
        raise CorruptFileError("an array is described as dump describes none")
    if not state["init_args"] or len(state["state"]) not in (3, 4):
        raise CorruptFileError("an array is described as dump describes none")
    kind = state["init_args"][0]
    _check_class(kind, is_refused)
    shape, dtype, fortran = state["state"][-3:]
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise CorruptFileError("an array of objects where only elements can be")
    with open(companion(directory, state["filename"]), "rb") as file:
        data = read_zfile(file)
    if is_refused(kind):
        return None
    array = np.frombuffer(bytearray(data), dtype=dtype)
    array = array.reshape(shape, order="F" if fortran else "C")
    return native_order(array).view(kind)
