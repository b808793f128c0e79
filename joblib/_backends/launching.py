"""How loky's workers are launched: as it does it, or from those started ahead of time."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import BytesIO
from multiprocessing import util
from multiprocessing.context import set_spawning_popen
from typing import Any

from loky.backend import popen_loky_posix, process, reduction, spawn
from loky.backend.context import LokyContext

from . import headstart


class Popen(popen_loky_posix.Popen):  # type: ignore[misc]
    """Takes a process that `headstart` has ready, if there is one."""

    #: what loky has Python run in a worker that it starts
    __module__ = popen_loky_posix.__name__
    _fds: list[int]

    def __init__(self, process_obj: Any) -> None:
        # As loky's, which takes for granted that there is standard output: one that
        # runs in the background may have closed it.
        for stream in (sys.stdout, sys.stderr):
            with suppress(AttributeError, ValueError, OSError):
                stream.flush()
        self.returncode = None
        self._fds = []
        self._launch(process_obj)

    def _launch(self, process_obj: Any) -> None:
        recruit = headstart.take()
        if recruit is not None:
            try:
                self._enlist(recruit, process_obj)
                return
            except OSError:  # it is not fit for it, or has died
                recruit.dismiss()
                self._fds = []
            except BaseException:  # such as an initializer that can't be pickled
                recruit.dismiss()
                raise
        super()._launch(process_obj)

    def _enlist(self, recruit: headstart.Recruit, process_obj: Any) -> None:
        set_spawning_popen(self)
        try:
            # It does not matter what the main module is: none is imported.
            preparation = spawn.get_preparation_data(process_obj.name, False)
            pickles = [_pickled(preparation), _pickled(process_obj)]
        finally:
            set_spawning_popen(None)
        sentinel, theirs = os.pipe()
        try:
            trackers = [preparation["tracker_fd"], preparation["mp_tracker_fd"]]
            descriptors = {*self._fds, theirs, *trackers}
            recruit.enlist(process_obj.env, pickles, sorted(descriptors))
        except BaseException:
            os.close(sentinel)
            raise
        finally:
            os.close(theirs)
        self.sentinel = sentinel
        util.Finalize(self, os.close, (sentinel,))
        self.pid = recruit.pid


def _pickled(obj: Any) -> bytes:
    file = BytesIO()
    reduction.dump(obj, file)
    return file.getvalue()


class LokyProcess(process.LokyProcess):  # type: ignore[misc]
    """Loky's, under its name."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's name
        return Popen(process_obj)


class Context(LokyContext):  # type: ignore[misc]
    """Loky's, whose processes may have been started ahead of time."""

    Process = LokyProcess
