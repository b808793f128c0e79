"""What a worker does that was started ahead of time: imports, and waits for orders.

See `headstart`, which starts it and sends the orders.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
from array import array
from contextlib import suppress
from typing import Any

#: the socket at which the orders come
END = 3


def greeting() -> bytes:
    """Return what one says that can be made a worker: that it is of this package."""
    return os.fsencode(__file__)[-1024:]


def main() -> None:
    """Become a worker, unless the program ends before it needs one."""
    end = socket.socket(fileno=END)
    os.set_inheritable(END, False)
    orders = None
    if _is_plain():
        with suppress(OSError), end:  # the program is gone
            end.sendall(greeting())
            prepare = _import()
            orders = _receive(end)
    if orders is None:
        os._exit(0)  # and nothing else: Python might be told to stay
    (env, numbers, preparation, process), descriptors = orders
    _place(descriptors, numbers)
    os.environ.update(env)
    sys.exit(_be(prepare, preparation, process))


def _is_plain() -> bool:
    """Whether this process is as Python's own start leaves it.

    If something that the user has every start do has opened files, their numbers may
    be those that a worker needs; if NumPy is there, its threads are counted already.
    """
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != END:
            with suppress(OSError):  # the one that lists them
                os.fstat(int(name))
                return False
    return "numpy" not in sys.modules


def _import() -> Any:
    """Import what any worker needs; return what prepares one."""
    import loky.process_executor
    from loky.backend import spawn

    from .._engine import batch  # noqa: F401
    from . import orphans, serving  # noqa: F401

    assert loky.process_executor
    return spawn.prepare


def _receive(end: socket.socket) -> tuple[Any, list[int]] | None:
    """Return the orders, and the descriptors that came along; None if none come."""
    descriptors = array("i")
    room = socket.CMSG_SPACE(253 * descriptors.itemsize)
    head, ancillary, _, _ = end.recvmsg(8, room)
    if not head:
        return None
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data)
    with end.makefile("rb") as file:
        head += file.read(8 - len(head))
        size = int.from_bytes(head, "little")
        orders = file.read(size)
    if len(orders) < size:  # the program died while it gave them
        return None
    return pickle.loads(orders), list(descriptors)


def _place(descriptors: list[int], numbers: list[int]) -> None:
    """Give descriptors the numbers that they have where they come from."""
    wanted = set(numbers)
    spare = []
    for index, descriptor in enumerate(descriptors):
        while descriptor in wanted:  # in the way of another one, it may be
            spare.append(descriptor)
            descriptor = os.dup(descriptor)
        descriptors[index] = descriptor
    for descriptor in spare:
        os.close(descriptor)
    for descriptor, number in zip(descriptors, numbers, strict=True):
        os.dup2(descriptor, number, inheritable=False)
        os.close(descriptor)


def _be(prepare: Any, preparation: bytes, process: bytes) -> int:
    """Be a process of multiprocessing until it ends; return its exit code."""
    from multiprocessing.process import current_process

    this: Any = current_process()
    this._inheriting = True
    try:
        prepare(pickle.loads(preparation))
        worker = pickle.loads(process)
    finally:
        del this._inheriting
    code: int = worker._bootstrap()
    return code
