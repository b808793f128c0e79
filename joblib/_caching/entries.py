"""The results in a cache, to look at: what was computed, how large it is, how used."""

from __future__ import annotations

import datetime
import json
import os
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from .items import METADATA_FILE

if TYPE_CHECKING:
    from .registry import Store
    from .scanning import Found

_LONGEST_CALL = 100  # characters of a call that a representation shows


class CacheEntry:
    """One stored result, as listed by `Memory.entries`.

    What it tells is of the time at which it was listed. The arguments and the duration
    are read when they are first asked for.

    Attributes
    ----------
    function : str
        Module and name of the function, joined by dots.
    func_id : str
        Location of the function in the store.
    args_id : str
        Hash of the arguments.
    arguments : dict
        Name of a parameter -> representation of its value.
    bytes : int
        Bytes taken by its files.
    duration : float or None
        Seconds that the call took.
    created : datetime.datetime or None
        When the result was stored, in local time.
    last_use : datetime.datetime
        When it was last loaded or stored, in local time.
    hits : int or None
        How often it was loaded; what a process did in the second before it was killed
        is missing, and loads from an earlier result of the same call may be included.
        None where this is not counted: in stores that are no file systems.
    path : str
        Where it is.
    """

    __module__ = "joblib.memory"
    __slots__ = (
        "_created",
        "_last_use",
        "_metadata",
        "_store",
        "args_id",
        "bytes",
        "func_id",
        "hits",
    )

    def __init__(
        self,
        store: Store,
        func_id: str,
        args_id: str,
        size: int,
        last_use: float,
        created: float | None,
        hits: int | None,
    ) -> None:
        self._store = store
        self.func_id = func_id
        self.args_id = args_id
        self.bytes = size
        self._last_use = last_use
        self._created = created
        self.hits = hits
        self._metadata: dict[str, Any] | None = None

    @property
    def function(self) -> str:
        """Module and name of the function."""
        return self.func_id.replace(os.sep, ".")

    @property
    def path(self) -> str:
        """Where it is."""
        return self._store._path((self.func_id, self.args_id))

    @property
    def last_use(self) -> datetime.datetime:
        """When it was last loaded or stored."""
        return datetime.datetime.fromtimestamp(self._last_use)

    @property
    def created(self) -> datetime.datetime | None:
        """When the result was stored."""
        created = self._created
        if created is None:
            created = _number(self._read_metadata().get("time"))
        return None if created is None else datetime.datetime.fromtimestamp(created)

    @property
    def duration(self) -> float | None:
        """Seconds that the call took."""
        return _number(self._read_metadata().get("duration"))

    @property
    def arguments(self) -> dict[str, str]:
        """Name of a parameter -> representation of its value."""
        arguments = self._read_metadata().get("input_args")
        if not isinstance(arguments, dict):
            return {}
        return {str(name): str(value) for name, value in arguments.items()}

    def _read_metadata(self) -> dict[str, Any]:
        if self._metadata is None:
            name = self._store._path((self.func_id, self.args_id), METADATA_FILE)
            try:
                with self._store._open_item(name, "rb") as stream:
                    metadata = json.loads(stream.read())
            except Exception:  # missing or damaged; stores raise what they like
                metadata = None
            self._metadata = metadata if isinstance(metadata, dict) else {}
        return self._metadata

    def get(self) -> Any:
        """Load the result.

        Returns
        -------
        object

        Raises
        ------
        KeyError
            When it is not there any more.
        """
        call_id = self.func_id, self.args_id
        return self._store.load_item(call_id, verbose=0, metadata=self._read_metadata())

    def delete(self) -> None:
        """Remove the result from the cache; if it is gone already, do nothing."""
        self._store.clear_item((self.func_id, self.args_id))

    def format_call(self) -> str:
        """Write the call as it might stand in a program."""
        shown = ", ".join(f"{name}={text}" for name, text in self.arguments.items())
        return f"{self.function}({shown})"

    def __repr__(self) -> str:
        call = self.format_call()
        if len(call) > _LONGEST_CALL:
            call = call[: _LONGEST_CALL - 3] + "..."
        duration = self.duration
        parts = [
            call,
            f"{self.bytes} bytes",
            "" if duration is None else f"computed in {duration:.3g} s",
            "" if self.hits is None else f"{self.hits} hits",
            f"last use {self.last_use:%Y-%m-%d %H:%M:%S}",
        ]
        return f"<{type(self).__name__} {', '.join(filter(None, parts))}>"


def list_entries(store: Any) -> list[CacheEntry]:
    """List what is in a store.

    Parameters
    ----------
    store : StoreBackendBase or None

    Returns
    -------
    list of CacheEntry
        The most recently used first.
    """
    if store is None:
        return []
    find = getattr(store, "_find_entries", None)
    if find is None:
        entries = [_from_item(store, item) for item in store.get_items()]
    else:
        # A store on a file system knows more than it tells others.
        found, uses = find()
        start = len(store.location) + 1
        functions: dict[str, str] = {}  # one object for all entries of a function
        entries = []
        # What was found goes as the entries come: both are many.
        found.reverse()
        while found:
            one: Found = found.pop()
            if not one.whole:
                continue
            name = one.path[start:]
            func_id, _, args_id = name.rpartition(os.sep)
            func_id = functions.setdefault(func_id, func_id)
            use = uses.get(name)
            hits = 0 if use is None else use.hits
            entries.append(
                CacheEntry(
                    store, func_id, args_id, one.size, one.last_use, one.created, hits
                )
            )
    entries.sort(key=attrgetter("_last_use"), reverse=True)
    return entries


def _from_item(store: Any, item: Any) -> CacheEntry:
    inside = item.path[len(store.location) :].replace("/", os.sep).strip(os.sep)
    func_id, _, args_id = inside.rpartition(os.sep)
    last_use = item.last_access.timestamp()
    return CacheEntry(store, func_id, args_id, item.size, last_use, None, None)


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else None
