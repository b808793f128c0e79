"""What loading may always do with Python's own types: a table of names, and how.

Each name has a `Rule`: whether instances may be made, and what runs in place of a
call. Nothing here can be talked into running code, opening files or reaching into
other objects: calls take plain data, and tricky functions are replaced by narrow ones.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .failures import CorruptFileError


class Context(Protocol):
    """What the functions that stand in for calls know of the load they serve."""

    def may_make(self, cls: Any) -> bool:
        """Whether the file may make instances of a class."""

    def refuse(self, name: str) -> Any:
        """Note a name that is not trusted; return what stands for it."""


class Rule(NamedTuple):
    """What may be done with an object that a file names.

    Attributes
    ----------
    make : bool
        Instances may be made, past the class's ``__init__``, and given a state.
    call : callable or None
        Takes the context and the arguments of a call, and makes it. None: no calls.
    pure : bool
        The call is needed to find the way through a file: it is made even after a
        name was refused.
    plain : bool
        Instances are made from plain data only.
    value : object or None
        What stands for the object if the file must not have the real one.
    """

    make: bool = False
    call: Callable[..., Any] | None = None
    pure: bool = False
    plain: bool = False
    value: Any = None


class Grant(NamedTuple):
    """An object that a file has named, and what it may do with it."""

    name: str
    value: Any
    rule: Rule


_PLAIN: tuple[Any, ...] = (
    None.__class__,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
)
_PLAIN += (list, tuple, dict, set, frozenset)


def check_plain(name: str, args: Any) -> None:
    """Raise if arguments are not of Python's own simple types.

    Whatever iterates over them, or makes text of them, then runs no one's methods.
    """
    for arg in args:
        if type(arg) not in _PLAIN:
            raise CorruptFileError(
                f"{name} is called with a {type(arg).__name__}, where only plain data "
                "is trusted"
            )


def calling(function: Any) -> Callable[..., Any]:
    """The call of a trusted function or class, as it is."""

    def call(context: Context, *args: Any) -> Any:
        return function(*args)

    return call


def calling_with_plain_data(function: Any, name: str) -> Callable[..., Any]:
    """The call of a function, whose arguments must be plain data."""

    def call(context: Context, *args: Any) -> Any:
        check_plain(name, args)
        return function(*args)

    return call


_SINGLETONS = (None, Ellipsis, NotImplemented)


def _type_of_singleton(context: Context, *args: Any) -> Any:
    if len(args) == 1 and any(args[0] is one for one in _SINGLETONS):
        return type(args[0])
    return context.refuse("builtins.type")


def _attribute_of_known(context: Context, *args: Any) -> Any:
    """Stands in for getattr: members of enumerations, and time zones by their key."""
    import enum
    import zoneinfo

    if len(args) == 2 and isinstance(args[0], type) and type(args[1]) is str:
        owner, name = args
        if owner is zoneinfo.ZoneInfo and name == "_unpickle":
            return time_zone
        if issubclass(owner, enum.Enum) and name in owner.__members__:
            return owner.__members__[name]
    return context.refuse("builtins.getattr")


def time_zone(*args: Any) -> Any:
    """Return a time zone by its key."""
    import zoneinfo

    check_plain("zoneinfo.ZoneInfo", args)
    if not args or type(args[0]) is not str:
        raise CorruptFileError("a time zone without a key")
    return zoneinfo.ZoneInfo(args[0])


def _time_zone(context: Context, *args: Any) -> Any:
    return time_zone(*args)


TIME_ZONE = Grant("zoneinfo.ZoneInfo", time_zone, Rule(call=_time_zone))


def getattr_of_a_file() -> None:
    """Stands for getattr in what is loaded, where nothing calls it."""
    raise CorruptFileError("a file must not hold builtins.getattr")


def _encode(context: Context, *args: Any) -> Any:
    """Stands in for codecs.encode, which imports what its argument names."""
    if [type(arg) for arg in args] != [str, str] or args[1] not in (
        "latin1",
        "latin-1",
    ):
        return context.refuse("_codecs.encode")
    return args[0].encode("latin-1")


_BASES: tuple[Any, ...] = (object, int, float, complex, str, bytes, bytearray)
_BASES += (list, tuple, dict, set, frozenset)


def _reconstruct(context: Context, cls: Any, base: Any, state: Any) -> Any:
    """Stands in for copyreg._reconstructor, of the protocols 0 and 1."""
    if not isinstance(cls, type) or base not in _BASES or base not in cls.__mro__:
        raise CorruptFileError("an instance is made from what is no base of its class")
    if not context.may_make(cls):
        raise CorruptFileError(f"instances of {cls.__name__} cannot be made this way")
    check_plain("copyreg._reconstructor", (state,))
    if base is object:
        return object.__new__(cls)
    obj = base.__new__(cls, state)
    if base.__init__ is not object.__init__:
        base.__init__(obj, state)
    return obj


def _new_object(context: Context, *args: Any) -> Any:
    if not args or not isinstance(args[0], type) or not context.may_make(args[0]):
        raise CorruptFileError("an instance of what is no trusted class")
    return args[0].__new__(*args)


def _default_dict(context: Context, *args: Any) -> Any:
    from collections import defaultdict

    check_plain("collections.defaultdict", args[1:])
    return defaultdict(*args)


def _array(context: Context, *args: Any) -> Any:
    import array

    cls, *rest = args
    check_plain("array._array_reconstructor", rest)
    if cls is not array.array:
        raise CorruptFileError("an array.array of another class")
    return array._array_reconstructor(*args)  # type: ignore[attr-defined]


def _pattern(context: Context, *args: Any) -> Any:
    check_plain("re._compile", args)
    return re.compile(*args)


def _as_it_is(context: Context, *args: Any) -> Any:
    """Marks rules whose objects are called as they are, once they are looked up."""
    raise NotImplementedError


def _table() -> dict[str, Rule]:
    table: dict[str, Rule] = {}

    def plain(path: str, names: str, make: bool = False) -> None:
        for name in names.split():
            full = f"{path}.{name}"
            table[full] = Rule(make=make, call=_as_it_is, plain=True)

    for name, value in vars(builtins).items():
        if isinstance(value, type) and issubclass(value, BaseException):
            table[f"builtins.{name}"] = Rule(call=calling(value))
    kinds = "object bool int float complex str bytes bytearray list tuple dict set"
    plain("builtins", kinds + " frozenset slice range", make=True)
    for name in ("Ellipsis", "NotImplemented"):
        table[f"builtins.{name}"] = Rule()
    table["builtins.type"] = Rule(call=_type_of_singleton)
    table["builtins.getattr"] = Rule(call=_attribute_of_known, value=getattr_of_a_file)
    table["_codecs.encode"] = Rule(call=_encode, pure=True)
    table["copyreg._reconstructor"] = Rule(call=_reconstruct)
    table["copyreg.__newobj__"] = Rule(call=_new_object)
    plain("collections", "OrderedDict deque Counter", make=True)
    table["collections.defaultdict"] = Rule(call=_default_dict)
    for name in ("UserDict", "UserList", "UserString"):
        table[f"collections.{name}"] = Rule(make=True)
    # tzinfo is an argument of times.
    for name in ("date", "time", "datetime", "timedelta", "timezone"):
        table[f"datetime.{name}"] = Rule(call=_as_it_is)
    plain("decimal", "Decimal", make=True)
    plain("fractions", "Fraction", make=True)
    paths = "PurePath PurePosixPath PureWindowsPath Path PosixPath WindowsPath"
    plain("pathlib", paths)
    plain("pathlib._local", paths)
    table["uuid.UUID"] = Rule(make=True)
    table["uuid.SafeUUID"] = Rule(call=_as_it_is, plain=True)
    plain("types", "SimpleNamespace", make=True)
    table["random.Random"] = Rule(make=True, call=_as_it_is, plain=True)
    table["array.array"] = Rule()
    table["array._array_reconstructor"] = Rule(call=_array)
    table["re._compile"] = Rule(call=_pattern)
    table["zoneinfo.ZoneInfo"] = Rule()
    return table


_RULES = _table()


def rule_for_python(name: str, find: Callable[[str], Any]) -> Grant | None:
    """Return the grant for a name of Python's own, or None if it is not among them.

    Parameters
    ----------
    name : str
        The full name.
    find : callable
        Returns the object of a name.
    """
    rule = _RULES.get(name)
    if rule is None:
        return None
    value = rule.value if rule.value is not None else find(name)
    if rule.call is _as_it_is:
        plain = calling_with_plain_data(value, name) if rule.plain else calling(value)
        rule = rule._replace(call=plain)
    return Grant(name, value, rule)
