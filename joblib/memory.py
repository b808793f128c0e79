"""The public names of the cache of function results."""

from __future__ import annotations

from ._caching.asynchronous import AsyncMemorizedFunc, AsyncNotMemorizedFunc
from ._caching.cache import Memory, expires_after
from ._caching.function import MemorizedFunc, NotMemorizedFunc
from ._caching.identity import _build_func_identifier
from ._caching.ownership import (
    _FUNCTION_HASHES,
    FIRST_LINE_TEXT,
    JobLibCollisionWarning,
    extract_first_line,
)
from ._caching.registry import (
    _STORE_BACKENDS,
    _store_backend_factory,
    register_store_backend,
)
from ._caching.results import MemorizedResult, NotMemorizedResult
from ._store_backends import CacheWarning, FileSystemStoreBackend, StoreBackendBase
from .func_inspect import (
    filter_args,
    format_call,
    format_signature,
    get_func_code,
    get_func_name,
)
from .logger import Logger, format_time, pformat

__all__ = [
    "FIRST_LINE_TEXT",
    "AsyncMemorizedFunc",
    "AsyncNotMemorizedFunc",
    "CacheWarning",
    "FileSystemStoreBackend",
    "JobLibCollisionWarning",
    "Logger",
    "MemorizedFunc",
    "MemorizedResult",
    "Memory",
    "NotMemorizedFunc",
    "NotMemorizedResult",
    "StoreBackendBase",
    "_FUNCTION_HASHES",
    "_STORE_BACKENDS",
    "_build_func_identifier",
    "_store_backend_factory",
    "expires_after",
    "extract_first_line",
    "filter_args",
    "format_call",
    "format_signature",
    "format_time",
    "get_func_code",
    "get_func_name",
    "pformat",
    "register_store_backend",
]
