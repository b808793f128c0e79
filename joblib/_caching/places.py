"""Caches that are there already: found and opened, without making anything."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from .filesystem import FileSystemStoreBackend
from .items import CODE_FILE, METADATA_FILE, OUTPUT_FILE
from .scanning import ENTRY_NAME, is_temporary, remove_entry, walk
from .usage import USAGE_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Iterable

_ROOT_NAME = "joblib"


class NoCacheError(Exception):
    """There is no cache at a place."""


def open_cache(path: str) -> FileSystemStoreBackend:
    """Open the cache at a place.

    Parameters
    ----------
    path : str
        What was given to `Memory`, or the directory ``joblib`` in it.

    Raises
    ------
    NoCacheError
        When there is none. Nothing is made.
    """
    if "://" in path:
        raise NoCacheError(
            f"{path} is a URL: remote caches are listed by joblib.Memory(URL).entries()"
        )
    path = os.path.abspath(path)
    if not os.path.isdir(path):
        there = "is no directory" if os.path.lexists(path) else "does not exist"
        raise NoCacheError(f"{path} {there}")
    inside = os.path.join(path, _ROOT_NAME)
    is_root = os.path.basename(path) == _ROOT_NAME and not _is_ignored_by_git(path)
    if os.path.isdir(inside) and not (is_root and _is_cache(path)):
        root = inside
    elif os.path.basename(path) == _ROOT_NAME:
        root = path
    else:
        raise NoCacheError(
            f"{path} is no cache: there is no directory '{_ROOT_NAME}' in it, as "
            "joblib.Memory makes one"
        )
    if not _is_cache(root):
        raise NoCacheError(f"{root} is no cache: it holds other files")
    store = FileSystemStoreBackend()
    store.location = root
    store.compress, store.mmap_mode, store.verbose = False, None, 0
    return store


def find_entry(path: str) -> tuple[str, str] | None:
    """Split the directory of an entry into that of its cache and the rest, if it is one.

    Parameters
    ----------
    path : str
    """
    path = os.path.abspath(path)
    if not ENTRY_NAME.fullmatch(os.path.basename(path)) or not os.path.isdir(path):
        return None
    roots = []
    above = os.path.dirname(path)
    while above != os.path.dirname(above):
        if os.path.basename(above) == _ROOT_NAME:
            roots.append(above)
        above = os.path.dirname(above)
    if not roots:
        return None
    # A module of that name may be in between.
    sure = [root for root in roots if _is_ignored_by_git(os.path.dirname(root))]
    root = (sure or roots)[0]
    return root, path[len(root) + 1 :]


def _is_ignored_by_git(directory: str) -> bool:
    return os.path.exists(os.path.join(directory, ".gitignore"))


def _is_cache(root: str) -> bool:
    """Tell whether there are results or codes of functions, or no files at all."""
    holds_others = False
    pending = [root]
    while pending:
        above = pending.pop()
        try:
            with os.scandir(above) as found:
                entries = list(found)
        except OSError:
            continue
        names = {entry.name for entry in entries}
        if CODE_FILE in names:
            return True
        is_entry = ENTRY_NAME.fullmatch(os.path.basename(above)) is not None
        if is_entry and (OUTPUT_FILE in names or METADATA_FILE in names):
            return True
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name == USAGE_DIRECTORY and above == root:
                    continue
                pending.append(entry.path)
            elif not (is_temporary(entry.name) or entry.name.startswith(".")):
                holds_others = True
    return not holds_others


def remove_entries(paths: Iterable[str]) -> list[str]:
    """Remove entries, and of them only what is an entry's.

    Parameters
    ----------
    paths : iterable of str

    Returns
    -------
    list of str
        What could not be removed, with the reason.
    """
    failures = []
    for path in paths:
        try:
            if not remove_entry(path):
                failures.append(f"{path}: it holds files that are not the cache's")
        except OSError as error:
            failures.append(f"{path}: {error.strerror or error}")
    return failures


def remove_functions(root: str, directories: Iterable[str]) -> None:
    """Remove the codes of functions without entries, and directories left empty.

    Parameters
    ----------
    root : str
        Root of the store.
    directories : iterable of str
        Those of the functions.
    """
    for directory in directories:
        try:
            with os.scandir(directory) as found:
                names = {entry.name for entry in found}
            outputs = (os.path.join(directory, name, OUTPUT_FILE) for name in names)
            if not any(map(os.path.exists, outputs)):
                for name in names:
                    if name == CODE_FILE or is_temporary(name):
                        os.unlink(os.path.join(directory, name))
            while directory != root:
                os.rmdir(directory)  # refused while anything is in it
                directory = os.path.dirname(directory)
        except OSError:
            pass


def remove_everything(root: str) -> list[str]:
    """Remove all entries and codes of functions below a root; leave what else is there.

    Parameters
    ----------
    root : str
        Root of the store.

    Returns
    -------
    list of str
        What could not be removed, with the reason.
    """
    entries = []
    for is_entry, path in walk(root):
        if is_entry:
            entries.append(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    failures = remove_entries(entries)
    usage = os.path.join(root, USAGE_DIRECTORY)
    directories = [
        directory
        for directory, _, _ in os.walk(root, topdown=False)
        if directory not in (root, usage)
        and not ENTRY_NAME.fullmatch(os.path.basename(directory))
    ]
    remove_functions(root, directories)
    shutil.rmtree(usage, ignore_errors=True)
    return failures
