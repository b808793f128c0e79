"""What there is one of for each client, and goes with it."""

from __future__ import annotations

import threading
import weakref
from typing import Any, TypeVar

T = TypeVar("T", bound="PerClient")


class PerClient:
    """Base of classes that have one object for each client."""

    _of: weakref.WeakKeyDictionary[Any, Any]
    _lock = threading.Lock()

    def __init_subclass__(cls) -> None:
        cls._of = weakref.WeakKeyDictionary()

    @classmethod
    def of(cls: type[T], client: Any) -> T:
        """Return the one of a client. From any thread."""
        with cls._lock:
            found: T | None = cls._of.get(client)
            if found is None:
                found = cls._of[client] = cls()
            return found
