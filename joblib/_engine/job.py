"""One batch on its way: the callback that a backend is given for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run

TASK_DONE = "Done"
TASK_ERROR = "Error"
TASK_PENDING = "Pending"


def _ends_call_on_error(call: Callable[..., None]) -> Callable[..., None]:
    @wraps(call)
    def guarded(self: Job, *args: Any, **kwargs: Any) -> None:
        try:
            call(self, *args, **kwargs)
        except BaseException as error:  # handed to the caller
            self.run.fail(error)

    return guarded


class Job:
    """One batch between its dispatch and its retrieval; the backend's callback.

    Parameters
    ----------
    dispatch_timestamp : float
        Seconds since the epoch.
    batch_size : int
        The number of tasks.
    parallel : Parallel
        Whose call it belongs to.
    """

    # Made once a batch: what most batches never change stands on the class.
    status = TASK_PENDING
    submitted = False
    #: draws its tasks itself, and hands each result over itself
    opened = False
    #: the number of its first task
    start = 0
    job: Any = None
    deadline: float | None = None

    def __init__(
        self, dispatch_timestamp: float, batch_size: int, parallel: Any
    ) -> None:
        self.dispatch_timestamp = dispatch_timestamp
        self.batch_size = batch_size
        self.parallel = parallel
        # A late completion lands on its own run, whatever `parallel` does now.
        self.run: Run = parallel._run

    def __init_subclass__(cls, **options: Any) -> None:
        # A backend can do nothing with an error of its callback, and the caller
        # would wait for the batch for ever.
        super().__init_subclass__(**options)
        own = cls.__dict__.get("__call__")
        if own is not None:
            cls.__call__ = _ends_call_on_error(own)  # type: ignore[method-assign]

    def register_job(self, job: Any) -> None:
        """Keep what ``submit`` returned, for a backend without retrieve callback."""
        self.job = job
        self.submitted = True
        self.run.wake()

    def __call__(self, out: Any = None) -> None:
        """Take the batch's outcome. On any thread; must be called once."""
        self.run.complete(self, out)
