"""The backends under the names that other projects import them by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._backends.base import FallbackToBackend, ParallelBackendBase
from ._backends.sequential import SequentialBackend
from ._backends.threads import ThreadingBackend
from ._engine.registry import load_target

if TYPE_CHECKING:
    from ._backends.autobatch import AutoBatchingMixin
    from ._backends.loky import LokyBackend
    from ._backends.multiprocessing import MultiprocessingBackend
    from ._backends.pooled import PoolManagerMixin

#: loaded when first asked for: they import multiprocessing
_LATE = {
    "AutoBatchingMixin": "joblib._backends.autobatch:AutoBatchingMixin",
    "LokyBackend": "joblib._backends.loky:LokyBackend",
    "MultiprocessingBackend": "joblib._backends.multiprocessing:MultiprocessingBackend",
    "PoolManagerMixin": "joblib._backends.pooled:PoolManagerMixin",
    "_TracebackCapturingWrapper": "joblib._utils:_TracebackCapturingWrapper",
    "_retrieve_traceback_capturing_wrapped_call": (
        "joblib._utils:_retrieve_traceback_capturing_wrapped_call"
    ),
    "TimeoutError": "multiprocessing:TimeoutError",
    "cpu_count": "joblib._cpu:cpu_count",
    "loky": "joblib.externals:loky",
    "mp": "joblib._multiprocessing_helpers:mp",
}

__all__ = [
    "AutoBatchingMixin",
    "FallbackToBackend",
    "LokyBackend",
    "MultiprocessingBackend",
    "ParallelBackendBase",
    "PoolManagerMixin",
    "SequentialBackend",
    "ThreadingBackend",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        value = load_target(_LATE[name])
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
