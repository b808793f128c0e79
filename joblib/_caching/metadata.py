"""What is noted about a call beside its result."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING, Any

from .callers import user_stacklevel

if TYPE_CHECKING:
    from collections.abc import Mapping

_SLOW = 0.5  # seconds


def make_metadata(arguments: Mapping[str, Any], duration: float) -> dict[str, Any]:
    """Make the metadata of a call that has just ended.

    Parameters
    ----------
    arguments : mapping
        Values by parameter, without those to be ignored.
    duration : float
        Seconds that the call took.

    Returns
    -------
    dict
        ``duration``, ``input_args`` (representations) and ``time``, the end of the call
        in seconds since the epoch.
    """
    return {
        "duration": duration,
        "input_args": {name: _represent(value) for name, value in arguments.items()},
        "time": time.time(),
    }


def warn_of_slow_repr(func_id: str, lapse: float) -> None:
    """Warn if noting the arguments of a function took long, in seconds."""
    if lapse <= _SLOW:
        return
    warnings.warn(
        f"Noting the arguments of {func_id} took {lapse:.2f}s: their representation "
        "(repr) is slow, or so is the disk. Arguments that do not change the result "
        "can be named in Memory.cache(ignore=[...]), which spares it.",
        stacklevel=user_stacklevel(),
    )


def _represent(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        # The result is there: an argument that cannot show itself must not lose it.
        return f"<{type(value).__name__}, whose repr fails: {error!r}>"
