"""Tasks, batches of tasks, and the worker's half: how a batch is run."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .columns import Columns
from .context import CONTROLS, DEFAULTS, SHARED_BY, TRACES, WRAPPERS, _backend

#: one task: the function, its positional and its keyword arguments
Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

#: what the tasks of a batch may be kept in
_KEPT = (list, Columns)

_DELAYED_DOC = """Capture a function, so that calling it makes a task instead.

    Parameters
    ----------
    function : callable
        What the task will run.

    Returns
    -------
    callable
        Called with arguments, it returns the task ``(function, args, kwargs)``.

    Examples
    --------
    >>> from joblib import Parallel, delayed
    >>> delayed(pow)(2, 10)
    (<built-in function pow>, (2, 10), {})
    >>> Parallel(n_jobs=1)(delayed(pow)(2, i) for i in range(4))
    [1, 2, 4, 8]
    """


class _DocOfWrapped:
    """``__doc__``: the class's own on the class, the function's on an instance."""

    def __get__(self, instance: Any, owner: type) -> str | None:
        if instance is None:
            return _DELAYED_DOC
        doc: str | None = getattr(instance.__wrapped__, "__doc__", None)
        return doc


class delayed:  # noqa: N801 - used as a function everywhere
    # A class and not a closure: made once a task, it has to cost next to
    # nothing, and still shows the name and docstring of what it wraps.
    __slots__ = ("__wrapped__",)
    __doc__ = _DocOfWrapped()

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> Task:
        return self.__wrapped__, args, kwargs

    def __getattr__(self, name: str) -> Any:
        if name == "__wrapped__":  # not yet there while being unpickled
            raise AttributeError(name)
        return getattr(self.__wrapped__, name)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"delayed({self.__wrapped__!r})"


def _read(obj: Any, name: str) -> Any:
    try:
        return getattr(obj, name, None)
    except Exception:  # an attribute of somebody's making: then it has none
        return None


def name_of(func: Any) -> str:
    """Return a readable name of a function, method, partial or callable object.

    >>> from functools import partial
    >>> name_of(partial(sorted, reverse=True))
    'sorted'
    """
    for _ in range(10):
        name = _read(func, "__qualname__") or _read(func, "__name__")
        if isinstance(name, str):
            return name
        inner = _read(func, "func") or _read(func, "function")
        if not callable(inner):
            break
        func = inner
    return type(func).__name__


def explain_undelayed(items: Iterable[Any], error: Exception) -> Exception | None:
    """Return the error to raise instead when an item of a batch is no task."""
    for item in items:
        is_task = isinstance(item, (tuple, list)) and len(item) == 3
        if not (is_task and callable(item[0])):
            return type(error)(
                "Parallel runs tasks made by `delayed`, such as "
                "delayed(function)(argument); it got an item of type "
                f"{type(item).__name__!r} instead: {repr(item)[:80]}. Was a "
                f"`delayed(...)` forgotten? ({error})"
            )
    return None


def run_wrapped(wrappers: tuple[Any, ...], task: Task) -> Any:
    """Run one task inside its wrappers, the first of them outermost.

    The task's own error reaches the caller even when a teardown fails on the
    way out; a wrapper that means to translate it says so by ``raise ... from``.
    """
    func, args, kwargs = task
    failure: list[BaseException] = []

    def innermost(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except BaseException as error:  # seen and raised on
            failure[:] = [error]
            raise

    # wrappers read the function's name, and may pickle or inspect it
    innermost.__qualname__ = name_of(func)
    innermost.__name__ = innermost.__qualname__.rpartition(".")[2]
    innermost.__module__ = _read(func, "__module__")
    innermost.__wrapped__ = func  # type: ignore[attr-defined]

    call: Callable[..., Any] = innermost
    for wrapper in reversed(wrappers):
        call = _bind(wrapper, call)
    try:
        return call(*args, **kwargs)
    except BaseException as error:
        own = failure[0] if failure else error
        if own is error or error.__cause__ is own or error.__context__ is not own:
            raise
        if hasattr(own, "add_note"):  # Python >= 3.11
            own.add_note(f"The task's wrapper failed as well: {error!r}")
        raise own from own.__cause__
    finally:
        # the frame of the error refers to this list: break the cycle
        failure.clear()


def _bind(wrapper: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return wrapper(call, args, kwargs)

    wrapped.__name__ = call.__name__
    wrapped.__qualname__ = call.__qualname__
    wrapped.__module__ = call.__module__
    wrapped.__wrapped__ = call.__wrapped__  # type: ignore[attr-defined]
    return wrapped


class Plan:
    """What all batches of a call share: how their tasks are run on a worker.

    Parameters
    ----------
    nested : tuple or ParallelBackendBase
        ``(backend, n_jobs)`` for calls made inside the tasks; older backends
        give the backend alone.
    user_wrappers : tuple of callable
        The user's task wrappers, for calls made inside the tasks.
    wrappers : iterable of callable or None
        What runs around the tasks of this call: the user's, and inside of them the
        backend's; None stands for none.
    shared_by : int, default=1
        How many tasks, of this call and of those around it, share the machine.
    recorder : Recorder, optional
        Takes down what each task does, while the call is traced.
    """

    __slots__ = (
        "backend",
        "n_jobs",
        "user_wrappers",
        "wrappers",
        "shared_by",
        "recorder",
        "config",
    )

    def __init__(
        self,
        nested: Any,
        user_wrappers: tuple[Any, ...] = (),
        wrappers: Iterable[Any] = (),
        shared_by: int = 1,
        recorder: Any = None,
    ) -> None:
        pair = nested if isinstance(nested, tuple) else (nested, None)
        self.backend, self.n_jobs = pair
        self.user_wrappers = user_wrappers
        self.wrappers = tuple(w for w in wrappers if w is not None)
        self.shared_by = shared_by
        self.recorder = recorder
        self.config = self.over(DEFAULTS)

    def over(self, config: dict[str, Any]) -> dict[str, Any]:
        """Return the settings that tasks find, given those of their thread."""
        changed = {**config, "backend": self.backend, "n_jobs": self.n_jobs}
        changed.pop(CONTROLS, None)  # asked of this call, and not of those within it
        if self.user_wrappers:
            changed[WRAPPERS] = self.user_wrappers
        if self.shared_by > 1:
            changed[SHARED_BY] = self.shared_by
        if self.recorder is not None:
            changed[TRACES] = self.recorder.traces
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        pair = (self.backend, self.n_jobs)
        given = pair, self.user_wrappers, self.wrappers, self.shared_by
        return Plan, given if self.recorder is None else (*given, self.recorder)


class BatchedCalls:
    """Tasks that run one after the other on one worker.

    Parameters
    ----------
    iterator_slice : iterable of task
        The tasks, each ``(function, args, kwargs)``.
    backend_and_jobs : tuple or ParallelBackendBase
        The backend for nested calls, with or without their number of jobs; the
        engine passes a `Plan`.
    reducer_callback : callable, optional
        Called with no argument each time the batch is pickled.
    pickle_cache : dict, optional
        Kept for backends that share something between the batches of a call.
    """

    # One of these is made for every batch: the defaults stand on the class.
    _reducer_callback: Callable[[], None] | None = None
    _pickle_cache: dict[Any, Any] | None = None

    def __init__(
        self,
        iterator_slice: Iterable[Task],
        backend_and_jobs: Any,
        reducer_callback: Callable[[], None] | None = None,
        pickle_cache: dict[Any, Any] | None = None,
    ) -> None:
        self.items: Any = (
            iterator_slice if type(iterator_slice) in _KEPT else list(iterator_slice)
        )
        self._plan: Plan = (
            backend_and_jobs
            if type(backend_and_jobs) is Plan
            else Plan(backend_and_jobs)
        )
        if reducer_callback is not None:
            self._reducer_callback = reducer_callback
        if pickle_cache is not None:
            self._pickle_cache = pickle_cache

    @property
    def _size(self) -> int:
        return len(self.items)

    @property
    def _backend(self) -> Any:
        return self._plan.backend

    @property
    def _n_jobs(self) -> Any:
        return self._plan.n_jobs

    def __len__(self) -> int:
        return len(self.items)

    def with_items(self, items: Sequence[Task]) -> BatchedCalls:
        """Return a batch of the same call that holds other tasks."""
        return type(self)(items, self._plan, self._reducer_callback, self._pickle_cache)

    def name(self) -> str:
        """Return the name of the first task's function."""
        return name_of(self.items[0][0]) if self.items else "nothing"

    def __call__(self, tasks: Iterable[Task] | None = None) -> list[Any]:
        """Run the tasks on this worker; return their results in order.

        With `tasks`, only those of them that it gives out, one when the last is done.
        """
        plan = self._plan
        local = _backend.__dict__
        before = local.get("config")
        local["config"] = plan.config if before is None else plan.over(before)
        try:
            return self._results(self.items if tasks is None else tasks)
        except (TypeError, ValueError) as error:
            better = explain_undelayed(self.items, error)
            if better is not None:
                raise better from None
            raise
        finally:
            local["config"] = before

    def _results(self, tasks: Iterable[Task]) -> list[Any]:
        wrappers, recorder = self._plan.wrappers, self._plan.recorder
        if recorder is not None:
            results: list[Any] = recorder.results(tasks, wrappers)
            return results
        if wrappers:
            return [run_wrapped(wrappers, task) for task in tasks]
        return [func(*args, **kwargs) for func, args, kwargs in tasks]

    def __reduce__(self) -> tuple[Any, ...]:
        if self._reducer_callback is not None:
            self._reducer_callback()
        return type(self), (self.items, self._plan, None, self._pickle_cache)
