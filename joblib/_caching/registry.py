"""The kinds of stores by name, and how a location becomes a store."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

from . import locations
from .callers import user_stacklevel
from .filesystem import FileSystemStoreBackend
from .items import StoreBackendMixin
from .remote import RemoteStoreBackend
from .store import StoreBackendBase

if TYPE_CHECKING:
    from collections.abc import Mapping

    class Store(StoreBackendBase, StoreBackendMixin):
        """A complete store, for type checkers: contract and shared half."""


_STORE_BACKENDS: dict[str, type[StoreBackendBase]] = {
    "local": FileSystemStoreBackend,
    "fsspec": RemoteStoreBackend,
}


def register_store_backend(backend_name: str, backend: type[StoreBackendBase]) -> None:
    """Make a kind of store available to `Memory` under a name.

    Parameters
    ----------
    backend_name : str
        What to give as ``Memory(backend=...)``. A name in use gets the new store.
    backend : type
        A subclass of ``joblib._store_backends.StoreBackendBase``.

    Raises
    ------
    ValueError
        When the name is no string, or the store no such class.
    """
    if not isinstance(backend_name, str):
        raise ValueError(
            f"Store backend name should be a string, got {backend_name!r} of type "
            f"{type(backend_name).__name__}."
        )
    if not (isinstance(backend, type) and issubclass(backend, StoreBackendBase)):
        raise ValueError(
            "Store backend should inherit StoreBackendBase "
            f"(of joblib._store_backends), got {backend!r}."
        )
    _STORE_BACKENDS[backend_name] = backend


def _store_backend_factory(
    backend: str,
    location: Any,
    verbose: int = 0,
    backend_options: Mapping[str, Any] | None = None,
) -> Store | None:
    """Make the store of a location, or pass on a store.

    Parameters
    ----------
    backend : str
        The kind of store; "local" stands for "fsspec" where the location is a URL that
        does not begin with ``file://``.
    location : str or os.PathLike or StoreBackendBase or None
        Where it is; None stands for no store.
    verbose : int, default=0
    backend_options : mapping, optional

    Returns
    -------
    StoreBackendBase or None

    Raises
    ------
    TypeError
        When there is no such kind of store.
    """
    if isinstance(location, StoreBackendBase):
        return cast("Store", location)
    location, storage_options = locations.resolve(location)
    if isinstance(location, str):
        options = locations.with_storage_options(backend_options, storage_options)
        if backend == "local" and locations.is_url(location):
            path = locations.local_path(location)
            backend, location = (
                ("fsspec", location) if path is None else (backend, path)
            )
        try:
            cls = _STORE_BACKENDS[backend]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, sorted(_STORE_BACKENDS)))
            raise TypeError(
                f"Unknown location {locations.without_user(location)} or backend "
                f"{backend}: registered are "
                f"{known}; joblib.register_store_backend adds others."
            ) from None
        store = cls()
        store.configure(location, verbose=verbose, backend_options=options)
        return cast("Store", store)
    if location is not None:
        warnings.warn(
            f"Instantiating a backend using a {type(location).__name__} as a location "
            "is not supported by joblib. Returning None instead: nothing will be "
            "cached. A location is a path, or the URL of a remote place.",
            UserWarning,
            stacklevel=user_stacklevel(),
        )
    return None
