"""Single flight: of all who ask for a result that is not there, one computes it.

The others wait until he has ended, and then look for the result. If it is still not
there (his function failed, or what it returned cannot be stored) the next of them
computes. Within a process they wait for a `Flight`; one of them, whose flight that is,
waits for the lock file that keeps other processes off.

Nobody waits for himself. Who asks, directly or through calls that he waits for, for
what he is computing himself computes it again, as without the lock: that is a
recursion, which ends as such.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any

from .callers import user_stacklevel
from .lockfiles import LockFile, Owner, read_owner, try_lock
from .missing import MISS
from .store import CacheWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

# Seconds between two looks at a lock file: a tenth of what was waited so far, within
# these bounds.
_SHORTEST, _LONGEST = 0.001, 0.25
# Seconds after which a wait for a flight of this process is begun anew, for the sake
# of systems where waiting cannot be interrupted.
_PATIENCE = 1.0


class Flight:
    """The computation of one result by this process.

    Parameters
    ----------
    path : str
        The path of its lock file, which identifies the result.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        self.lock: LockFile | None = None  # from when it keeps other processes off
        self.airborne = False  # until then it waits for that
        self.waits: list[str] = []
        self._ended = threading.Event()
        self._wakers: list[Callable[[], None]] = []

    @property
    def ended(self) -> bool:
        """Whether the result is there, or it is the turn of the next."""
        return self._ended.is_set()

    def wait(self, seconds: float) -> None:
        """Block until it has ended, or some time has passed."""
        self._ended.wait(seconds)

    def call_at_end(self, waker: Callable[[], None]) -> None:
        """Call something when it has ended, in the thread where it ends."""
        with _guard:
            if not self.ended:
                self._wakers.append(waker)
                return
        waker()

    def forget(self, waker: Callable[[], None]) -> None:
        """Do not call it any more."""
        with _guard:
            if waker in self._wakers:
                self._wakers.remove(waker)

    def take_off(self) -> None:
        """Begin, as far as other flights of this process and others can see."""
        self.airborne = True
        self._note()

    def add_wait(self, path: str) -> None:
        """Note that it cannot end before another has ended."""
        with _guard:
            self.waits.append(path)
        self._note()

    def end_wait(self, path: str) -> None:
        """Note that it waits no more."""
        with _guard:
            if path in self.waits:
                self.waits.remove(path)
        self._note()

    def _note(self) -> None:
        if self.lock is not None:
            self.lock.note(self.waits)

    def end(self) -> None:
        """Let go of the lock and wake up who waits; nothing when that was done."""
        if self._pid != os.getpid():
            return  # a copy in a forked process, where nobody waits for it
        try:
            lock, self.lock = self.lock, None
            if lock is not None:
                lock.release()
        finally:
            with _guard:
                if _flights.get(self.path) is self:
                    del _flights[self.path]
                self._ended.set()
                wakers, self._wakers = self._wakers, []
            for waker in wakers:
                waker()


# Re-entrant: a coroutine that ends because it is collected may do so at any time.
_guard = threading.RLock()
_flights: dict[str, Flight] = {}
# What the present thread or task is computing, or the task that started it.
_own: contextvars.ContextVar[tuple[Flight, ...]] = contextvars.ContextVar(
    "joblib_memory_flights", default=()
)
_places_without_locks: set[str] = set()


class Pause:
    """What somebody waits for who has to: at most for some time.

    Parameters
    ----------
    flight : Flight or None
        Of this process; None stands for another's.
    seconds : float
    """

    __slots__ = ("_flight", "_seconds")

    def __init__(self, flight: Flight | None, seconds: float) -> None:
        self._flight = flight
        self._seconds = seconds

    def block(self) -> None:
        """Wait in this thread."""
        if self._flight is None:
            time.sleep(self._seconds)
        else:
            self._flight.wait(self._seconds)

    def __await__(self) -> Generator[Any, None, None]:
        """Wait in this task of asyncio."""
        return self._sleep().__await__()

    async def _sleep(self) -> None:
        import asyncio

        if self._flight is None:
            await asyncio.sleep(self._seconds)
            return
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(woken.set)
            except RuntimeError:
                pass  # the loop is closed, and so is who waited in it

        timer = loop.call_later(self._seconds, woken.set)
        self._flight.call_at_end(wake)
        try:
            await woken.wait()
        finally:
            timer.cancel()
            self._flight.forget(wake)


class Attempt:
    """The way of one caller to a result that is not there.

    ::

        with Attempt(path, look, say) as attempt:
            for pause in attempt.pauses():
                pause.block()  # or: await pause
            if attempt.answer is MISS:
                ...  # compute and store it; meanwhile nobody else does

    Parameters
    ----------
    path : str
        The path of the lock file.
    look : callable
        Looks for the result; returns MISS if it is not there.
    say : callable
        Called with the `Owner` of the lock, None if not known, when there is somebody
        to wait for.
    """

    def __init__(
        self,
        path: str,
        look: Callable[[], Any],
        say: Callable[[Owner | None], None],
    ) -> None:
        self.path = path
        self.answer: Any = MISS
        self._look = look
        self._say = say
        self._flight: Flight | None = None
        self._token: contextvars.Token[tuple[Flight, ...]] | None = None
        self._holds: list[Flight] = []
        self._is_waiting = False

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._end_waiting()
        finally:
            if self._flight is not None:
                self._flight.end()
        if self._token is not None:
            try:
                _own.reset(self._token)
            except ValueError:
                pass  # a coroutine that is closed from elsewhere

    def pauses(self) -> Iterator[Pause]:
        """Yield what is to be waited for, until the answer is there or to be computed."""
        self._holds = [flight for flight in _own.get() if not flight.ended]
        if any(flight.path == self.path for flight in self._holds):
            return
        while (flight := self._join()) is not self._flight:
            while not flight.ended:
                self._begin_waiting()
                if self._waits_for_itself():
                    return
                yield Pause(flight, _LONGEST if self._holds else _PATIENCE)
            self.answer = self._look()
            if self.answer is not MISS:
                return
        yield from self._keep_others_off(flight)

    def take_if_free(self) -> None:
        """Keep others off if nobody is computing the result; look for nothing."""
        self._look, self._say = _see_nothing, _say_nothing
        for _ in self.pauses():
            break
        self._end_waiting()

    def _join(self) -> Flight:
        """Return the flight of this process to the result; if there is none, a new one."""
        with _guard:
            flight = _flights.get(self.path)
            if flight is None:
                flight = self._flight = _flights[self.path] = Flight(self.path)
        return flight

    def _keep_others_off(self, flight: Flight) -> Iterator[Pause]:
        """Get the lock file; yield what is to be waited for."""
        waited = 0.0
        while flight.lock is None:
            try:
                flight.lock = try_lock(self.path)
            except (OSError, ImportError) as error:
                self._warn_of_no_lock(error)
                break
            if flight.lock is None:
                self._begin_waiting()
                if self._waits_for_itself():
                    flight.end()
                    return
                seconds = min(max(waited / 10, _SHORTEST), _LONGEST)
                yield Pause(None, seconds)
                waited += seconds
                if not os.path.exists(self.path):
                    # Who had the lock is done. All can load what he stored at once.
                    self.answer = self._look()
                    if self.answer is not MISS:
                        return
        self._end_waiting()
        flight.take_off()
        self._token = _own.set((*self._holds, flight))
        self.answer = self._look()

    # --------------------------------------------------------- who waits for whom
    def _begin_waiting(self) -> None:
        if self._is_waiting:
            return
        self._is_waiting = True
        for flight in self._holds:
            flight.add_wait(self.path)
        self._say(read_owner(self.path))

    def _end_waiting(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            for flight in self._holds:
                flight.end_wait(self.path)

    def _waits_for_itself(self) -> bool:
        """Tell whether whom this caller waits for waits, in the end, for this caller."""
        held = {flight.path for flight in self._holds}
        seen: set[str] = set()
        pending = [self.path] if held else []
        while pending:
            path = pending.pop()
            if path in held:
                return True
            if path not in seen:
                seen.add(path)
                pending.extend(_waits_of(path))
        return False

    def _warn_of_no_lock(self, error: Exception) -> None:
        place = os.path.dirname(self.path)
        if place in _places_without_locks:
            return
        _places_without_locks.add(place)
        warnings.warn(
            f"No file can be locked in the cache in {place}: {error}. Several processes "
            "may compute the same result at the same time.",
            CacheWarning,
            stacklevel=user_stacklevel(),
        )


def _waits_of(path: str) -> tuple[str, ...]:
    """Return what a computation waits for, be it of this process or another."""
    with _guard:
        flight = _flights.get(path)
        if flight is not None and flight.airborne:
            return tuple(flight.waits)
    owner = read_owner(path)
    return () if owner is None else owner.waits


def _see_nothing() -> Any:
    return MISS


def _say_nothing(owner: Owner | None) -> None:
    pass


def _after_fork_in_child() -> None:
    # The flights are those of the parent's threads: nobody here will end them.
    global _guard
    _guard = threading.RLock()
    _flights.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
