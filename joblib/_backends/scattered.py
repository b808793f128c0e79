"""Large objects that many tasks are given: sent once a call, unpickled once a worker.

::

    caller                              worker
    task names the object by its file   first task to name it: unpickled and kept
    (pickled there when first named)    later tasks: found
    end of the call: file deleted       soon after: forgotten
"""

from __future__ import annotations

import io
import os
import pickle
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from .._memmap.folders import FILE_PERMISSIONS
from .._memmap.placing import Writable

#: seconds between two looks of a worker at whether a call's objects are still needed
LOOK_INTERVAL = 1.0


def scatter_of(options: dict[str, Any]) -> list[Any] | tuple[Any, ...]:
    """Return what a call's options say is to be scattered.

    Raises
    ------
    TypeError
        If it is no list or tuple.
    """
    objects = options.get("scatter")
    if objects is None:
        return ()
    if not isinstance(objects, (list, tuple)):
        raise TypeError(
            "scatter takes a list or tuple of the objects that tasks are given, "
            f"got a {type(objects).__name__}."
        )
    return objects


class Scattered:
    """The objects of one call that were given to `scatter`; the caller's half.

    Parameters
    ----------
    objects : list or tuple
        They are told by their identity: an equal object is another one.
    place : Writable
        Where the call's files are written.
    dumps : callable
        Pickles an object for the workers.
    """

    def __init__(
        self,
        objects: list[Any] | tuple[Any, ...],
        place: Writable,
        dumps: Callable[[Any], bytes],
    ) -> None:
        # Held here, so that their ids stay theirs.
        self._objects = list(objects)
        self._index = {id(obj): index for index, obj in enumerate(self._objects)}
        self._paths: dict[int, str] = {}
        self._place = place
        self._dumps = dumps
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._index)

    def name_of(self, obj: Any) -> str | None:
        """Return what an object is called in pickles; None for all others.

        For ``persistent_id`` of a pickler, which asks about every object.
        """
        index = self._index.get(id(obj))
        return None if index is None else self._path(index)

    def _path(self, index: int) -> str:
        with self._lock:
            path = self._paths.get(index)
            if path is None:
                path = self._paths[index] = self._write(index)
            return path

    def _write(self, index: int) -> str:
        obj = self._objects[index]
        try:
            data = self._dumps(obj)
        except Exception as error:
            raise pickle.PicklingError(
                f"scatter[{index}], of type {type(obj).__name__}, can't be pickled "
                f"({type(error).__name__}: {error})."
            ) from error
        try:
            return self._place.write(
                f"{os.getpid()}-{index}.scattered", partial(_write_private, data)
            )
        except OSError as error:
            raise OSError(
                f"Could not write scatter[{index}], {len(data)} bytes, to "
                f"{self._place.path!r} for the workers to read ({error}). Choose another folder by "
                "`temp_folder` or the environment variable JOBLIB_TEMP_FOLDER."
            ) from error


def _write_private(data: bytes, path: str) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, FILE_PERMISSIONS), "wb") as file:
        file.write(data)


class _Arrivals:
    """The objects that this worker has unpickled; the worker's half."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, Any] = {}
        self._loading: dict[str, threading.Lock] = {}
        self._pid = 0

    def get(self, path: str) -> Any:
        """Return the object of a file, unpickled once."""
        with self._lock:
            # One lock for each, as unpickling one may need another, and takes a while.
            loading = self._loading.setdefault(path, threading.Lock())
        with loading:
            try:
                return self._objects[path]
            except KeyError:
                pass
            with open(path, "rb") as file:
                obj = pickle.loads(file.read())
            with self._lock:
                self._objects[path] = obj
                self._look_later()
            return obj

    def _look_later(self) -> None:
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        watch = threading.Thread(target=self._watch, name="joblib-scattered")
        watch.daemon = True
        watch.start()

    def _watch(self) -> None:
        """Forget what the caller has deleted, until nothing is left."""
        pause = threading.Event()  # nobody sets it: it only passes the time
        while True:
            pause.wait(LOOK_INTERVAL)
            gone = [path for path in list(self._objects) if not os.path.exists(path)]
            forgotten = []  # destroyed with no lock held: their code may do anything
            with self._lock:
                for path in gone:
                    forgotten.append(self._objects.pop(path, None))
                    self._loading.pop(path, None)
                if not self._objects:
                    self._pid = 0
                    return
            del forgotten


_arrivals = _Arrivals()
if hasattr(os, "register_at_fork"):
    # The lock may be held at that moment, by a thread that is not forked with it.
    os.register_at_fork(after_in_child=_arrivals.__init__)  # type: ignore[misc]


class _Unpickler(pickle.Unpickler):
    """Reads pickles that name scattered objects."""

    def persistent_load(self, pid: Any) -> Any:
        return _arrivals.get(pid)


def load(data: bytes) -> Any:
    """Unpickle what may name scattered objects."""
    return _Unpickler(io.BytesIO(data)).load()
