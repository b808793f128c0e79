"""Coroutine functions with a cache: what is awaited is the same, results are stored."""

from __future__ import annotations

import time
from typing import Any

from ..func_inspect import format_call
from .function import _MISS, MemorizedFunc
from .results import NotMemorizedResult
from .uncached import NotMemorizedFunc


class AsyncNotMemorizedFunc(NotMemorizedFunc):
    """A coroutine function as `Memory.cache` returns it without a location."""

    __module__ = "joblib.memory"

    async def call_and_shelve(self, *args: Any, **kwargs: Any) -> Any:
        """Await the function and return a `NotMemorizedResult` with the result."""
        return NotMemorizedResult(await self.func(*args, **kwargs))

    async def call(self, *args: Any, **kwargs: Any) -> Any:
        """Await the function and return the result, with empty metadata."""
        return await self.func(*args, **kwargs), {}


class AsyncMemorizedFunc(MemorizedFunc):
    """A coroutine function whose results are stored, and loaded when it is called again.

    Hashing the arguments, loading and storing are done in the thread of the event loop.
    """

    __module__ = "joblib.memory"

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the stored result of a call, or await the function and store it."""
        call_id = self._identify_call(args, kwargs)
        output = self._load(call_id, args, kwargs)
        if output is _MISS:
            output = (await self._compute(call_id, args, kwargs))[0]
        return output

    async def call(self, *args: Any, **kwargs: Any) -> Any:
        """Await the function whether or not the result is stored, and store it.

        Returns
        -------
        output : object
            The result.
        metadata : dict
            ``duration`` and ``time`` of the call in seconds, ``input_args``.
        """
        call_id = (self.func_id, self._get_args_id(*args, **kwargs))
        self._check_previous_func_code(stacklevel=3)
        return await self._compute(call_id, args, kwargs)

    async def call_and_shelve(self, *args: Any, **kwargs: Any) -> Any:
        """Return a reference to the result of a call; compute it if it is not stored.

        Returns
        -------
        MemorizedResult or NotMemorizedResult
            The latter, with the value, when it could not be stored.
        """
        call_id = self._identify_call(args, kwargs)
        if self._is_stored(call_id):
            return self._make_reference(call_id)
        output, metadata = await self._compute(call_id, args, kwargs, reload=False)
        return self._refer_or_keep(call_id, output, metadata)

    async def _compute(
        self,
        call_id: tuple[str, str],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        reload: bool = True,
    ) -> Any:
        if self._verbose > 0:
            print(format_call(self.func, args, kwargs))
        start = time.perf_counter()
        output = await self.func(*args, **kwargs)
        duration = time.perf_counter() - start
        return self._keep(call_id, args, kwargs, output, duration, reload)
