"""Write an object to a path or a file, the short way if it goes, else at length."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import Any

from .._compress.registry import CODECS
from .atomic import replacing
from .shortcuts import dump_plain, plain_pickle

# Small writes to a compressor are gathered up to this size.
_GATHERED_BYTES = 1 << 18

# Pickles a value into a file, arrays and all: (value, file, protocol).
AtLength = Callable[[Any, Any, int], None]


@contextlib.contextmanager
def _encoder(file: Any, compression: tuple[str, int | None] | None) -> Iterator[Any]:
    """The file to pickle into: `file` itself, or a compressor in front of it."""
    if compression is None:
        yield file
        return
    method, level = compression
    encoded = CODECS[method].compressor_file(file, compresslevel=level)
    with contextlib.closing(encoded):
        if not isinstance(encoded, io.IOBase):
            yield encoded
            return
        # The pickler makes many small writes, which cost less here.
        buffered = io.BufferedWriter(encoded, _GATHERED_BYTES)
        try:
            yield buffered
            buffered.flush()
        finally:
            with contextlib.suppress(OSError, ValueError):
                buffered.detach()


def write_to_path(
    value: Any,
    path: str,
    compression: tuple[str, int | None] | None,
    protocol: int,
    at_length: AtLength,
) -> None:
    """Replace the file at `path` by one that holds `value`."""
    with replacing(path) as file:
        if file.seekable():
            try:
                with _encoder(file, compression) as target:
                    dump_plain(value, target, protocol)
                return
            except (OSError, MemoryError):
                raise
            except Exception:
                # An array; or an object that cannot be pickled, which is for the long
                # way to say, in the words users know.
                file.seek(0)
                file.truncate()
        with _encoder(file, compression) as target:
            at_length(value, target, protocol)


def write_to_file(
    value: Any,
    file: Any,
    compression: tuple[str, int | None] | None,
    protocol: int,
    at_length: AtLength,
) -> None:
    """Write `value` to an open file, which cannot take back what was written."""
    parts = plain_pickle(value, protocol)
    with _encoder(file, compression) as target:
        if parts is None:
            at_length(value, target, protocol)
        else:
            for part in parts:
                target.write(part)
