"""A Zstandard frame seen as a binary file; importing it needs a zstd library."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

_MULTI_FRAME_READ = 1 << 17


class _PackageZstdFile(io.BufferedIOBase):
    """The file class over the package ``zstandard``.

    Parameters
    ----------
    fileobj : file object
        The compressed file; it stays open when this one is closed.
    mode : {"rb", "wb"}
        Read or write.
    compresslevel : int, default 3
        Zstandard's level, 1 to 22; only looked at when writing.
    """

    def __init__(self, fileobj: Any, mode: str = "rb", compresslevel: int = 3) -> None:
        self._stream: Any = None
        if mode not in ("rb", "wb"):
            raise ValueError(f"Invalid mode: {mode!r}. Allowed are 'rb' and 'wb'.")
        self._mode = mode
        self._raw = fileobj
        self._level = compresslevel
        self._position = 0
        self._start = fileobj.tell() if mode == "rb" and fileobj.seekable() else 0
        self._open()

    def _open(self) -> None:
        zstandard = importlib.import_module("zstandard")
        if self._mode == "wb":
            encoder = zstandard.ZstdCompressor(level=self._level, write_checksum=True)
            self._stream = encoder.stream_writer(self._raw, closefd=False)
        else:
            decoder = zstandard.ZstdDecompressor()
            self._stream = decoder.stream_reader(
                self._raw, read_across_frames=True, closefd=False
            )

    def close(self) -> None:
        """Finish the frame; the file beneath stays open."""
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        finally:
            super().close()

    def _used_as(self, mode: str) -> Any:
        if self._stream is None:
            raise ValueError("I/O operation on closed file")
        if mode != self._mode:
            kind = "reading" if mode == "rb" else "writing"
            raise io.UnsupportedOperation(f"File not open for {kind}")
        return self._stream

    def readable(self) -> bool:
        """Whether the file was opened for reading."""
        return self._mode == "rb"

    def writable(self) -> bool:
        """Whether the file was opened for writing."""
        return self._mode == "wb"

    def seekable(self) -> bool:
        """Whether `seek` works: when reading from a file that can itself seek."""
        return self.readable() and bool(self._raw.seekable())

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` decoded bytes; all that are left when it is negative."""
        stream = self._used_as("rb")
        if size is None or size < 0:
            data = b"".join(iter(lambda: stream.read(_MULTI_FRAME_READ), b""))
        else:
            data = stream.read(size)
        self._position += len(data)
        return bytes(data)

    def readinto(self, b: Any) -> int:
        """Fill the buffer `b` as far as the data goes; return the bytes put in."""
        stream = self._used_as("rb")
        view = memoryview(b).cast("B")
        done = 0
        while done < len(view):
            got = stream.readinto(view[done:])
            if not got:
                break
            done += got
        self._position += done
        return done

    def write(self, data: Any) -> int:
        """Compress `data` and return how many bytes it held."""
        size = data.nbytes if isinstance(data, memoryview) else len(data)
        self._used_as("wb").write(data)
        self._position += size
        return size

    def tell(self) -> int:
        """Return the position in the decoded data."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the decoded data, decoding (again) to get there."""
        self._used_as("rb")
        if whence == io.SEEK_END:
            while self.read(_MULTI_FRAME_READ):
                pass
        target = offset if whence == io.SEEK_SET else self._position + offset
        if target < self._position:
            self._raw.seek(self._start)
            self._position = 0
            self._open()
        while self._position < target:
            if not self.read(min(_MULTI_FRAME_READ, target - self._position)):
                break
        return self._position


def _standard_zstd_file() -> Any:
    """The file class of the standard library, with our keyword for the level."""
    base: Any = importlib.import_module("compression.zstd").ZstdFile

    def open_zstd(fileobj: Any, mode: str = "rb", compresslevel: int = 3) -> Any:
        level = {"level": compresslevel} if mode == "wb" else {}
        return base(fileobj, mode, **level)

    return open_zstd


ZstdFile: Any
if sys.version_info >= (3, 14):
    ZstdFile = _standard_zstd_file()
else:
    importlib.import_module("zstandard")  # its absence is this module's ImportError
    ZstdFile = _PackageZstdFile
