"""Coroutine functions with a cache: what is awaited is the same, results are stored."""

from __future__ import annotations

import sys
import time
from typing import Any

from .function import MemorizedFunc
from .keys import Call
from .missing import MISS
from .results import NotMemorizedResult
from .uncached import NotMemorizedFunc


class AsyncNotMemorizedFunc(NotMemorizedFunc):
    """A coroutine function as `Memory.cache` returns it without a location."""

    __module__ = "joblib.memory"

    async def call_and_shelve(self, /, *args: Any, **kwargs: Any) -> Any:
        """Await the function and return a `NotMemorizedResult` with the result."""
        return NotMemorizedResult(await self.func(*args, **kwargs))

    async def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Await the function and return the result, with empty metadata."""
        return await self.func(*args, **kwargs), {}


class AsyncMemorizedFunc(MemorizedFunc):
    """A coroutine function whose results are stored, and loaded when it is called again.

    Hashing the arguments, loading and storing are done in the thread of the event loop.
    """

    __module__ = "joblib.memory"

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return the stored result of a call, or await the function and store it."""
        return await self._answer(args, kwargs)

    async def call_and_shelve(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return a reference to the result of a call; compute it if it is not stored.

        Returns
        -------
        MemorizedResult or NotMemorizedResult
            The latter, with the value, when it could not be stored.
        """
        return await self._answer(args, kwargs, shelve=True)

    async def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Await the function whether or not the result is stored, and store it.

        Returns
        -------
        output : object
            The result.
        metadata : dict
            ``duration`` and ``time`` of the call in seconds, ``input_args``.
        """
        call = self._identify(args, kwargs)
        self._check_previous_func_code(stacklevel=3)
        if not (self._lock and _in_asyncio()):
            return await self._compute(call)
        with self._attempt(call) as attempt:
            attempt.take_if_free()
            return await self._compute(call)

    async def _answer(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], shelve: bool = False
    ) -> Any:
        call = self._ask(args, kwargs)
        answer = self._find(call, shelve)
        if answer is not MISS:
            return answer
        if self._lock and _in_asyncio():
            return await self._compute_once(call, shelve)
        return (await self._compute(call, shelve))[0]

    async def _compute_once(self, call: Call, shelve: bool) -> Any:
        with self._attempt(call, shelve) as attempt:
            for pause in attempt.pauses():
                await pause
            if attempt.answer is not MISS:
                return attempt.answer
            return (await self._compute(call, shelve))[0]

    async def _compute(self, call: Call, shelve: bool = False) -> Any:
        self._announce(call)
        start = time.perf_counter()
        output = await self.func(*call.args, **call.kwargs)
        return self._keep(call, output, time.perf_counter() - start, shelve)


def _in_asyncio() -> bool:
    """Tell whether this is a task of asyncio: others cannot be woken up."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
