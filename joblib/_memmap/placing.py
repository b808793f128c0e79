"""Where temporary files are written: one folder, and another when that has no room."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from .folders import TemporaryFolder


class Writable(Protocol):
    """Writes files somewhere."""

    @property
    def path(self) -> str:
        """The folder of files that are written now, made or not."""

    def write(self, name: str, write: Callable[[str], None]) -> str:
        """Have `write` write the file whose path it is given; return the path.

        Raises
        ------
        OSError
            If that is not possible; there is no file then.
        """


def write_whole(path: str, write: Callable[[str], None]) -> str:
    """Write a new file, or leave none if that fails."""
    try:
        write(path)
    except BaseException:
        with suppress(OSError):
            os.unlink(path)
        raise
    return path


class Place:
    """A temporary folder, and the one that stands in for it.

    A file system in memory may have had room when it was chosen, and have none when
    it is written to: it is shared by all programs, and containers often have a small
    one. The system's folder for temporary files is then used from there on.

    Parameters
    ----------
    folder : TemporaryFolder
        The folder that was chosen.
    may_move : bool
        Whether another one will do: not if the user has named it.
    """

    def __init__(self, folder: TemporaryFolder, may_move: bool) -> None:
        self._folders = [folder]
        self._may_move = may_move
        self._lock = threading.Lock()

    @property
    def path(self) -> str:
        """The folder of files that are written now, made or not."""
        return self._folders[-1].path

    def create(self) -> str:
        """Make the folder if it is not there; return its path."""
        return self._folders[-1].create()

    def write(self, name: str, write: Callable[[str], None]) -> str:
        """Write a file into the folder, or else into the next; return its path."""
        while True:
            folder = self._folders[-1]
            try:
                return write_whole(os.path.join(folder.create(), name), write)
            except OSError:
                if not self._move_on(folder):
                    raise

    def _move_on(self, full: TemporaryFolder) -> bool:
        with self._lock:
            if self._folders[-1] is not full:  # somebody else has
                return True
            root, name = os.path.split(full.path)
            following = os.path.abspath(tempfile.gettempdir())
            if not self._may_move or root == following:
                return False
            self._folders.append(TemporaryFolder(os.path.join(following, name)))
            return True

    def delete(self) -> None:
        """Delete the folders with all that is in them. Idempotent."""
        for folder in self._folders:
            folder.delete()
