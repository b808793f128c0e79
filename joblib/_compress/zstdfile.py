"""A Zstandard frame seen as a binary file; importing it needs a zstd library."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

_MULTI_FRAME_READ = 1 << 17

_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPED_MAGIC = 0x184D2A50  # and the 15 numbers behind it
_RUN_BLOCK = 1  # a block of one byte repeated
# Of the frame header's first byte: sizes of what follows it.
_WINDOW_BYTES = (1, 0)
_DICTIONARY_BYTES = (0, 1, 2, 4)
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_CHECKSUM_BYTES = (0, 4)


class _WatchedSource:
    """A compressed file that knows whether it ended at the end of a frame.

    The package's reader takes a frame without its end for one that has ended. The
    layout of frames is that of RFC 8878: a header, blocks with their sizes before
    them, a checksum.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._to_skip = 0
        self._head = b""
        # What a header is for, and how many bytes of it are needed to go on.
        self._part = self._frame_begins
        self._needed = 5
        self._after_blocks = 0

    @property
    def is_complete(self) -> bool:
        """Whether a frame could begin here."""
        at_begin = self._part == self._frame_begins
        return at_begin and not self._head and not self._to_skip

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the file."""
        data: bytes = self._raw.read(size)
        position = 0
        while position < len(data):
            if self._to_skip:
                step = min(self._to_skip, len(data) - position)
                self._to_skip -= step
            else:
                step = min(self._needed - len(self._head), len(data) - position)
                self._head += data[position : position + step]
                if len(self._head) == self._needed:
                    head, self._head = self._head, b""
                    self._part(head)
            position += step
        return data

    def _expect(self, part: Any, needed: int) -> None:
        self._part, self._needed = part, needed

    def _frame_begins(self, head: bytes) -> None:
        if head[:4] != _MAGIC:
            skipped = int.from_bytes(head[:4], "little") & ~15 == _SKIPPED_MAGIC
            if skipped and len(head) == 5:
                self._head = head
                self._needed = 8
            elif skipped:
                self._to_skip = int.from_bytes(head[4:], "little")
                self._expect(self._frame_begins, 5)
            return  # anything else is for the decoder to refuse
        flags = head[4]
        single = flags >> 5 & 1
        size = _CONTENT_SIZE_BYTES[flags >> 6] or single
        self._to_skip = _WINDOW_BYTES[single] + _DICTIONARY_BYTES[flags & 3] + size
        self._after_blocks = _CHECKSUM_BYTES[flags >> 2 & 1]
        self._expect(self._block_begins, 3)

    def _block_begins(self, head: bytes) -> None:
        header = int.from_bytes(head, "little")
        is_last, kind = header & 1, header >> 1 & 3
        self._to_skip = 1 if kind == _RUN_BLOCK else header >> 3
        if is_last:
            self._to_skip += self._after_blocks
            self._expect(self._frame_begins, 5)


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
            self._source = _WatchedSource(self._raw)
            self._stream = decoder.stream_reader(
                self._source, read_across_frames=True, closefd=False
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

    def _check_end(self, at_end: bool) -> None:
        if at_end and not self._source.is_complete:
            raise EOFError("Compressed file ended before the end of its last frame")

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` decoded bytes; all that are left when it is negative."""
        stream = self._used_as("rb")
        if size is None or size < 0:
            data = b"".join(iter(lambda: stream.read(_MULTI_FRAME_READ), b""))
        else:
            data = stream.read(size)
        if not data or size is None or size < 0:
            self._check_end(size != 0)
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
                self._check_end(True)
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
