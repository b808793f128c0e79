"""The function with a cache: what is asked, in which order, at each call."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from . import codetext, identity, ownership
from .keyoptions import DEFAULT_HASH, KeyOptions, make_key_options
from .keys import Call, CallKeys
from .lockfiles import check_lockable
from .missing import MISS
from .registry import _store_backend_factory
from .reports import document
from .steps import CallSteps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .ram import RamTier
    from .registry import Store


class MemorizedFunc(CallSteps):
    """A function whose results are stored, and loaded when it is called again.

    Made by `Memory.cache`.

    Parameters
    ----------
    func : callable
        The function.
    location : str or pathlib.Path or StoreBackendBase
        The store, or where it is.
    backend : str, default="local"
        The kind of store, when `location` is no store.
    ignore : list of str, optional
        Parameters whose values do not tell calls apart.
    mmap_mode : {None, 'r', 'r+', 'w+', 'c'}, default=None
        How to memory-map arrays of results. Arguments that are memory-mapped then
        count as equal to arrays in memory.
    compress : bool or int or str or tuple, default=False
        How to compress results, as in `joblib.dump`.
    verbose : int, default=1
        0: silence; 1: calls; 2: also loads; 5: also the time these take; 11: also
        where results are stored and why they are computed; 20: also each question.
    timestamp : float, optional
        The time, in seconds since the epoch, from which messages count.
    cache_validation_callback : callable, optional
        Called with the metadata of a stored result (``duration`` and ``time`` in
        seconds, ``input_args``); the result counts when it returns something true.
    lock : bool, default=False
        Whether of all who ask for a result that is not there one computes it, while the
        others wait.
    ram : RamTier, optional
        Where results that were used last are kept in memory. Not used with a
        `cache_validation_callback` or an `mmap_mode`.
    hash_name : str, default="md5"
        The digest algorithm of keys, as of `joblib.hash`.
    key : dict, optional
        Functions by parameter: what they return for an argument counts in its place.
    version : object, optional
        A value that tells results apart, such as a number or a string.
    depends : list, optional
        Functions, classes, modules and files whose code or content tells results apart.

    Attributes
    ----------
    func : callable
    func_id : str
        Location of the function in the store.
    store_backend : StoreBackendBase
    func_code_info : tuple
        Code, file and first line of the function.
    """

    __module__ = "joblib.memory"

    store_backend: Store | None
    # Set where asked for: otherwise no part of the state, as in `CallSteps`.
    _key_options: KeyOptions | None = None
    # Made when first needed, and never pickled.
    _keys_made: CallKeys | None = None

    def __init__(
        self,
        func: Any,
        location: Any,
        backend: str = "local",
        ignore: Sequence[str] | None = None,
        mmap_mode: str | None = None,
        compress: Any = False,
        verbose: int = 1,
        timestamp: float | None = None,
        cache_validation_callback: Callable[[dict[str, Any]], Any] | None = None,
        *,
        lock: bool = False,
        ram: RamTier | None = None,
        hash_name: str = DEFAULT_HASH,
        key: Mapping[str, Callable[[Any], Any]] | None = None,
        version: Any = None,
        depends: Iterable[Any] | None = None,
    ) -> None:
        super().__init__()
        key_options = make_key_options(func, ignore, hash_name, key, version, depends)
        if key_options is not None:
            self._key_options = key_options
        self.func = func
        self.func_id = identity._build_func_identifier(func)
        self.ignore = [] if ignore is None else ignore
        self.cache_validation_callback = cache_validation_callback
        self.mmap_mode, self.compress = mmap_mode, compress
        self._verbose = verbose
        options = {"compress": compress, "mmap_mode": mmap_mode}
        self.store_backend = _store_backend_factory(backend, location, verbose, options)
        if self.store_backend is not None:
            ownership.make_location(self.store_backend, self.func_id)
        self.timestamp = time.time() if timestamp is None else timestamp
        self._look_like(func)
        if lock and self.store_backend is not None:
            check_lockable(self.store_backend)
            self._lock = True
        if ram is not None and mmap_mode is None and cache_validation_callback is None:
            self._ram = ram
        self._func_code_info: codetext.CodeInfo | None = None
        self._func_code_id: int | None = None

    def _look_like(self, func: Any) -> None:
        """Take over name, documentation and attributes of the function."""
        try:
            functools.update_wrapper(self, func, updated=())
            for name, value in vars(func).items():
                # What this object is made of is not the function's to replace.
                if name not in self.__dict__ and not hasattr(type(self), name):
                    setattr(self, name, value)
        except (AttributeError, TypeError):
            pass  # an object of which less can be known than of a function
        self.__doc__ = document(func)

    @property
    def _store(self) -> Store:
        if self.store_backend is None:
            raise ValueError(
                f"{self!r} has no store: its location is none that is supported. Make "
                "it with Memory(location).cache(function)."
            )
        return self.store_backend

    # -------------------------------------------------------------- what users call
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return the stored result of a call, or call the function and store it."""
        return self._answer(args, kwargs)

    def call_and_shelve(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return a reference to the result of a call; compute it if it is not stored.

        Returns
        -------
        MemorizedResult or NotMemorizedResult
            The latter, with the value, when it could not be stored.
        """
        return self._answer(args, kwargs, shelve=True)

    def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function whether or not the result is stored, and store it.

        Returns
        -------
        output : object
            What the function returned.
        metadata : dict
            ``duration`` and ``time`` of the call in seconds, ``input_args``.
        """
        call = self._identify(args, kwargs)
        self._check_previous_func_code(stacklevel=3)
        if not self._lock:
            return self._compute(call)
        with self._attempt(call) as attempt:
            attempt.take_if_free()
            return self._compute(call)

    def check_call_in_cache(self, /, *args: Any, **kwargs: Any) -> bool:
        """Tell whether a call would be answered from the store; change nothing.

        Returns
        -------
        bool
            False also when the function's code has changed since, or
            `cache_validation_callback` does not accept the result.
        """
        call_id = self._identify(args, kwargs).id
        if not self._store.contains_item(call_id):
            return False
        return self._may_store() and self._is_accepted(call_id)

    def clear(self, warn: bool = True) -> None:
        """Remove all results of the function.

        Parameters
        ----------
        warn : bool, default=True
            Whether to report it.
        """
        if warn and self._verbose > 0:
            self.warn(f"Clearing function cache identified by {self.func_id}")
        self._store.clear_path([self.func_id])
        ownership.write_code(self.func, self._store, self.func_id, self.func_code_info)

    # ------------------------------------------------------------------- in this order
    def _answer(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], shelve: bool = False
    ) -> Any:
        """Find the result of a call, or compute and keep it."""
        call = self._ask(args, kwargs)
        answer = self._find(call, shelve)
        if answer is not MISS:
            return answer
        if self._lock:
            return self._compute_once(call, shelve)
        return self._compute(call, shelve)[0]

    def _compute_once(self, call: Call, shelve: bool) -> Any:
        """Compute a result unless somebody else is doing so; then wait for that."""
        with self._attempt(call, shelve) as attempt:
            for pause in attempt.pauses():
                pause.block()
            if attempt.answer is not MISS:
                return attempt.answer
            return self._compute(call, shelve)[0]

    def _compute(self, call: Call, shelve: bool = False) -> Any:
        """Call the function and keep the result; return it, or a reference, and metadata."""
        self._announce(call)
        start = time.perf_counter()
        output = self.func(*call.args, **call.kwargs)
        return self._keep(call, output, time.perf_counter() - start, shelve)

    # -------------------------------------------------------------------- which result
    @property
    def func_code_info(self) -> codetext.CodeInfo:
        """Code, file and first line of the function."""
        number = codetext.code_number(getattr(self.func, "__code__", None))
        info = self._func_code_info
        # Without a number it came with a pickle, from where source could be read.
        if info is None or self._func_code_id not in (None, number):
            info = self._func_code_info = codetext.get_code_info(self.func)
        self._func_code_id = number
        return info

    @property
    def _keys(self) -> CallKeys:
        keys = self._keys_made
        if keys is None or keys.func is not self.func or keys.ignore is not self.ignore:
            coerce_mmap = self.mmap_mode is not None
            keys = CallKeys(
                self.func, self.func_id, self.ignore, coerce_mmap, self._key_options
            )
            self._keys_made = keys
        return keys

    # ------------------------------------------------------------------------ others
    def __repr__(self) -> str:
        location = getattr(self.store_backend, "location", None)
        return f"{type(self).__name__}(func={self.func}, location={location})"

    def __getstate__(self) -> dict[str, Any]:
        # The source is read here, where it can be: a process that gets a function
        # made in a notebook cannot.
        self.func_code_info  # noqa: B018
        state = self.__dict__.copy()
        state["timestamp"] = None  # the clock of the messages is this process's
        state["_func_code_id"] = None
        state.pop("_keys_made", None)
        return state
