"""The source of a callable, or the nearest there is to it."""

from __future__ import annotations

import hashlib
import inspect
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def get_func_code(func: Any) -> tuple[str, str | None, int]:
    """Get the source of a function, or the nearest there is to it.

    Parameters
    ----------
    func : callable

    Returns
    -------
    code : str
        The source text. For a function whose source cannot be read, a digest of its
        compiled code that is the same in every process of one Python version; for
        other callables, their representation.
    source_file : str or None
        The file it comes from, or what its compiled code names as such.
    first_line : int
        Line number of the first line of `code` in that file; -1 where `code` is not
        the source.
    """
    code = getattr(func, "__code__", None)
    if not isinstance(code, types.CodeType):
        if hasattr(func, "__code__"):
            # Compiled by other means (Cython): inspect knows whether there is source.
            found = _read_source(func)
            if found is not None:
                return found[0], getattr(func.__code__, "co_filename", None), found[1]
        return repr(func), None, -1
    # Read through the compiled code, not through the function: a decorated function
    # would show the source of what it wraps, which stays the same when the wrapper
    # does not.
    found = _read_source(code)
    source_file = code.co_filename
    if found is None:
        return code_digest(code), source_file, -1
    return found[0], source_file.replace(".pyc", ".py"), found[1]


def _read_source(obj: Any) -> tuple[str, int] | None:
    try:
        lines, first_line = inspect.getsourcelines(obj)
    except (OSError, TypeError, IndexError, SyntaxError, UnicodeDecodeError):
        return None  # no file, not the file it was, or no longer parsed
    return "".join(lines), first_line


def code_digest(code: types.CodeType) -> str:
    """Digest compiled code: operations, names, constants, and functions within.

    Parameters
    ----------
    code : types.CodeType

    Returns
    -------
    str
        32 hexadecimal digits. Neither the salt of string hashes, nor addresses, nor
        line numbers go into it; the Python version does, through its operations.
    """
    digest = hashlib.md5(usedforsecurity=False)
    _feed_code(digest.update, code)
    return digest.hexdigest()


def _feed_code(update: Callable[[bytes], None], code: types.CodeType) -> None:
    update(code.co_code)
    signature = (
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags,
        code.co_name,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
    )
    update(repr(signature).encode("utf-8", "backslashreplace"))
    for constant in code.co_consts:
        _feed_constant(update, constant)


def _feed_constant(update: Callable[[bytes], None], constant: Any) -> None:
    if isinstance(constant, types.CodeType):
        update(b"(code")
        _feed_code(update, constant)
    elif isinstance(constant, (tuple, frozenset)):
        parts: Iterable[Any] = constant
        if isinstance(constant, frozenset):  # their order depends on the hash salt
            parts = sorted(constant, key=lambda part: (type(part).__name__, repr(part)))
        update(b"(" + type(constant).__name__.encode())
        for part in parts:
            _feed_constant(update, part)
    else:
        text = f"({type(constant).__name__}:{constant!r}"
        update(text.encode("utf-8", "backslashreplace"))
    update(b")")


# As for the public classes: it is found where it is public.
get_func_code.__module__ = "joblib.func_inspect"
