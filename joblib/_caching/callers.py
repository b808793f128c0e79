"""The line of the user that a warning of the cache is about."""

from __future__ import annotations

import sys

_OWN_MODULES = ("joblib._caching", "joblib.memory")


def user_stacklevel() -> int:
    """Count the frames from the caller up to the first that is not the cache's.

    Returns
    -------
    int
        What to give to `warnings.warn` as ``stacklevel``.
    """
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if not frame.f_globals.get("__name__", "").startswith(_OWN_MODULES):
            break
        frame = frame.f_back
        level += 1
    return level
