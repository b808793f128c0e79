"""A batch turned into what goes to the cluster: bytes, and futures of what is shared."""

from __future__ import annotations

from typing import Any

from .._engine.batch import BatchedCalls
from .._engine.columns import Columns
from .packing import CannotPickle, Packed, explain_batch
from .sharing import HEAVY, Sharing
from .shipment import Shipment

#: containers in which dask looks for futures
_HOLDERS = {list, tuple, set, frozenset, dict}


def pack(shipment: Shipment, sharing: Sharing, in_process: bool) -> Packed:
    """Return a batch as bytes, without what is shared; note the futures of that.

    Parameters
    ----------
    shipment : Shipment
        Its `values` become the futures.
    sharing : Sharing
        It has surveyed the batch.
    in_process : bool
        Client and workers share a process. Nothing copies the buffers on the way
        then, and a task would write into the caller's arrays.

    Raises
    ------
    pickle.PicklingError
        If something in the batch can't be pickled; it says what.
    """
    packed = _pack_with_slots(shipment, sharing, in_process)
    if packed.nbytes > HEAVY and sharing.weigh(shipment.batch.items):
        packed = _pack_with_slots(shipment, sharing, in_process)
    if packed.may_hold_futures:
        shipment.given = futures_in(shipment.batch.items)
        if shipment.given:
            return _pack_with_numbers(shipment, sharing, in_process)
    return packed


def _pack_with_slots(shipment: Shipment, sharing: Sharing, in_process: bool) -> Packed:
    """Pack a batch with slots for those of its arguments that are shared."""
    shipment.given = []
    if sharing.looks_inside:
        return _pack_with_numbers(shipment, sharing, in_process)
    batch = shipment.batch
    try:
        items, shipment.values = sharing.take_out(batch.items)
        if shipment.values:
            batch = batch.with_items(items)
        elif type(items) is list and type(batch) is BatchedCalls:
            batch = batch.with_items(Columns.of(items) or items)
        return Packed.of(batch, copy=in_process)
    except CannotPickle as failed:
        raise explain_batch(shipment.batch, failed) from failed.__cause__


def _pack_with_numbers(
    shipment: Shipment, sharing: Sharing, in_process: bool
) -> Packed:
    """Pack a batch with numbers for all that is shared, however deep inside it is.

    It takes longer: each object that is pickled is looked for.
    """
    finder = sharing.finder(shipment.given)
    try:
        packed = Packed.of(shipment.batch, copy=in_process, find=finder.find)
    except CannotPickle as failed:
        raise explain_batch(shipment.batch, failed) from failed.__cause__
    shipment.values = finder.futures
    return packed


def futures_in(items: list[Any]) -> list[Any]:
    """Return the futures among the arguments of tasks, be it in lists or dicts.

    dask puts their results there, and only there: what is an attribute of something
    else stays a future.
    """
    from distributed import Future

    found: dict[int, Any] = {}
    seen: set[int] = set()
    rest = [value for _, args, kwargs in items for value in (*args, *kwargs.values())]
    while rest:
        value = rest.pop()
        kind = type(value)
        if isinstance(value, Future):
            found[id(value)] = value
        elif kind in _HOLDERS and id(value) not in seen:
            seen.add(id(value))
            rest.extend(value.values() if kind is dict else value)
    return list(found.values())
