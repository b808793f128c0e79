"""Private temporary folders that do not outlive their use, nor their process."""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
import threading
from typing import Any

from ..disk import close_later, hold_large_files

FOLDER_PERMISSIONS = stat.S_IRUSR | stat.S_IWUSR | stat.S_IXUSR
FILE_PERMISSIONS = stat.S_IRUSR | stat.S_IWUSR

#: how the names of our folders begin, by which workers know them too
FOLDER_PREFIX = "joblib_memmapping_folder_"


def is_temporary(filename: str) -> bool:
    """Whether a file lies in a folder of ours, and so will go without notice."""
    return os.path.basename(os.path.dirname(filename)).startswith(FOLDER_PREFIX)


def has_free_space(folder: str, n_bytes: float) -> bool:
    """Whether the file system of `folder` can be written to and has room."""
    try:
        stats = os.statvfs(folder)
    except (AttributeError, OSError):  # no such call on Windows, or no such folder
        return False
    return stats.f_frsize * stats.f_bavail > n_bytes and os.access(folder, os.W_OK)


def choose_root(
    wanted: str | None, shared_memory_fs: str, shared_memory_min: float
) -> tuple[str, bool]:
    """Return the folder to make ours in, and whether it is in memory.

    It is the one `wanted`, else the one that ``JOBLIB_TEMP_FOLDER`` names, else
    a file system in memory if it has `shared_memory_min` free bytes, else the
    system's folder for temporary files.
    """
    wanted = wanted or os.environ.get("JOBLIB_TEMP_FOLDER") or None
    in_memory = False
    if wanted is None and has_free_space(shared_memory_fs, shared_memory_min):
        wanted, in_memory = shared_memory_fs, True
    if wanted is None:
        wanted = tempfile.gettempdir()
    return os.path.abspath(os.path.expanduser(wanted)), in_memory


class TemporaryFolder:
    """A folder that only its user can look into, made when it is first needed.

    It is deleted by `delete`, at the end of this process, or, should that come
    suddenly, by loky's resource tracker.

    Parameters
    ----------
    path : str
        Where the folder will be.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._owner: int | None = None

    def create(self) -> str:
        """Make the folder if it is not there; return its path."""
        with self._lock:
            if self._owner is None:
                tracker = _tracker()
                os.makedirs(os.path.dirname(self.path), exist_ok=True)
                os.mkdir(self.path, FOLDER_PERMISSIONS)
                os.chmod(self.path, FOLDER_PERMISSIONS)  # whatever the umask
                self._owner = os.getpid()
                tracker.register(self.path, "folder")
                atexit.register(self.delete)
        return self.path

    def delete(self) -> None:
        """Delete the folder with all that is in it. Idempotent.

        Files that a worker has open stay readable there, but on Windows, where
        they can't be deleted: those are left to the end of the process.
        """
        with self._lock:
            # a forked child is not to delete what its parent still uses
            if self._owner != os.getpid():
                return
            held = hold_large_files(self.path)
            shutil.rmtree(self.path, ignore_errors=True)
            if held:
                close_later(held)
            if os.path.exists(self.path):
                return
            self._owner = None
            _tracker().unregister(self.path, "folder")
            atexit.unregister(self.delete)


def _tracker() -> Any:
    from loky.backend import resource_tracker

    return resource_tracker
