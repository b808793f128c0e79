"""Fill a large buffer from a file on disk with several threads.

Reading from the page cache is copying, and the memory that is copied to is being
taken at that moment: both are work for a core, and one core does not saturate the
memory. The threads take neighbouring pieces in turn, so that a disk is still read
from front to back.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator

# Below this, one thread is done before a second would have started to help.
WORTHWHILE_BYTES = 1 << 25
_PIECE_BYTES = 1 << 22
_MOST_THREADS = 4


def thread_count() -> int:
    """The number of threads to read with; 1 where parallel reads are not possible."""
    if not hasattr(os, "preadv"):
        return 1
    if hasattr(os, "sched_getaffinity"):
        n_cores = len(os.sched_getaffinity(0))
    else:
        n_cores = os.cpu_count() or 1
    return min(_MOST_THREADS, n_cores)


class _Reading:
    """One buffer being filled: which pieces are taken, and how it went."""

    def __init__(self, descriptor: int, position: int, buffer: memoryview) -> None:
        self._descriptor = descriptor
        self._position = position
        self._buffer = buffer
        self._starts: Iterator[int] = itertools.count(0, _PIECE_BYTES)
        self.is_over = False
        self.end = len(buffer)
        self.error: OSError | None = None

    def run(self) -> None:
        """Take pieces until there is none left; for each thread."""
        try:
            while not self.is_over:
                start = next(self._starts)
                if start >= len(self._buffer):
                    return
                self._read_piece(start)
        except OSError as error:
            self.error = error
            self.is_over = True

    def _read_piece(self, start: int) -> None:
        stop = min(start + _PIECE_BYTES, len(self._buffer))
        while start < stop:
            got = os.preadv(
                self._descriptor, [self._buffer[start:stop]], self._position + start
            )
            if not got:  # the file is shorter than it was
                self.end = min(self.end, start)
                self.is_over = True
                return
            start += got


def fill_in_parallel(
    descriptor: int, position: int, buffer: memoryview, n_threads: int
) -> int:
    """Read into all of a buffer.

    Parameters
    ----------
    descriptor : int
        Of a regular file; its own position is neither used nor changed.
    position : int
        Where in the file the bytes begin.
    buffer : memoryview
        Of bytes, to be filled.
    n_threads : int
        How many threads read, with the one that calls.

    Returns
    -------
    int
        How far the file reached, in bytes of the buffer.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    reading = _Reading(descriptor, position, buffer)
    threads = []
    try:
        for _ in range(n_threads - 1):
            thread = threading.Thread(target=reading.run, name="joblib-read")
            try:
                thread.start()
            except RuntimeError:  # no more threads: those that run will do
                break
            threads.append(thread)
        reading.run()
    finally:
        # An interrupt ends the others after their present piece.
        reading.is_over = True
        for thread in threads:
            thread.join()
    if reading.error is not None:
        raise reading.error
    return reading.end
