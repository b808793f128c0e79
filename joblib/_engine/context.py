"""What the user has said for the calls of this thread: the stack of contexts.

The innermost context is one dict in a thread-local; a context copies the one
it is entered in, changes it, and puts the old one back when it is left.
"""

from __future__ import annotations

import threading
from typing import Any

from .._cpu import cpu_count
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
#: how many tasks of the calls around this one run on this machine at a time
SHARED_BY = "shared_by"
#: what is asked of the calls made here: errors kept, retries and so on
CONTROLS = "controls"
#: where the running task stands in the tree of random seeds
TASK_SEED = "task_seed"
#: what takes the calls made here down: the names of traces, the outermost first
TRACES = "traces"

#: ``.config`` is the innermost context's dict; absent or None where there is none
_backend = threading.local()


def current() -> dict[str, Any]:
    """Return the settings in force in this thread."""
    config: dict[str, Any] | None = getattr(_backend, "config", None)
    return DEFAULTS if config is None else config


def share_of_cores() -> int:
    """Return how many cores a call made here may use if it asks for all of them.

    Those of the machine are divided among the tasks that run at a time on each level
    of nested calls, so that the levels together do not start more workers than there
    are cores.

    Returns
    -------
    int
        At least 1.
    """
    return max(cpu_count() // int(current().get(SHARED_BY, 1)), 1)


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
