"""Functions with much in their closures, on their way to the cluster.

As dask does with functions, they go along with a task, from whose result those that need
them take them. The scheduler keeps that task, and has it run again if its worker dies.
"""

from __future__ import annotations

from typing import Any

from .naming import is_key_of_function, key_for_function
from .packing import Packed

#: dask keeps its last thousand messages of fewer bytes, for its own logs, on both ends
LEAST = 1_000_000
#: bytes from which on dask warns of what goes along with tasks, if it does not say so
MOST = "10MB"
#: bytes that are not the function's
REST = 10_000


def can_be_carried(packed: Packed) -> bool:
    """Tell whether a function has the size to go along with a task."""
    import dask
    from dask.utils import parse_bytes

    most = dask.config.get("distributed.admin.large-graph-warning-threshold", MOST)
    return LEAST <= packed.nbytes <= parse_bytes(most) - REST


def carry(client: Any, func: Any, packed: Packed, options: dict[str, Any]) -> Any:
    """Send a pickled function to the cluster; return its future.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    func : function
        Names the task.
    packed : Packed
        Its pickle.
    options : dict
        Keywords for ``Client.submit``, those of the tasks that need it.
    """
    key = key_for_function(func, options.get("key"))
    options = {**options, "key": key}
    return client.submit(_as_it_is, packed, pure=False, **options)


def is_carried(future: Any) -> bool:
    """Tell whether a future is a function's, which dask computes again if it is lost."""
    return is_key_of_function(future.key)


def _as_it_is(packed: Packed) -> Packed:
    return packed
