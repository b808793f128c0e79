"""The parameters of a cached function by name: which there are, which are shown."""

from __future__ import annotations

import types
from typing import TYPE_CHECKING, Any

from ..func_inspect import _get_parameters
from .codetext import as_function

if TYPE_CHECKING:
    from collections.abc import Sequence


def parameter_names(func: Any) -> list[str]:
    """Return what `func_inspect.filter_args` can return values for.

    Parameters
    ----------
    func : callable

    Returns
    -------
    list of str
        With ``"*"`` and ``"**"`` where the function takes further arguments, and only
        these where it cannot be inspected.
    """
    func = as_function(func)
    plain = getattr(func, "__func__", func)
    if not isinstance(plain, types.FunctionType):
        return ["*", "**"]
    parameters = _get_parameters(plain)
    names = [*parameters.positional, *parameters.keyword_only]
    if parameters.takes_args:
        names.append("*")
    if parameters.takes_kwargs:
        names.append("**")
    return names


class _Text:
    """What is shown instead of an argument."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def hide(
    func: Any, ignore: Sequence[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Replace the arguments of a call that are ignored: nothing is asked of these.

    Parameters
    ----------
    func : callable
    ignore : list of str
        Parameters, ``"*"`` and ``"**"`` for further arguments.
    args, kwargs
        The arguments.

    Returns
    -------
    args : tuple
    kwargs : dict
        Arguments that are to be shown, and for others something that shows
        ``name=<ignored>``.
    """
    func = as_function(func)
    plain = getattr(func, "__func__", func)
    if not isinstance(plain, types.FunctionType):
        return args, kwargs  # where names are not known none is ignored
    parameters = _get_parameters(plain)
    positional = parameters.positional[1 if plain is not func else 0 :]
    shown: list[Any] = []
    for index, arg in enumerate(args):
        name = positional[index] if index < len(positional) else "*"
        if name not in ignore:
            shown.append(arg)
        elif name == "*":
            shown.append(_Text("*<ignored>"))
            break
        else:
            shown.append(_Text(f"{name}=<ignored>"))
    known = {*parameters.positional[parameters.positional_only :]}
    known.update(parameters.keyword_only)
    by_name: dict[str, Any] = {}
    for name, value in kwargs.items():
        if name in known:
            by_name[name] = _Text("<ignored>") if name in ignore else value
        elif "**" not in ignore:
            by_name[name] = value
    if len(by_name) < len(kwargs):
        shown.append(_Text("**<ignored>"))
    return tuple(shown), by_name
