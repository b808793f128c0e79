"""The texts by which a cached function reports what it does."""

from __future__ import annotations

import inspect
import traceback
from typing import TYPE_CHECKING, Any

from ..func_inspect import get_func_name
from ..logger import format_time

if TYPE_CHECKING:
    from .lockfiles import Owner
    from .registry import Store

_WIDTH = 80  # of the rules around messages


def print_duration(func: Any, duration: float, context: str = "") -> None:
    """Print how long something took, in seconds, at the end of a rule."""
    message = f"{get_func_name(func)[1]}{context} - {format_time(duration)}"
    print(message.rjust(_WIDTH, "_"))


def describe_question(
    func: Any, store: Store, call_id: tuple[str, str], signature: str
) -> str:
    """Say which result is looked for, and where."""
    path = store.get_cached_func_info([call_id[0]])["location"]
    return (
        f"\nQuerying {get_func_name(func)[1]} with signature\n{signature}.\n\n"
        f"(argument hash {call_id[1]})\n\nThe store location is {path}.\n"
    )


def describe_miss(func: Any, store: Store, call_id: tuple[str, str]) -> str:
    """Say which result is not there."""
    path = store.get_cached_func_info([call_id[0]])["location"]
    return (
        f"Computing func {get_func_name(func)[1]}, argument hash {call_id[1]} in "
        f"location {path}"
    )


def describe_damage(store: Store, call_id: tuple[str, str], signature: str) -> str:
    """Say which stored result could not be loaded, from within the handler."""
    path = store.get_item_info(call_id)["location"]
    return (
        f"Exception while loading results for {signature} from {path}; it is computed "
        f"again.\n {traceback.format_exc()}"
    )


def describe_wait(signature: str, owner: Owner | None) -> str:
    """Say for which computation, and whose, this one waits."""
    by = "another process"
    if owner is not None:
        by = f"process {owner.pid} on {owner.host or 'this machine'}"
    return f"[Memory]: Waiting for {signature}, which {by} is computing"


def document(func: Any) -> str:
    """Write the docstring of a cached function.

    It is part of the pickled function, and so of the hash of every object that holds
    one: not a space of it can change without losing the results of such objects.
    """
    if not inspect.isfunction(func):
        return f"Memoized version of {func.__doc__}"
    try:
        signature = str(inspect.signature(func))
    except (ValueError, TypeError):
        signature = "(...)"
    title = f"{func.__name__}{signature}"
    if func.__name__ == "<lambda>":
        title = f"<lambda> lambda {signature[1:-1]}"
    if inspect.iscoroutinefunction(func):
        title = f"async {title}"
    text = (inspect.getdoc(func) or _comment_above(func)).strip("\n").rstrip()
    lines = "".join(f"    {line}\n" for line in text.split("\n")) if text else ""
    return f"Memoized version of {title}\n\n{lines}"


def _comment_above(func: Any) -> str:
    try:
        return inspect.getcomments(func) or ""
    except (OSError, TypeError, SyntaxError, UnicodeDecodeError, IndexError):
        return ""
