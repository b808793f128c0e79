"""One backend serves one call at a time; a call that comes in between gets a sibling.

The instance that a context holds is shared by whatever calls are made within
it: by tasks on several threads, and by generators that are still going on.
"""

from __future__ import annotations

import os
import threading
from typing import Any

# re-entrant: the collector may end another call on a thread that holds it
_lock = threading.RLock()
# id of the backend -> (the backend, kept alive so that its id stays its own; owner)
_claims: dict[int, tuple[Any, Any]] = {}


def claim(backend: Any, owner: object) -> Any:
    """Reserve `backend` for `owner`, or a sibling of it if another one has it.

    A backend that has no siblings is shared, as its author must have meant.
    """
    with _lock:
        held = _claims.get(id(backend))
        if held is None or held[1] is owner:
            _claims[id(backend)] = (backend, owner)
            return backend
    other = backend.sibling()
    if other is backend:
        return backend
    return claim(other, owner)


def release(backend: Any, owner: object) -> None:
    """Give back what `claim` returned; nothing happens if it is not the owner's."""
    with _lock:
        held = _claims.get(id(backend))
        if held is not None and held[1] is owner:
            del _claims[id(backend)]


def _renew_lock() -> None:
    # After a fork nobody is left in the child to let go of it.
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
