"""The worker's half: unpack a batch, run it, pack its results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Any

from .._captured import CapturedError, capture_call, label_of
from .packing import CannotPickle, Packed, Results, explain_result, teach_dask
from .stints import CalledOff, run_stint, while_wanted
from .timing import run_timed


class Slot:
    """Stands in a task for an argument that reaches the worker another way."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __reduce__(self) -> tuple[Any, ...]:
        return Slot, (self.index,)


class TaskFailure(Exception):
    """Carries what a task raised past dask, which cuts long messages short.

    It is raised on the worker, so that the dashboard shows the failure and dask's
    ``retries=`` counts it. The caller sees the task's own exception.
    """

    def __init__(self, captured: CapturedError) -> None:
        super().__init__(captured)
        self.captured = captured

    def __str__(self) -> str:
        return label_of(self.captured.error)[:500]

    # dask logs and shows the repr of what a task raised
    __repr__ = __str__


class LoadingFailure(TaskFailure):
    """The same of a batch that could not be unpickled on its worker."""


def fill(items: list[Any], loaded: Sequence[Any]) -> list[Any]:
    """Put the shared values into the tasks where their slots are."""

    def put(value: Any) -> Any:
        return loaded[value.index] if type(value) is Slot else value

    return [
        (
            put(func),
            tuple(put(value) for value in args),
            {name: put(value) for name, value in kwargs.items()},
        )
        for func, args, kwargs in items
    ]


def in_same_process() -> bool:
    """Tell whether this worker lives in the process of its client."""
    from distributed import get_worker

    try:
        return str(get_worker().address).startswith("inproc://")
    except ValueError:
        return False


def run_batch(
    packed: Packed, values: Sequence[Any] = (), time_limit: float | None = None
) -> tuple[Any, ...]:
    """Run a batch on this worker.

    Parameters
    ----------
    packed : Packed
        The `BatchedCalls`, with slots in place of shared arguments. If it says for how
        long, no task of it is begun after that, and the rest is left.
    values : sequence, optional
        The shared arguments, brought here by dask.
    time_limit : float, optional
        Seconds that it may take to run, once it is unpacked.

    Returns
    -------
    results : Results or list
        The results; as they are when client and worker share a process. They stand
        first: of what is in a tuple, dask looks at that for how to send it.
    seconds : float
        How long it took this worker.
    n_done : int
        How many results there are, if the rest of the tasks was left.

    Raises
    ------
    TaskFailure
        What a task raised, or what was raised for want of one.
    distributed.Reschedule
        If dask has called it off, and may have thought better of it by now: it leaves what
        it has not begun, and has no result.
    """
    begin = perf_counter()

    def load() -> Any:
        if not values:
            return packed.load()
        loaded = [item.load() if isinstance(item, Packed) else item for item in values]
        batch = packed.load_with(loaded)
        return batch.with_items(fill(batch.items, loaded))

    batch = capture_call(load)
    if isinstance(batch, CapturedError):
        if isinstance(batch.error, Exception):
            raise LoadingFailure(batch)
        return batch, perf_counter() - begin

    n_done = n_tasks = len(batch.items)

    def work() -> Any:
        nonlocal n_done
        if packed.patience is not None:
            results = run_stint(batch, packed.patience)
            n_done = len(results)
        else:
            run = partial(batch, while_wanted(batch.items))
            results = run() if time_limit is None else run_timed(run, time_limit)
        if in_same_process():
            return results
        try:
            teach_dask()
            return Results.of(results)
        except CannotPickle as failed:
            error = explain_result(batch.name(), results, failed)
            raise error from failed.__cause__

    outcome = capture_call(work)
    if isinstance(outcome, CapturedError) and isinstance(outcome.error, CalledOff):
        from distributed import Reschedule

        # The frames of the error refer to this one: it would keep the arguments.
        batch = outcome = None
        values = ()
        raise Reschedule
    if isinstance(outcome, CapturedError) and isinstance(outcome.error, Exception):
        raise TaskFailure(outcome)
    # What is no Exception goes home as a value: dask would try the task again.
    if n_done < n_tasks:
        return outcome, perf_counter() - begin, n_done
    return outcome, perf_counter() - begin
