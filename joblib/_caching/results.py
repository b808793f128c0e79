"""References to results: handed out instead of the results, to be loaded when needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..logger import Logger
from .registry import _store_backend_factory
from .store import MissingItemError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .registry import Store


class MemorizedResult(Logger):
    """Reference to a stored result, small enough to be passed around and pickled.

    Parameters
    ----------
    location : str or pathlib.Path or StoreBackendBase
        The store, or where it is.
    call_id : sequence of two str
        Location of the function in the store, and hash of the arguments.
    backend : str, default="local"
        The kind of store, when `location` is no store.
    mmap_mode : {None, 'r', 'r+', 'w+', 'c'}, default=None
        How to memory-map arrays, when `location` is no store.
    verbose : int, default=0
        Above 1, `get` prints what it loads.
    timestamp : float, optional
        The time, in seconds since the epoch, from which messages count.
    metadata : mapping, optional
        Metadata of the call; read from the store when left out.

    Attributes
    ----------
    func_id, func : str
        Location of the function in the store.
    args_id : str
        Hash of the arguments.
    metadata : dict
        ``duration``, ``time`` and ``input_args`` of the call.
    duration : float or None
        Seconds that the call took.
    """

    __module__ = "joblib.memory"

    store_backend: Store | None

    def __init__(
        self,
        location: Any,
        call_id: Sequence[str],
        backend: str = "local",
        mmap_mode: str | None = None,
        verbose: int = 0,
        timestamp: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._call_id = call_id
        self.mmap_mode = mmap_mode
        options = {"mmap_mode": mmap_mode}
        self.store_backend = _store_backend_factory(backend, location, verbose, options)
        if metadata is None and self.store_backend is not None:
            metadata = self.store_backend.get_metadata(call_id)
        self.metadata = dict(metadata or {})
        self.duration = self.metadata.get("duration")
        self.verbose = verbose
        self.timestamp = timestamp

    @property
    def func(self) -> str:
        """Location of the function in the store."""
        return self.func_id

    @property
    def func_id(self) -> str:
        """Location of the function in the store."""
        return self._call_id[0]

    @property
    def args_id(self) -> str:
        """Hash of the arguments."""
        return self._call_id[1]

    def get(self) -> Any:
        """Load the result.

        Returns
        -------
        object

        Raises
        ------
        KeyError
            When it is not there (any more), or damaged.
        """
        if self.store_backend is None:
            raise KeyError("No store: this result refers to no location.")
        try:
            return self.store_backend.load_item(
                self._call_id, self.verbose, self.timestamp, self.metadata
            )
        except MissingItemError:
            raise
        except Exception as error:
            if not self.store_backend.contains_item(self._call_id):
                raise
            path = self.store_backend.get_item_info(self._call_id)["location"]
            raise KeyError(
                f"The stored result cannot be loaded: it seems that {path} is corrupted "
                f"({type(error).__name__}: {error}). Clear it, and call the function "
                "again."
            ) from error

    def clear(self) -> None:
        """Remove the result from the store, if it is there."""
        if self.store_backend is not None:
            self.store_backend.clear_item(self._call_id)

    def __repr__(self) -> str:
        location = getattr(self.store_backend, "location", None)
        return (
            f'{type(self).__name__}(location="{location}", func="{self.func}", '
            f'args_id="{self.args_id}")'
        )

    def __getstate__(self) -> dict[str, Any]:
        # The clock of the messages is this process's.
        return {**self.__dict__, "timestamp": None}


class NotMemorizedResult:
    """A value in the guise of a reference to one: what one gets without a store.

    Parameters
    ----------
    value : object
        The result.

    Attributes
    ----------
    value : object
    valid : bool
        False once it was cleared.
    """

    __module__ = "joblib.memory"
    __slots__ = ("value", "valid")

    value: Any
    valid: bool

    def __init__(self, value: Any) -> None:
        self.value = value
        self.valid = True

    def get(self) -> Any:
        """Return the value.

        Raises
        ------
        KeyError
            When it was cleared.
        """
        if not self.valid:
            raise KeyError("No value stored: it was cleared.")
        return self.value

    def clear(self) -> None:
        """Forget the value."""
        self.valid = False
        self.value = None

    def __repr__(self) -> str:
        shown = repr(self.value) if self.valid else "cleared"
        return f"{type(self).__name__}({shown})"

    def __getstate__(self) -> dict[str, Any]:
        return {"valid": self.valid, "value": self.value}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.valid = state["valid"]
        self.value = state["value"]
