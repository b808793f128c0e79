"""The names below the top level that other projects import, subclass or patch."""

from __future__ import annotations

import importlib

import pytest

pytest.importorskip("numpy")

# module -> names that public projects import from it
NAMES = {
    "joblib": [
        "Logger",
        "MemorizedResult",
        "Memory",
        "Parallel",
        "ParallelBackendBase",
        "PrintTime",
        "cpu_count",
        "delayed",
        "dump",
        "effective_n_jobs",
        "expires_after",
        "hash",
        "hashing",
        "load",
        "logger",
        "memory",
        "numpy_pickle",
        "parallel",
        "parallel_backend",
        "parallel_config",
        "register_compressor",
        "register_parallel_backend",
        "register_store_backend",
        "wrap_non_picklable_objects",
    ],
    "joblib.parallel": [
        "AutoBatchingMixin",
        "BACKENDS",
        "BatchCompletionCallBack",
        "BatchedCalls",
        "DEFAULT_BACKEND",
        "EXTERNAL_BACKENDS",
        "LokyBackend",
        "MAYBE_AVAILABLE_BACKENDS",
        "MultiprocessingBackend",
        "Parallel",
        "ParallelBackendBase",
        "SequentialBackend",
        "ThreadingBackend",
        "_backend",
        "cpu_count",
        "delayed",
        "effective_n_jobs",
        "get_active_backend",
        "mp",
        "parallel_backend",
        "parallel_config",
        "register_parallel_backend",
    ],
    "joblib._parallel_backends": [
        "AutoBatchingMixin",
        "LokyBackend",
        "MultiprocessingBackend",
        "ParallelBackendBase",
        "PoolManagerMixin",
        "SequentialBackend",
        "ThreadingBackend",
    ],
    "joblib._utils": ["_Sentinel", "_TracebackCapturingWrapper", "eval_expr"],
    "joblib.pool": ["MemmappingPool", "PicklingPool"],
    "joblib._memmapping_reducer": [
        "TemporaryResourcesManager",
        "get_memmapping_reducers",
        "has_shareable_memory",
    ],
    "joblib.executor": ["MemmappingExecutor", "get_memmapping_executor"],
    "joblib.externals": ["loky"],
    "joblib.externals.loky": [
        "ProcessPoolExecutor",
        "cpu_count",
        "get_reusable_executor",
        "set_loky_pickler",
        "wrap_non_picklable_objects",
    ],
    "joblib.externals.loky.process_executor": [
        "BrokenProcessPool",
        "MAX_DEPTH",
        "ProcessPoolExecutor",
        "ShutdownExecutorError",
        "TerminatedWorkerError",
    ],
    "joblib.externals.loky.reusable_executor": [
        "_ReusablePoolExecutor",
        "get_reusable_executor",
    ],
    "joblib.externals.loky.backend.context": [
        "_count_physical_cores",
        "cpu_count",
        "get_context",
    ],
    "joblib.externals.loky.backend.resource_tracker": ["_resource_tracker"],
    "joblib.externals.loky.backend": ["get_context", "resource_tracker"],
    "joblib.memory": [
        "JobLibCollisionWarning",
        "MemorizedFunc",
        "MemorizedResult",
        "Memory",
        "NotMemorizedFunc",
        "NotMemorizedResult",
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
        "register_store_backend",
    ],
    "joblib.func_inspect": [
        "filter_args",
        "format_call",
        "format_signature",
        "get_func_code",
        "get_func_name",
    ],
    "joblib.hashing": ["Hasher", "NumpyHasher", "Pickler", "hash"],
    "joblib.numpy_pickle": [
        "NumpyArrayWrapper",
        "NumpyPickler",
        "NumpyUnpickler",
        "_validate_fileobject_and_memmap",
        "dump",
        "load",
        "load_compatibility",
        "load_temporary_memmap",
        "register_compressor",
    ],
    "joblib.numpy_pickle_utils": [
        "BUFFER_SIZE",
        "Pickler",
        "Unpickler",
        "_COMPRESSORS",
        "_validate_fileobject_and_memmap",
        "xrange",
    ],
    "joblib.numpy_pickle_compat": [
        "NDArrayWrapper",
        "ZNDArrayWrapper",
        "load_compatibility",
    ],
    "joblib.compressor": [
        "BinaryGzipFile",
        "BinaryZlibFile",
        "CompressorWrapper",
        "register_compressor",
    ],
    "joblib._store_backends": [
        "CacheItemInfo",
        "CacheWarning",
        "FileSystemStoreBackend",
        "StoreBackendBase",
        "StoreBackendMixin",
        "concurrency_safe_write",
    ],
    "joblib.logger": [
        "Logger",
        "PrintTime",
        "format_time",
        "pformat",
        "short_format_time",
    ],
    "joblib.disk": [
        "delete_folder",
        "disk_used",
        "memstr_to_bytes",
        "mkdirp",
        "rm_subdirs",
    ],
    "joblib.backports": ["concurrency_safe_rename", "make_memmap"],
    "joblib._multiprocessing_helpers": ["mp"],
    "joblib._dask": ["Batch", "DaskDistributedBackend"],
    "joblib._cloudpickle_wrapper": ["wrap_non_picklable_objects"],
    "joblib.testing": ["parametrize", "raises"],
}

# class -> attributes that public projects call, read or override
ATTRIBUTES = {
    "joblib.parallel.Parallel": [
        "print_progress",
        "dispatch_one_batch",
        "__call__",
        "__enter__",
        "__exit__",
        "debug",
        "info",
        "warn",
    ],
    "joblib.parallel.BatchedCalls": ["__call__", "__len__"],
    "joblib.parallel.BatchCompletionCallBack": ["__call__"],
    "joblib.parallel.ParallelBackendBase": [
        "configure",
        "effective_n_jobs",
        "terminate",
        "abort_everything",
        "start_call",
        "stop_call",
        "get_nested_backend",
        "retrieval_context",
        "compute_batch_size",
        "batch_completed",
        "submit",
        "retrieve_result_callback",
        "supports_retrieve_callback",
        "supports_inner_max_num_threads",
        "supports_return_generator",
        "supports_timeout",
        "nesting_level",
    ],
    "joblib._parallel_backends.ThreadingBackend": [
        "uses_threads",
        "supports_sharedmem",
        "supports_timeout",
        "supports_retrieve_callback",
    ],
    "joblib._parallel_backends.MultiprocessingBackend": [
        "configure",
        "effective_n_jobs",
        "_get_pool",
        "submit",
        "terminate",
    ],
    "joblib.memory.Memory": [
        "cache",
        "clear",
        "eval",
        "reduce_size",
        "format",
        "warn",
        "debug",
    ],
    "joblib.memory.MemorizedFunc": [
        "call",
        "call_and_shelve",
        "check_call_in_cache",
        "clear",
        "_get_args_id",
        "_check_previous_func_code",
    ],
    "joblib.hashing.Hasher": ["hash", "save", "memoize", "save_global", "dispatch"],
    "joblib._store_backends.FileSystemStoreBackend": [
        "load_item",
        "dump_item",
        "clear_item",
        "contains_item",
        "get_metadata",
        "store_metadata",
        "get_cached_func_code",
        "get_cached_func_info",
        "configure",
        "get_items",
        "enforce_store_limits",
        "clear",
        "create_location",
        "clear_location",
        "_open_item",
        "_item_exists",
        "_move_item",
    ],
    "joblib.externals.loky.reusable_executor._ReusablePoolExecutor": [
        "submit",
        "map",
        "shutdown",
    ],
}


@pytest.mark.parametrize("module", NAMES)
def test_names_can_be_imported(module):
    if module == "joblib._dask":
        pytest.importorskip("distributed")
    found = importlib.import_module(module)
    missing = [name for name in NAMES[module] if not hasattr(found, name)]
    assert not missing


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_attributes_are_there(path):
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    missing = [name for name in ATTRIBUTES[path] if not hasattr(found, name)]
    assert not missing
