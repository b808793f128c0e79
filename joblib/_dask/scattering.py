"""What a context's ``scatter=`` names: on all workers, for all of its calls.

Contexts that overlap, such as those of several threads, share one copy of the same object,
if it has not changed since it was sent: it is hashed, as dask's own scatter does. What only
equals it is sent for itself, for tasks may change the one and not the other.
"""

from __future__ import annotations

import sys
import uuid
import weakref
from typing import Any

from .packing import CannotPickle, Parcel, explain_scatter
from .per_client import PerClient
from .pulse import answer_of
from .spreading import spread

#: types that dask goes through item by item, which takes longer than to send them
_NOT_HASHED = (dict, frozenset, list, set, tuple)


def check_scatter(scatter: Any) -> None:
    """Raise TypeError unless `scatter` is None, a list or a tuple."""
    if scatter is not None and not isinstance(scatter, (list, tuple)):
        raise TypeError(f"scatter must be a list/tuple, got `{type(scatter).__name__}`")


class Held(PerClient):
    """What contexts hold on the cluster of one client.

    A context holds the objects as well, so that no other one has the ``id`` of one.
    """

    def __init__(self) -> None:
        self._futures: weakref.WeakValueDictionary[tuple[int, str], Any] = (
            weakref.WeakValueDictionary()
        )

    def take(self, obj: Any, token: str | None) -> Any:
        """Return the future of an object with this hash, if some context holds it."""
        future = None if token is None else self._futures.get((id(obj), token))
        return future if future is not None and future.status == "finished" else None

    def add(self, obj: Any, token: str | None, future: Any) -> None:
        """Remember what a context holds from now on."""
        if token is not None:
            self._futures[id(obj), token] = future


def scatter_all(
    client: Any, objects: list[Any], in_process: bool = False
) -> dict[int, Any]:
    """Send `objects` to all workers; return their futures by ``id``.

    What another context holds there is not sent again. Client and workers in one process
    share the very objects.

    Raises
    ------
    pickle.PicklingError
        If one of them can't be pickled; it says which.
    """
    held = Held.of(client)
    given: dict[int, Any] = {}
    owners: dict[str, tuple[Any, str | None]] = {}
    data = {}
    for i, obj in enumerate(objects):
        if any(obj is one for one in objects[:i]):
            continue
        token = None if in_process else _token_of(obj)
        future = held.take(obj, token)
        if future is not None:
            given[id(obj)] = future
            continue
        key = key_of_data(obj)
        owners[key] = obj, token
        try:
            data[key] = obj if in_process else Parcel.of(obj)
        except CannotPickle as failed:
            if not _is_sent_by_dask(obj):
                raise explain_scatter(i, obj, failed) from failed.__cause__
            data[key] = obj
    if data:
        found = answer_of(client, spread(client, data, None, sys.maxsize, sys.maxsize))
        for key, (obj, token) in owners.items():
            given[id(obj)] = found[key]
            held.add(obj, token, found[key])
    return given


def _token_of(obj: Any) -> str | None:
    """Return dask's hash of what is in an object; None if it has none that is certain."""
    from dask.base import tokenize

    if isinstance(obj, _NOT_HASHED):
        return None
    try:
        return str(tokenize(obj))
    except Exception:  # of the object's own code; it is sent under a name of its own
        return None


def _is_sent_by_dask(obj: Any) -> bool:
    """Tell whether dask has been taught how to send such an object."""
    from distributed.protocol.serialize import dask_serialize

    try:
        dask_serialize.dispatch(type(obj))
    except TypeError:
        return False
    return True


def key_of_data(obj: Any) -> str:
    """Return a key that no other data has, nor had before.

    With a hash of the contents as its key, data might go on word that an earlier copy is
    not needed any more.
    """
    return f"{type(obj).__name__}-{uuid.uuid4().hex}"
