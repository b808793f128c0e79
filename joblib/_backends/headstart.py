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
from .recruit import END, greeting

#: at most so many at once: what imports at the same time waits for the same cores
MOST = 16
#: seconds that one may take to say that it is there, or to take its orders
PATIENCE = 10.0

#: what loky's workers are known by to those who look through a list of processes
_LABEL = "loky.backend.popen_loky_posix"
# It finds modules where loky's workers do before they are told where their program
# does. If there is no such module, or it is not ours, nobody needs to hear of it.
_SCRIPT = """
try:
    from {module} import main
except ImportError:
    pass
else:
    main()
"""


class Recruit:
    """A process that waits to be made a worker.

    Attributes
    ----------
    pid : int
    """

    def __init__(self) -> None:
        self._environ = dict(os.environ)
        self._end, theirs = socket.socketpair()
        _ends.add(self._end)
        self._end.settimeout(PATIENCE)
        script = _SCRIPT.format(module=__name__.replace("headstart", "recruit"))
        # as all workers of ours, until it has said which interrupts it heeds
        mask = {*signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.SIGINT}
        with theirs:
            actions = [
                *((os.POSIX_SPAWN_CLOSE, other) for other in _inheritable()),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), END),
            ]
            try:
                self.pid = os.posix_spawn(
                    sys.executable,
                    [sys.executable, "-c", script, _LABEL],
                    self._environ,
                    file_actions=actions,
                    setsigmask=mask,
                )
            except BaseException:
                self._close()
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
            If it can't be one: it has died, or its start was no plain one, or what it
            has inherited is not what a worker would inherit now.
        """
        if self._environ != dict(os.environ):
            raise OSError("The environment has changed since.")
        orders = pickle.dumps((env, descriptors, *pickles))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))]
        if self._end.recv(1024) != greeting():
            raise OSError("It is not there.")
        self._end.sendmsg([len(orders).to_bytes(8, "little")], rights)
        self._end.sendall(orders)
        self._close()

    def dismiss(self) -> None:
        """End it: it has done nothing yet."""
        self._close()
        with suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def _close(self) -> None:
        self._end.close()
        _ends.discard(self._end)


def _inheritable() -> list[int]:
    """Return the descriptors that a process started now would have, but for 0 to 2."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them, for one
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


_recruits: list[Recruit] = []
#: of all that there are, also of those that are about to be started
_ends: set[socket.socket] = set()
_begun = False


def begin(n_workers: int) -> None:
    """Start so many workers, if this is the first time that any are needed.

    Never fails: without them loky starts its own.
    """
    global _begun
    if _begun or "loky" in sys.modules or _is_worker():
        return
    _begun = True
    if not (sys.executable and is_available()) or getattr(sys, "frozen", False):
        return
    with suppress(Exception):
        for _ in range(min(n_workers, MOST)):
            _recruits.append(Recruit())


def _is_worker() -> bool:
    """Whether this process is one of multiprocessing's that can't have workers, or
    can't have them yet."""
    process = sys.modules.get("multiprocessing.process")
    if process is None:
        return False
    this = process.current_process()
    return bool(this.daemon or getattr(this, "_inheriting", False))


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
    """Leave them to the process from which this one was forked."""
    _recruits.clear()
    while _ends:
        _ends.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
