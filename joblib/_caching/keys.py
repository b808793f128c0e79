"""The key of a call: a hash of what tells its result from others."""

from __future__ import annotations

from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from .. import hashing
from ..func_inspect import filter_args
from .codetext import as_function
from .content import digest_of
from .identity import function_state
from .parameters import hide, parameter_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .keyoptions import KeyOptions


class Call:
    """One call of a cached function.

    Parameters
    ----------
    call_id : tuple of two str
        Location of the function in the store, and key of the call.
    args, kwargs
        The arguments.
    """

    __slots__ = ("args", "id", "kwargs")

    def __init__(
        self, call_id: tuple[str, str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.id = call_id
        self.args = args
        self.kwargs = kwargs


class CallKeys:
    """How the calls of one function are told apart.

    Parameters
    ----------
    func : callable
    func_id : str
        What the function is called in an error.
    ignore : list of str
        Parameters whose values do not tell calls apart.
    coerce_mmap : bool
        Whether memory-mapped arrays count as equal to arrays in memory.
    options : KeyOptions, optional
        What else was said about keys.
    """

    __slots__ = (
        "_call",
        "_coerce_mmap",
        "_func_id",
        "_object_name",
        "_options",
        "_state",
        "func",
        "ignore",
    )

    def __init__(
        self,
        func: Any,
        func_id: str,
        ignore: Sequence[str],
        coerce_mmap: bool,
        options: KeyOptions | None = None,
    ) -> None:
        self.func = func
        self.ignore = ignore
        self._func_id = func_id
        self._coerce_mmap = coerce_mmap
        self._options = options
        self._state = function_state(func)
        # An object that is called is named by the method that this calls.
        self._call = as_function(func)
        self._object_name: str | None = None
        if self._call is not func:
            self._object_name = next(iter(parameter_names(func)), None)

    def arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the values that count, by parameter."""
        values = filter_args(self._call, self.ignore, args, kwargs)
        if self._object_name is not None:
            values.pop(self._object_name, None)
        return values

    def key(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the key of a call, a name for its place in the store.

        Raises
        ------
        PicklingError, TypeError, AttributeError, ValueError
            Of the kind that the argument caused which cannot be hashed; it names it.
        """
        options = self._options
        values = self.arguments(args, kwargs)
        if self._state is not None:
            text = self._state.text(self.func)
            if text:
                values["<function>"] = digest_of(text)
        if options is None:
            return self._hash(values, "md5")
        for name, function in options.key.items():
            if name in values:
                # By another name: a key is not equal to an argument of its value.
                values[f"<key of {name}>"] = self._apply(
                    name, function, values.pop(name)
                )
        if options.version is not None:
            values["<version>"] = options.version
        if options.depends is not None:
            values["<depends>"] = options.depends.digest()
        return self._hash(values, options.hash_name) + options.suffix

    def settle(self) -> None:
        """Take what the function changed, while it ran, for its own doing."""
        if self._state is not None:
            self._state.settle(self.func)

    def _apply(self, name: str, function: Callable[[Any], Any], value: Any) -> Any:
        try:
            return function(value)
        except Exception as error:
            raise _same_kind(
                error,
                f"The key function {getattr(function, '__qualname__', function)!r} of "
                f"argument {name!r} of {self._func_id} failed: "
                f"{type(error).__name__}: {error}",
            ) from error

    def _hash(self, values: Mapping[str, Any], hash_name: str) -> str:
        try:
            return str(hashing.hash(values, hash_name, self._coerce_mmap))
        except Exception as error:
            _raise_naming_argument(values, self._coerce_mmap, self._func_id, error)
            raise

    def shown(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments to show of a call: of what is ignored, only the name."""
        if not self.ignore:
            return args, kwargs
        return hide(self._call, self.ignore, args, kwargs)


def _raise_naming_argument(
    key: Mapping[str, Any], coerce_mmap: bool, func_id: str, error: Exception
) -> None:
    def fails(value: Any) -> bool:
        try:
            hashing.hash(value, coerce_mmap=coerce_mmap)
        except Exception:
            return True
        return False

    name = next((name for name, value in key.items() if fails(value)), None)
    if name is None:
        return
    what, value = f"Argument {name!r}", key[name]
    if name.startswith("<key of "):
        what = f"The key of argument {name[len('<key of ') : -1]!r}"
    elif name == "**":
        for parameter, one in key[name].items():
            if fails(one):
                what, value = f"Argument {parameter!r} (of '**')", one
                break
    elif name == "*":
        for index, one in enumerate(key[name]):
            if fails(one):
                what, value = f"Argument '*' (number {index + 1} of it)", one
                break
    message = (
        f"{what} of {func_id} cannot be hashed, which caching needs: it is of "
        f"type {type(value).__name__} ({error}). Arguments that do not change the "
        "result can be named in Memory.cache(ignore=[...])."
    )
    for kind in (PicklingError, TypeError, AttributeError, ValueError):
        if isinstance(error, kind):
            raise kind(message) from error


def _same_kind(error: Exception, message: str) -> Exception:
    """Make an error that is caught where the other would have been."""
    for kind in type(error).__mro__:
        if kind.__module__ == "builtins":
            try:
                made = kind(message)
            except TypeError:  # wants more than a message
                continue
            if isinstance(made, Exception):
                return made
    return RuntimeError(message)
