"""The function that looks as if it had a cache, and has none."""

from __future__ import annotations

from typing import Any

from .results import NotMemorizedResult


class NotMemorizedFunc:
    """A function as `Memory.cache` returns it without a location: nothing is stored.

    Parameters
    ----------
    func : callable
        The function, which is called each time.

    Attributes
    ----------
    func : callable
    """

    __module__ = "joblib.memory"
    _is_cached_function = True  # for those who look into it

    def __init__(self, func: Any) -> None:
        self.func = func

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.func(*args, **kwargs)

    def call_and_shelve(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and return a `NotMemorizedResult` with what it returns."""
        return NotMemorizedResult(self.func(*args, **kwargs))

    def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function and return what it returns, with empty metadata."""
        return self.func(*args, **kwargs), {}

    def check_call_in_cache(self, /, *args: Any, **kwargs: Any) -> bool:
        """Return False."""
        return False

    def clear(self, warn: bool = True) -> None:
        """Do nothing."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(func={self.func})"
