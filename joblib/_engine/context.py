"""What the user has said for the calls of this thread: the stack of contexts.

The innermost context is one dict in a thread-local; a context copies the one
it is entered in, changes it, and puts the old one back when it is left.
"""

from __future__ import annotations

import threading
from typing import Any

from .._utils import _Sentinel

#: the value of each setting where neither a call nor a context gives one
DEFAULTS: dict[str, Any] = {
    "backend": _Sentinel(None),
    "n_jobs": _Sentinel(None),
    "verbose": _Sentinel(0),
    "temp_folder": _Sentinel(None),
    "max_nbytes": _Sentinel("1M"),
    "mmap_mode": _Sentinel("r"),
    "prefer": _Sentinel(None),
    "require": _Sentinel(None),
}

#: what contexts hold beyond the parameters that ``Parallel`` has as well
WRAPPERS = "wrap_task"

#: ``.config`` is the innermost context's dict; absent where there is none
_backend = threading.local()


def current() -> dict[str, Any]:
    """Return the settings in force in this thread."""
    config: dict[str, Any] = getattr(_backend, "config", DEFAULTS)
    return config


def setting(given: Any, config: dict[str, Any], key: str) -> Any:
    """Return what a call was given, else the context's value, else the default."""
    if given is not DEFAULTS[key]:
        return given
    value = config.get(key, given)
    return value.default_value if isinstance(value, _Sentinel) else value


def is_set(config: dict[str, Any], key: str) -> bool:
    """Whether a context has given `key` a value."""
    return not isinstance(config.get(key, DEFAULTS.get(key)), _Sentinel)


def level_of(config: dict[str, Any]) -> int:
    """Return how deep in ``Parallel`` calls a context stands."""
    if not is_set(config, "backend"):
        return 0
    return getattr(config["backend"], "nesting_level", None) or 0


class NestedContext:
    """The settings that tasks find on their worker; sent along with each batch.

    Parameters
    ----------
    backend : ParallelBackendBase
        Serves the calls made inside the tasks.
    n_jobs : int or None
        Their number of jobs, unless they name one.
    wrappers : tuple of callable
        The user's task wrappers, which hold for nested calls as well.
    """

    __slots__ = ("backend", "n_jobs", "wrappers", "_config")

    def __init__(
        self, backend: Any, n_jobs: int | None, wrappers: tuple[Any, ...] = ()
    ) -> None:
        self.backend = backend
        self.n_jobs = n_jobs
        self.wrappers = wrappers
        self._config = self._over(DEFAULTS)

    @classmethod
    def of(cls, nested: Any, wrappers: tuple[Any, ...]) -> NestedContext:
        """Make one of what a backend's ``get_nested_backend`` returned.

        Older backends return the backend alone.
        """
        backend, n_jobs = nested if isinstance(nested, tuple) else (nested, None)
        return cls(backend, n_jobs, wrappers)

    def _over(self, config: dict[str, Any]) -> dict[str, Any]:
        changed = {**config, "backend": self.backend, "n_jobs": self.n_jobs}
        if self.wrappers:
            changed[WRAPPERS] = self.wrappers
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        return NestedContext, (self.backend, self.n_jobs, self.wrappers)

    def enter(self) -> dict[str, Any] | None:
        """Put these settings in force in this thread; return what was before."""
        before: dict[str, Any] | None = getattr(_backend, "config", None)
        _backend.config = self._config if before is None else self._over(before)
        return before

    @staticmethod
    def leave(before: dict[str, Any] | None) -> None:
        """Undo `enter`, given what it returned."""
        if before is None:
            del _backend.config
        else:
            _backend.config = before
