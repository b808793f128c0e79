"""A place behind a URL: the few requests that a store makes of fsspec.

Every error that comes out of here is an `OSError` (`FileNotFoundError` where something
is not there), whatever the library behind the protocol raises.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import posixpath
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .locations import without_user
from .writing import unique_suffix

if TYPE_CHECKING:
    from collections.abc import Iterator

# What is put there appears under its name when all of it has arrived, and directories
# are only parts of names. Elsewhere files are written under another name and renamed.
_OBJECT_STORES = frozenset("memory s3 s3a gs gcs az abfs abfss oss oci tos".split())
# Names under which file systems tell when a file was changed, the best first.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_REMOVE_ATTEMPTS = 3
_SMALL = 8 * 1024**2  # bytes


class Connection:
    """Access to all that is below a URL.

    Parameters
    ----------
    url : str
        The root.
    storage_options : mapping, optional
        For fsspec.

    Notes
    -----
    Paths are relative to the root and begin with a slash; the root itself is empty.
    It can be pickled, with the options; a process that is forked, and a thread where
    the file system is not made for several, connects anew.
    """

    def __init__(self, url: str, storage_options: Any = None) -> None:
        if not isinstance(storage_options, (Mapping, type(None))):
            raise TypeError(
                "storage_options has to be a mapping of options for the file system, "
                f"got one of type {type(storage_options).__name__}."
            )
        self._url = url
        self._options = dict(storage_options or {})
        self._held = threading.local()
        self._shared: tuple[int, Any, str] | None = None
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return {"_url": self._url, "_options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._held = threading.local()
        self._shared = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({without_user(self._url)!r})"

    # -------------------------------------------------------------------- connecting
    def _connect(self) -> tuple[Any, str]:
        held = self._shared or getattr(self._held, "of_thread", None)
        if held is not None and held[0] == os.getpid():
            return held[1], held[2]
        file_system, root = self._open()
        made = (os.getpid(), file_system, root.rstrip("/"))
        if getattr(file_system, "async_impl", False):
            self._shared = made
        else:
            self._held.of_thread = made
        return made[1], made[2]

    def _open(self) -> tuple[Any, str]:
        shown = without_user(self._url)
        try:
            import fsspec
        except ImportError as error:
            raise ImportError(
                f"A cache at {shown} needs the package fsspec: install it with "
                "`pip install joblib[remote]`."
            ) from error
        try:
            file_system, root = fsspec.core.url_to_fs(self._url, **self._options)
        except ImportError as error:
            raise ImportError(
                f"A cache at {shown} needs one more package: {error} (with pip)."
            ) from error
        except ValueError as error:
            raise ValueError(
                f"{shown} is no place for a cache: {error}. Locations are paths, and "
                f"URLs of a protocol that fsspec knows: "
                f"{', '.join(sorted(fsspec.available_protocols()))}."
            ) from error
        return file_system, str(root)

    def _target(self) -> tuple[Any, str]:
        """Return the file system below local copies, which may be of the past."""
        file_system, root = self._connect()
        while hasattr(file_system, "fs") and hasattr(file_system, "storage"):
            file_system = file_system.fs
        return file_system, root

    def _ask(self, request: str, path: str, *args: Any, **kwargs: Any) -> Any:
        file_system, root = self._target()
        try:
            return getattr(file_system, request)(root + path, *args, **kwargs)
        except OSError:
            raise
        except Exception as error:  # each library has errors of its own
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _ask_anew(self, request: str, path: str, *args: Any, **kwargs: Any) -> Any:
        """Ask what listings that are kept in memory must not answer."""
        file_system, root = self._target()
        file_system.invalidate_cache(root + path)
        return self._ask(request, path, *args, **kwargs)

    @property
    def _stores_objects(self) -> bool:
        protocol = self._target()[0].protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        return not names.isdisjoint(_OBJECT_STORES)

    # ----------------------------------------------------------------------- reading
    def check_access(self) -> None:
        """Raise an OSError where the root cannot be looked at; it need not exist."""
        try:
            self._ask_anew("info", "")
        except FileNotFoundError:
            pass

    def read(self, path: str, keep: bool = False) -> bytes:
        """Read a file.

        Parameters
        ----------
        path : str
        keep : bool, default=False
            Whether a local copy may be kept and, as long as the file has not changed,
            be read instead. Only where the URL asks for local copies.
        """
        directory = self._copies() if keep else None
        if directory is None:
            return self._fetch(path)
        version = self._ask_anew("ukey", path)
        name = hashlib.sha256(f"{self._url}{path}\0{version}".encode()).hexdigest()
        copy = os.path.join(directory, name)
        try:
            with open(copy, "rb") as stream:
                return stream.read()
        except OSError:
            content = self._fetch(path)
        try:
            temporary = f"{copy}.{unique_suffix()}"
            with open(temporary, "wb") as stream:
                stream.write(content)
            os.replace(temporary, copy)
        except OSError:
            pass  # it was to save time, and is not needed
        return content

    def _fetch(self, path: str) -> bytes:
        # A range is one request, where a whole file may be asked about first. Large
        # ones are worth that: then several parts may be fetched at once.
        content: bytes = self._ask("cat_file", path, start=0, end=_SMALL)
        if len(content) < _SMALL:
            return content
        whole: bytes = self._ask("cat_file", path)
        return whole

    def _copies(self) -> str | None:
        file_system, _ = self._connect()
        storage = getattr(file_system, "storage", None)
        if not (isinstance(storage, list) and hasattr(file_system, "fs")):
            return None
        return str(storage[-1])

    def read_end(self, path: str, length: int) -> bytes:
        """Read the last bytes of a file."""
        content: bytes = self._ask("cat_file", path, start=-length)
        return content

    def exists(self, path: str) -> bool:
        """Tell whether there is something by a name."""
        try:
            self._ask_anew("info", path)
        except FileNotFoundError:
            return False
        return True

    def list_files(self) -> Iterator[tuple[str, int, float]]:
        """Yield path, size in bytes and time of the last change of all files."""
        file_system, root = self._target()
        try:
            found = self._ask_anew("find", "", detail=True)
        except FileNotFoundError:
            return
        start = file_system._strip_protocol(root).rstrip("/")
        for name, info in found.items():
            if name.startswith(f"{start}/"):
                yield name[len(start) :], int(info.get("size") or 0), _changed(info)

    # ----------------------------------------------------------------------- writing
    def write(self, path: str, content: bytes) -> None:
        """Write a file that appears when it is complete."""
        if self._stores_objects:
            self._ask("pipe_file", path, content)
            return
        temporary = f"{path}.{unique_suffix()}"
        try:
            self._ask("pipe_file", temporary, content)
            self.move(temporary, path)
        except BaseException:
            try:
                self._ask("rm_file", temporary)
            except OSError:
                pass
            raise

    def move(self, source: str, target: str) -> None:
        """Rename a file, replacing another."""
        file_system, root = self._target()
        try:
            self._ask("mv", source, root + target)
        except FileNotFoundError:
            raise
        except OSError:
            # Some servers replace nothing; what is missing for a moment is a miss.
            if not self.exists(target):
                raise
            self._ask("rm_file", target)
            self._ask("mv", source, root + target)

    def make_directory(self, path: str) -> None:
        """Make a directory and its parents, where there are such things."""
        if not self._stores_objects:
            self._ask("makedirs", path, exist_ok=True)

    def remove(self, path: str) -> None:
        """Remove all below a path, and of the root the directories below it."""
        if path:
            self._remove_tree(path)
            return
        try:
            inside = self._ask_anew("ls", "", detail=True)
        except FileNotFoundError:
            return
        for info in inside:
            if info["type"] == "directory":
                self._remove_tree("/" + posixpath.basename(info["name"].rstrip("/")))

    def _remove_tree(self, path: str) -> None:
        for attempt in range(1, _REMOVE_ATTEMPTS + 1):
            try:
                self._ask_anew("rm", path, recursive=True)
                return
            except FileNotFoundError:
                # All of it, or only a part that another process was removing too.
                if not self.exists(path):
                    return
                if attempt == _REMOVE_ATTEMPTS:
                    raise


def _changed(info: Mapping[str, Any]) -> float:
    """Return the time of the last change, in seconds since the epoch; 0 if unknown."""
    time = next((info[name] for name in _TIMES if info.get(name) is not None), 0.0)
    if isinstance(time, str):
        try:
            time = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
        except ValueError:
            return 0.0
    if isinstance(time, datetime.datetime):
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.timezone.utc)
        return time.timestamp()
    return float(time)
