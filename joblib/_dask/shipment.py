"""One batch on its way to the cluster and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .packing import Results


class Shipment:
    """One batch on its way there and back."""

    __slots__ = (
        "batch",
        "callback",
        "due",
        "future",
        "given",
        "is_part",
        "losses",
        "patience",
        "sendings",
        "unsent",
        "values",
    )

    def __init__(
        self, batch: Any, callback: Callable[[Any], Any], is_part: bool = False
    ) -> None:
        #: it is known to be long, and so waits here until a worker is free
        self.is_part = is_part
        self.batch = batch
        self.callback = callback
        self.future: Any = None
        self.sendings = 0
        #: how often its data was lost with a worker
        self.losses = 0
        #: how often in a row it could not be sent
        self.unsent = 0
        #: seconds after which its worker leaves the rest of it
        self.patience: float | None = None
        #: when it is looked for, by `time.monotonic`, if it has not come back
        self.due = 0.0
        #: the futures of its shared arguments
        self.values: list[Any] = []
        #: those of them that are arguments themselves: their results are meant
        self.given: list[Any] = []

    def named(self, out: Any) -> Any:
        """Return what came of the batch; if it cannot be unpickled, it names this."""
        if isinstance(out, tuple) and isinstance(out[0], Results):
            out[0].origin = self.batch
        return out
