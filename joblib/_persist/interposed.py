"""The file a C unpickler reads from: the real one, and opcodes slipped in between.

It has no ``peek``: the unpickler then asks for no byte it does not need yet, so that
the real file's position is always the unpickler's. Opcodes of a stream without frames
are seen one by one as they are read, those of a frame in `joblib._persist.frames`.
"""

from __future__ import annotations

from typing import Any

from .failures import CorruptFileError, TruncatedFileError
from .frames import MEMO_STRIDE, needs_a_look, with_states_shown
from .sizes import CHECKED_BYTES, bytes_left

_BINPERSID = b"Q"
# In place of BUILD: object and state become a tuple, which the unpickler calls with.
_SHOWN_BUILD = b"\x86" + _BINPERSID

_BUILD = b"b"
_FRAME = b"\x95"
_PUT = b"p"
_LONG_BINPUT = b"r"
_SPECIAL = frozenset((_FRAME, _LONG_BINPUT))
_WITH_A_BYTE = frozenset(bytes((op,)) for op in b"Khq\x80\x82")
_COUNTED_BY_A_BYTE = frozenset(bytes((op,)) for op in b"U\x8cC\x8a")
_COUNTED_BY_MORE = frozenset(bytes((op,)) for op in b"TXB\x8b\x8d\x8e\x96")

# What the next byte asked for by itself will be.
_OPCODE, _OPERAND, _COUNT, _CONTENT = range(4)


class Interposed:
    """A file for a C unpickler.

    Parameters
    ----------
    file : file object
        The file, decompressed.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._read = file.read
        # Whether what is asked for next is more than what is next in the file.
        self._alert = False
        self._array_is_next = False
        self._watching = False
        self._ready: bytes | None = None  # a frame, or an opcode of ours
        self._last = b""  # the byte that was last read by itself
        self._next = _OPCODE
        self._has_frames = False
        self._highest = 0  # number of a remembered object

    @property
    def array_is_next(self) -> bool:
        """Whether a description of an array is complete, and its elements not read."""
        return self._array_is_next

    def announce_array(self) -> None:
        """A description of an array is complete: its elements are next."""
        self._array_is_next = self._alert = True

    def watch(self) -> None:
        """The stream has named what makes dtypes: call back before states are set.

        Only where opcodes are seen one by one; an opcode is next.
        """
        if not self._watching and not self._has_frames:
            self._watching = self._alert = True
            self._next = _OPCODE

    def read(self, size: int) -> bytes:
        """Return as many bytes, fewer only at the end."""
        if self._alert:
            return self._read_alert(size)
        if size == 1:
            data: bytes = self._read(1)
            self._last = data
            return data
        if size > CHECKED_BYTES or self._last in _SPECIAL:
            return self._read_more(size)
        data = self._read(size)
        return data if len(data) == size else self._insist(data, size)

    def _read_alert(self, size: int) -> bytes:
        """Return an opcode of ours, or a frame; or follow the stream."""
        if self._array_is_next:
            if size != 1:
                raise CorruptFileError("no array where one is announced")
            self._array_is_next = False
            self._alert = self._watching
            return _BINPERSID
        if self._ready is not None:
            data, self._ready = self._ready, None
            self._alert = self._watching
            return data
        if size == 1:
            data = self._last = self._follow(self._read(1))
            return data
        data = self._read_more(size)
        if self._ready is None:
            self._follow_more(data)
        return data

    def _read_more(self, size: int) -> bytes:
        if size > CHECKED_BYTES:
            self._expect(size)
        data: bytes = self._read(size)
        if len(data) < size:
            data = self._insist(data, size)
        if self._last in _SPECIAL:
            if size == 8 and self._last == _FRAME:
                return self._take_frame(data)
            if size == 4 and self._last == _LONG_BINPUT:
                self._check_number(int.from_bytes(data, "little"))
        return data

    def _expect(self, size: int) -> None:
        left = bytes_left(self._file)
        if left is not None and size > left:
            raise TruncatedFileError(f"EOF: {size} bytes announced, {left} left")

    def _insist(self, data: bytes, size: int) -> bytes:
        """Go on reading from a file (a raw socket) that gives less than asked for."""
        parts = [data]
        missing = size - len(data)
        while parts[-1] and missing > 0:
            part = self._read(missing)
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _take_frame(self, length: bytes) -> bytes:
        """Read a frame, look at it, keep it ready; return its length."""
        self._has_frames = True
        size = int.from_bytes(length, "little")
        if size > CHECKED_BYTES:
            self._expect(size)
        frame = self._read(size)
        if len(frame) < size:
            frame = self._insist(frame, size)
            if len(frame) < size or len(length) < 8:
                raise TruncatedFileError("EOF: a frame of the pickle is incomplete")
        if needs_a_look(frame):
            frame = with_states_shown(frame, _SHOWN_BUILD)
            length = len(frame).to_bytes(8, "little")
        self._last = b""
        if frame:
            self._ready = frame
            self._alert = True
        return length

    def _check_number(self, number: int) -> None:
        """Refuse to remember an object under a number that none before it led to."""
        if number > self._highest + MEMO_STRIDE:
            raise CorruptFileError(f"room for {number} remembered objects")
        self._highest = max(self._highest, number)

    def _follow(self, byte: bytes) -> bytes:
        """Take note of a byte that was read by itself; perhaps give another."""
        if self._next == _OPCODE:
            if byte == _BUILD:
                self._ready = _BINPERSID
                return _SHOWN_BUILD[:1]
            if byte in _WITH_A_BYTE:
                self._next = _OPERAND
            elif byte in _COUNTED_BY_A_BYTE:
                self._next = _COUNT
        elif self._next == _COUNT:
            self._next = _CONTENT if byte != b"\0" else _OPCODE
        else:
            self._next = _OPCODE
        return byte

    def _follow_more(self, data: bytes) -> None:
        if self._next == _OPCODE and self._last in _COUNTED_BY_MORE:
            self._next = _CONTENT if any(data) else _OPCODE
        else:
            self._next = _OPCODE

    def readline(self) -> bytes:
        """Return a line."""
        if self._array_is_next:
            raise CorruptFileError("no array where one is announced")
        line: bytes = self._file.readline()
        if self._last == _PUT:
            try:
                number = int(line)
            except ValueError:
                pass  # the unpickler will say so
            else:
                self._check_number(number)
        return line

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer and return how many bytes went in."""
        view = memoryview(buffer).cast("B")
        if len(view) > CHECKED_BYTES:
            self._expect(len(view))
        if len(view) < 1 << 16 or not hasattr(self._file, "readinto"):
            data = self.read(len(view))
            view[: len(data)] = data
            return len(data)
        self._next = _OPCODE
        done = 0
        while done < len(view):
            got = self._file.readinto(view[done:])
            if not got:
                break
            done += got
        return done
