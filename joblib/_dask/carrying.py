"""Functions with much in their closures, on their way to the cluster.

As dask does with functions, they go along with a task, from whose result those that need
them take them. The scheduler keeps that task, and has it run again if its worker dies.
"""

from __future__ import annotations

import types
from typing import Any

from .naming import is_of_function
from .orders import Orders
from .packing import Packed
from .recalling import TAKEN_IN, release

#: dask keeps its last thousand messages of fewer bytes, for its own logs, on both ends
LEAST = 1_000_000
#: bytes from which on dask warns of what goes along with tasks, if it does not say so
MOST = "10MB"
#: bytes that are not the function's
REST = 10_000


class Carrier:
    """Sends the functions of one call. Used by one thread.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    orders : Orders
        How its tasks are sent.
    """

    def __init__(self, client: Any, orders: Orders) -> None:
        self._client = client
        self._orders = orders
        #: futures of what may not have reached the scheduler
        self._under_way: list[Any] = []

    def takes(self, func: Any, packed: Packed) -> bool:
        """Tell whether it is a function, and of a size to go along with a task."""
        import dask
        from dask.utils import parse_bytes

        if type(func) is not types.FunctionType:
            return False
        most = dask.config.get("distributed.admin.large-graph-warning-threshold", MOST)
        return LEAST <= packed.nbytes <= parse_bytes(most) - REST

    def carry(self, func: Any, packed: Packed) -> Any:
        """Send a function, which is pickled; return its future."""
        options = {**self._orders.options, "key": self._orders.keys.of_function(func)}
        future = self._client.submit(_as_it_is, packed, pure=False, **options)
        self.look()
        self._under_way.append(future)
        return future

    def look(self) -> None:
        """Keep nothing that has arrived."""
        self._under_way = [one for one in self._under_way if one.status not in TAKEN_IN]

    def close(self) -> None:
        """Call off what has not arrived."""
        self.look()
        release(self._client, self._under_way)
        self._under_way = []


def is_carried(future: Any) -> bool:
    """Tell whether a future is a function's, which dask computes again if it is lost."""
    return is_of_function(future.key)


def _as_it_is(packed: Packed) -> Packed:
    return packed
