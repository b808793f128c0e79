"""An exception caught where a task ran, carried with its traceback to the caller."""

from __future__ import annotations

import copyreg
import io
import pickle
import traceback
from collections.abc import Callable, Iterator
from typing import Any


class RemoteTraceback(Exception):
    """The text of a traceback from another thread, process or machine.

    It stands as ``__cause__`` of the exception that the caller sees, so that
    the frames of the worker are shown above those of the caller.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class UnpicklableTaskError(RuntimeError):
    """Stands in for a task's exception that can't be pickled.

    Attributes
    ----------
    kinds : tuple of type
        The class of that exception, and those that it is derived from.
    """

    kinds: tuple[type, ...] = ()


def set_on(error: BaseException, name: str, value: Any) -> None:
    """Set an attribute of an exception, also of one that lets nobody do so."""
    BaseException.__setattr__(error, name, value)


def is_one_of(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Tell whether an exception, or the one that it stands in for, is of some class."""
    if isinstance(error, kinds):
        return True
    return any(issubclass(kind, kinds) for kind in getattr(error, "kinds", ()))


def describe(error: BaseException) -> str:
    """Return the traceback of `error` as Python prints it."""
    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


def label_of(error: BaseException) -> str:
    """Return the type and the message of an exception, of one without text as well."""
    try:
        text = str(error)
    except Exception as failure:
        text = f"<its text can't be had: {type(failure).__qualname__}>"
    return f"{type(error).__qualname__}: {text}"


class CapturedError:
    """A task's exception and the text of its traceback; picklable in any case.

    Parameters
    ----------
    error : BaseException
        What the task raised.
    text : str, optional
        The traceback; taken from `error` when left out.
    """

    __slots__ = ("error", "text")

    def __init__(self, error: BaseException, text: str | None = None) -> None:
        self.error = error
        self.text = describe(error) if text is None else text

    def raised(self) -> BaseException:
        """Return the exception to raise in the caller."""
        set_on(self.error, "__cause__", RemoteTraceback(self.text))
        return self.error

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickled apart from the message it travels in: an exception that can't
        # be pickled, or can't be read back, must not take that message along.
        label = label_of(self.error)
        kinds: tuple[bytes, ...] = ()
        try:
            data = _dumps(self.error)
            pickle.loads(data)
        except Exception:
            kinds = _dumps_kinds(type(self.error))
            try:
                import cloudpickle

                data = cloudpickle.dumps(self.error)
            except Exception as reason:
                data = b""
                label = f"{label} (not picklable: {type(reason).__name__}: {reason})"
        given = data, label, self.text
        return _rebuild, (*given, kinds) if kinds else given


def _dumps(error: BaseException) -> bytes:
    # Packages such as tblib register reducers for exceptions that send the
    # frames along: too much after a deep recursion, and here they go as text.
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {
        kind: reducer
        for kind, reducer in copyreg.dispatch_table.items()
        if not issubclass(kind, BaseException)
    }
    pickler.dump(error)
    return buffer.getvalue()


def _dumps_kinds(kind: type) -> tuple[bytes, ...]:
    """Pickle the classes of an exception, those that can be, each by itself."""
    found = []
    for each in kind.__mro__[:-2]:  # without BaseException and object
        try:
            found.append(pickle.dumps(each))
        except Exception:
            try:
                import cloudpickle

                found.append(cloudpickle.dumps(each))
            except Exception:
                pass
    return tuple(found)


def _loads_kinds(kinds: tuple[bytes, ...]) -> Iterator[Any]:
    for each in kinds:
        try:
            yield pickle.loads(each)
        except Exception:
            pass


def _rebuild(
    data: bytes, label: str, text: str, kinds: tuple[bytes, ...] = ()
) -> CapturedError:
    error: Any = None
    if data:
        try:
            error = pickle.loads(data)
        except Exception as reason:
            label = f"{label} (not readable here: {type(reason).__name__}: {reason})"
    if not isinstance(error, BaseException):
        error = UnpicklableTaskError(
            f"A task failed with an exception that can't be pickled: {label}"
        )
        error.kinds = tuple(_loads_kinds(kinds))
    return CapturedError(error, text)


def capture_call(func: Callable[[], Any]) -> Any:
    """Return ``func()``, or a `CapturedError` of what it raised."""
    try:
        return func()
    except BaseException as error:  # the worker's boundary: it all goes home
        return CapturedError(error)


def unwrap(out: Any) -> Any:
    """Return `out`, or raise the exception that it carries."""
    if type(out) is CapturedError:
        raise out.raised()
    return out
