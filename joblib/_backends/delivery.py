"""One batch given to worker processes, and its one outcome: a payload or an error."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .transport import Parcel


class Delivery:
    """One submitted parcel; what the backend's callback is given.

    Parameters
    ----------
    parcel : Parcel
        The batch.
    callback : callable, optional
        Gets this object once its outcome is known, exactly once.
    """

    __slots__ = ("_callback", "_open", "ends_call", "error", "parcel", "payload")

    def __init__(self, parcel: Parcel, callback: Callable[[Any], Any] | None) -> None:
        self.parcel = parcel
        #: the pickled results, something that has a buffer
        self.payload: Any = None
        self.error: BaseException | None = None
        #: whether the error is no single batch's
        self.ends_call = False
        self._callback = callback
        self._open = True

    def settle(self, payload: Any, error: BaseException | None) -> None:
        """Set the outcome and call back; whoever submitted sees to it that it is once.

        On a thread of the pool, no lock held.
        """
        if not self._open:
            raise InvalidStateError("this delivery has its outcome already")
        self._open = False
        self.payload, self.error = payload, error
        self.parcel.release()
        callback, self._callback = self._callback, None
        if callback is None:
            return
        try:
            callback(self)
        except Exception:
            # This is a thread of the pool, which would end here, and with it
            # the callbacks of all others.
            sys.excepthook(*sys.exc_info())

    def fail_call(self, error: BaseException) -> None:
        """Settle it with an error that is no batch's own, and ends the call."""
        self.ends_call = True
        self.settle(None, error)

    def results(self) -> Any:
        """Return the batch's results, or raise its error."""
        if self.error is not None:
            raise self.error
        payload, self.payload = self.payload, None
        return self.parcel.transport.unpack(payload, self.parcel)


def copy_of(error: BaseException) -> BaseException:
    """Return an equal exception: raising one adds to its traceback, for all who do."""
    try:
        other = type(error)(*error.args)
    except Exception:  # of a class with a signature of its own
        return error
    other.__cause__ = error.__cause__
    return other
