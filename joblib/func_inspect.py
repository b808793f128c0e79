"""What a callable is called, and which of its parameters gets which value."""

from __future__ import annotations

import inspect
import os
import re
import types
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from ._func_source import get_func_code
from .logger import pformat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# An argument whose representation is longer is cut, and to what length: characters.
_LONGEST_ARGUMENT = 1500
_CUT_ARGUMENT = 700
_TAKES_MORE = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
# After a positional argument longer than this, the next one starts a new line.
_LONG_LINE = 80

__all__ = [
    "filter_args",
    "format_call",
    "format_signature",
    "get_func_code",
    "get_func_name",
]

_FORBIDDEN_BY_WINDOWS = {ord(char): f"%{ord(char):02X}" for char in '<>!:\\|?*"'}

# Notebooks and shells compile each cell under a name that tells the cell's number
# or the process; what is left without those is the same in the next session.
_IPYTHON_CELL = re.compile(r"(<ipython-input)-\d+(-[^>]*>)$")
_IPYKERNEL_CELL = re.compile(r"(ipykernel)_\d+(?=[/\\][^/\\]*$)")


# -------------------------------------------------------------------------- names
def _clean_win_chars(string: str) -> str:
    """Write characters that Windows does not allow in file names as ``%XX``."""
    return string.translate(_FORBIDDEN_BY_WINDOWS)


def get_func_name(
    func: Any, resolv_alias: bool = True, win_characters: bool = True
) -> tuple[list[str], str]:
    """Tell the path of names that leads to a callable, and its own name.

    Parameters
    ----------
    func : callable
    resolv_alias : bool, default=True
        Without effect; accepted for compatibility.
    win_characters : bool, default=True
        Whether to replace, on Windows, what file names must not have.

    Returns
    -------
    path : list of str
        Module, classes and functions around it. The module of a script is
        ``__main__-`` and its file with ``-`` for the separators, so that the
        functions of two scripts are told apart.
    name : str
        Its name; ``"unknown"`` for an object without one.
    """
    module = getattr(func, "__module__", "") or ""
    if module == "__main__":
        module += _main_suffix(func)
    path = str(module).split(".")
    name = str(getattr(func, "func_name", "") or getattr(func, "__name__", "unknown"))
    # The part before the last dot: classes, or functions with "<locals>".
    path.extend(getattr(func, "__qualname__", name).split(".")[:-1])
    if win_characters and os.name == "nt":
        path = [_clean_win_chars(part) for part in path]
        name = _clean_win_chars(name)
    return path, name


def _main_suffix(func: Any) -> str:
    """Name the file of a function of the main module, usable within a file name."""
    try:
        filename = inspect.getsourcefile(func)
    except TypeError:  # has no code
        filename = None
    if filename is None:
        # A cell or a string: getsourcefile knows files only.
        filename = getattr(getattr(func, "__code__", None), "co_filename", None)
        if filename is None:
            return ""
    filename = _IPYTHON_CELL.sub(r"\1\2", os.path.abspath(filename))
    filename = _IPYKERNEL_CELL.sub(r"\1", filename)
    if filename.endswith(".py"):
        filename = filename[: -len(".py")]
    return "-" + filename.replace(os.sep, "-").replace(":", "-")


# ---------------------------------------------------------------------- arguments
class _Parameters(NamedTuple):
    """The parameters of a function, as far as matching arguments needs them."""

    positional: Sequence[str]
    positional_only: int  # how many of these cannot be given by name
    keyword_only: Sequence[str]
    defaults: Mapping[str, Any]
    takes_args: bool
    takes_kwargs: bool


def _innermost(func: Any) -> Any:
    """Follow ``__wrapped__`` to the function whose parameters count."""
    seen = 0
    while hasattr(func, "__wrapped__") and not hasattr(func, "__signature__"):
        func = func.__wrapped__
        seen += 1
        if seen > 1000:
            raise ValueError(f"{func!r} wraps itself: its parameters cannot be told.")
    return func


def _get_parameters(func: Any) -> _Parameters:
    """Read the parameters of a plain function (not of a method)."""
    func = _innermost(func)
    code = getattr(func, "__code__", None)
    if not isinstance(code, types.CodeType) or hasattr(func, "__signature__"):
        return _parameters_of_signature(inspect.signature(func))
    # Without `inspect.signature`, which takes longer than all the rest of a cache hit.
    n_positional = code.co_argcount
    names = code.co_varnames
    positional = names[:n_positional]
    defaults: dict[str, Any] = {}
    if func.__defaults__:
        with_default = positional[-len(func.__defaults__) :]
        defaults.update(zip(with_default, func.__defaults__, strict=True))
    if func.__kwdefaults__:
        defaults.update(func.__kwdefaults__)
    return _Parameters(
        positional,
        code.co_posonlyargcount,
        names[n_positional : n_positional + code.co_kwonlyargcount],
        defaults,
        bool(code.co_flags & inspect.CO_VARARGS),
        bool(code.co_flags & inspect.CO_VARKEYWORDS),
    )


def _parameters_of_signature(signature: inspect.Signature) -> _Parameters:
    kinds: dict[Any, list[str]] = {}
    for parameter in signature.parameters.values():
        kinds.setdefault(parameter.kind, []).append(parameter.name)
    positional_only = kinds.get(inspect.Parameter.POSITIONAL_ONLY, [])
    return _Parameters(
        positional_only + kinds.get(inspect.Parameter.POSITIONAL_OR_KEYWORD, []),
        len(positional_only),
        kinds.get(inspect.Parameter.KEYWORD_ONLY, []),
        {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if parameter.default is not inspect.Parameter.empty
        },
        inspect.Parameter.VAR_POSITIONAL in kinds,
        inspect.Parameter.VAR_KEYWORD in kinds,
    )


def filter_args(
    func: Any,
    ignore_lst: Sequence[str],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Match the arguments of a call with the parameters of a function.

    Parameters
    ----------
    func : callable
        The function, or bound method, whose first parameter gets its object.
    ignore_lst : list of str
        Names of parameters to leave out of the result.
    args : sequence
        The positional arguments.
    kwargs : mapping, optional
        The keyword arguments; not changed.

    Returns
    -------
    dict
        Values by parameter, defaults filled in. Further positional arguments are a
        list under ``"*"``, further keyword arguments a dict under ``"**"``; so are
        all arguments of a callable that cannot be inspected.

    Raises
    ------
    ValueError
        When the arguments do not fit, or when a name to ignore is no parameter.
    """
    args = list(args)
    kwargs = {} if kwargs is None else kwargs
    if isinstance(ignore_lst, (str, bytes)) or not hasattr(ignore_lst, "__iter__"):
        raise ValueError(
            "ignore_lst must be a list of parameters to ignore, such as ['verbose']; "
            f"got {ignore_lst!r} (type {type(ignore_lst).__name__})."
        )
    plain = func
    if isinstance(func, types.MethodType):
        args.insert(0, func.__self__)
        plain = func.__func__
    if not isinstance(plain, types.FunctionType):
        if ignore_lst:
            warnings.warn(
                f"Cannot inspect object {func!r}, ignore list will not work.",
                stacklevel=2,
            )
        return {"*": args, "**": dict(kwargs)}

    matched = _match_simple(plain, args, kwargs)
    if matched is None:
        matched = _match(func, _get_parameters(plain), args, kwargs)
    for name in ignore_lst:
        if name not in matched:
            raise ValueError(
                f"Ignore list: argument {name!r} is not defined for function "
                f"{_describe(func)}; it has {', '.join(map(repr, matched)) or 'none'}."
            )
        del matched[name]
    return matched


def _match_simple(
    func: types.FunctionType, args: list[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Match a call that fits a function without ``*args`` and ``**kwargs``.

    None means to look closer: at other functions, and at what does not fit. It is
    this that most cache hits pay for.
    """
    code = func.__code__
    if func.__dict__ or code.co_flags & _TAKES_MORE or code.co_posonlyargcount:
        return None
    n_args, n_positional = len(args), code.co_argcount
    names = code.co_varnames[: n_positional + code.co_kwonlyargcount]
    if n_args > n_positional:
        return None
    matched = dict(zip(names, args, strict=False))
    if kwargs:
        not_given = names[n_args:]
        for name, value in kwargs.items():
            if name not in not_given:
                return None
            matched[name] = value
    if len(matched) < len(names):
        defaults = func.__defaults__ or ()
        first_default = n_positional - len(defaults)
        by_name = func.__kwdefaults__ or {}
        for index in range(n_args, len(names)):
            name = names[index]
            if name in matched:
                continue
            if first_default <= index < n_positional:
                matched[name] = defaults[index - first_default]
            elif name in by_name:
                matched[name] = by_name[name]
            else:
                return None
    return matched


def _match(
    func: Any,
    parameters: _Parameters,
    args: list[Any],
    kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    positional, positional_only, keyword_only, defaults, takes_args, takes_kwargs = (
        parameters
    )
    n_positional = len(positional)
    if len(args) > n_positional and not takes_args:
        raise ValueError(_misfit("Too many arguments for", func, args, kwargs))
    matched = dict(defaults)
    missing = [
        name
        for name in (*positional[len(args) :], *keyword_only)
        if name not in defaults
    ]
    matched.update(zip(positional, args, strict=False))
    further: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in positional[positional_only:]:
            if positional.index(name) < len(args):
                what = (
                    f"Argument {name} was given both as positional and as keyword for"
                )
                raise ValueError(_misfit(what, func, args, kwargs))
            matched[name] = value
        elif name in keyword_only:
            matched[name] = value
        elif takes_kwargs:
            further[name] = value
        else:
            what = f"Unknown keyword argument {name!r}: Too many keyword arguments for"
            raise ValueError(_misfit(what, func, args, kwargs))
    if missing:
        missing = [name for name in missing if name not in matched]
    if missing:
        what = f"No value for {', '.join(missing)}: Wrong number of arguments for"
        raise ValueError(_misfit(what, func, args, kwargs))
    if takes_args:
        matched["*"] = args[n_positional:]
    if takes_kwargs:
        matched["**"] = further
    return matched


def _describe(func: Any) -> str:
    name = get_func_name(func)[1]
    try:
        return f"{name}{inspect.signature(getattr(func, '__func__', func))}"
    except (ValueError, TypeError):
        return f"{name}(...)"


def _misfit(
    what: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    if inspect.ismethod(func):
        args = args[1:]
    given = [pformat(arg, indent=2) for arg in args]
    given += [f"{name}={pformat(value, indent=2)}" for name, value in kwargs.items()]
    name = get_func_name(func)[1]
    return f"{what} {_describe(func)}:\n    {name}({', '.join(given)}) was called."


# ---------------------------------------------------------------------- call as text
def _shown(value: Any) -> str:
    text: str = pformat(value, indent=2)
    if len(text) > _LONGEST_ARGUMENT:
        text = f"{text[:_CUT_ARGUMENT]}..."
    return text


def format_signature(func: Any, *args: Any, **kwargs: Any) -> tuple[str, str]:
    """Write a call as one would in source code, long arguments cut.

    Parameters
    ----------
    func : callable
    *args, **kwargs
        The arguments of the call.

    Returns
    -------
    path : str
        Dotted path of the function.
    call : str
        The call, for instance ``"f(1, y=True)"``.
    """
    path, name = get_func_name(func)
    shown: list[str] = []
    for arg in args:
        wrap = shown and len(shown[-1]) > _LONG_LINE
        shown.append(f"\n{_shown(arg)}" if wrap else _shown(arg))
    shown += [f"{key}={_shown(value)}" for key, value in kwargs.items()]
    dotted = ".".join(part for part in (*path, name) if part)
    return dotted, f"{name}({', '.join(shown)})"


def format_call(
    func: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    object_name: str = "Memory",
) -> str:
    """Announce a call over three lines: a rule, who calls what, the call.

    Parameters
    ----------
    func : callable
    args : sequence
        Its positional arguments.
    kwargs : mapping
        Its keyword arguments.
    object_name : str, default="Memory"
        Who calls it.

    Returns
    -------
    str
    """
    path, call = format_signature(func, *args, **kwargs)
    return f"{'_' * 80}\n[{object_name}] Calling {path}...\n{call}"
