"""Directories and sizes on disk: make, measure, parse, and delete with patience."""

from __future__ import annotations

import os
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# A directory that another process is still writing into (or, on Windows, still has
# open) cannot always be removed at the first attempt.
RM_SUBDIRS_RETRY_TIME = 0.1  # seconds between two attempts
RM_SUBDIRS_N_RETRY = 10

#: bytes: to free a file of this size takes about as long as to start a thread for it
LARGE_FILE = 1 << 23

_SIZE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}
_STAT_BLOCK = 512  # bytes: the unit of st_blocks, whatever the file system's own is


def disk_used(path: str) -> int:
    """Tell the disk space taken by a directory and the entries right below it.

    Sub-directories count as entries; what they hold does not.

    Parameters
    ----------
    path : str
        The directory.

    Returns
    -------
    int
        Size in kibibytes, in allocated blocks where the system tells them.
    """
    total = _allocated_bytes(os.stat(path))
    with os.scandir(path) as entries:
        for entry in entries:
            total += _allocated_bytes(entry.stat())
    return total // 1024


def _allocated_bytes(stat: os.stat_result) -> int:
    blocks = getattr(stat, "st_blocks", None)
    if blocks is None:  # Windows: round up to whole blocks
        blocks = stat.st_size // _STAT_BLOCK + 1
    return blocks * _STAT_BLOCK


def memstr_to_bytes(text: str) -> int:
    """Convert a size such as ``"10G"``, ``"1.4M"`` or ``"50K"`` into bytes.

    Parameters
    ----------
    text : str
        A number followed by K, M or G (powers of 1024).

    Returns
    -------
    int
        The size in bytes, rounded down.

    Raises
    ------
    ValueError
        When the text is no such size.
    TypeError
        When it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(
            f"A size must be a string such as '10G', '500M' or '50K', got {text!r} "
            f"of type {type(text).__name__}."
        )
    factor = _SIZE_UNITS.get(text[-1:])
    if factor is not None:
        try:
            return int(factor * float(text[:-1]))
        except (ValueError, OverflowError):
            pass  # "fooG", "nanG", "infG": the error below says what is expected
    raise ValueError(
        f"Invalid literal for size: got {text!r}, expected a number followed by one of "
        f"{', '.join(_SIZE_UNITS)}, such as '10G', '1.4M' or '50K'."
    )


def mkdirp(d: str) -> None:
    """Create a directory and its parents; be content if it is there already.

    Parameters
    ----------
    d : str
        The directory.

    Raises
    ------
    OSError
        When it cannot be created, or when something else has that name.
    """
    os.makedirs(d, exist_ok=True)


def rm_subdirs(path: str, onerror: Callable[..., Any] | None = None) -> None:
    """Remove all directories below `path`; leave `path` and the files in it.

    Parameters
    ----------
    path : str
        The directory whose sub-directories go.
    onerror : callable, optional
        Called as ``onerror(function, path, exc_info)`` for each thing that cannot be
        removed, instead of trying again and raising.
    """
    with os.scandir(path) as entries:
        names = [(e.path, e.is_symlink()) for e in entries if e.is_dir()]
    for name, is_link in names:
        if is_link:
            os.unlink(name)  # what it points to is not ours
        else:
            delete_folder(name, onerror=onerror)


def delete_folder(
    folder_path: str,
    onerror: Callable[..., Any] | None = None,
    allow_non_empty: bool = True,
) -> None:
    """Remove a directory, and try again for about a second while it resists.

    A directory that does not exist (any more) is no error.

    Parameters
    ----------
    folder_path : str
        The directory.
    onerror : callable, optional
        Called as ``onerror(function, path, exc_info)`` for each thing that cannot be
        removed; there is one attempt only then.
    allow_non_empty : bool, default=True
        Whether the directory may still hold something.

    Raises
    ------
    OSError
        When it still cannot be removed at the last attempt, or when it holds
        something and must not.
    """
    import shutil

    if not os.path.isdir(folder_path):
        return
    if onerror is not None:
        shutil.rmtree(folder_path, ignore_errors=False, onerror=onerror)
        return
    attempts_left = RM_SUBDIRS_N_RETRY
    while True:
        try:
            if allow_non_empty:
                shutil.rmtree(folder_path)
            else:
                _remove_empty(folder_path)
            return
        except FileNotFoundError:
            # Someone else removes things here too: fine, once all is gone.
            if not os.path.lexists(folder_path):
                return
            if not attempts_left:
                raise
        except OSError:
            if not attempts_left:
                raise
        attempts_left -= 1
        time.sleep(RM_SUBDIRS_RETRY_TIME)


def _remove_empty(folder_path: str) -> None:
    count = len(os.listdir(folder_path))
    if count:
        raise OSError(f"Expected empty folder {folder_path} but got {count} files.")
    os.rmdir(folder_path)


def close_later(descriptors: list[int]) -> None:
    """Close files in a thread which nobody waits for.

    The system frees a file with its last name or descriptor, whichever goes later,
    and that takes a while for a large one.
    """

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    try:
        threading.Thread(target=close, name="joblib-free-file").start()
    except RuntimeError:  # no more threads, or the interpreter is ending
        close()


def hold_large_files(folder: str) -> list[int]:
    """Open the large files of a folder that is about to go, for `close_later`."""
    held: list[int] = []
    if os.name != "posix":  # Windows deletes no open file
        return held
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(held) < 100 and entry.stat().st_size >= LARGE_FILE:
                    held.append(os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:  # it is gone, or we may not: then nothing is held
        pass
    return held
