"""Look through a frame of a pickle before the C unpickler gets to run it.

The C unpickler is told nothing of where in a frame it is, and two of the things it
does on its own cannot be taken back: it hands states to numpy, which believes them,
and it makes room for as many remembered objects as an opcode says. A byte that
flipped on disk can so turn numbers into pointers, or fill the memory. A frame that
shows the marks of either is taken apart here. Most frames show none.
"""

from __future__ import annotations

import re

from .failures import CorruptFileError

# Room for more remembered objects than this is not made for nothing. Streams number
# the objects one by one, and those that have frames do not even say the number.
MEMO_STRIDE = 1 << 20

# The end of a tuple that becomes an object's state: numpy's states are tuples. The
# opcode between remembers the tuple; pickles without it are none of `dump`.
_STATE = re.compile(rb"t\x94b")
# LONG_BINPUT and a number over 2**24, where REDUCE or BUILD may have been, and neither
# in the middle of a text nor at its end.
_NUMBERS = {
    sign: re.compile(
        re.escape(sign) + rb"r(?![ -~]{0,3}\x94|[ -~]{4}).{3}[^\0]", re.DOTALL
    )
    for sign in (b")", b"u")
}
_NUMBERS[b"\x94"] = re.compile(rb"\x94r(?![ -~]{4}).{3}[^\0]", re.DOTALL)


def _counted(opcodes: bytes) -> bytes:
    """A pattern for opcodes with a byte that counts the bytes behind it."""
    sixteens = []
    for high in range(0, 256, 16):
        by_size = [
            re.escape(bytes((size,))) + b".{%d}" % size
            for size in range(high, high + 16)
        ]
        first, last = re.escape(bytes((high,))), re.escape(bytes((high + 15,)))
        sixteens.append(b"(?=[%s-%s])(?:%s)" % (first, last, b"|".join(by_size)))
    return b"[" + re.escape(opcodes) + b"](?:" + b"|".join(sixteens) + b")"


# Opcodes that need no look, with their operands, as many as there are.
_HARMLESS = (
    b"(?:"
    + b"|".join(
        (
            rb"[(012NQRabdelosu)\]}\x81\x85-\x89\x8f-\x94\x97\x98]+",
            rb"t(?!\x94b)",
            _counted(b"\x8cCU\x8a"),
            rb"[Khq\x82\x80].",
            rb"[M\x83]..",
            rb"G.{8}",
            rb"[Jj\x84].{4}",
            rb"r...\0",
            rb"[ILFSVPg][^\n]*\n",
            rb"p[0-9]{0,7}\n",
            rb"[ci][^\n]*\n[^\n]*\n",
        )
    )
    + b")*"
)
_harmless: re.Pattern[bytes] | None = None  # compiled when it is first needed
# Opcodes with a longer count, and its size.
_LENGTHS = {b: 4 for b in b"XBT\x8b"} | {b: 8 for b in b"\x8d\x8e\x96"}


def needs_a_look(frame: bytes) -> bool:
    """Whether the frame sets states that are tuples, or shows a wild number."""
    if b"t\x94b" in frame:
        return True
    # Each `in` is many times faster than the pattern, and most frames have none.
    if b"\x94r" in frame and _NUMBERS[b"\x94"].search(frame) is not None:
        return True
    if b")r" in frame and _NUMBERS[b")"].search(frame) is not None:
        return True
    # Only objects have states, and most texts are not in a frame with objects.
    if b"ur" in frame and b")\x81" in frame:
        return _NUMBERS[b"u"].search(frame) is not None
    return False


def with_states_shown(frame: bytes, show: bytes) -> bytes:
    """The frame, with `show` in place of each BUILD from a tuple.

    Raises
    ------
    CorruptFileError
        If the frame makes room for more objects than a file can hold, or ends within
        an opcode.
    """
    global _harmless
    if _harmless is None:
        _harmless = re.compile(_HARMLESS, re.DOTALL)
    parts = []
    start = position = 0
    while True:
        found = _harmless.match(frame, position)
        position = found.end() if found is not None else position
        if position >= len(frame):
            break
        state = _STATE.match(frame, position)
        opcode = frame[position]
        if state is not None:
            position = state.end()
            parts += [frame[start : position - 1], show]
            start = position
        elif opcode in _LENGTHS:
            width = _LENGTHS[opcode]
            operand = position + 1 + width
            position = operand + int.from_bytes(frame[position + 1 : operand], "little")
            if position > len(frame):
                raise CorruptFileError("an opcode reaches beyond its frame")
        elif opcode == 0x2E:  # STOP: what follows is not run
            break
        else:
            raise CorruptFileError(
                f"the opcode {frame[position : position + 1]!r} with a wild operand"
            )
    parts.append(frame[start:])
    return b"".join(parts)
