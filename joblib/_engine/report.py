"""What `Parallel` lets others see of its calls, and override: counters, messages."""

from __future__ import annotations

import sys
import time
from typing import Any

from ..logger import Logger
from .progress import Snapshot, progress_line
from .run import Run
from .states import State


class CallReport(Logger):
    """The part of `Parallel` that backends, recipes and people read or override.

    Attributes
    ----------
    n_jobs : int
        What the calls ask for.
    verbose : int
        How much is printed.
    n_tasks : int or None
        Tasks of the present or last call, where its iterable has a length.
    """

    n_jobs: int
    verbose: int
    return_generator: bool
    n_tasks: int | None = None
    _run: Run | None = None
    _start_time: float = 0.0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(n_jobs={self.n_jobs})"

    @property
    def _id(self) -> str:
        """A name for this object that no other one has, in any process."""
        name = self.__dict__.get("_unique_id")
        if name is None:
            from uuid import uuid4

            name = self.__dict__.setdefault("_unique_id", uuid4().hex)
        return str(name)

    @property
    def n_dispatched_batches(self) -> int:
        """Batches given out in the present or last call."""
        return self._run.n_dispatched_batches if self._run else 0

    @property
    def n_dispatched_tasks(self) -> int:
        """Tasks given out in the present or last call."""
        return self._run.n_dispatched_tasks if self._run else 0

    @property
    def n_completed_tasks(self) -> int:
        """Tasks completed in the present or last call."""
        return self._run.n_completed_tasks if self._run else 0

    @property
    def _iterating(self) -> bool:
        return self._run is not None and self._run.active and not self._run.exhausted

    @property
    def _aborting(self) -> bool:
        return self._run is not None and self._run.aborting

    def _print(self, msg: str) -> None:
        out = sys.stderr if self.verbose < 50 else sys.stdout
        out.write(f"[{self}]: {msg}\n")

    def print_progress(self) -> None:
        """Print how far the call is, as `verbose` says. May be overridden.

        Called on the thread that completes a batch, and at the end.
        """
        if not self.verbose:
            return
        run = self._run
        if run is None:
            return
        now = Snapshot(
            done=run.n_completed_tasks,
            dispatched=run.n_dispatched_batches,
            total=run.n_dispatched_tasks if run.exhausted else None,
            given_total=self.n_tasks,
            finished=run.state is State.DONE,
            elapsed=time.time() - self._start_time,
        )
        line = progress_line(now, self.verbose)
        if line is not None:
            self._print(line)

    def dispatch_one_batch(self, iterator: Any) -> bool:
        """Give out one more batch; False when there is none. May be overridden.

        Parameters
        ----------
        iterator : object
            Where the tasks come from.
        """
        run = self._run
        return run is not None and run.dispatch_one()
