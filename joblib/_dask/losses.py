"""What is raised for a batch that has no result, and says why."""

from __future__ import annotations

import sys
from pickle import PicklingError
from typing import Any

from .collecting import Lost
from .counting import NoWorkersLeft
from .pulse import SchedulerSilent
from .remote import TaskFailure


def explained(
    batch: Any, lost: Lost, client: Any, given_up: BaseException | None
) -> Lost:
    """Return `lost` with the error to raise for its batch.

    With `given_up`, the reason why its call was given up, what was cancelled was
    cancelled for that.
    """
    if lost.cancelled and given_up is not None:
        lost = Lost(given_up, cancelled=True)
    try:
        error = explain_loss(batch, lost, client)
    except Exception:  # such as a function that raises when asked its name
        error = lost.error
    return Lost(error, lost.cancelled)


def explain_loss(batch: Any, lost: Lost, client: Any) -> BaseException:
    """Return the error to raise for a batch that has no result."""
    error = lost.error
    if isinstance(error, TaskFailure):
        return error.captured.raised()
    name = batch.name() if hasattr(batch, "name") else repr(batch)
    if isinstance(error, PicklingError):
        return error  # it has said all that
    if not lost.cancelled:
        if sys.version_info >= (3, 11):
            error.add_note(f"This ended a batch of calls of the function {name!r}.")
        return error
    told: Exception
    if isinstance(error, (SchedulerSilent, NoWorkersLeft)):
        kind = TimeoutError if isinstance(error, NoWorkersLeft) else RuntimeError
        told = kind(f"A batch of calls of the function {name!r} has no result: {error}")
        told.__cause__ = error
        return told
    address = getattr(client.scheduler, "address", None)
    where = f"by the scheduler at {address}" if address else "by its closed client"
    told = RuntimeError(
        f"A batch of calls of the function {name!r} was cancelled {where}: {error}"
    )
    told.__cause__ = error
    return told


def is_killed(error: BaseException) -> bool:
    """Tell whether dask has given a task up whose workers died, one after the other."""
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)
