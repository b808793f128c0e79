"""Messages between a caller and its workers: queues of whole messages in the kernel.

::

    caller  ==tasks====>  whichever worker is free
    caller  <==results==  any worker

Both are pairs of sockets that keep the bounds of messages. All workers read at the
same end: each message reaches exactly one of them, without a lock that a killed
worker could take along, and without a thread that would have to feed the queue. What
is too large for a message goes as a file in memory that has no name, and whose
descriptor travels in the message: nothing is left of it whoever is killed when.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

#: bytes of a message that are worth no file: the kernel's buffers take a few of them
MOST_INLINE = 48_000
#: the number of the delivery; bytes of the label, by which the batch is described
HEADER = struct.Struct("<QI")
#: stands for the number in the message that sends a worker off
GO = 0

#: files of one message; the kernel takes 253
MOST_FILES = 250

_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_POPULATE = getattr(mmap, "MAP_POPULATE", 0)


def is_available() -> bool:
    """Whether this system has what it takes: Linux, as far as known."""
    if not (hasattr(socket, "SOCK_SEQPACKET") and hasattr(os, "memfd_create")):
        return False
    try:
        os.close(os.memfd_create("joblib"))
    except OSError:  # forbidden in some containers
        return False
    return True


class Message(NamedTuple):
    """What was received: the number of a delivery, a label, and the body."""

    number: int
    label: bytes
    #: bytes, or a mapping of memory, which who reads it may close
    body: Any


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a queue of messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _memory_files(*parts: bytes) -> list[int]:
    """Write to files without a name; return their descriptors.

    It is one, unless this process may not have files that large.
    """
    descriptors = [_new_file()]
    written = 0
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                try:
                    n_bytes = os.write(descriptors[-1], view)
                except OSError as error:
                    if error.errno != errno.EFBIG or not written:
                        raise
                    if len(descriptors) == MOST_FILES:
                        raise
                    descriptors.append(_new_file())
                    written = 0
                    continue
                written += n_bytes
                view = view[n_bytes:]
    except BaseException:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return descriptors


def _new_file() -> int:
    return os.memfd_create("joblib", getattr(os, "MFD_CLOEXEC", 0))


def _map_files(descriptors: Iterable[int]) -> Any:
    """Return what is in the files, which may be many, and close them."""
    mapped = []
    for descriptor in descriptors:
        try:
            mapped.append(
                mmap.mmap(
                    descriptor,
                    0,
                    flags=mmap.MAP_PRIVATE | _POPULATE,
                    prot=mmap.PROT_READ,
                )
            )
        finally:
            os.close(descriptor)
    return mapped[0] if len(mapped) == 1 else b"".join(mapped)


class Outgoing:
    """A message that is ready to be sent, once; `discard` it if it is not.

    Parameters
    ----------
    number : int
    label, body : bytes
    """

    __slots__ = ("_data", "_files")

    def __init__(self, number: int, label: bytes, body: bytes) -> None:
        head = HEADER.pack(number, len(label))
        self._files: list[int] = []
        if len(label) + len(body) <= MOST_INLINE:
            self._data = head + label + body
        else:
            self._data = head
            self._files = _memory_files(label, body)

    @property
    def is_large(self) -> bool:
        return bool(self._files)

    def send(self, end: socket.socket, flags: int = 0) -> None:
        """Send it; BlockingIOError if `flags` forbid to wait and there is no room."""
        if not self._files:
            end.send(self._data, flags)
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", self._files))]
        end.sendmsg([self._data], rights, flags)
        self.discard()

    def discard(self) -> None:
        """Free the memory that it takes. Idempotent."""
        while self._files:
            os.close(self._files.pop())


class Inbox:
    """One end of a queue, for one thread that reads there.

    Parameters
    ----------
    end : socket.socket
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._buffer = bytearray(HEADER.size + MOST_INLINE)
        self._view = memoryview(self._buffer)
        self._room = socket.CMSG_LEN(MOST_FILES * array("i").itemsize)

    def receive(self, wait: bool = True) -> Message | None:
        """Wait for a message; None if there will be none any more.

        Raises
        ------
        BlockingIOError
            If there is none and this is not to wait, or has waited for as long as
            the socket's time limit says.
        """
        flags = _CLOEXEC if wait else _CLOEXEC | socket.MSG_DONTWAIT
        size, ancillary, _, _ = self._end.recvmsg_into(
            [self._buffer], self._room, flags
        )
        if not size:
            return None
        number, label_size = HEADER.unpack_from(self._buffer)
        start = HEADER.size
        if not ancillary:
            body = start + label_size
            view = self._view
            return Message(number, bytes(view[start:body]), bytes(view[body:size]))
        whole = _map_files(array("i", ancillary[0][2]))
        if not label_size:
            return Message(number, b"", whole)
        label = whole[:label_size]
        # the body starts behind the label; it keeps the mapping alive
        return Message(number, label, memoryview(whole)[label_size:])
