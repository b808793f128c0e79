"""Open what is to be loaded: find the codec, and whether mapping it can work."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

from .._compress.registry import CODECS, COMPAT, NOT_COMPRESSED, detect_method

# Read ahead from decompressors this many bytes at a time.
DECODED_BUFFER_BYTES = 1 << 20


def is_raw_file(fileobj: Any) -> bool:
    """Whether `fileobj` reads a file on disk as it is, so that it can be mapped."""
    inner = getattr(fileobj, "raw", fileobj)
    return isinstance(inner, io.FileIO)


def _mapping_refused(fileobj: Any, name: str, mode: str, compressed: bool) -> str:
    if isinstance(fileobj, io.BytesIO):
        return (
            f'In memory persistence is not compatible with mmap_mode "{mode}" flag '
            "passed. mmap_mode option will be ignored."
        )
    if compressed:
        return (
            f'mmap_mode "{mode}" is not compatible with compressed file {name}. '
            f'"{mode}" flag will be ignored.'
        )
    return f'"{fileobj!r}" is not a raw file, mmap_mode "{mode}" flag will be ignored.'


def warn_of_old_file(filename: str, stacklevel: int) -> None:
    """Warn that `filename` should be written anew."""
    warnings.warn(
        f"The file '{filename}' has been generated with a joblib version less than "
        "0.10. Please regenerate this pickle file.",
        DeprecationWarning,
        stacklevel=stacklevel + 1,
    )


@contextlib.contextmanager
def opened_for_load(
    fileobj: Any, filename: str, mmap_mode: str | None = None
) -> Iterator[tuple[Any, str | None]]:
    """Yield the file to unpickle from, decompressed, and the mode to map it with.

    Parameters
    ----------
    fileobj : file object
        Opened for reading in binary mode.
    filename : str
        Its name.
    mmap_mode : str or None
        The mode that was asked for.

    Yields
    ------
    fileobj : file object or str
        `filename` in place of a file if it is a compressed file of a release before
        0.10, which `load_compatibility` reads.
    mmap_mode : str or None
        None where mapping is not possible, after a warning.
    """
    method = detect_method(fileobj)
    if method == COMPAT:
        warn_of_old_file(filename, stacklevel=5)
        yield filename, mmap_mode
        return
    compressed = method != NOT_COMPRESSED
    if mmap_mode is not None and (compressed or not is_raw_file(fileobj)):
        message = _mapping_refused(fileobj, filename, mmap_mode, compressed)
        warnings.warn(message, stacklevel=5)
        mmap_mode = None
    if not compressed:
        yield fileobj, mmap_mode
        return
    decoded = CODECS[method].decompressor_file(fileobj)
    with contextlib.closing(decoded):
        if isinstance(decoded, io.IOBase):
            # Small reads are many and cost more in the codecs than here. Detached
            # in the end: closing the codec is the codec's business.
            buffered = io.BufferedReader(decoded, DECODED_BUFFER_BYTES)  # type: ignore[type-var]
            yield buffered, mmap_mode
        else:
            yield decoded, mmap_mode
