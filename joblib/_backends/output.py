"""What tasks print in a worker process is seen line by line, as they print it."""

from __future__ import annotations

import io
import sys
from contextlib import suppress


def show_lines() -> None:
    """Have this process write each line of its output at once.

    Its output is seldom a terminal: in a notebook, a job of a cluster or a pipeline
    it is a pipe or a file. Lines would then be kept until there are some kilobytes
    of them, which is long after the call, and be lost with a worker that is killed.
    A line is one write, so that those of several workers do not mix. What is no
    stream of the operating system looks after itself.
    """
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and not stream.write_through:
        stream.reconfigure(line_buffering=True)


def show_rest() -> None:
    """Write what tasks have printed without an end of line."""
    stream = sys.stdout
    if stream is not None:
        with suppress(ValueError, OSError):  # closed, or nobody reads it
            stream.flush()
