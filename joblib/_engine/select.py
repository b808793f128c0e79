"""From names, instances and hints to the backend instance that serves a call."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .context import DEFAULTS, is_set, level_of, setting
from .registry import find_factory, unknown_backend
from .resolve import Choice, Decision, Traits, resolve

#: bundled backends that need multiprocessing
MAYBE_AVAILABLE_BACKENDS = {"multiprocessing", "loky"}


@dataclass(frozen=True)
class DefaultNames:
    """The names of the default backends, as `joblib.parallel` holds them."""

    backend: str
    threads: str
    processes: str


_read_names: Callable[[], DefaultNames] = lambda: DefaultNames(  # noqa: E731
    "loky", "threading", "loky"
)


def set_default_names(read: Callable[[], DefaultNames]) -> None:
    """Say where the default names are read: in the module that others write to."""
    global _read_names
    _read_names = read


def default_names() -> DefaultNames:
    """Return the default names as they are now."""
    return _read_names()


@dataclass(frozen=True)
class BackendChoice:
    """Which backend serves a call, and why.

    Attributes
    ----------
    backend : str
        The name of the backend's class.
    n_jobs : int
        The number of jobs it is asked for.
    reason : str
        A sentence.
    row : int
        The row of the negotiation table that decided.
    """

    backend: str
    n_jobs: int
    reason: str
    row: int

    def __str__(self) -> str:
        return f"{self.backend}, n_jobs={self.n_jobs}. {self.reason}"


@dataclass(frozen=True)
class Selection:
    """The backend that serves a call, with the decision that led to it."""

    backend: Any
    n_jobs: Any
    decision: Decision
    reason: str


def make_backend(name: Any, asked_for: bool = True, **options: Any) -> Any:
    """Return a new backend of that name.

    Where multiprocessing is missing, the process backends give way to the
    default thread backend, with a warning if they were asked for by name.

    Raises
    ------
    ValueError
        If no backend has that name.
    """
    if name in MAYBE_AVAILABLE_BACKENDS:
        from .._multiprocessing_helpers import mp

        if mp is None:
            fallback = default_names().threads
            if asked_for:
                warnings.warn(
                    f"joblib backend '{name}' is not available on {sys.platform}, "
                    f"falling back to {fallback}.",
                    UserWarning,
                    stacklevel=3,
                )
            options.pop("inner_max_num_threads", None)
            name = fallback
    return find_factory(name)(**options)


def named_backend(backend: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the backend that a call or a context names, and its own options.

    `backend` is a registered name, a backend instance, or a multiprocessing
    context (from ``multiprocessing.get_context``).

    Raises
    ------
    ValueError
        If it is none of these.
    """
    from .._backends.base import ParallelBackendBase

    if isinstance(backend, ParallelBackendBase):
        return backend, {}
    if isinstance(backend, str):
        return make_backend(backend, **options), {}
    if hasattr(backend, "Pool") and hasattr(backend, "Lock"):
        return find_factory("multiprocessing")(**options), {"context": backend}
    raise unknown_backend(backend)


def select(
    config: dict[str, Any],
    named: Any = None,
    n_jobs: Any = None,
    prefer: Any = DEFAULTS["prefer"],
    require: Any = DEFAULTS["require"],
) -> Selection:
    """Apply the table of `resolve` to backends: look them up, make the chosen one.

    Parameters
    ----------
    config : dict
        The context in force.
    named : ParallelBackendBase, optional
        The backend that the call names.
    n_jobs : int, optional
        What the call asks for.
    prefer, require
        The call's hints.
    """
    context = config["backend"] if is_set(config, "backend") else None
    names = default_names()
    # Loaded only where it may be the one: on a cluster nobody asks for processes.
    is_named = named is not None or context is not None
    default = None if is_named else Traits.of(find_factory(names.backend))
    decision = resolve(
        None if named is None else Traits.of(named),
        None if context is None else Traits.of(context),
        setting(require, config, "require"),
        setting(prefer, config, "prefer"),
        default,
        n_jobs,
        setting(DEFAULTS["n_jobs"], config, "n_jobs"),
    )
    chosen: Any
    if decision.choice is Choice.NAMED:
        chosen = named
    elif decision.choice is Choice.CONTEXT:
        chosen = context
    else:
        name = {
            Choice.THREADS: names.threads,
            Choice.PROCESSES: names.processes,
            Choice.DEFAULT: names.backend,
        }[decision.choice]
        chosen = make_backend(name, asked_for=False, nesting_level=level_of(config))
    if getattr(chosen, "nesting_level", None) is None:
        chosen.nesting_level = level_of(config)
    jobs = chosen.default_n_jobs if decision.n_jobs is None else decision.n_jobs
    reason = decision.reason.format(chosen=type(chosen).__name__)
    return Selection(chosen, jobs, decision, reason)
