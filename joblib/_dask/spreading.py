"""Data sent from the client to workers: once to each that will need it.

dask's own way leads through the scheduler, and from one worker to the next, since it
can't know whether the client reaches workers. Those on the client's own machine it
does; so, unless they are threads of its process, they get their copies from it
directly, all at the same time. Left to fetch one from another worker, they might wait
for seconds: a worker that imports what its task is made of answers nobody meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from .clients import on_worker

#: seconds in which a worker on this machine has to answer
NEAR = 5.0
#: seconds between two looks at whether those that data is being sent to are still there
LOOKING = 1.0
#: what goes wrong where a worker is not reached after all, or has gone
UNREACHED = (OSError, asyncio.TimeoutError, ValueError, KeyError)


async def spread(
    client: Any,
    data: dict[str, Any],
    workers: list[str] | None,
    near_copies: int,
    far_copies: int,
    **timeout: float,
) -> dict[str, Any]:
    """Send `data` to workers; return the futures by key. On the client's event loop.

    Parameters
    ----------
    client : distributed.Client
        Whose event loop this is.
    data : dict
        What to send, by the keys that it is to have on the cluster.
    workers : list of str or None
        The only workers to send to.
    near_copies : int
        How many workers get it if all are on this machine; all of them if there are
        not as many.
    far_copies : int
        How many get it otherwise.
    **timeout : float
        For how many seconds the scheduler looks for a worker, if there is none.
    """
    if not on_worker() and client.direct_to_workers is not False:
        running = await client.scheduler.ncores_running(workers=workers)
        near = [address for address in running if _is_near(client, address)]
        if near and len(near) == len(running):
            random.shuffle(near)
            try:
                return await _send_directly(client, data, near[:near_copies])
            except UNREACHED:
                pass
    try:
        found: dict[str, Any] = await client.scatter(
            data,
            workers=workers,
            broadcast=far_copies if far_copies > 1 else False,
            asynchronous=True,
            **timeout,
        )
    except Exception:
        _disown(client, data)
        raise
    return found


def _disown(client: Any, data: dict[str, Any]) -> None:
    """Let go of what the scheduler may have noted down before it failed."""
    from distributed import Future

    for key in data:
        Future(key, client).release()


async def _send_directly(
    client: Any, data: dict[str, Any], addresses: list[str]
) -> dict[str, Any]:
    for address in addresses:
        # dask would go on trying for half a minute
        comm = await asyncio.wait_for(client.rpc.connect(address), NEAR)
        client.rpc.reuse(address, comm)
    sent = {
        asyncio.ensure_future(
            client.scatter(
                data, workers=[address], direct=True, timeout=NEAR, asynchronous=True
            )
        ): address
        for address in addresses
    }
    # all have to end, lest one of them goes on while the data goes another way
    try:
        await _end_while_known(client, sent)
    finally:
        for one in sent:
            one.cancel()
            one.add_done_callback(_hear)
        await asyncio.wait(sent, timeout=NEAR)
    outcomes = [_outcome_of(one, address) for one, address in sent.items()]
    failed = [one for one in outcomes if isinstance(one, BaseException)]
    arrived = [one for one in outcomes if not isinstance(one, BaseException)]
    # One worker that has it is enough for the rest. To let go of its futures now, and
    # send the same keys another way, the scheduler would be told of both, and might hear
    # that they are not needed any more after that.
    wrong = [one for one in failed if not (arrived and isinstance(one, UNREACHED))]
    if not wrong:
        found: dict[str, Any] = arrived[0]
        return found
    try:
        raise wrong[0]
    finally:
        # It refers to this frame: no cycle, which would keep the futures of what has
        # arrived, and thereby the data on the cluster.
        del wrong, failed, arrived, outcomes, sent, one


async def _end_while_known(client: Any, sent: dict[asyncio.Future[Any], str]) -> None:
    """Wait until all is sent, but to no worker that the scheduler has lost.

    However long it takes one that is there: it may be at a task that lets nothing else
    run. To one that has died dask would try to connect anew for half a minute.
    """
    going = set(sent)
    left: set[str] = set()
    while going:
        _, going = await asyncio.wait(going, timeout=LOOKING)
        if not going:
            return
        addresses = [sent[one] for one in going]
        known = await client.scheduler.ncores(workers=addresses)
        for one in going:
            address = sent[one]
            if address in left:
                one.cancel()
            elif address not in known:
                left.add(address)
                # has dask give it up by itself, and with it what it does on the side
                client.rpc.remove(address, reason=f"The worker at {address} has left.")


def _hear(send: asyncio.Future[Any]) -> None:
    """Take note of an error, which asyncio would log else."""
    if not send.cancelled():
        send.exception()


def _outcome_of(send: asyncio.Future[Any], address: str) -> Any:
    """Return what has come of sending, be it an error."""
    if send.cancelled():
        return OSError(f"The worker at {address} has left while data was sent to it.")
    return send.exception() or send.result()


def _is_near(client: Any, address: str) -> bool:
    """Tell whether a worker is another process on the client's machine."""
    from distributed.comm.addressing import get_address_host

    if address in _addresses_in_this_process():
        return False  # it imports nothing anew, and reaches the others' data at once
    if address.startswith("inproc://"):
        return True
    try:
        host = get_address_host(address)
        return host == get_address_host(client.scheduler_comm.comm.local_address)
    except Exception:  # an address of a kind that has no host
        return False


def _addresses_in_this_process() -> set[str]:
    from distributed import Worker

    # one that starts or has failed has no address yet
    return {worker.address for worker in list(Worker._instances) if worker._address}
