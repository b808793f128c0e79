"""`parallel_config` and `parallel_backend`: what a user says around the calls."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .._backends.base import ParallelBackendBase
from .._utils import _Sentinel
from .context import CONTROLS, DEFAULTS, WRAPPERS, _backend, current, level_of
from .controls import NOT_GIVEN, checked
from .select import named_backend


class parallel_config:  # noqa: N801 - used as a function everywhere
    """Set the default backend and other settings for calls of `Parallel`.

    The settings hold in the calling thread from the moment the object is made
    until the ``with`` block ends, or until `unregister` is called. Settings
    left out are those of the enclosing context. A call's own arguments win
    over the context's; a context that names a backend wins over a call that
    only prefers another kind (``prefer=``).

    Parameters
    ----------
    backend : str, ParallelBackendBase or multiprocessing context, optional
        A registered name ("loky", "threading", "multiprocessing",
        "sequential", "dask", ...), or a backend instance.
    n_jobs : int, optional
        How many tasks run at once; -1 for all cores. None stands for the
        backend's own default.
    verbose : int, default=0
        0 is silent; the higher, the more messages; over 50 they go to stdout.
    temp_folder : str, optional
        Where large arrays are written for worker processes to map.
    max_nbytes : int, str or None, default="1M"
        Arrays larger than this, in bytes or with a suffix K, M or G, are
        mapped instead of copied into worker processes; None switches it off.
    mmap_mode : {None, "r+", "r", "w+", "c"}, default="r"
        How worker processes map these arrays.
    prefer : {"processes", "threads", None}, optional
        What calls prefer that do not say so themselves.
    require : {"sharedmem", None}, optional
        What calls require that do not say so themselves.
    wrap_task : callable, optional
        ``wrapper(func, args, kwargs) -> result``, run on the worker around
        each task of each call, nested calls included; it usually returns
        ``func(*args, **kwargs)``. Wrappers of enclosing contexts stay, around
        this one; None takes them away. Must be picklable where tasks are.
    inner_max_num_threads : int, optional
        Upper bound for the threads of native libraries in each worker.
    on_error : {"raise", "return"}, default="raise"
    task_timeout : float, optional
        Seconds.
    retries : int, default=0
    retry_on : type or tuple of type, default=Exception
    max_pending_results : int, optional
    seed : int, sequence of int or numpy.random.SeedSequence, optional
    progress : bool, str or callable, default=False
        As in `Parallel`, for the calls made in this block; not for those that their
        tasks make, but for `seed`. `max_pending_results` holds for generators only.
        With `seed`, each call gets seeds of its own, in the order of the calls.
    **backend_params
        Passed to the backend's constructor when `backend` is a name.

    Raises
    ------
    ValueError
        For an unknown backend, backend parameters without its name, or a value that
        is not allowed.
    TypeError
        If `wrap_task` is not callable, or a value of another kind is asked for.

    Examples
    --------
    >>> from joblib import Parallel, delayed, parallel_config
    >>> with parallel_config("threading", n_jobs=2):
    ...     Parallel()(delayed(abs)(i) for i in (-1, -2))
    [1, 2]
    """

    def __init__(
        self,
        backend: Any = DEFAULTS["backend"],
        *,
        n_jobs: Any = DEFAULTS["n_jobs"],
        verbose: Any = DEFAULTS["verbose"],
        temp_folder: Any = DEFAULTS["temp_folder"],
        max_nbytes: Any = DEFAULTS["max_nbytes"],
        mmap_mode: Any = DEFAULTS["mmap_mode"],
        prefer: Any = DEFAULTS["prefer"],
        require: Any = DEFAULTS["require"],
        wrap_task: Any = NOT_GIVEN,
        inner_max_num_threads: int | None = None,
        on_error: Any = NOT_GIVEN,
        task_timeout: Any = NOT_GIVEN,
        retries: Any = NOT_GIVEN,
        retry_on: Any = NOT_GIVEN,
        max_pending_results: Any = NOT_GIVEN,
        seed: Any = NOT_GIVEN,
        progress: Any = NOT_GIVEN,
        **backend_params: Any,
    ) -> None:
        self.old_parallel_config = current()
        controls = {
            "on_error": on_error,
            "task_timeout": task_timeout,
            "retries": retries,
            "retry_on": retry_on,
            "max_pending_results": max_pending_results,
            "seed": seed,
            "progress": progress,
        }
        asked = checked(controls, in_context=True)
        backend = self._check_backend(backend, inner_max_num_threads, **backend_params)
        given = {
            "backend": backend,
            "n_jobs": n_jobs,
            "verbose": verbose,
            "temp_folder": temp_folder,
            "max_nbytes": max_nbytes,
            "mmap_mode": mmap_mode,
            "prefer": prefer,
            "require": require,
        }
        if wrap_task is not NOT_GIVEN:
            given[WRAPPERS] = self._wrappers(wrap_task)
        if asked:
            given[CONTROLS] = {**self.old_parallel_config.get(CONTROLS, {}), **asked}
        self.parallel_config = {
            **self.old_parallel_config,
            **{k: v for k, v in given.items() if not isinstance(v, _Sentinel)},
        }
        _backend.config = self.parallel_config

    def _wrappers(self, wrap_task: Any) -> tuple[Any, ...]:
        if wrap_task is None:
            return ()
        if not callable(wrap_task):
            raise TypeError(
                "wrap_task must be callable as wrapper(func, args, kwargs), got "
                f"{wrap_task!r} of type {type(wrap_task).__name__}."
            )
        return (*self.old_parallel_config.get(WRAPPERS, ()), wrap_task)

    def _check_backend(
        self,
        backend: Any,
        inner_max_num_threads: int | None,
        **backend_params: Any,
    ) -> Any:
        """Return the backend instance for what the user gave."""
        options = dict(backend_params)
        if inner_max_num_threads is not None:
            options["inner_max_num_threads"] = inner_max_num_threads
        if isinstance(backend, _Sentinel):
            if options:
                raise ValueError(
                    f"The parameters {sorted(options)} are for a backend and are "
                    "only supported when backend is not None."
                )
            return backend
        if inner_max_num_threads is not None:
            self._check_inner_threads(backend)
        if options and not isinstance(backend, str):
            raise ValueError(
                f"The parameters {sorted(options)} are for a backend's constructor "
                "and are only supported when backend is a string, got "
                f"{backend!r}."
            )
        instance, own = named_backend(backend, options)
        if own:  # what a call would hand over, the backend has to keep for its calls
            instance.backend_kwargs = {**instance.backend_kwargs, **own}
        if instance.nesting_level is None:
            instance.nesting_level = level_of(self.old_parallel_config)
        return instance

    @staticmethod
    def _check_inner_threads(backend: Any) -> None:
        from .registry import find_factory

        kind = find_factory(backend) if isinstance(backend, str) else backend
        if not getattr(kind, "supports_inner_max_num_threads", False):
            label = kind.__name__ if isinstance(kind, type) else type(kind).__name__
            # AssertionError is what callers of older releases catch
            raise AssertionError(
                f"{label} does not accept setting the inner_max_num_threads argument."
            )

    def __enter__(self) -> Any:
        return self.parallel_config

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unregister()

    def unregister(self) -> None:
        """Put the settings back that were in force before this object was made."""
        _backend.config = self.old_parallel_config
        backend = self.parallel_config["backend"]
        is_its_own = backend is not self.old_parallel_config["backend"]
        if is_its_own and isinstance(backend, ParallelBackendBase):
            backend.leave_context()


class parallel_backend(parallel_config):  # noqa: N801 - used as a function
    """Set the backend for the calls of `Parallel` inside a ``with`` block.

    The older spelling of `parallel_config`: it names a backend always, and all
    its cores unless told otherwise.

    Parameters
    ----------
    backend : str, ParallelBackendBase or multiprocessing context
        As for `parallel_config`.
    n_jobs : int, default=-1
        How many tasks run at once; -1 for all there are.
    inner_max_num_threads : int, optional
        Upper bound for the threads of native libraries in each worker.
    **backend_params
        Passed to the backend's constructor when `backend` is a name.

    Examples
    --------
    >>> from joblib import Parallel, delayed, parallel_backend
    >>> with parallel_backend("threading", n_jobs=2):
    ...     Parallel()(delayed(abs)(i) for i in (-1, -2))
    [1, 2]
    """

    def __init__(
        self,
        backend: Any,
        n_jobs: Any = -1,
        inner_max_num_threads: int | None = None,
        **backend_params: Any,
    ) -> None:
        super().__init__(
            backend=backend,
            n_jobs=n_jobs,
            inner_max_num_threads=inner_max_num_threads,
            **backend_params,
        )
        before = self.old_parallel_config
        self.old_backend_and_jobs = before["backend"], before["n_jobs"]
        self.new_backend_and_jobs = (
            self.parallel_config["backend"],
            self.parallel_config["n_jobs"],
        )

    def __enter__(self) -> tuple[Any, Any]:
        return self.new_backend_and_jobs
