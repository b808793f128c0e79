"""What is in a cache on a file system: its entries, and what killed processes left.

::

    <root>/<module>/.../<function>/<key>/output.pkl, metadata.json      an entry
    <root>/<module>/.../<function>/<key>/output.pkl.<suffix>            being written
    <root>/<module>/.../.removed-<suffix>/                              being removed
    <root>/.usage/                                                      notes

An entry is known by the name of its directory. What others put into the tree is passed
over, and links are not followed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from .items import CODE_FILE, METADATA_FILE, OUTPUT_FILE
from .usage import USAGE_DIRECTORY
from .writing import is_owner_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

REMOVED_PREFIX = ".removed-"

# A digest, and after a dash the algorithm where it is not md5.
ENTRY_NAME = re.compile(r"[0-9a-f]{32,}(-[a-z0-9_]+)?")

# Made by a file server that keeps what was removed while somebody still reads it.
_STILL_OPEN = ".nfs"
# Seconds without a change after which a file that was being written is taken for left
# behind. Should its writer live after all, it notices and writes it again.
_ABANDONED = 3600.0


class Found(NamedTuple):
    """An entry as it is on disk.

    Parameters
    ----------
    path : str
        Its directory.
    size : int
        Bytes taken by its files.
    last_use : float
        Access time of the result, of the directory where there is none; in seconds
        since the epoch.
    created : float
        When the result was written, in seconds since the epoch.
    whole : bool
        Whether there is a result.
    """

    path: str
    size: int
    last_use: float
    created: float
    whole: bool


def walk(root: str) -> Iterator[tuple[bool, str]]:
    """Find entries and directories that are being removed, looking into neither.

    Parameters
    ----------
    root : str
        Root of the store.

    Yields
    ------
    is_entry : bool
    path : str
    """
    is_entry_name = ENTRY_NAME.fullmatch
    pending = [root]
    while pending:
        above = pending.pop()
        try:
            with os.scandir(above) as found:
                names = [
                    entry.name for entry in found if entry.is_dir(follow_symlinks=False)
                ]
        except OSError:
            continue  # removed since its parent was read
        prefix = above + os.sep
        for name in names:
            if is_entry_name(name):
                yield True, prefix + name
            elif name.startswith(REMOVED_PREFIX):
                yield False, prefix + name
            elif name != USAGE_DIRECTORY or above != root:
                pending.append(prefix + name)


def look_at(path: str) -> Found:
    """Look at an entry.

    Parameters
    ----------
    path : str
        Its directory.
    """
    try:
        # Two questions instead of a listing: half the time. What else may be beside a
        # complete result is removed by who next writes it, and does not count.
        output = os.stat(f"{path}{os.sep}{OUTPUT_FILE}")
        metadata = os.stat(f"{path}{os.sep}{METADATA_FILE}")
    except OSError:
        return _look_closely(path)
    size = output.st_size + metadata.st_size
    return Found(path, size, output.st_atime, output.st_mtime, True)


def _look_closely(path: str) -> Found:
    size = 0
    output = None
    whole = True
    try:
        with os.scandir(path) as files:
            for file in files:
                if file.name.startswith(_STILL_OPEN):
                    continue
                whole = whole and not is_temporary(file.name)
                stat = file.stat(follow_symlinks=False)
                size += stat.st_size
                if file.name == OUTPUT_FILE:
                    output = stat
    except OSError:
        pass  # it is being removed; what is known of it will do
    if output is not None:
        return Found(path, size, output.st_atime, output.st_mtime, whole)
    try:
        directory = os.stat(path)
    except OSError:
        return Found(path, size, 0.0, 0.0, False)
    return Found(path, size, directory.st_atime, directory.st_mtime, False)


def remove_entry(path: str) -> bool:
    """Remove an entry: gone with its result, whatever else is still there then.

    Parameters
    ----------
    path : str
        Its directory.

    Returns
    -------
    bool
        Whether the directory is gone, or as good as that.
    """
    for name in (OUTPUT_FILE, METADATA_FILE):
        try:
            os.unlink(f"{path}{os.sep}{name}")
        except FileNotFoundError:
            pass
    try:
        os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError:
        # Left behind by a writer that was killed, or just being written: that writer
        # notices, and starts again.
        return _remove_rest(path)
    return True


def _remove_rest(path: str) -> bool:
    try:
        names = os.listdir(path)
    except FileNotFoundError:
        return True
    for name in names:
        if is_temporary(name):
            try:
                os.unlink(f"{path}{os.sep}{name}")
            except OSError:
                pass
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        # Who reads the result on this machine still has it: the server ends that.
        return _holds_only_open_files(path)
    return True


def _holds_only_open_files(path: str) -> bool:
    try:
        return all(name.startswith(_STILL_OPEN) for name in os.listdir(path))
    except OSError:
        return False


def is_temporary(name: str) -> bool:
    """Tell whether a file of an entry is one that was being written, by its name."""
    return name.startswith((f"{OUTPUT_FILE}.", f"{METADATA_FILE}.", f"{CODE_FILE}."))


def sweep_entry(path: str) -> None:
    """Remove what killed writers left in a directory; of an entry, it as well if empty.

    Parameters
    ----------
    path : str
        The directory of an entry or of a function.
    """
    try:
        with os.scandir(path) as files:
            left = [file for file in files if is_temporary(file.name)]
        for file in left:
            age = time.time() - file.stat(follow_symlinks=False).st_mtime
            if age > _ABANDONED or is_owner_gone(file.name):
                os.unlink(file.path)
        if left and ENTRY_NAME.fullmatch(os.path.basename(path)):
            os.rmdir(path)  # refused while there is anything in it
    except OSError:
        pass


def sweep_removed(path: str) -> None:
    """Remove what a process renamed for removal, and may not have lived to remove."""
    shutil.rmtree(path, ignore_errors=True)
