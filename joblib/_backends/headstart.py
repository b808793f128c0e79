"""Workers whose interpreters start while this process still imports loky.

Either takes about as long, and one has to wait for the other if they come one after
the other: the first call of a program takes twice as long then as it need. So the
first workers are started before loky is there, as plain processes that import what
any worker needs and then wait at a socket. When loky launches its workers, it is
these that it gets, see `launching`; there is no other difference between them and
the rest. One that is not needed after all is ended.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
from array import array
from collections.abc import Iterable
from contextlib import suppress

from .messages import is_available

#: at most so many at once: what imports at the same time waits for the same cores
MOST = 16

#: what loky's workers are known by to those who look through a list of processes
_LABEL = "loky.backend.popen_loky_posix"
_SCRIPT = "import sys; sys.path[:] = {path!r}; from {module} import main; main()"


class Recruit:
    """A process that waits to be made a worker.

    Attributes
    ----------
    pid : int
    """

    def __init__(self) -> None:
        self._end, theirs = socket.socketpair()
        self._end.settimeout(None)
        module = __name__.replace("headstart", "recruit")
        path = [place for place in sys.path if isinstance(place, str)]
        script = _SCRIPT.format(path=path, module=module)
        with theirs:
            try:
                self.pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-c", script, _LABEL],
                    os.environ,
                    file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)],
                    # until it has said which interrupts it heeds, as all workers
                    setsigmask=[signal.SIGINT],
                )
            except BaseException:
                self._end.close()
                raise

    def enlist(
        self, env: dict[str, str], pickles: Iterable[bytes], descriptors: list[int]
    ) -> None:
        """Make it a worker.

        Parameters
        ----------
        env : dict of str to str
            What to change about its environment.
        pickles : iterable of bytes
            How to prepare it, and the process object that it is to be.
        descriptors : list of int
            It gets them under the same numbers.

        Raises
        ------
        OSError
            If it has died.
        """
        orders = pickle.dumps((env, descriptors, *pickles))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
        with self._end as end:
            end.sendmsg([len(orders).to_bytes(8, "little")], rights)
            end.sendall(orders)

    def dismiss(self) -> None:
        """End it: it has done nothing yet."""
        self._end.close()
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def forget(self) -> None:
        """Leave it to the process from which this one was forked."""
        self._end.close()


_recruits: list[Recruit] = []
_begun = False


def begin(n_workers: int) -> None:
    """Start so many workers, if this is the first time that any are needed.

    Never fails: without them loky starts its own.
    """
    global _begun
    if _begun or "loky" in sys.modules:
        return
    _begun = True
    if not (sys.executable and is_available()) or getattr(sys, "frozen", False):
        return
    with suppress(OSError):
        for _ in range(min(n_workers, MOST)):
            _recruits.append(Recruit())


def take() -> Recruit | None:
    """Return one that waits; None if there is none."""
    try:
        return _recruits.pop(0)
    except IndexError:
        return None


def dismiss() -> None:
    """End those that still wait."""
    while (recruit := take()) is not None:
        recruit.dismiss()


def _forget() -> None:
    while (recruit := take()) is not None:
        recruit.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
