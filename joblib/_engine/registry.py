"""Backends by name: a factory each, or where to load it from when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

#: a backend class, or any callable that returns a backend
BackendFactory = Callable[..., Any]

#: the registry's name on the left, where the factory lives on the right
BUNDLED = {
    "sequential": "joblib._backends.sequential:SequentialBackend",
    "threading": "joblib._backends.threads:ThreadingBackend",
    "loky": "joblib._backends.loky:LokyBackend",
    "multiprocessing": "joblib._backends.multiprocessing:MultiprocessingBackend",
}

#: names of the one backend for dask clusters
DASK_NAMES = ("dask", "distributed", "dask.distributed")


def load_target(target: str) -> Any:
    """Import and return what a ``"module:attribute"`` string names.

    >>> load_target("math:sqrt")(9)
    3.0
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry(dict[str, Any]):
    """A dict of factories whose ``"module:attribute"`` strings load on reading.

    Other projects read it, add to it and delete from it as
    ``joblib.parallel.BACKENDS``, so it stays a plain dict in every other way.
    """

    def __getitem__(self, name: str) -> BackendFactory:
        value = super().__getitem__(name)
        if isinstance(value, str):
            value = load_target(value)
            super().__setitem__(name, value)
        factory: BackendFactory = value
        return factory

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default

    def values(self) -> Iterable[BackendFactory]:  # type: ignore[override]
        return [self[name] for name in self]

    def items(self) -> Iterable[tuple[str, BackendFactory]]:  # type: ignore[override]
        return [(name, self[name]) for name in self]

    def copy(self) -> Registry:
        return Registry(self)

    def names(self) -> Iterator[str]:
        """Iterate over the known names, loading nothing."""
        return iter(sorted(self))


BACKENDS = Registry(BUNDLED)


def _register_dask() -> None:
    from .._dask import DaskDistributedBackend

    for name in DASK_NAMES:
        BACKENDS.setdefault(name, DaskDistributedBackend)


#: backends that need an optional package: a function that registers each when
#: its name is first asked for
ANNOUNCED: dict[str, Callable[[], None]] = dict.fromkeys(DASK_NAMES, _register_dask)


def unknown_backend(name: object) -> ValueError:
    """Return the error for a name that nobody has registered."""
    known = sorted({*BACKENDS.names(), *ANNOUNCED})
    return ValueError(
        f"Invalid backend: {name!r}, expected one of {known}, a name given to "
        "`register_parallel_backend`, or an instance of `ParallelBackendBase`."
    )


def find_factory(name: str) -> BackendFactory:
    """Return the factory registered under `name`.

    Raises
    ------
    ValueError
        If no backend has that name, or the package it needs is missing.
    """
    if name not in BACKENDS and name in ANNOUNCED:
        try:
            ANNOUNCED[name]()
        except ImportError as error:
            raise ValueError(
                f"The backend {name!r} could not be loaded ({error}). Please "
                "install dask and distributed: pip install 'joblib[distributed]'."
                if name in DASK_NAMES
                else f"The backend {name!r} could not be loaded ({error})."
            ) from error
    if name not in BACKENDS:
        raise unknown_backend(name)
    return BACKENDS[name]
