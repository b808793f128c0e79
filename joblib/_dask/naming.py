"""The names under which batches appear on the cluster's dashboard."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from .._engine.batch import name_of
from .._engine.seeds import SeededTask

#: what is to be found in the keys of tasks that are none of the user's
OUR_KEY = re.compile(
    r"(?:batch_of_.*_calls|joblib_function_.*|joblib-scout|do_nothing)"
    r"-[0-9a-f-]{36}$",
    re.DOTALL,
)
_KEY_OF_FUNCTION = re.compile(r"joblib_function_.*-[0-9a-f-]{36}$", re.DOTALL)


def short_name(func: Any) -> str:
    """Return the last part of a function's name, fit for a task key.

    >>> short_name(lambda: None)
    'lambda'
    """
    return name_of(func).rpartition(".")[2].strip("<>") or "task"


class Batch:
    """What a list of tasks is called, by the function of the first of them.

    Parameters
    ----------
    tasks : sequence of tuple
        The tasks, each ``(function, args, kwargs)``.

    Examples
    --------
    >>> from joblib import delayed
    >>> Batch([delayed(abs)(-1), delayed(abs)(-2)])
    batch_of_abs_2_calls
    >>> Batch([delayed(abs)(-1), delayed(len)("ab")])
    mixed_batch_of_abs_2_calls
    """

    def __init__(self, tasks: Sequence[tuple[Callable[..., Any], Any, Any]]) -> None:
        functions = [
            func.func if type(func) is SeededTask else func for func, _, _ in tasks
        ]
        first = functions[0] if tasks else None
        self._count = len(tasks)
        self._mixed = any(function is not first for function in functions)
        self._funcname = short_name(first) if tasks else "nothing"

    def __repr__(self) -> str:
        prefix = "mixed_" if self._mixed else ""
        return f"{prefix}batch_of_{self._funcname}_{self._count}_calls"


def key_for(batch: Any, prefix: str | None = None) -> str:
    """Return a task key that no other batch has.

    The dashboard groups tasks by what stands before the first hyphen.
    """
    return _with(prefix, f"{Batch(batch.items)!r}-{uuid.uuid4()}")


def key_for_function(func: Any, prefix: str | None = None) -> str:
    """Return a key for the task that brings a function to the cluster."""
    return _with(prefix, f"joblib_function_{short_name(func)}-{uuid.uuid4()}")


def is_key_of_function(key: Any) -> bool:
    """Tell whether a key was made by `key_for_function`."""
    return isinstance(key, str) and _KEY_OF_FUNCTION.search(key) is not None


def _with(prefix: str | None, name: str) -> str:
    return name if prefix is None else f"{prefix}-{name}"
