"""A batch turned into what goes to the cluster: bytes, and futures of what is shared."""

from __future__ import annotations

from .packing import CannotPickle, Packed, explain_batch
from .sharing import HEAVY, Sharing
from .shipment import Shipment


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
        return _pack_with_slots(shipment, sharing, in_process)
    return packed


def _pack_with_slots(shipment: Shipment, sharing: Sharing, in_process: bool) -> Packed:
    batch = shipment.batch
    try:
        items, shipment.values = sharing.take_out(batch.items)
        if shipment.values:
            batch = batch.with_items(items)
        return Packed.of(batch, copy=in_process)
    except CannotPickle as failed:
        raise explain_batch(shipment.batch, failed) from failed.__cause__
