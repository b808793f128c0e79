"""What a task finds of its caller's surroundings: context variables, filters, levels.

Two ways lead there. A user wraps the tasks of a context in `forward_context`; and a
library registers what of its own is to be there in each task, by
`register_task_context`, once and for all calls.
"""

from __future__ import annotations

import contextvars
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

#: by name: what returns a state, and what makes a context in which it holds
_registered: dict[
    str, tuple[Callable[[], Any], Callable[[Any], AbstractContextManager[Any]]]
] = {}


def register_task_context(
    name: str,
    capture: Callable[[], Any],
    restore: Callable[[Any], AbstractContextManager[Any]],
) -> None:
    """Have something of a library's hold in tasks as it does where they are made.

    For settings that a library keeps in a thread or a process. They then reach the
    tasks of every call of `Parallel`, nested ones included, on every backend.

    Parameters
    ----------
    name : str
        Of the library, or of what it forwards. A name that is registered already is
        registered anew.
    capture : callable
        ``capture()`` returns the state; called once a call, on the caller's thread.
        The state must be picklable where tasks are.
    restore : callable
        ``restore(state)`` returns a context manager, in which the task runs on its
        worker. Must be picklable where tasks are, as a function of a module is.

    Raises
    ------
    TypeError
        If `name` is no string, or one of the others is not callable.

    See Also
    --------
    unregister_task_context, forward_context

    Examples
    --------
    With this scikit-learn would need no `Parallel` and `delayed` of its own::

        register_task_context(
            "sklearn", sklearn.get_config, lambda config: config_context(**config)
        )

    >>> import decimal
    >>> from joblib import Parallel, delayed
    >>> from joblib import register_task_context, unregister_task_context
    >>> register_task_context("decimal", decimal.getcontext, decimal.localcontext)
    >>> with decimal.localcontext(decimal.Context(prec=3)):
    ...     Parallel(n_jobs=2)(delayed(decimal.Decimal(1).__truediv__)(n) for n in (3, 7))
    [Decimal('0.333'), Decimal('0.143')]
    >>> unregister_task_context("decimal")
    """
    if not isinstance(name, str):
        raise TypeError(
            f"name must be a string, got {name!r} of type {type(name).__name__}."
        )
    for label, value in (("capture", capture), ("restore", restore)):
        if not callable(value):
            raise TypeError(
                f"{label} must be callable, got {value!r} of type "
                f"{type(value).__name__}."
            )
    _registered[name] = (capture, restore)


def unregister_task_context(name: str) -> None:
    """Take back what `register_task_context` was told.

    Parameters
    ----------
    name : str
        The name it was registered by.

    Raises
    ------
    KeyError
        If nothing is registered by this name.
    """
    if name not in _registered:
        raise KeyError(
            f"Nothing is registered by the name {name!r}, only {sorted(_registered)}."
        )
    del _registered[name]


class _States:
    """Wraps a task: what was captured holds in it.

    Parameters
    ----------
    states : list of tuple
        What makes a context of a state, and the state.
    """

    def __init__(self, states: list[tuple[Callable[[Any], Any], Any]]) -> None:
        self.states = states

    def __call__(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        with ExitStack() as stack:
            for restore, state in self.states:
                stack.enter_context(restore(state))
            return func(*args, **kwargs)


def wrappers_for_call(user_wrappers: Sequence[Any]) -> list[Any]:
    """Return what runs around the tasks of a call that begins now.

    Parameters
    ----------
    user_wrappers : sequence of callable
        What users have set. One that has a method `for_call` is asked for what it has
        to be in this call.
    """
    wrappers = []
    for wrapper in user_wrappers:
        for_call = getattr(wrapper, "for_call", None)
        wrappers.append(wrapper if for_call is None else for_call())
    if _registered:
        states = [
            (restore, capture()) for capture, restore in list(_registered.values())
        ]
        wrappers.insert(0, _States(states))
    return wrappers


class ContextOfCaller:
    """Wraps tasks on threads: each runs in a copy of the caller's `contextvars`."""

    def __init__(self, context: contextvars.Context) -> None:
        self._context = context

    def __call__(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        context = self._context.copy()
        if "decimal" in sys.modules:
            context.run(_copy_decimal_context)
        return context.run(func, *args, **kwargs)


def _copy_decimal_context() -> None:
    # A context holds its values by reference, and this one is there to be changed.
    import decimal

    decimal.setcontext(decimal.getcontext().copy())


def context_of_caller() -> ContextOfCaller | None:
    """Return a wrapper for the calling thread's context variables; None if it has none."""
    context = contextvars.copy_context()
    return ContextOfCaller(context) if len(context) else None


# ------------------------------------------------------- to other processes
class forward_context:  # noqa: N801 - used as a function
    """Return a task wrapper that takes the caller's surroundings to other processes.

    For ``parallel_config(wrap_task=...)``. What holds in the thread and at the moment
    in which a call of `Parallel` begins, holds in its tasks, and in those of the calls
    that they make. On threads of the caller's own process filters and levels are the
    same anyway, and context variables are copied without this.

    Parameters
    ----------
    warnings : bool, default=True
        The filters of the module `warnings`. They are a process's: on a dask worker of
        several threads, tasks of calls with other filters should not run beside.
    logging : bool, default=True
        The levels of all loggers that have one, and `logging.disable`. As above.
    contextvars : sequence of str, default=()
        Context variables, each by the place where it can be imported from:
        ``"package.module:variable"``. Their values must be picklable.

    Raises
    ------
    TypeError
        If `contextvars` is no sequence of strings.
    ValueError
        If there is no such variable.

    Examples
    --------
    >>> import warnings
    >>> from joblib import Parallel, delayed, forward_context, parallel_config
    >>> with parallel_config("loky", n_jobs=2, wrap_task=forward_context()):
    ...     with warnings.catch_warnings():
    ...         warnings.simplefilter("ignore")
    ...         Parallel()(delayed(warnings.warn)("not shown") for _ in range(2))
    [None, None]
    """

    def __init__(
        self,
        *,
        warnings: bool = True,
        logging: bool = True,
        contextvars: Sequence[str] = (),
    ) -> None:
        if isinstance(contextvars, str) or not all(
            isinstance(place, str) for place in contextvars
        ):
            raise TypeError(
                "contextvars must be a sequence of strings such as "
                f"['package.module:variable'], got {contextvars!r}."
            )
        self.warnings = warnings
        self.logging = logging
        self.contextvars = tuple(contextvars)
        for place in self.contextvars:
            find_variable(place)

    def for_call(self) -> _States:
        """Return the wrapper for a call that begins now."""
        here = process_token()
        states: list[tuple[Callable[[Any], Any], Any]] = []
        if self.warnings:
            states.append((_filtering, (here, warnings.filters[:])))
        if self.logging:
            states.append((_logging, (here, _levels())))
        unset = object()
        for place in self.contextvars:
            value = find_variable(place).get(unset)
            if value is not unset:
                states.append((_variable, (place, value)))
        return _States(states)

    def __call__(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a task as it is: for engines that do not ask for the call's wrapper."""
        return func(*args, **kwargs)


def find_variable(place: str) -> contextvars.ContextVar[Any]:
    """Return the context variable at ``"package.module:variable"``."""
    module, _, name = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"There is no context variable at {place!r}, which must be written "
            f"'package.module:variable': {error}"
        ) from error
    if not isinstance(found, contextvars.ContextVar):
        raise ValueError(
            f"{place!r} is no contextvars.ContextVar, but a {type(found).__name__}."
        )
    return found


@contextmanager
def _variable(state: tuple[str, Any]) -> Iterator[None]:
    place, value = state
    variable = find_variable(place)
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


class _Shared:
    """A setting of this process, changed while tasks are here that want it changed.

    Of several at a time the first one changes it, and the last one puts it back.
    """

    def __init__(self, get: Callable[[], Any], put: Callable[[Any], None]) -> None:
        self._get, self._put = get, put
        self._lock = threading.Lock()
        self._users = 0
        self._before: Any = None

    @contextmanager
    def holding(self, value: Any) -> Iterator[None]:
        with self._lock:
            if not self._users:
                self._before = self._get()
            self._users += 1
            self._put(value)
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._put(self._before)


def _set_filters(filters: Any) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    # what has been shown once is told by the version of the filters
    changed = getattr(warnings, "_filters_mutated_lock_held", None) or getattr(
        warnings, "_filters_mutated", None
    )
    if changed is None:
        return
    lock = getattr(warnings, "_lock", None)
    if lock is None:
        changed()
    else:
        with lock:
            changed()


def _levels() -> tuple[int, dict[str, int]]:
    manager = logging.root.manager
    levels = {
        name: logger.level
        for name, logger in list(manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and logger.level
    }
    return manager.disable, {"": logging.root.level, **levels}


def _set_levels(state: tuple[int, dict[str, int]]) -> None:
    disable, levels = state
    logging.disable(disable)
    for name in _levels()[1].keys() - levels.keys():
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in levels.items():
        logging.getLogger(name or None).setLevel(level)


_filters_here = _Shared(lambda: warnings.filters[:], _set_filters)
_levels_here = _Shared(_levels, _set_levels)


_tokens: dict[int, str] = {}


def process_token() -> str:
    """Return what tells this process from all others, on other machines too.

    In containers the numbers of processes are the same again and again.
    """
    here = os.getpid()
    token = _tokens.get(here)
    if token is None:
        _tokens.clear()  # a fork has its parent's
        token = _tokens[here] = os.urandom(16).hex()
    return token


@contextmanager
def _elsewhere(shared: _Shared, state: tuple[str, Any]) -> Iterator[None]:
    process, value = state
    if process == process_token():  # it holds here, or the user has changed it since
        yield
        return
    with shared.holding(value):
        yield


def _filtering(state: tuple[str, Any]) -> AbstractContextManager[None]:
    return _elsewhere(_filters_here, state)


def _logging(state: tuple[str, Any]) -> AbstractContextManager[None]:
    return _elsewhere(_levels_here, state)
