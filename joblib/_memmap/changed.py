"""Whether copy-on-write arrays still hold what their file does.

What a process writes to an array that is mapped with mode "c" stays its own: another
process that opens the file would find the old elements. Such an array has to travel
by its content, while one that nobody has written to may go on to be named.
"""

from __future__ import annotations

import mmap
from typing import Any

#: a 64-bit word for each page of this process, see pagemap.rst of the Linux kernel
PAGEMAP = "/proc/self/pagemap"
_WORD = 8
# the page is in memory or swapped out, and in the latter case it isn't the file's
_THERE = 0b11 << 62
_OF_FILE = 1 << 61
#: about as many bytes are looked at a time
PART = 16_000_000


def may_differ(backing: Any, address: int, offset: int, n_bytes: int) -> bool:
    """Whether a part of a mapped file may have been written to by this process alone.

    Parameters
    ----------
    backing : numpy.memmap
        The array that maps the file.
    address : int
        The address of the part's first byte.
    offset : int
        Where it is in the file, in bytes.
    n_bytes : int
        How large the part is; pages that it shares with others count as a whole.
    """
    if backing.mode != "c":
        return False
    try:
        return _has_own_pages(address, n_bytes)
    except OSError:  # another system, or not to be read here
        return _differs(backing, offset, n_bytes)


def _has_own_pages(address: int, n_bytes: int) -> bool:
    """Whether the kernel has made copies of any of these pages for the process."""
    import numpy as np

    page, end = address // mmap.PAGESIZE, -(-(address + n_bytes) // mmap.PAGESIZE)
    with open(PAGEMAP, "rb", buffering=0) as file:
        file.seek(page * _WORD)
        while page < end:
            data = file.read(min((end - page) * _WORD, PART))
            words = np.frombuffer(data, np.uint64)
            if not len(words):
                raise OSError(f"{PAGEMAP!r} ends before page {page}.")
            own = (words & np.uint64(_THERE) != 0) & (words & np.uint64(_OF_FILE) == 0)
            if own.any():
                return True
            page += len(words)
    return False


def _differs(backing: Any, offset: int, n_bytes: int) -> bool:
    """Whether the elements are others than those of the file."""
    import numpy as np

    # a mapping begins where the system can begin one
    begin = backing.offset - backing.offset % mmap.ALLOCATIONGRANULARITY
    with open(backing.filename, "rb") as file:
        file.seek(offset)
        for done in range(0, n_bytes, PART):
            there = file.read(min(PART, n_bytes - done))
            at = offset - begin + done
            here = np.frombuffer(backing.base, np.uint8)[at : at + len(there)]
            if not np.array_equal(here, np.frombuffer(there, np.uint8)):
                return True
    return False
