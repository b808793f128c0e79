"""`Memory`: the cache as users make it, and the expiry of its entries."""

from __future__ import annotations

import copy
import datetime
import functools
import inspect
import operator
import time
import warnings
from typing import TYPE_CHECKING, Any

from ..logger import Logger
from . import locations, ownership
from .asynchronous import AsyncMemorizedFunc, AsyncNotMemorizedFunc
from .budget import parse_size
from .entries import CacheEntry, list_entries
from .function import MemorizedFunc
from .keyoptions import DEFAULT_HASH, check_hash_name, make_key_options
from .lockfiles import check_lockable
from .ram import RamTier
from .registry import _store_backend_factory
from .uncached import NotMemorizedFunc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .registry import Store

# The part of a location that holds the results: others may keep files beside it.
_SUBDIRECTORY = "joblib"


class Memory(Logger):
    """A cache of function results that outlives the process.

    Each result is stored under its function and a hash of its arguments. It is loaded
    when the function is called with equal arguments again, by whichever process, as
    long as the code of the function is the same.

    Parameters
    ----------
    location : str or os.PathLike, optional
        The directory of the cache, made when it does not exist, or the URL of a remote
        place such as ``"s3://bucket/prefix"``, which needs the package fsspec. None
        switches caching off: functions are called each time.
    backend : str, default="local"
        The kind of store: "local", "fsspec" (chosen by a URL alone), or a name given
        to `register_store_backend`.
    mmap_mode : {None, 'r', 'r+', 'w+', 'c'}, default=None
        Memory-map arrays of results instead of reading them, as in `numpy.memmap`.
    compress : bool or int or str or tuple, default=False
        How to compress results, as in `joblib.dump`. Compressed results cannot be
        memory-mapped.
    verbose : int, default=1
        How much to print: 0 is silence, 1 shows the calls that are computed, 2 those
        that are loaded too; see `MemorizedFunc` for more.
    backend_options : dict, optional
        Further options for the store: ``storage_options``, a dict with credentials and
        the like, for a remote one.
    lock : bool, default=False
        Whether of all who ask at the same time for a result that is not there (tasks,
        threads, processes) one computes it, while the others wait for it. When he fails
        or dies, or the result cannot be stored, the next computes. Needs the package
        filelock, and a cache on a file system.
    ram_entries : int, optional
        How many of the results that this process used last are kept in memory, in front
        of the store; none when left out. Results of more than 100 MB are not kept, nor
        those of functions with a `cache_validation_callback` or an `mmap_mode`. Who
        gets a result may change it: the next gets it as it was stored.
    hash_name : str, default="md5"
        The digest algorithm of keys, as of `joblib.hash`: ``"xxh3_128"`` (package
        xxhash) is the fastest by far for large arrays. Results are found only by the
        name they were stored by; several can be in use in one place.

    max_size : int or str, optional
        Bytes that the results may take, or text such as ``"10G"`` (K, M, G and T are
        powers of 1024). Whenever more is stored, what was used least recently is
        removed until nine tenths of that remain. A larger result is returned without
        being kept, with a `CacheWarning`. Processes that write to one cache keep to it
        together, but for a result that one was storing when it was killed, and what
        is written without this limit: these are seen within ten minutes. In stores
        that are no file systems each process may add a tenth unseen by the others.

    Attributes
    ----------
    location : str or pathlib.Path or None
    max_size : int or None
        Bytes.
    store_backend : StoreBackendBase or None

    Examples
    --------
    >>> from joblib import Memory
    >>> memory = Memory("cache", verbose=0)  # doctest: +SKIP
    >>> @memory.cache  # doctest: +SKIP
    ... def slow_square(x):
    ...     return x**2
    """

    __module__ = "joblib.memory"

    store_backend: Store | None
    # Set where asked for: otherwise no part of the state, which is hashed with objects
    # that hold a cache.
    _lock = False
    _ram: RamTier | None = None
    _hash_name = DEFAULT_HASH

    def __init__(
        self,
        location: Any = None,
        backend: str = "local",
        mmap_mode: str | None = None,
        compress: Any = False,
        verbose: int = 1,
        backend_options: Mapping[str, Any] | None = None,
        *,
        lock: bool = False,
        ram_entries: int | None = None,
        hash_name: str = DEFAULT_HASH,
        max_size: int | float | str | None = None,
    ) -> None:
        super().__init__()
        limit = None if max_size is None else parse_size(max_size)
        check_hash_name(hash_name)
        _check_lock(lock)
        _check_ram_entries(ram_entries)
        self.location = location
        self.backend = backend
        self.backend_options = {} if backend_options is None else backend_options
        self.mmap_mode, self.compress = mmap_mode, compress
        self._verbose = verbose
        self.timestamp: float | None = time.time()
        if compress and mmap_mode is not None:
            warnings.warn(
                "Compressed results cannot be memmapped: mmap_mode will be ignored.",
                stacklevel=2,
            )
        location, of_location = locations.resolve(location)
        if isinstance(location, str):
            location = locations.join(location, _SUBDIRECTORY)
        options = {**self.backend_options, "compress": compress, "mmap_mode": mmap_mode}
        options = locations.with_storage_options(options, of_location)
        self.store_backend = _store_backend_factory(backend, location, verbose, options)
        self.max_size = limit
        if limit is not None and self.store_backend is not None:
            # One that was given belongs to others as well.
            self.store_backend = copy.copy(self.store_backend)
            self.store_backend.max_size = limit
        if lock:
            self._lock = True
            if self.store_backend is not None:
                check_lockable(self.store_backend)
        if ram_entries:
            self._ram = RamTier(int(ram_entries))
        if hash_name != DEFAULT_HASH:
            self._hash_name = hash_name

    def cache(
        self,
        func: Any = None,
        ignore: Sequence[str] | None = None,
        verbose: int | None = None,
        mmap_mode: Any = False,
        cache_validation_callback: Callable[[dict[str, Any]], Any] | None = None,
        *,
        lock: bool | None = None,
        hash_name: str | None = None,
        key: Mapping[str, Callable[[Any], Any]] | None = None,
        version: Any = None,
        depends: Iterable[Any] | None = None,
    ) -> Any:
        """Give a function this cache; usable as a decorator.

        Parameters
        ----------
        func : callable, optional
            The function, a coroutine function too. When left out, a decorator with
            the other options is returned.
        ignore : list of str, optional
            Parameters whose values do not tell calls apart, ``"*"`` and ``"**"`` for
            further arguments.
        verbose : int, optional
            That of the cache when left out.
        mmap_mode : {None, 'r', 'r+', 'w+', 'c'}, optional
            That of the cache when left out.
        cache_validation_callback : callable, optional
            Called with the metadata of a stored result (a dict with ``duration`` and
            ``time`` in seconds and ``input_args``); the result counts when it returns
            something true. See `expires_after`.
        lock : bool, optional
            Whether of all who ask for a result that is not there one computes it, while
            the others wait. That of the cache when left out.
        hash_name : str, optional
            The digest algorithm of keys. That of the cache when left out.
        key : dict, optional
            Functions by parameter (``"*"`` gets a list, ``"**"`` a dict): what a
            function returns for an argument counts in the argument's place, for
            instance ``key={"path": os.path.getmtime}``. Results that were stored
            without it are not found with it; of a function in it, that it is there
            counts, and not its code.
        version : object, optional
            A value that can be hashed, such as ``2`` or ``"2024-05"``. With another one
            results are computed anew; with an earlier one the earlier results are found
            again.
        depends : list, optional
            Functions (cached ones too), classes, modules, packages and files, given as
            paths: results are computed anew when the code of one changes, but for
            comments and docstrings, or the content of a file; they are found again
            when the change is undone. What these call in turn counts only as far as it
            is named, too. Code is read once, when the function is decorated.

        Returns
        -------
        MemorizedFunc or NotMemorizedFunc
            An object to be called like the function; the latter without a location.

        Raises
        ------
        ValueError
            When the callback cannot be called, there is no digest algorithm or no
            parameter of a name, or a parameter is in `key` and in `ignore`.
        TypeError
            When the function cannot be called, or an option is of another type.
        ImportError
            When the package of a digest algorithm is missing.
        """
        callback = cache_validation_callback
        if not (callback is None or callable(callback)):
            raise ValueError(
                f"cache_validation_callback needs to be callable. Got {callback}."
            )
        if lock is not None:
            _check_lock(lock)
        options: dict[str, Any] = {
            "cache_validation_callback": callback,
            "ignore": ignore,
            "verbose": verbose,
            "mmap_mode": mmap_mode,
            "lock": lock,
            "hash_name": hash_name,
            "key": key,
            "version": version,
            "depends": depends,
        }
        if func is None:
            return functools.partial(self.cache, **options)
        if isinstance(func, (MemorizedFunc, NotMemorizedFunc)):
            func = func.func
        if not callable(func):
            raise TypeError(
                f"Memory.cache needs a function, got {func!r} of type "
                f"{type(func).__name__}."
            )
        is_async = inspect.iscoroutinefunction(func)
        if hash_name is None:
            options["hash_name"] = self._hash_name
        if self.store_backend is None:
            # What is wrong with a cache is wrong without one; no code is read for it.
            make_key_options(func, ignore, options["hash_name"], key, version)
            return AsyncNotMemorizedFunc(func) if is_async else NotMemorizedFunc(func)
        if mmap_mode is False:
            options["mmap_mode"] = self.mmap_mode
        if verbose is None:
            options["verbose"] = self._verbose
        options["lock"] = self._lock if lock is None else lock
        cls = AsyncMemorizedFunc if is_async else MemorizedFunc
        store = self._store_with(options["mmap_mode"])
        return cls(
            func,
            store,
            compress=self.compress,
            timestamp=self.timestamp,
            ram=self._ram,
            **options,
        )

    def _store_with(self, mmap_mode: str | None) -> Store | None:
        """Return the store, or one of the same place that maps in another way."""
        store = self.store_backend
        if store is None or getattr(store, "mmap_mode", mmap_mode) == mmap_mode:
            return store
        store = copy.copy(store)
        store.mmap_mode = mmap_mode
        return store

    def eval(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a function through this cache.

        Parameters
        ----------
        func : callable
        *args, **kwargs
            Its arguments.

        Returns
        -------
        object
            Its result.
        """
        cached = self.cache(func)
        return cached(*args, **kwargs)

    def reduce_size(
        self,
        bytes_limit: int | str | None = None,
        items_limit: int | None = None,
        age_limit: datetime.timedelta | None = None,
    ) -> None:
        """Remove the least recently used results until all limits are kept.

        Parameters
        ----------
        bytes_limit : int or str, optional
            Bytes that may stay; text such as ``"10G"``, ``"500M"`` or ``"50K"``.
        items_limit : int, optional
            Number of results that may stay.
        age_limit : datetime.timedelta, optional
            Time since the last use after which a result does not stay.

        Raises
        ------
        ValueError
            When a limit is negative, or no size.
        """
        limits = bytes_limit, items_limit, age_limit
        if self.store_backend is not None and limits != (None, None, None):
            self.store_backend.enforce_store_limits(*limits)

    def entries(self) -> list[CacheEntry]:
        """List the results in this cache.

        Returns
        -------
        list of CacheEntry
            The most recently used first. They tell ``function``, ``arguments``,
            ``bytes``, ``duration``, ``hits`` and more, and have ``delete()``.
        """
        return list_entries(self.store_backend)

    def clear(self, warn: bool = True) -> None:
        """Remove all results of this cache.

        Parameters
        ----------
        warn : bool, default=True
            Whether to report it.
        """
        if warn:
            self.warn("Flushing completely the cache")
        if self.store_backend is not None:
            self.store_backend.clear()
            ownership._FUNCTION_HASHES.clear()

    def __repr__(self) -> str:
        location = getattr(self.store_backend, "location", None)
        return f"{type(self).__name__}(location={location})"

    def __getstate__(self) -> dict[str, Any]:
        # The clock of the messages is this process's.
        return {**self.__dict__, "timestamp": None}


def _check_lock(lock: Any) -> None:
    if not isinstance(lock, bool):
        raise ValueError(f"lock has to be True or False, got {lock!r}.")


def _check_ram_entries(ram_entries: Any) -> None:
    if ram_entries is None:
        return
    try:
        n_entries = operator.index(ram_entries)
    except TypeError:
        raise TypeError(
            f"ram_entries has to be a number of results, got {ram_entries!r} of type "
            f"{type(ram_entries).__name__}."
        ) from None
    if n_entries < 0:
        raise ValueError(
            f"ram_entries has to be a positive number of results, got {n_entries}."
        )


def expires_after(
    days: float = 0,
    seconds: float = 0,
    microseconds: float = 0,
    milliseconds: float = 0,
    minutes: float = 0,
    hours: float = 0,
    weeks: float = 0,
) -> Callable[[Mapping[str, Any]], bool]:
    """Make a `cache_validation_callback` that accepts results up to an age.

    Parameters
    ----------
    days, seconds, microseconds, milliseconds, minutes, hours, weeks : float
        The parts of the age, as of `datetime.timedelta`.

    Returns
    -------
    callable
        To be given to `Memory.cache`. A result ages from the end of its computation.
    """
    age_limit = datetime.timedelta(
        days, seconds, microseconds, milliseconds, minutes, hours, weeks
    )

    def is_young_enough(metadata: Mapping[str, Any]) -> bool:
        age = time.time() - metadata["time"]
        return bool(age < age_limit.total_seconds())

    return is_young_enough


expires_after.__module__ = "joblib.memory"
