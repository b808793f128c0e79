"""How much a file still holds, to hold announced sizes against it."""

from __future__ import annotations

import os
import stat
from typing import Any

# Announced sizes above this are held against the file before memory is taken.
CHECKED_BYTES = 1 << 20


def position_of(file: Any) -> int | None:
    """The file's position, or None if it has none (a pipe, a socket)."""
    try:
        return int(file.tell())
    except (AttributeError, OSError):
        return None


def bytes_left(file: Any) -> int | None:
    """How many bytes follow in a file on disk; None for other files."""
    inner = getattr(file, "raw", file)
    if not hasattr(inner, "fileno") or type(inner).__module__ not in ("_io", "io"):
        return None
    try:
        status = os.fstat(inner.fileno())
        if not stat.S_ISREG(status.st_mode):
            return None
        return int(status.st_size) - int(file.tell())
    except OSError:
        return None
