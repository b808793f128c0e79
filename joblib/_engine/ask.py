"""Questions about the negotiation: which backend, how many jobs, and why."""

from __future__ import annotations

from typing import Any

from .._utils import _Sentinel
from .context import DEFAULTS, current, level_of, setting
from .select import BackendChoice, Selection, named_backend, select


def get_active_backend(
    prefer: Any = DEFAULTS["prefer"],
    require: Any = DEFAULTS["require"],
    verbose: Any = DEFAULTS["verbose"],
) -> tuple[Any, Any]:
    """Return the backend and n_jobs of a call that names neither.

    Parameters
    ----------
    prefer : {"processes", "threads", None}, optional
        As in `Parallel`.
    require : {"sharedmem", None}, optional
        As in `Parallel`.
    verbose : int, default=0
        From 10 on, say so when `require` overrides the context's backend.

    Returns
    -------
    backend : ParallelBackendBase
    n_jobs : int
        The context's, or the backend's default; None where the context says
        None.
    """
    config = current()
    chosen = select(config, prefer=prefer, require=require)
    tell_override(chosen, setting(verbose, config, "verbose"))
    return chosen.backend, chosen.n_jobs


def effective_n_jobs(n_jobs: int | None = -1) -> int:
    """Return how many tasks would run at once, given the context.

    Parameters
    ----------
    n_jobs : int, default=-1
        What a call would ask for; None for the context's own number.

    Returns
    -------
    int

    Examples
    --------
    >>> from joblib import effective_n_jobs, parallel_config
    >>> with parallel_config("threading", n_jobs=3):
    ...     effective_n_jobs(None)
    3
    """
    if n_jobs == 1:
        return 1
    backend, context_n_jobs = get_active_backend()
    count: int = backend.effective_n_jobs(context_n_jobs if n_jobs is None else n_jobs)
    return count


def explain_backend(
    n_jobs: Any = DEFAULTS["n_jobs"],
    backend: Any = DEFAULTS["backend"],
    prefer: Any = DEFAULTS["prefer"],
    require: Any = DEFAULTS["require"],
) -> BackendChoice:
    """Tell which backend would serve a call of `Parallel` here, and why.

    Parameters
    ----------
    n_jobs, backend, prefer, require
        What the call would be given.

    Returns
    -------
    BackendChoice
        With the attributes ``backend`` (its class name), ``n_jobs``, ``reason``
        (a sentence) and ``row`` (of the table in the user guide).

    Raises
    ------
    ValueError
        As `Parallel` would.

    Examples
    --------
    >>> from joblib import explain_backend, parallel_config
    >>> with parallel_config("threading", n_jobs=2):
    ...     print(explain_backend(prefer="processes"))
    ThreadingBackend, n_jobs=2. Using ThreadingBackend: the context names it; \
prefer='processes' yields to it.
    """
    chosen, _ = select_for_call(n_jobs, backend, prefer, require)
    return BackendChoice(
        type(chosen.backend).__name__, chosen.n_jobs, chosen.reason, chosen.decision.row
    )


def select_for_call(
    n_jobs: Any, backend: Any, prefer: Any, require: Any
) -> tuple[Selection, dict[str, Any]]:
    """Return what serves a call, and the options that its backend was named with."""
    config = current()
    named = None
    extra: dict[str, Any] = {}
    if backend is not None and not isinstance(backend, _Sentinel):
        named, extra = named_backend(backend, {"nesting_level": level_of(config)})
    asked = None if isinstance(n_jobs, _Sentinel) else n_jobs
    return select(config, named, asked, prefer, require), extra


def tell_override(chosen: Selection, verbose: int) -> None:
    """Print that `require` overrides the context's backend, if it does."""
    if verbose >= 10 and chosen.decision.row == 4:
        print(chosen.reason)
