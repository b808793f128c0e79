"""The names under which batches appear on the cluster's dashboard."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from .._engine.batch import name_of
from .._engine.seeds import SeededTask

_FUNCTION = "joblib_function_"
_ID = r"-[0-9a-f-]{36}(?:', 0\))?$"
_OURS = re.compile(
    rf"(?:batch_of_.*_calls|{_FUNCTION}.*|joblib-scout|do_nothing){_ID}", re.DOTALL
)
_OF_FUNCTION = re.compile(rf"{_FUNCTION}.*{_ID}", re.DOTALL)


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


class Keys:
    """Makes the keys of a call's tasks, no two of which are the same.

    The dashboard groups tasks by what stands before the first hyphen.

    Parameters
    ----------
    prefix : str, optional
        What they begin with.
    apart : bool, default=False
        Have dask count each task as a group of its own. Of large groups it keeps tasks
        on the scheduler until a worker has room for them, and takes one for full whose
        tasks wait for a resource.

    Examples
    --------
    >>> Keys("search").of_function(len)  # doctest: +ELLIPSIS
    'search-joblib_function_len-...'
    """

    def __init__(self, prefix: str | None = None, apart: bool = False) -> None:
        self._prefix = prefix
        self._apart = apart

    def of_batch(self, batch: Any) -> str:
        """Return a key for a batch."""
        return self._new(repr(Batch(batch.items)))

    def of_function(self, func: Any) -> str:
        """Return a key for the task that brings a function to the cluster."""
        return self._new(_FUNCTION + short_name(func))

    def _new(self, name: str) -> str:
        key = f"{name}-{uuid.uuid4()}"
        if self._prefix is not None:
            key = f"{self._prefix}-{key}"
        return f"('{key}', 0)" if self._apart else key


def is_ours(key: Any) -> bool:
    """Tell whether a key is of a task that is none of the user's."""
    return _OURS.search(str(key)) is not None


def is_of_function(key: Any) -> bool:
    """Tell whether a key was made by `Keys.of_function`."""
    return _OF_FUNCTION.search(str(key)) is not None
