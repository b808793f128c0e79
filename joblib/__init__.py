"""Lightweight pipelining in Python: parallel loops, cached calls, fast persistence.

``joblib.Parallel`` runs a loop on threads, on processes or on a cluster; its
author says what the loop prefers or requires, its user says what there is.
``joblib.Memory`` keeps the results of slow functions on disk; ``joblib.dump``
and ``joblib.load`` store objects that hold large arrays.

Everything is loaded when it is first used, so that ``import joblib`` stays
cheap: it imports neither numpy nor multiprocessing, loky or dask.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._backends.base import ParallelBackendBase
    from ._backends.ending import shutdown
    from ._cloudpickle_wrapper import wrap_non_picklable_objects
    from ._store_backends import StoreBackendBase
    from ._tracing.session import trace
    from .compressor import register_compressor
    from .hashing import hash
    from .logger import Logger, PrintTime
    from .memory import (
        MemorizedResult,
        Memory,
        expires_after,
        register_store_backend,
    )
    from .numpy_pickle import dump, load
    from .parallel import (
        Parallel,
        cpu_count,
        delayed,
        effective_n_jobs,
        explain_backend,
        forward_context,
        parallel_backend,
        parallel_config,
        register_parallel_backend,
        register_task_context,
        task_seed,
        unregister_task_context,
    )

__version__ = "1.6.0+dist1"

__all__ = [
    "Logger",
    "MemorizedResult",
    "Memory",
    "Parallel",
    "ParallelBackendBase",
    "PrintTime",
    "StoreBackendBase",
    "cpu_count",
    "delayed",
    "dump",
    "effective_n_jobs",
    "expires_after",
    "explain_backend",
    "forward_context",
    "hash",
    "load",
    "parallel_backend",
    "parallel_config",
    "register_compressor",
    "register_parallel_backend",
    "register_store_backend",
    "register_task_context",
    "shutdown",
    "task_seed",
    "trace",
    "unregister_task_context",
    "wrap_non_picklable_objects",
]

#: where each public name lives; loaded by ``__getattr__`` when first asked for
_HOME = {
    "Logger": "logger",
    "MemorizedResult": "memory",
    "Memory": "memory",
    "Parallel": "parallel",
    "ParallelBackendBase": "_backends.base",
    "PrintTime": "logger",
    "StoreBackendBase": "_store_backends",
    "cpu_count": "parallel",
    "delayed": "parallel",
    "dump": "numpy_pickle",
    "effective_n_jobs": "parallel",
    "expires_after": "memory",
    "explain_backend": "parallel",
    "forward_context": "parallel",
    "hash": "hashing",
    "load": "numpy_pickle",
    "parallel_backend": "parallel",
    "parallel_config": "parallel",
    "register_compressor": "compressor",
    "register_parallel_backend": "parallel",
    "register_store_backend": "memory",
    "register_task_context": "parallel",
    "shutdown": "_backends.ending",
    "task_seed": "parallel",
    "trace": "_tracing.session",
    "unregister_task_context": "parallel",
    "wrap_non_picklable_objects": "_cloudpickle_wrapper",
}

#: modules that people reach as attributes after a plain ``import joblib``
_MODULES = frozenset(
    {
        "_cloudpickle_wrapper",
        "_dask",
        "_memmapping_reducer",
        "_multiprocessing_helpers",
        "_parallel_backends",
        "_store_backends",
        "_utils",
        "backports",
        "compressor",
        "disk",
        "executor",
        "externals",
        "func_inspect",
        "hashing",
        "logger",
        "memory",
        "numpy_pickle",
        "numpy_pickle_compat",
        "numpy_pickle_utils",
        "parallel",
        "pool",
        "testing",
    }
)

# Forking a process whose Intel OpenMP runtime is already running can deadlock
# in the child: ask that runtime not to start itself again at fork.
os.environ.setdefault("KMP_INIT_AT_FORK", "FALSE")

# `import distributed.joblib`, the line that once registered the dask backend
importlib.import_module("._distributed_alias", __name__).install()
# `multiprocessing.set_start_method("loky")`, which knew loky with joblib imported
importlib.import_module("._multiprocessing_later", __name__).install()


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is not None:
        value = getattr(importlib.import_module("." + home, __name__), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module("." + name, __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
