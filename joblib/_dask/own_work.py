"""The work of a task that waits for a call of its own: batches of that call.

A waiting task gives its worker's slot up, for otherwise it might wait for ever. But
where all workers are busy, its batches gain nothing by going to the cluster: they are
packed, wait behind other tasks, are unpacked where they happen to run, and so are their
results. So it runs them itself, in its own slot, as long as there are any that no idle
worker has been found for, or that are soon to come. They run as on any worker: on copies
of their arguments, of which the tasks of a call share the large ones, and their results
are copies again.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import PicklingError
from typing import Any

from .._captured import CapturedError, capture_call
from .._engine.context import _backend
from .collecting import Lost
from .loading import pack
from .naming import is_ours
from .packing import CannotPickle, Packed
from .parents import CANCELLED
from .remote import TaskFailure, run_batch
from .sharing import Sharing
from .shipment import Shipment
from .sizing import WorkerTimedBatches
from .slots import SlotReleased, has_slot

#: seconds for which the end of a call is waited for in a worker's slot
MOMENT = 0.1
#: levels of calls on one thread: the stack of the next one begins on another
DEEPEST = 4

_HERE = threading.local()

#: keywords of ``Client.submit`` that say nothing of how or where a batch is to run
_HARMLESS = {"priority", "fifo_timeout"}


class Copies(Sharing):
    """The large arguments of a call, shared with nobody but the tasks run here."""

    def __init__(self, in_process: bool) -> None:
        super().__init__(None, {}, in_process)

    def _scatter(self, found: list[tuple[Any, Any]]) -> None:
        for value, seen in found:
            if self._in_process and not seen.fresh:
                seen.future = value
                continue
            try:
                packed = Packed.of(value, copy=True)
            except CannotPickle:  # the batch will say what it is
                continue
            if packed.may_hold_futures:
                seen.stays = True  # their results are meant
                continue
            seen.future = packed if seen.fresh else packed.load()


@contextmanager
def _as_on_a_worker() -> Iterator[None]:
    """A context in which nothing is known of the caller's `parallel_config`."""
    here = _backend.__dict__
    before = here.get("config")
    here["config"] = None
    _HERE.depth = _depth() + 1
    try:
        yield
    finally:
        _HERE.depth -= 1
        here["config"] = before


def _depth() -> int:
    depth: int = getattr(_HERE, "depth", 0)
    return depth


class OwnWork:
    """Runs batches of one call on the thread that waits for it.

    Parameters
    ----------
    in_process : bool
        Client and workers share a process: then tasks share objects as they are.
    context : contextvars.Context
        In which a worker's tasks begin.
    sizes : WorkerTimedBatches, optional
        What knows after how many seconds the rest of a batch is left to others.
    """

    def __init__(
        self,
        in_process: bool,
        context: contextvars.Context,
        sizes: WorkerTimedBatches | None = None,
    ) -> None:
        self._copies = Copies(in_process)
        self._context = context
        self._sizes = sizes

    def run(self, shipment: Shipment) -> Any:
        """Return what would come back of a batch: what `run_batch` returns, or `Lost`."""
        from distributed import Reschedule

        # its own futures are for the cluster's data
        here = Shipment(shipment.batch, shipment.callback)

        def prepare() -> Packed:
            self._copies.survey([here.batch.items])
            return pack(here, self._copies, in_process=True)

        packed = capture_call(prepare)
        if isinstance(packed, CapturedError):
            error = packed.error
            is_told = isinstance(error, PicklingError)
            return Lost(error if is_told else TaskFailure(packed))
        if self._sizes is not None:
            packed.patience = self._sizes.patience_with(len(shipment.batch.items))
        try:
            values = [_result_of(value, here.given) for value in here.values]
        except Exception as error:
            return Lost(error)
        try:
            with _as_on_a_worker():
                context = self._context.copy()
                results, *about = context.run(run_batch, packed, values)
        except TaskFailure as failure:
            return Lost(failure)
        except Reschedule:
            return Lost(RuntimeError(CANCELLED), cancelled=True)
        if isinstance(results, Packed):
            results = results.apart()
        return (results, *about)


def _result_of(value: Any, given: list[Any]) -> Any:
    """Return what a worker would be given: of an argument that is a future, its result."""
    if not any(value is future for future in given):
        return value
    if value.status == "finished":
        return value.result()
    with SlotReleased():  # what is to bring it may wait for just that slot
        return value.result()


def has_failed(out: Any) -> bool:
    """Tell whether this came of a batch that ends its call."""
    return type(out) is Lost or isinstance(out[0], CapturedError)


def await_end(call: Any) -> None:
    """Wait a moment for a call to hear that one of its batches has failed."""
    with call.condition:
        call.condition.wait_for(lambda: not call.active, MOMENT)


def is_callers(call: Any) -> bool:
    """Tell whether the calling thread has made this call."""
    return getattr(call, "caller", None) == threading.get_ident()


def _has_tasks_of_the_users(client: Any) -> bool:
    """Tell whether tasks are under way that one has started by its worker's client."""
    states = list(client.futures.items())
    return any(state.status == "pending" and not is_ours(key) for key, state in states)


def may_work(call: Any, parallel: Any, client: Any, options: dict[str, Any]) -> bool:
    """Tell whether the calling thread may run batches of the call that it makes now.

    It has to hold a slot of a worker of that very cluster, and to have nothing else to
    do than to wait; and a batch must need nothing that dask does for it.

    Parameters
    ----------
    call : object
        The call.
    parallel : Parallel
        Whose call it is.
    client : distributed.Client
        The cluster's client.
    options : dict
        Keywords of ``Client.submit`` for its tasks.
    """
    import dask
    from distributed import get_worker

    if not is_callers(call) or not has_slot() or _depth() >= DEEPEST:
        return False
    if _has_tasks_of_the_users(client):
        return False  # the thread may wait for them next, and they for its slot
    waits = not parallel.return_generator and parallel.timeout is None
    is_plain = getattr(parallel, "_controls", None) is None
    annotations = dask.get_annotations()  # type: ignore[attr-defined]
    if not waits or not is_plain or annotations or {*options} - _HARMLESS:
        return False
    try:
        return bool(get_worker().scheduler.address == client.scheduler.address)
    except (ValueError, AttributeError):  # on no worker, or one that is closing
        return False
