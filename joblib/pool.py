"""Pools of multiprocessing workers with control over how objects are pickled."""

from __future__ import annotations

import copyreg
import io
import pickle
from collections.abc import Callable
from multiprocessing.pool import Pool
from multiprocessing.queues import SimpleQueue
from typing import Any

from ._forking import make_process
from ._memmapping_reducer import TemporaryResourcesManager, get_memmapping_reducers


class CustomizablePickler(pickle.Pickler):
    """A pickler with reducers of its own for certain types.

    Parameters
    ----------
    writer : file object
        Where the pickle is written.
    reducers : dict of type to callable, optional
        Each takes an object and returns what ``__reduce__`` would.
    protocol : int
        The pickle protocol.
    """

    def __init__(
        self,
        writer: Any,
        reducers: dict[type, Callable[[Any], Any]] | None = None,
        protocol: int = pickle.HIGHEST_PROTOCOL,
    ) -> None:
        from multiprocessing.reduction import ForkingPickler

        # read by the base class when it is initialised, hence set before
        self.dispatch_table = copyreg.dispatch_table.copy()
        self.dispatch_table.update(getattr(ForkingPickler, "_extra_reducers", {}))
        self.dispatch_table.update(reducers or {})
        super().__init__(writer, protocol=protocol)

    def register(self, type: type, reduce_func: Callable[[Any], Any]) -> None:
        """Have objects of exactly `type` reduced by `reduce_func`."""
        self.dispatch_table[type] = reduce_func


class CustomizablePicklingQueue(SimpleQueue):
    """A queue between processes that pickles with the reducers it is given."""

    def __init__(self, context: Any, reducers: dict[type, Any] | None = None) -> None:
        super().__init__(ctx=context)
        self._reducers = reducers

    def put(self, obj: Any) -> None:
        if not self._reducers:
            super().put(obj)
            return
        buffer = io.BytesIO()
        CustomizablePickler(buffer, self._reducers).dump(obj)
        # pickled before the lock is taken: others may send meanwhile
        if self._wlock is None:  # pipes of Windows do not interleave messages
            self._writer.send_bytes(buffer.getbuffer())
        else:
            with self._wlock:
                self._writer.send_bytes(buffer.getbuffer())

    def __getstate__(self) -> Any:
        return super().__getstate__(), self._reducers

    def __setstate__(self, state: Any) -> None:
        inherited, self._reducers = state
        super().__setstate__(inherited)


class PicklingPool(Pool):
    """A multiprocessing pool whose queues pickle with given reducers.

    Parameters
    ----------
    processes : int, optional
        Number of workers; all cores when None.
    forward_reducers, backward_reducers : dict of type to callable, optional
        Reducers for what is sent to the workers, and for what they send back.
    **kwargs
        What `multiprocessing.pool.Pool` takes: ``context``, ``initializer``,
        ``initargs``, ``maxtasksperchild``.
    """

    # Other projects put a pool of their own in place of the base class: keep to
    # what any pool has.

    #: what the base class makes its workers by
    Process = staticmethod(make_process)

    def __init__(
        self,
        processes: int | None = None,
        forward_reducers: dict[type, Any] | None = None,
        backward_reducers: dict[type, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        # used by `_setup_queues`, which the base class calls
        self._forward_reducers = dict(forward_reducers or {})
        self._backward_reducers = dict(backward_reducers or {})
        super().__init__(processes=processes, **kwargs)

    def _setup_queues(self) -> None:
        context = getattr(self, "_ctx", None)
        self._inqueue = CustomizablePicklingQueue(context, self._forward_reducers)
        self._outqueue = CustomizablePicklingQueue(context, self._backward_reducers)
        self._quick_put = self._inqueue.put
        self._quick_get = self._outqueue.get


class MemmappingPool(PicklingPool):
    """A multiprocessing pool that shares large arrays with its workers by file.

    Parameters
    ----------
    processes : int, optional
        Number of workers; all cores when None.
    temp_folder : str, optional
        The folder to make ours in, for the files. When left out: the
        environment variable ``JOBLIB_TEMP_FOLDER``, else ``/dev/shm`` where
        that has at least 2 GB free, else the system's temporary folder.
    max_nbytes : int, str or None, default=1e6
        Arrays of more bytes are written to a file that the workers map. May be
        written like "50M"; None: none is.
    mmap_mode : {None, "r", "r+", "w+", "c"}, default="r"
        How workers open the files; "w+" is taken as "r+", None is no files.
    forward_reducers, backward_reducers : dict of type to callable, optional
        Reducers for what is sent to the workers, and for what they send back.
    verbose : int, default=0
        Tell of files from 5 on.
    prewarm : bool, default=False
        Read each file once when it is written, so that it is in memory when
        workers open it.
    **kwargs
        What `multiprocessing.pool.Pool` takes.
    """

    def __init__(
        self,
        processes: int | None = None,
        temp_folder: str | None = None,
        max_nbytes: float | str | None = 1e6,
        mmap_mode: str | None = "r",
        forward_reducers: dict[type, Any] | None = None,
        backward_reducers: dict[type, Any] | None = None,
        verbose: int = 0,
        prewarm: bool = False,
        **kwargs: Any,
    ) -> None:
        self._temp_folder_manager = TemporaryResourcesManager(temp_folder)
        forward, backward = get_memmapping_reducers(
            forward_reducers=forward_reducers,
            backward_reducers=backward_reducers,
            temp_folder_resolver=self._temp_folder_manager.resolve_temp_folder_name,
            max_nbytes=max_nbytes,
            mmap_mode=mmap_mode,
            verbose=verbose,
            prewarm=prewarm,
        )
        super().__init__(
            processes=processes,
            forward_reducers=forward,
            backward_reducers=backward,
            **kwargs,
        )

    @property
    def _temp_folder(self) -> str:
        return self._temp_folder_manager.resolve_temp_folder_name()

    def terminate(self) -> None:
        """End the workers, and delete the files."""
        try:
            super().terminate()
        finally:
            self._temp_folder_manager._clean_temporary_resources()
