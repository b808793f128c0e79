"""Load an object from an open file: find its format, unpickle, explain failures."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from .failures import explain_load_failure
from .opening import opened_for_load, warn_of_old_file
from .sizes import bytes_left


def _check_end(source: Any, file: Any, is_whole: bool) -> None:
    """Let the decompressor see the end of its stream, and check it.

    Behind an object in an open file there may be anything, but where there is
    nothing the compressed stream must have ended.
    """
    if is_whole:
        source.read(1)
        return
    if bytes_left(file) is None and type(file) is not io.BytesIO:
        return  # a pipe or a socket: there may be nothing more to read, or not yet
    try:
        source.read(1)
    except EOFError:
        raise
    except Exception:
        pass


def read_object(
    file: Any,
    name: str,
    mmap_mode: str | None,
    make_unpickler: Callable[[str, Any, str | None], Any],
    load_old: Callable[[str], Any],
    is_whole: bool,
) -> Any:
    """Return the object in a file.

    Parameters
    ----------
    file : file object
        Opened for reading, compressed or not.
    name : str
        Its path; empty if it has none.
    mmap_mode : str or None
        How to map arrays.
    make_unpickler : callable
        Takes the name, the decompressed file and the mode that is possible.
    load_old : callable
        Takes the name of a compressed file of a release before 0.10.
    is_whole : bool
        The file holds this object alone, so that a compressed one ends behind it.
    """
    with opened_for_load(file, name, mmap_mode) as (source, mode):
        if isinstance(source, str):
            return load_old(source)
        unpickler = make_unpickler(name, source, mode)
        try:
            obj = unpickler.load()
            if source is not file:
                _check_end(source, file, is_whole)
        except Exception as exc:
            failure = explain_load_failure(exc, name or f"the file object {file!r}")
            if failure is exc:
                raise
            raise failure from exc
    if unpickler.compat_mode:
        warn_of_old_file(name, stacklevel=3)
    return obj
