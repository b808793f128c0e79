"""The backend that runs the tasks of `Parallel` on a dask.distributed cluster.

The life of one batch::

    submit -> courier thread: packing, sharing -> Client.map (many batches at once)
                 worker: remote.run_batch unpacks, runs, packs the results
    callback <- courier thread <- collecting, on the client's event loop

Importing this package imports neither dask nor distributed: they are loaded when
a backend is made.
"""

from __future__ import annotations

from .backend import DaskDistributedBackend
from .naming import Batch

__all__ = ["Batch", "DaskDistributedBackend"]
