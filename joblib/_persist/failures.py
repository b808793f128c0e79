"""What went wrong with a file: errors that name it and say what to do."""

from __future__ import annotations

import lzma
import pickle
import re
import struct
import sys
import zlib
from collections.abc import Iterable
from types import TracebackType
from typing import Any


class TruncatedFileError(EOFError, pickle.UnpicklingError, ValueError):
    """The file ends before the object does."""


class CorruptFileError(pickle.UnpicklingError, ValueError):
    """The file holds something that `dump` does not write."""


class UntrustedTypeError(pickle.UnpicklingError):
    """The file names types or functions that are not trusted; none of them was run.

    Parameters
    ----------
    names : iterable of str
        Their full names.
    filename : str, default ""
        The file.

    Attributes
    ----------
    names : tuple of str
        Sorted, each of them once. What `load` takes as ``trusted=``.
    filename : str
        The file.
    """

    def __init__(self, names: Iterable[str], filename: str = "") -> None:
        self.names = tuple(sorted(set(names)))
        self.filename = filename
        super().__init__(self.names, filename)

    def __str__(self) -> str:
        listed = ", ".join(ascii(name) for name in self.names)
        return (
            f"{self.filename or 'The file'} names what is not trusted: {listed}. None "
            f"of it was run. If you know where the file comes from, and what these "
            f"are, add them: load(..., trusted=[{listed}]). Patterns ('package.*') "
            "cover types whose instances are rebuilt; functions, types that the file "
            "calls, and types with finalizers are only trusted by their full names."
        )


# Raised by decompressors that meet bytes they did not write. Those of optional
# libraries raise RuntimeError (lz4) or an error class of their own (zstandard).
_DECODER_ERRORS = (zlib.error, lzma.LZMAError)
_DECODER_MODULES = ("zstd", "zstandard", "lz4", "_lz4")
# What the unpickler's opcodes raise on nonsense operands, one way or another.
_OPCODE_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    SystemError,  # numpy's, on states it did not write
    TypeError,
    ValueError,
    struct.error,
)
# The modules whose code runs while a file is read, and the packages.
_READERS = re.compile(
    r"joblib\.(numpy_pickle|_persist|_compress)|(pickle|codecs|gzip|bz2|lzma"
    r"|_compression|compression|lz4|zstandard)(\.|$)"
)

_PYTHON_2 = (
    "You may be trying to read with python 3 a joblib pickle generated with python 2. "
    "This feature is not supported by joblib."
)


def _innermost_module(trace: TracebackType | None) -> str:
    """The module in which an exception was raised, as far as Python code goes."""
    name = ""
    while trace is not None:
        name = trace.tb_frame.f_globals.get("__name__", "")
        trace = trace.tb_next
    return str(name)


def _came_from_reading(exc: BaseException) -> bool:
    """Whether the file's format raised it, and not code of the object being loaded."""
    return _READERS.match(_innermost_module(exc.__traceback__)) is not None


def _is_decoder_error(exc: BaseException) -> bool:
    if isinstance(exc, _DECODER_ERRORS):
        return True
    if isinstance(exc, OSError):
        return exc.errno is None  # bz2 and gzip; the system's own have a number
    module = type(exc).__module__.partition(".")[0]
    return isinstance(exc, RuntimeError) or module in _DECODER_MODULES


def _tells_more(exc: BaseException) -> bool:
    """Whether it says more than that a file is bad: a class moved, a package missing."""
    if isinstance(exc, AttributeError):
        return getattr(exc, "obj", None) is None  # looked up by the unpickler
    return isinstance(exc, ImportError)


def _add_note(exc: BaseException, note: str) -> None:
    if sys.version_info >= (3, 11):
        exc.add_note(note)
    else:
        notes: list[Any] = [*getattr(exc, "__notes__", ()), note]
        exc.__notes__ = notes  # type: ignore[attr-defined,unused-ignore]


def explain_load_failure(exc: Exception, name: str) -> Exception:
    """Return the exception to raise when loading the file `name` failed with `exc`.

    Errors of the format become a `TruncatedFileError` or a `CorruptFileError`. Errors
    of the loaded object's own code, and those that say what is missing on this
    machine, keep their type and get a note that names the file.
    """
    if isinstance(exc, UntrustedTypeError):
        return exc if exc.filename else UntrustedTypeError(exc.names, name)
    if isinstance(exc, (TruncatedFileError, CorruptFileError)):
        return exc if name in str(exc) else type(exc)(f"{name} is damaged: {exc}")
    reading = _came_from_reading(exc)
    if reading and isinstance(exc, UnicodeDecodeError):
        return CorruptFileError(f"{_PYTHON_2} (while loading {name}: {exc})")
    if reading and (
        isinstance(exc, EOFError) or "truncated" in str(exc) or "exhausted" in str(exc)
    ):
        return TruncatedFileError(
            f"{name} ends before the object in it does: it is truncated or still being "
            f"written. Write it again. ({exc})"
        )
    if reading and not _tells_more(exc):
        if isinstance(exc, ValueError) and "unsupported pickle protocol" in str(exc):
            return CorruptFileError(
                f"{exc}: {name} was written by a newer Python, or is no file of joblib."
            )
        if isinstance(exc, _OPCODE_ERRORS) or _is_decoder_error(exc):
            return CorruptFileError(
                f"{name} is corrupt, or was not written by joblib.dump. "
                f"({type(exc).__name__}: {exc})"
            )
    _add_note(exc, f"This happened while loading {name}.")
    return exc
