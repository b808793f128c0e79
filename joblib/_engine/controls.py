"""What is asked of a run beyond its results: `Controls`, checked where they are given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .._utils import _Sentinel
from .context import CONTROLS, TASK_SEED
from .meter import check_progress

#: stands for a control that a call or a context says nothing about
NOT_GIVEN = _Sentinel(None)

#: the exceptions that `retries` counts where nobody has said which
RETRY_ON: tuple[type[BaseException], ...] = (Exception,)


class TaskTimedOut(Exception):
    """A task was at work for longer than `task_timeout`; the engine says which one."""


@dataclass(frozen=True)
class Controls:
    """The controls of one `Parallel` object; see there."""

    on_error: str = "raise"
    task_timeout: float | None = None
    retries: int = 0
    retry_on: tuple[type[BaseException], ...] = RETRY_ON
    max_pending_results: int | None = None
    #: has `of_next_call`
    seed: Any = None
    progress: Any = None

    @property
    def one_by_one(self) -> bool:
        """Whether each task has an outcome of its own, and so is sent by itself."""
        return (
            self.on_error == "return"
            or self.task_timeout is not None
            or self.retries > 0
        )


# ------------------------------------------------------------------ the values
def _on_error(value: Any) -> str:
    if isinstance(value, str) and value in ("raise", "return"):
        return value
    raise ValueError(f"on_error must be 'raise' or 'return', got: {value!r}.")


def _task_timeout(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            "task_timeout must be a number of seconds or None, got "
            f"{value!r} of type {type(value).__name__}."
        )
    if not 0 < float(value) < math.inf:
        raise ValueError(
            f"task_timeout must be a positive, finite number of seconds, got: {value!r}."
        )
    return float(value)


def _whole(name: str, value: Any, least: int) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be an integer, got {value!r} of type {type(value).__name__}."
        )
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got: {value!r}.")
    return int(value)


def _retries(value: Any) -> int:
    return _whole("retries", value, 0)


def _retry_on(value: Any) -> tuple[type[BaseException], ...]:
    kinds = value if isinstance(value, tuple) else (value,)
    if not kinds or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds
    ):
        raise TypeError(
            "retry_on must be a subclass of Exception or a tuple of such, got: "
            f"{value!r}."
        )
    return kinds


def _max_pending_results(value: Any) -> int | None:
    return None if value is None else _whole("max_pending_results", value, 1)


_CHECKS = {
    "on_error": _on_error,
    "task_timeout": _task_timeout,
    "retries": _retries,
    "retry_on": _retry_on,
    "max_pending_results": _max_pending_results,
    "progress": check_progress,
}


def checked(given: dict[str, Any], in_context: bool) -> dict[str, Any]:
    """Return those controls that are given, checked.

    Parameters
    ----------
    given : dict
        By their names; `NOT_GIVEN` for those that are not.
    in_context : bool
        They are a context's, for several calls, and not those of one.

    Raises
    ------
    ValueError, TypeError
        Saying what is allowed.
    """
    found = {}
    for name, value in given.items():
        if isinstance(value, _Sentinel):
            continue
        if name == "seed":
            if value is not None:
                from .seeds import seeds_from

                value = seeds_from(value, in_context)
            found[name] = value
        else:
            found[name] = _CHECKS[name](value)
    return found


def controls_of(
    config: dict[str, Any], return_as: str, given: dict[str, Any]
) -> Controls | None:
    """Return the controls of a call: its own, else its context's; None if there are none.

    Parameters
    ----------
    config : dict
        The context.
    return_as : str
        As in `Parallel`.
    given : dict
        What the call was given, by name.
    """
    own = checked(given, in_context=False)
    if own.get("max_pending_results") is not None and return_as == "list":
        raise ValueError(
            "max_pending_results is about results that wait for their consumer, and "
            "needs return_as='generator' or 'generator_unordered', got "
            "return_as='list'."
        )
    around = config.get(CONTROLS)
    if around is not None:
        own = {**around, **own}
    if "seed" not in own and TASK_SEED in config:
        own["seed"] = config[TASK_SEED]
    if return_as == "list":  # the context's are for the generators within it
        own.pop("max_pending_results", None)
    controls = Controls(**own)
    return None if controls == _NONE else controls


_NONE = Controls()


def without_controls(config: dict[str, Any]) -> dict[str, Any]:
    """Return a context as the tasks of a call are to find it: controls are not theirs."""
    return {name: value for name, value in config.items() if name != CONTROLS}


def check_controls(controls: Controls, backend: Any, runs_inline: bool) -> None:
    """Raise ValueError if a backend can't do what is asked for."""
    kind = type(backend).__name__
    if controls.task_timeout is not None and (
        runs_inline or not backend.supports_task_timeout
    ):
        who = "A call that runs in the caller (n_jobs=1)" if runs_inline else kind
        raise ValueError(
            f"{who} can't stop a function that runs, as task_timeout="
            f"{controls.task_timeout:g} asks for. Use n_jobs of 2 or more with a "
            "backend that can: 'loky', 'multiprocessing' or 'dask'."
        )
    if runs_inline or backend.supports_retrieve_callback:
        return
    if controls.one_by_one or controls.max_pending_results is not None:
        raise ValueError(
            f"{kind} hands results over only when asked for them "
            "(supports_retrieve_callback=False), and so can't do what on_error="
            "'return', retries, task_timeout or max_pending_results ask for."
        )
