"""The public names of the cache of function results."""

# ruff: noqa: F401 - a facade: what it imports is what it is for

from __future__ import annotations

from ._caching.asynchronous import AsyncMemorizedFunc, AsyncNotMemorizedFunc
from ._caching.cache import Memory, expires_after
from ._caching.entries import CacheEntry
from ._caching.function import MemorizedFunc
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
from ._caching.uncached import NotMemorizedFunc
from ._func_source import get_func_code
from ._store_backends import (
    CacheWarning,
    FileSystemStoreBackend,
    StoreBackendBase,
)
from .func_inspect import (
    filter_args,
    format_call,
    format_signature,
    get_func_name,
)
from .logger import Logger, format_time, pformat
