"""What tells whole objects from damaged ones, and results of one code from another's.

The *epoch* of a function is a digest of the code by which its place in a store was
taken. It stays when results outlive a change of the code, and then stands in the last
line of the stored code. Each output ends with a *seal*: an epoch and a checksum.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import NamedTuple

_FIRST_LINE = "# first line:"
_EPOCH_LINE = "\n# results stored since: "
_DIGITS = 32
_UNKNOWN = "0" * _DIGITS
_SEAL = re.compile(rb"\njoblib-seal ([0-9a-f]{32}) ([0-9a-f]{8})\n")
SEAL_LENGTH = len(b"\njoblib-seal  \n") + _DIGITS + 8


class Seal(NamedTuple):
    """The end of an output.

    Parameters
    ----------
    epoch : str
        Of the function; zeros where it was not known.
    checksum : int
        CRC-32 of what stands before.
    """

    epoch: str
    checksum: int


class SealError(ValueError):
    """The content of an entry is not what was stored."""


def seal(content: bytes, epoch: str) -> bytes:
    """Add a seal to an output; an empty epoch stands for one that is not known."""
    return content + b"\njoblib-seal %s %08x\n" % (
        (epoch or _UNKNOWN).encode("ascii"),
        zlib.crc32(content),
    )


def find_seal(end: bytes) -> Seal | None:
    """Find the seal in the end of an output; None where there is none."""
    match = _SEAL.fullmatch(end[-SEAL_LENGTH:])
    return None if match is None else Seal(match[1].decode(), int(match[2], 16))


def unseal(content: bytes) -> tuple[memoryview, Seal | None]:
    """Split an output into what was stored and its seal.

    Raises
    ------
    SealError
        When they do not match.
    """
    found = find_seal(content)
    if found is None:
        return memoryview(content), None
    payload = memoryview(content)[:-SEAL_LENGTH]
    if zlib.crc32(payload) != found.checksum:
        raise SealError("its content does not match its checksum")
    return payload, found


def epoch_of(func_code: str) -> str:
    """Digest the code of a function, wherever it stands in its file."""
    if func_code.startswith(_FIRST_LINE):
        func_code = func_code.partition("\n")[2]
    content = func_code.encode("utf-8", "surrogateescape")
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def with_epoch(func_code: str, epoch: str) -> str:
    """Write code whose results were stored in an earlier epoch."""
    return f"{func_code}{_EPOCH_LINE}{epoch}\n"


def split_code(stored: str) -> tuple[str, str]:
    """Split stored code into the code and its epoch."""
    text, line, epoch = stored.rpartition(_EPOCH_LINE)
    if not line:
        return stored, epoch_of(stored)
    return text, epoch.strip()
