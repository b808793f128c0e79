"""What is raised for a batch that has no result, and says why."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from pickle import PicklingError
from typing import Any

from .allowance import Allowance
from .carrying import is_carried
from .collecting import Lost, reasons_of, was_dropped
from .counting import CoreCount, NoWorkersLeft
from .packing import note
from .pulse import SchedulerSilent
from .remote import LoadingFailure, TaskFailure
from .sharing import Sharing
from .shipment import Shipment

#: how often in a row it is tried to send a batch
TRIES = 5

#: what dask gives as the reason for the end of tasks that somebody has called off. Where
#: it gives none, that may be or not: it gives none for some that it has lost, either.
_CALLED_OFF = {"scheduler-restart"}

#: states of futures that will have no result; what is lost may be computed anew
_ENDED = ("cancelled", "error")

#: what scattering raises when the scheduler finds no worker (two types in 3.10), or
#: does not find one that it knew, or no more of those that were to have a copy
NO_WORKER = (TimeoutError, asyncio.TimeoutError)
WORKER_GONE = (OSError, KeyError, ValueError, asyncio.TimeoutError)

NOT_LOADED = (
    "This happened while calls of the function {!r} were unpickled on a worker, where "
    "the modules that they need must be installed, too."
)


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
        own = error.captured.raised()
        if isinstance(error, LoadingFailure):
            with suppress(Exception):  # a function that raises when asked its name
                note(own, NOT_LOADED.format(batch.name()))
        return own
    name = batch.name() if hasattr(batch, "name") else repr(batch)
    if isinstance(error, PicklingError):
        return error  # it has said all that
    if not lost.cancelled:
        note(error, f"This ended a batch of calls of the function {name!r}.")
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


def report(error: BaseException, thread: threading.Thread) -> None:
    """Report what a callback has raised: other batches still have to come home."""
    kind = type(error)
    args = threading.ExceptHookArgs((kind, error, error.__traceback__, thread))
    threading.excepthook(args)


def lost_values(shipment: Shipment) -> list[Any]:
    """Return the futures of shared arguments whose data the cluster has lost."""
    return [
        value
        for value in shipment.values
        if _is_lost(value) and not any(value is future for future in shipment.given)
    ]


def _is_lost(value: Any) -> bool:
    status: str = value.status
    return status in _ENDED if is_carried(value) else status != "finished"


def lost_with_worker(shipment: Shipment, out: Lost) -> list[Any] | None:
    """Return what shared data a batch has to be sent again with; None if it is not to be.

    dask cancels the tasks whose scattered data died with its last holder, and
    scattering fails if the worker chosen for it dies meanwhile. (The errors of
    tasks never come here by their own type, but in a `TaskFailure`.)
    """
    if any(future.status in _ENDED for future in shipment.given):
        return None  # the user's, whose it is to bring them
    lost = lost_values(shipment)
    if not out.cancelled:
        # dask counts it against a function, too, if workers die while it waits for them
        failed = [value for value in lost if value.status == "error"]
        if failed:
            return failed
        return lost if isinstance(out.error, WORKER_GONE) else None
    if was_dropped(out.error):
        # The news of its arguments may come later: all are taken for lost.
        return lost or shipment.values
    return lost or None if reasons_of(out.error).isdisjoint(_CALLED_OFF) else None


def sent_again(
    shipment: Shipment, out: Lost, client: Any, sharing: Sharing, cores: CoreCount
) -> bool:
    """Tell whether to send a batch again, with its shared arguments sent anew."""
    if client.status != "running" or not shipment.sendings:  # its caller has run it
        return False
    lost = lost_with_worker(shipment, out)
    if lost is None:
        return False
    if isinstance(out.error, NO_WORKER):
        cores.suspect()
    sharing.forget(lost)
    shipment.values = []
    if not out.cancelled and isinstance(out.error, WORKER_GONE):
        shipment.unsent += 1
        return shipment.unsent < TRIES
    shipment.unsent = 0
    shipment.losses += 1
    allowance = Allowance.of(client)
    if shipment.losses <= allowance.losses:
        allowance.ask(client)
        return True
    if out.cancelled or (lost and is_killed(out.error)):
        out.error, out.cancelled = _killed(shipment, out.error), False
    return False


def _killed(shipment: Shipment, cause: BaseException) -> BaseException:
    """Return what dask would have raised for a batch, had it kept count of its workers.

    It calls off what workers died of if data went with the last of them. Which of the
    batches that were under way did that, is not known then: it may be another one.
    """
    from distributed import KilledWorker

    last: Any = _LastWorker()
    error: BaseException = KilledWorker(
        shipment.batch.name(), last, shipment.losses - 1
    )
    note(error, "Its shared arguments were lost with them each time.")
    error.__cause__ = cause
    return error


class _LastWorker:
    """Stands for the worker in an error that tells of the last one."""

    address = "one that is not known any more"


def is_killed(error: BaseException) -> bool:
    """Tell whether dask has given a task up whose workers died, one after the other."""
    from distributed import KilledWorker

    return isinstance(error, KilledWorker)
