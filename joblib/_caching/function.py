"""The function with a cache: what is asked, in which order, at each call."""

from __future__ import annotations

import functools
import time
import traceback
from typing import TYPE_CHECKING, Any

from ..func_inspect import filter_args, format_call
from ..logger import Logger
from . import identity, ownership
from .keys import hash_key
from .metadata import make_metadata, warn_of_slow_repr
from .registry import _store_backend_factory
from .reports import (
    describe_damage,
    describe_miss,
    describe_question,
    document,
    print_duration,
)
from .results import MemorizedResult, NotMemorizedResult
from .store import MissingItemError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .registry import Store

_MISS: Any = object()  # what no function returns


class MemorizedFunc(Logger):
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
    # Only functions that have one keep it: what was closed over, and its part of the key.
    _known_closure: tuple[tuple[Any, ...], dict[str, Any]] | None = None

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
    ) -> None:
        super().__init__()
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
        try:
            functools.update_wrapper(self, func)
        except (AttributeError, TypeError):
            pass  # an object of which less can be known than of a function
        self.__doc__ = document(func)
        self._func_code_info: identity.CodeInfo | None = None
        self._func_code_id: int | None = None

    @property
    def _store(self) -> Store:
        if self.store_backend is None:
            raise ValueError(
                f"{self!r} has no store: its location is none that is supported. Make "
                "it with Memory(location).cache(function)."
            )
        return self.store_backend

    # -------------------------------------------------------------- what users call
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the stored result of a call, or call the function and store it."""
        call_id = self._identify_call(args, kwargs)
        output = self._load(call_id, args, kwargs)
        if output is _MISS:
            output = self._compute(call_id, args, kwargs)[0]
        return output

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function whether or not the result is stored, and store it.

        Returns
        -------
        output : object
            What the function returned.
        metadata : dict
            ``duration`` and ``time`` of the call in seconds, ``input_args``.
        """
        call_id = (self.func_id, self._get_args_id(*args, **kwargs))
        self._check_previous_func_code(stacklevel=3)
        return self._compute(call_id, args, kwargs)

    def call_and_shelve(self, *args: Any, **kwargs: Any) -> Any:
        """Return a reference to the result of a call; compute it if it is not stored.

        Returns
        -------
        MemorizedResult or NotMemorizedResult
            The latter, with the value, when it could not be stored.
        """
        call_id = self._identify_call(args, kwargs)
        if self._is_stored(call_id):
            return self._make_reference(call_id)
        output, metadata = self._compute(call_id, args, kwargs, reload=False)
        return self._refer_or_keep(call_id, output, metadata)

    def check_call_in_cache(self, *args: Any, **kwargs: Any) -> bool:
        """Tell whether a call would be answered from the store; change nothing.

        Returns
        -------
        bool
            False also when the function's code has changed since, or
            `cache_validation_callback` does not accept the result.
        """
        call_id = (self.func_id, self._get_args_id(*args, **kwargs))
        if not self._store.contains_item(call_id):
            return False
        current = ownership.is_current(
            self.func, self._store, self.func_id
        ) or ownership.matches_stored(self._store, self.func_id, self.func_code_info)
        return current and self._is_accepted(call_id)

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

    # ---------------------------------------------------------------- which result
    @property
    def func_code_info(self) -> identity.CodeInfo:
        """Code, file and first line of the function."""
        code_id = id(getattr(self.func, "__code__", None))
        if self._func_code_info is not None and self._func_code_id is None:
            # It came with a pickle, from where the source could be read.
            self._func_code_id = code_id
        if self._func_code_info is None or self._func_code_id != code_id:
            self._func_code_info = identity.get_code_info(self.func)
            self._func_code_id = code_id
        return self._func_code_info

    def _get_args_id(self, *args: Any, **kwargs: Any) -> str:
        """Hash the arguments of a call, and what else tells its result apart."""
        key = filter_args(self.func, self.ignore, args, kwargs)
        if identity.needs_more_key(self.func):
            key.update(self._more_key())
        return hash_key(key, self.mmap_mode is not None, self.func_id)

    def _more_key(self) -> dict[str, Any]:
        if isinstance(self.func, functools.partial):
            return identity.more_key(self.func)  # what it holds may be changed in place
        closed_over = identity.closed_over(self.func)
        known = self._known_closure
        if known is not None and len(known[0]) == len(closed_over):
            pairs = zip(known[0], closed_over, strict=True)
            if all(before is now for before, now in pairs):
                return known[1]
        more = identity.more_key(self.func)
        self._known_closure = (closed_over, more)
        return more

    def _check_previous_func_code(self, stacklevel: int = 2) -> bool:
        """Tell whether stored results are of the present code; remove them if not.

        Parameters
        ----------
        stacklevel : int
            Without effect, as warnings find the caller's line by themselves.

        Returns
        -------
        bool
        """
        if ownership.is_current(self.func, self._store, self.func_id):
            return True
        return ownership.claim(
            self.func, self._store, self.func_id, self.func_code_info
        )

    def _may_store(self) -> bool:
        """Tell whether the place is still this code's, now that a result is there.

        A process with newer code may have taken it over meanwhile.
        """
        if ownership.is_current(self.func, self._store, self.func_id):
            return True
        check = type(self)._check_previous_func_code
        if check is not MemorizedFunc._check_previous_func_code:
            return True  # a subclass has its own notion of it
        return ownership.matches_stored(self._store, self.func_id, self.func_code_info)

    def _identify_call(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[str, str]:
        args_id = self._get_args_id(*args, **kwargs)
        if self._verbose >= 20:
            self.info(
                describe_question(
                    self.func, self._store, self.func_id, args_id, args, kwargs
                )
            )
        return self.func_id, args_id

    # ------------------------------------------------------------------------- hit
    def _is_accepted(self, call_id: tuple[str, str]) -> bool:
        """Ask `cache_validation_callback`, if there is one, about a stored result."""
        if self.cache_validation_callback is None:
            return True
        metadata = self._store.get_metadata(call_id)
        # Without metadata there is nothing to judge by: as if it were not stored.
        return bool(metadata) and bool(self.cache_validation_callback(metadata))

    def _is_stored(self, call_id: tuple[str, str]) -> bool:
        if (
            self._check_previous_func_code(stacklevel=4)
            and self._store.contains_item(call_id)
            and self._is_accepted(call_id)
        ):
            return True
        self._report_miss(call_id)
        return False

    def _load(
        self, call_id: tuple[str, str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Load a result, or return _MISS."""
        if self._check_previous_func_code(stacklevel=4) and (
            self.cache_validation_callback is None
            or (self._store.contains_item(call_id) and self._is_accepted(call_id))
        ):
            try:
                return self._load_item(call_id)
            except MissingItemError:
                pass
            except Exception:
                # Asked only now: a hit pays for no question. Other stores may raise
                # what they like where there is nothing.
                if self._store.contains_item(call_id):
                    self.warn(
                        describe_damage(self.func, self._store, call_id, args, kwargs)
                    )
        self._report_miss(call_id)
        return _MISS

    def _load_item(self, call_id: tuple[str, str]) -> Any:
        if self._verbose <= 1:
            return self._store.load_item(call_id, verbose=self._verbose)
        start = time.perf_counter()
        output = self._store.load_item(
            call_id, timestamp=self.timestamp, verbose=self._verbose
        )
        if self._verbose > 4:
            print_duration(self.func, time.perf_counter() - start, " cache loaded")
        return output

    def _report_miss(self, call_id: tuple[str, str]) -> None:
        if self._verbose > 10:
            self.warn(describe_miss(self.func, self._store, call_id))

    # ------------------------------------------------------------------------ miss
    def _compute(
        self,
        call_id: tuple[str, str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        reload: bool = True,
    ) -> Any:
        if self._verbose > 0:
            print(format_call(self.func, args, kwargs))
        start = time.perf_counter()
        output = self.func(*args, **kwargs)
        duration = time.perf_counter() - start
        return self._keep(call_id, args, kwargs, output, duration, reload)

    def _keep(
        self,
        call_id: tuple[str, str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        duration: float,
        reload: bool,
    ) -> tuple[Any, dict[str, Any]]:
        """Store a new result and what is known of the call."""
        start = time.perf_counter()
        stored = self._may_store()
        if stored:
            # A store of others may say nothing.
            dumped = self._store.dump_item(call_id, output, verbose=self._verbose)
            stored = dumped is not False
        noting = time.perf_counter()
        arguments = filter_args(self.func, self.ignore, args, kwargs)
        metadata = make_metadata(arguments, duration)
        if stored:
            self._store.store_metadata(call_id, metadata)
            if not self._may_store():
                # Another version of the code took the place over at this very moment:
                # what it must not find goes again.
                self._store.clear_item(call_id)
        warn_of_slow_repr(self.func_id, time.perf_counter() - noting)
        if self._verbose > 0:
            print_duration(self.func, duration + time.perf_counter() - start)
        if reload and self.mmap_mode is not None:
            try:
                # As the next call will return it: mapped.
                output = self._store.load_item(call_id, verbose=0)
            except Exception:
                if self._store.contains_item(call_id):
                    self.warn(
                        "The result that was just stored cannot be loaded, and is "
                        f"returned as it was computed.\n {traceback.format_exc()}"
                    )
        return output, metadata

    # ------------------------------------------------------------------- references
    def _make_reference(
        self, call_id: tuple[str, str], metadata: dict[str, Any] | None = None
    ) -> MemorizedResult:
        return MemorizedResult(
            self._store,
            call_id,
            verbose=self._verbose - 1,
            timestamp=self.timestamp,
            metadata=metadata,
        )

    def _refer_or_keep(
        self, call_id: tuple[str, str], output: Any, metadata: dict[str, Any]
    ) -> MemorizedResult | NotMemorizedResult:
        if self._store.contains_item(call_id):
            return self._make_reference(call_id, metadata)
        return NotMemorizedResult(output)  # a warning has said why; nothing is lost

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
        state.pop("_known_closure", None)
        return state
