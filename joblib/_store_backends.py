"""The public names of the stores behind `joblib.Memory`."""

from __future__ import annotations

from ._caching.filesystem import FileSystemStoreBackend
from ._caching.items import StoreBackendMixin
from ._caching.remote import RemoteStoreBackend
from ._caching.store import CacheItemInfo, CacheWarning, StoreBackendBase
from ._caching.writing import concurrency_safe_write

__all__ = [
    "CacheItemInfo",
    "CacheWarning",
    "FileSystemStoreBackend",
    "RemoteStoreBackend",
    "StoreBackendBase",
    "StoreBackendMixin",
    "concurrency_safe_write",
]
