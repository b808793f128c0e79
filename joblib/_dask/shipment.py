"""One batch on its way to the cluster and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .packing import Results


class Shipment:
    """One batch on its way there and back."""

    __slots__ = ("batch", "callback", "future", "sendings", "values")

    def __init__(self, batch: Any, callback: Callable[[Any], Any]) -> None:
        self.batch = batch
        self.callback = callback
        self.future: Any = None
        self.sendings = 0
        #: the futures of its shared arguments
        self.values: list[Any] = []

    def call_back(self, out: Any) -> None:
        """Tell the call what came of the batch."""
        if isinstance(out, tuple) and isinstance(out[0], Results):
            out[0].origin = self.batch
        self.callback(out)
