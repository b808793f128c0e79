"""The steps of a cached call: to find its result, and to keep one that was computed.

::

    _ask(args, kwargs)  which call is it? -> its key
    _find(call)         is the code the stored one? is the result accepted? -> load it
    _attempt(call)      with lock=True: is somebody else computing it? -> wait for that
    _keep(call, ...)    still this code? -> store the result, and what the call was

Neither runs the function: that is done in between, at once or awaited.
"""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING, Any

from ..func_inspect import format_call, format_signature
from ..logger import Logger
from . import budget, ownership, ram
from .flight import Attempt
from .keys import Call
from .lockfiles import Owner, lock_path
from .metadata import make_metadata, warn_of_slow_repr
from .missing import MISS
from .reports import (
    describe_damage,
    describe_miss,
    describe_question,
    describe_wait,
    print_duration,
)
from .results import MemorizedResult, NotMemorizedResult
from .store import MissingItemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .codetext import CodeInfo
    from .keys import CallKeys
    from .registry import Store


class CallSteps(Logger):
    """What a cached function does before and after the function itself.

    Base class of `MemorizedFunc`, which sets the attributes.
    """

    _is_cached_function = True  # for those who look into it
    # Set where asked for: otherwise no part of the state, which is hashed with objects
    # that hold a cached function.
    _lock = False
    _ram: ram.RamTier | None = None

    if TYPE_CHECKING:
        func: Any
        func_id: str
        cache_validation_callback: Callable[[dict[str, Any]], Any] | None
        mmap_mode: str | None
        timestamp: float | None
        _verbose: int

        @property
        def func_code_info(self) -> CodeInfo: ...

        @property
        def _store(self) -> Store: ...

        @property
        def _keys(self) -> CallKeys: ...

    # -------------------------------------------------------------------- which call
    def _get_args_id(self, /, *args: Any, **kwargs: Any) -> str:
        """Hash the arguments of a call, and what else tells its result apart."""
        return self._keys.key(args, kwargs)

    def _identify(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        return Call((self.func_id, self._get_args_id(*args, **kwargs)), args, kwargs)

    def _ask(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        """Identify a call that is to be answered."""
        call = self._identify(args, kwargs)
        if self._verbose >= 20:
            signature = self._signature(call)
            self.info(describe_question(self.func, self._store, call.id, signature))
        return call

    def _signature(self, call: Call) -> str:
        args, kwargs = self._keys.shown(call.args, call.kwargs)
        return format_signature(self.func, *args, **kwargs)[1]

    # ----------------------------------------------------------------- whose results
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
        """Tell whether the place is this code's; change nothing.

        A process with newer code may have taken it over while the function ran.
        """
        if ownership.is_current(self.func, self._store, self.func_id):
            return True
        check = type(self)._check_previous_func_code
        if check is not CallSteps._check_previous_func_code:
            return True  # a subclass has its own notion of it
        return ownership.matches_stored(self._store, self.func_id, self.func_code_info)

    def _is_accepted(self, call_id: tuple[str, str]) -> bool:
        """Ask `cache_validation_callback`, if there is one, about a stored result."""
        if self.cache_validation_callback is None:
            return True
        metadata = self._store.get_metadata(call_id)
        # Without metadata there is nothing to judge by: as if it were not stored.
        return bool(metadata) and bool(self.cache_validation_callback(metadata))

    # ------------------------------------------------------------------------- find
    def _find(self, call: Call, shelve: bool = False, again: bool = False) -> Any:
        """Look for what is stored for a call.

        Parameters
        ----------
        call : Call
        shelve : bool, default=False
            Load nothing.
        again : bool, default=False
            What is missing or damaged was reported before.

        Returns
        -------
        object
            The stored result, with `shelve` a reference to it; MISS if there is none
            that counts.
        """
        if self._check_previous_func_code(stacklevel=4):
            # To load is the quickest way to ask, but one that says so when it begins.
            asks = shelve or self.cache_validation_callback or self._verbose > 1
            if not asks:
                output = self._load(call, again)
                if output is not MISS:
                    return output
            elif self._store.contains_item(call.id) and self._is_accepted(call.id):
                if shelve:
                    return self._make_reference(call.id)
                output = self._load(call, again)
                if output is not MISS:
                    return output
        if self._verbose > 10 and not again:
            self.warn(describe_miss(self.func, self._store, call.id))
        return MISS

    def _load(self, call: Call, again: bool) -> Any:
        """Load a result; MISS if it is not there, or damaged."""
        tier = self._ram
        if tier is None:
            return self._load_stored(call, again)
        location = self._store.location or ""
        stamp = ownership.known_stamp(self.func, self._store, self.func_id)
        output = tier.get(location, call.id, stamp)
        if output is MISS:
            output = self._load_stored(call, again)
            if output is not MISS and stamp is not None:
                tier.put(location, call.id, stamp, output)
            return output
        self._store.note_item_use(call.id)
        if self._verbose > 1:
            print(f"[Memory]: {self._signature(call)} is in RAM")
        return output

    def _load_stored(self, call: Call, again: bool) -> Any:
        try:
            if self._verbose <= 1:
                return self._store.load_item(call.id, verbose=self._verbose)
            start = time.perf_counter()
            output = self._store.load_item(
                call.id, timestamp=self.timestamp, verbose=self._verbose
            )
        except MissingItemError:
            return MISS
        except Exception:
            # Asked only now: a hit pays for no question. Other stores may raise what
            # they like where there is nothing.
            if not again and self._store.contains_item(call.id):
                self.warn(describe_damage(self._store, call.id, self._signature(call)))
            return MISS
        if self._verbose > 4:
            print_duration(self.func, time.perf_counter() - start, " cache loaded")
        return output

    # ---------------------------------------------------------------- wait for others
    def _attempt(self, call: Call, shelve: bool = False) -> Attempt:
        """Begin to compute a result, or to wait for who does."""

        def look() -> Any:
            return self._find(call, shelve, again=True)

        def say(owner: Owner | None) -> None:
            if self._verbose > 1:
                print(describe_wait(self._signature(call), owner))

        directory = self._store.lock_location() or os.curdir
        return Attempt(lock_path(directory, call.id), look, say)

    # ------------------------------------------------------------------------- keep
    def _announce(self, call: Call) -> None:
        """Say that the function is about to be called."""
        if self._verbose > 0:
            print(format_call(self.func, *self._keys.shown(call.args, call.kwargs)))

    def _keep(
        self, call: Call, output: Any, duration: float, shelve: bool = False
    ) -> tuple[Any, dict[str, Any]]:
        """Store a new result and what is known of the call.

        Parameters
        ----------
        call : Call
        output : object
            What the function returned.
        duration : float
            Seconds that it took.
        shelve : bool, default=False
            Load nothing.

        Returns
        -------
        output : object
            What the caller gets: the result; mapped as the next call will find it; with
            `shelve` a reference to it.
        metadata : dict
        """
        start = time.perf_counter()
        self._keys.settle()
        stored = self._may_store()
        if stored:
            # A store of others may say nothing.
            dumped = self._store.dump_item(call.id, output, verbose=self._verbose)
            stored = dumped is not False
        noting = time.perf_counter()
        metadata = make_metadata(self._keys.arguments(call.args, call.kwargs), duration)
        if stored:
            self._store.store_metadata(call.id, metadata)
        warn_of_slow_repr(self.func_id, time.perf_counter() - noting)
        if stored:
            if not self._may_store():
                # Another version of the code took the place over at this very moment:
                # what it must not find goes again.
                self._store.clear_item(call.id)
                stored = False
            else:
                stored = budget.settle(self._store, call.id)
            self._put_into_ram(call, output, stored)
        if self._verbose > 0:
            print_duration(self.func, duration + time.perf_counter() - start)
        if shelve:
            output = self._refer_or_hold(call.id, output, metadata)
        elif self.mmap_mode is not None:
            output = self._reload(call.id, output)
        return output, metadata

    def _put_into_ram(self, call: Call, output: Any, stored: bool) -> None:
        location = self._store.location or ""
        ram.forget(os.sep.join((location, *call.id)), below=False)
        if self._ram is not None and stored:
            stamp = ownership.known_stamp(self.func, self._store, self.func_id)
            if stamp is not None:
                self._ram.put(location, call.id, stamp, output)

    def _reload(self, call_id: tuple[str, str], output: Any) -> Any:
        """Load what was just stored; what was stored if that is not possible."""
        try:
            return self._store.load_item(call_id, verbose=0)
        except Exception:
            if self._store.contains_item(call_id):
                self.warn(
                    "The result that was just stored cannot be loaded, and is "
                    f"returned as it was computed.\n {traceback.format_exc()}"
                )
        return output

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

    def _refer_or_hold(
        self, call_id: tuple[str, str], output: Any, metadata: dict[str, Any]
    ) -> MemorizedResult | NotMemorizedResult:
        if self._store.contains_item(call_id):
            return self._make_reference(call_id, metadata)
        return NotMemorizedResult(output)  # a warning has said why; nothing is lost
