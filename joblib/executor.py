"""loky's reusable executor, sharing large arrays with its workers by file."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from loky.reusable_executor import _ReusablePoolExecutor

from ._memmapping_reducer import TemporaryResourcesManager, get_memmapping_reducers

#: seconds after which workers that have nothing to do end themselves
IDLE_TIMEOUT = 300


class _LastReducers(threading.local):
    """What the executor of this thread was made with.

    loky gives the same executor again if it is asked for with equal arguments;
    reducers are only equal if they are the same.
    """

    options: dict[str, Any] | None = None
    manager: TemporaryResourcesManager | None = None
    reducers: tuple[dict[type, Any], dict[type, Any]] = ({}, {})


_last = _LastReducers()


def get_memmapping_executor(n_jobs: int, **kwargs: Any) -> MemmappingExecutor:
    """Return the calling thread's executor; see `MemmappingExecutor`.

    Parameters
    ----------
    n_jobs : int
        The number of workers.
    **kwargs
        What `MemmappingExecutor.get_memmapping_executor` takes.
    """
    return MemmappingExecutor.get_memmapping_executor(n_jobs, **kwargs)


class MemmappingExecutor(_ReusablePoolExecutor):  # type: ignore[misc]
    """An executor of loky whose tasks get large arrays by file.

    Made by `get_memmapping_executor`.
    """

    _temp_folder_manager: TemporaryResourcesManager

    @classmethod
    def get_memmapping_executor(
        cls,
        n_jobs: int,
        timeout: float = IDLE_TIMEOUT,
        initializer: Callable[..., None] | None = None,
        initargs: tuple[Any, ...] = (),
        env: dict[str, str] | None = None,
        temp_folder: str | None = None,
        context_id: str | None = None,
        **backend_args: Any,
    ) -> Any:
        """Return an executor, the last one if it was made with equal arguments.

        Parameters
        ----------
        n_jobs : int
            The number of workers; an executor that is used again is resized.
        timeout : float, default=300
            Seconds after which idle workers end themselves.
        initializer : callable, optional
            Called with `initargs` in each worker when it starts.
        initargs : tuple
            Arguments of `initializer`.
        env : dict of str to str, optional
            Environment variables of the workers.
        temp_folder : str, optional
            The folder to make ours in, for the files.
        context_id : str, optional
            Names the files' folder; another one means another folder.
        **backend_args
            What `joblib._memmapping_reducer.get_memmapping_reducers` takes.
        """
        options = {"temp_folder": temp_folder, **backend_args}
        if _last.manager is None or _last.options != options:
            manager = TemporaryResourcesManager(temp_folder)
            resolve = manager.resolve_temp_folder_name
            _last.reducers = get_memmapping_reducers(
                temp_folder_resolver=resolve, **backend_args
            )
            _last.manager, _last.options = manager, options
        job_reducers, result_reducers = _last.reducers
        executor, is_reused = super().get_reusable_executor(
            max_workers=n_jobs,
            timeout=timeout,
            job_reducers=job_reducers,
            result_reducers=result_reducers,
            initializer=initializer,
            initargs=initargs,
            env=env,
        )
        if not is_reused:
            executor._temp_folder_manager = _last.manager
        if context_id is not None:
            executor._temp_folder_manager.set_current_context(context_id)
        return executor

    def terminate(self, kill_workers: bool = False) -> None:
        """End the workers, at once or when their tasks are done; delete the files."""
        self.shutdown(kill_workers=kill_workers)
        if _last.manager is self._temp_folder_manager:
            _last.manager = None
        self._temp_folder_manager._clean_temporary_resources()

    @property
    def _temp_folder(self) -> str:
        return self._temp_folder_manager.resolve_temp_folder_name()


class _TestingMemmappingExecutor(MemmappingExecutor):
    """An executor with the methods of a pool, so that tests can run on either."""

    def apply_async(self, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        future = self.submit(func, *args)
        future.get = future.result
        return future

    def map(self, f: Callable[..., Any], *args: Any) -> list[Any]:
        return list(super().map(f, *args))
