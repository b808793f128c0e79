"""The arguments of `Parallel`, checked."""

from __future__ import annotations

import os
import sys
from numbers import Integral
from typing import Any


def checked_batch_size(batch_size: Any) -> Any:
    """Return `batch_size` if it is one."""
    if batch_size == "auto" or (
        isinstance(batch_size, Integral) and int(batch_size) > 0
    ):
        return batch_size
    raise ValueError(
        f"batch_size must be 'auto' or a positive integer, got: {batch_size!r}"
    )


def checked_return_as(return_as: Any) -> str:
    """Return `return_as` if it is one of those there are."""
    allowed = ("list", "generator", "generator_unordered")
    if return_as not in allowed:
        raise ValueError(f"return_as must be one of {allowed}, got: {return_as!r}")
    return str(return_as)


def checked_n_jobs(n_jobs: Any) -> int:
    """Return `n_jobs` as an int."""
    try:
        return int(n_jobs)
    except (ValueError, TypeError):
        raise ValueError(
            f"n_jobs could not be converted to int: got {n_jobs!r}. It must be None or "
            "an integer other than 0, such as 4, or -1 for all there are."
        ) from None


def check_return_as(backend: Any, return_as: str) -> None:
    """Raise ValueError if `backend` can't return results that way."""
    if return_as != "list" and not backend.supports_return_generator:
        raise ValueError(
            f"Backend {backend} does not support return_as={return_as}. Use "
            "return_as='list', or a backend that hands results over by its "
            "callback: 'loky', 'threading', 'dask'."
        )


def checked_iterator(iterable: Any) -> Any:
    """Return an iterator of tasks."""
    try:
        return iter(iterable)
    except TypeError:
        raise TypeError(
            f"{type(iterable).__name__!r} object is not iterable: Parallel is "
            "called with an iterable of tasks, such as "
            "(delayed(function)(x) for x in data)."
        ) from None


def start_method_option(backend: Any, default: Any) -> dict[str, Any]:
    """Return the option that names the start method, for a backend that takes it.

    That is one on multiprocessing: its module has been imported then. A context that
    the backend was made with goes first.
    """
    module = sys.modules.get("joblib._backends.multiprocessing")
    kind = getattr(module, "MultiprocessingBackend", None)
    if kind is None or not isinstance(backend, kind):
        return {}
    from .._multiprocessing_helpers import mp

    if mp is None:
        return {}
    own = getattr(backend, "backend_kwargs", {}).get("context")
    if own is not None:
        return {"context": own}
    method = os.environ.get("JOBLIB_START_METHOD", "").strip() or None
    return {"context": default or mp.get_context(method)}
