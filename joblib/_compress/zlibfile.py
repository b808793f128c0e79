"""File objects that read and write zlib and gzip streams.

The standard library has a gzip file but none for bare zlib streams, and its
gzip file is slower than it need be; one class, told apart by ``wbits``, does both::

    write:  data -> compressobj -> raw file
    read:   raw file -> decompressobj -> pending -> caller
"""

from __future__ import annotations

import io
import os
import zlib
from typing import Any

# Compressed bytes asked of the raw file at a time.
CHUNK_BYTES = 1 << 18
# Most decompressed bytes made in one step for callers who skip or read it all.
STEP_BYTES = 1 << 20

_READING = "rb"
_WRITING = "wb"


def _can_seek(fileobj: Any) -> bool:
    return hasattr(fileobj, "seekable") and bool(fileobj.seekable())


class BinaryZlibFile(io.BufferedIOBase):
    """A zlib stream seen as a binary file.

    Parameters
    ----------
    filename : str, bytes, os.PathLike or file object
        What to open, or a binary file that is open already. A file that was
        handed in stays open when this one is closed.
    mode : {"rb", "wb"}, default "rb"
        Read or write; nothing in between.
    compresslevel : int, default 3
        From 1 (fast) to 9 (small); only looked at when writing.

    Raises
    ------
    ValueError
        If the mode or the level is none of the above.
    TypeError
        If `filename` is neither a path nor a file object.
    """

    # The window size zlib expects, which also selects the container's format.
    wbits = zlib.MAX_WBITS

    def __init__(
        self, filename: Any, mode: str = _READING, compresslevel: int = 3
    ) -> None:
        # Set first, so that close() works however early this fails.
        self._raw: Any = None
        self._mode: str | None = None
        self._owns_raw = False
        if mode not in (_READING, _WRITING):
            raise ValueError(f"Invalid mode: {mode!r}. Allowed are 'rb' and 'wb'.")
        if (
            isinstance(compresslevel, bool)
            or not isinstance(compresslevel, int)
            or not 1 <= compresslevel <= 9
        ):
            raise ValueError(
                "'compresslevel' must be an integer between 1 and 9. "
                f"You provided 'compresslevel={compresslevel}'"
            )
        if isinstance(filename, (str, bytes, os.PathLike)):
            self._raw = open(filename, mode)
            self._owns_raw = True
        elif hasattr(filename, "read") or hasattr(filename, "write"):
            self._raw = filename
        else:
            raise TypeError(
                "filename must be a str or bytes object, or a file; "
                f"got {type(filename).__name__}"
            )
        self._mode = mode
        self._position = 0
        if mode == _WRITING:
            self._encoder = zlib.compressobj(
                compresslevel, zlib.DEFLATED, self.wbits, zlib.DEF_MEM_LEVEL, 0
            )
        else:
            self._origin = self._raw.tell() if self.seekable() else 0
            self._start_reading()

    # ------------------------------------------------------------------ state
    def _start_reading(self) -> None:
        self._decoder = zlib.decompressobj(self.wbits)
        self._compressed = b""  # read from the raw file, not yet decoded
        self._at_end = False
        self._position = 0

    @property
    def closed(self) -> bool:
        """Whether the file was closed."""
        return self._mode is None

    def close(self) -> None:
        """Write what is left, and close the file beneath if it is ours."""
        if self._mode is None:
            return
        raw, mode = self._raw, self._mode
        try:
            if mode == _WRITING:
                raw.write(self._encoder.flush())
        finally:
            self._mode = None
            self._raw = None
            self._compressed = b""
            if self._owns_raw:
                raw.close()

    def _check_not_closed(self) -> None:
        if self._mode is None:
            raise ValueError("I/O operation on closed file")

    def _demand(self, mode: str, what: str) -> None:
        if self._mode != mode:
            self._check_not_closed()
            raise io.UnsupportedOperation(f"File not open for {what}")

    def _check_can_read(self) -> None:
        self._demand(_READING, "reading")

    def _check_can_write(self) -> None:
        self._demand(_WRITING, "writing")

    def _check_can_seek(self) -> None:
        self._demand(_READING, "reading: a stream being written cannot seek")
        if not _can_seek(self._raw):
            raise io.UnsupportedOperation("The underlying file does not support seek")

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        self._check_not_closed()
        return self._mode == _READING

    def writable(self) -> bool:
        """Whether the file was opened for writing."""
        self._check_not_closed()
        return self._mode == _WRITING

    def seekable(self) -> bool:
        """Whether `seek` works: when reading from a file that can itself seek."""
        return self.readable() and _can_seek(self._raw)

    def fileno(self) -> int:
        """Return the descriptor of the file beneath."""
        self._check_not_closed()
        return int(self._raw.fileno())

    # ---------------------------------------------------------------- reading
    def _decode(self, limit: int) -> bytes:
        """Up to `limit` decoded bytes, at least one; none at the end of the stream."""
        while not self._at_end:
            decoder = self._decoder
            if decoder.eof:
                # One stream is done: another may follow it, or padding, or nothing.
                rest = decoder.unused_data or self._raw.read(CHUNK_BYTES)
                rest = rest.lstrip(b"\0")
                if not rest:
                    self._at_end = True
                    break
                self._decoder = decoder = zlib.decompressobj(self.wbits)
                self._compressed = rest
            data = decoder.decompress(self._compressed, limit)
            self._compressed = decoder.unconsumed_tail
            if data:
                return data
            if decoder.eof or self._compressed:
                continue
            self._compressed = self._raw.read(CHUNK_BYTES)
            if not self._compressed:
                raise EOFError(
                    "Compressed file ended before the end-of-stream marker was reached"
                )
        return b""

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` decoded bytes; all that are left when it is negative."""
        self._check_can_read()
        if size == 0:
            return b""
        everything = size is None or size < 0
        wanted = STEP_BYTES if everything else size or 0
        parts = []
        while everything or wanted > 0:
            part = self._decode(wanted)
            if not part:
                break
            parts.append(part)
            self._position += len(part)
            if not everything:
                wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, b: Any) -> int:
        """Fill the buffer `b` and return how many bytes went in."""
        self._check_can_read()
        view = memoryview(b).cast("B")
        done = 0
        while done < len(view):
            part = self._decode(min(len(view) - done, STEP_BYTES))
            if not part:
                break
            view[done : done + len(part)] = part
            done += len(part)
        self._position += done
        return done

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the decoded data, decoding (again) to get there."""
        self._check_can_seek()
        if whence == io.SEEK_SET:
            target = offset
        elif whence == io.SEEK_CUR:
            target = self._position + offset
        elif whence == io.SEEK_END:
            while self.read(STEP_BYTES):
                pass
            target = self._position + offset
        else:
            raise ValueError(f"Invalid value for whence: {whence}. Allowed: 0, 1, 2.")
        if target < self._position:
            self._raw.seek(self._origin)
            self._start_reading()
        while self._position < target:
            if not self.read(min(STEP_BYTES, target - self._position)):
                break
        return self._position

    # ---------------------------------------------------------------- writing
    def write(self, data: Any) -> int:
        """Compress `data` and return how many bytes it held."""
        self._check_can_write()
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        encoded = self._encoder.compress(data)
        if encoded:
            self._raw.write(encoded)
        self._position += size
        return size

    def tell(self) -> int:
        """Return the position in the decoded data."""
        self._check_not_closed()
        return self._position


class BinaryGzipFile(BinaryZlibFile):
    """A gzip stream seen as a binary file; see `BinaryZlibFile`."""

    wbits = zlib.MAX_WBITS | 16
