"""Processes that a server forks tell their exit code once, to one thread."""

from __future__ import annotations

import os
import threading
from multiprocessing.connection import wait
from multiprocessing.popen_forkserver import Popen
from typing import Any


class LonePoll(Popen):
    """What a pool's thread and the guard of its workers may both ask for the code.

    The server sends the code by a pipe. Of two threads that read at once, the second
    would find the end of it, and put 255 in the code's place.
    """

    def __init__(self, process_obj: Any) -> None:
        self._poll_lock = threading.Lock()
        super().__init__(process_obj)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return the exit code, None if there is none yet; wait for it without flag."""
        if flag != os.WNOHANG and self.returncode is None:
            wait([self.sentinel])
        with self._poll_lock:
            code: int | None = super().poll(os.WNOHANG)
        return code
