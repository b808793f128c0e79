"""Whether what is stored for a function was computed by its present code.

Beside the results of a function stands the code that computed them. It is compared
once per process and then only looked at: as long as the file is the one that was read,
it says what it said.

What happens when it is another:

===========================================  ==========================================
stored code                                  what is done
===========================================  ==========================================
none                                         the present code is written; results that
                                             are there all the same go, with a warning
the same but for comments and docstrings     the present code is written, results stay
of another lambda (keys tell them apart)     likewise, with a warning
anything else                                results go, the present code is written;
                                             a warning where two functions live that
                                             share a name, rather than one was edited
===========================================  ==========================================
"""

from __future__ import annotations

import ast
import errno
import textwrap
import time
import tokenize
import warnings
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from ..func_inspect import get_func_name
from .callers import user_stacklevel
from .codetext import CodeInfo
from .identity import has_code_in_key
from .store import CacheWarning

if TYPE_CHECKING:
    from .registry import Store

FIRST_LINE_TEXT = "# first line:"

_ORPHAN_LOOKS = 6
_ORPHAN_PAUSE = 0.02  # seconds


class JobLibCollisionWarning(UserWarning):
    """Two functions may be sharing a name, and with it a place in the cache."""

    __module__ = "joblib.memory"


class _Seen(NamedTuple):
    code: Any  # the compiled code, itself: a function can be given another
    stamp: object  # of the stored code, when it was last known to be the same


# Function -> location and identifier -> what was seen there. Emptied by Memory.clear.
_FUNCTION_HASHES: weakref.WeakKeyDictionary[Any, dict[tuple[Any, str], _Seen]] = (
    weakref.WeakKeyDictionary()
)


def make_location(store: Store, func_id: str) -> None:
    """Make the place for the results of a function; warn where that is not possible.

    Raises
    ------
    OSError
        When there is a file where the cache was meant to be.
    """
    try:
        store.store_cached_func_code([func_id])
    except (NotADirectoryError, FileExistsError):
        raise
    except OSError as error:
        # Results that are there can be read; others are computed.
        warnings.warn(
            f"Unable to make a place for {func_id} in the cache in {store.location}: "
            f"{error}. Its results will not be stored.",
            CacheWarning,
            stacklevel=user_stacklevel(),
        )


def is_current(func: Any, store: Store, func_id: str) -> bool:
    """Tell whether the code in the store is known to be that of a function.

    Parameters
    ----------
    func : callable
    store : StoreBackendBase
    func_id : str
        Its location in the store.

    Returns
    -------
    bool
        False also stands for not known.
    """
    try:
        seen = _FUNCTION_HASHES.get(func)
    except TypeError:  # cannot be hashed
        return False
    if seen is None:
        return False
    known = seen.get((store.location, func_id))
    return (
        known is not None
        and known.code is getattr(func, "__code__", None)
        and known.stamp is not None
        and known.stamp == store._code_stamp((func_id,))
    )


def known_stamp(func: Any, store: Store, func_id: str) -> object:
    """Return the stamp of the stored code when it was last known to be a function's.

    None stands for not known. It changes whenever the results of the function are
    cleared, here or by another process.
    """
    try:
        known = _FUNCTION_HASHES[func][(store.location, func_id)]
    except (KeyError, TypeError):
        return None
    return known.stamp


def matches_stored(store: Store, func_id: str, code_info: CodeInfo) -> bool:
    """Tell whether the store holds this code for a function; change nothing."""
    stored = _read(store, func_id)
    return stored is not None and _same_code(extract_first_line(stored)[0], code_info)


def claim(func: Any, store: Store, func_id: str, code_info: CodeInfo) -> bool:
    """Make the store hold the present code of a function, and nothing of another's.

    Parameters
    ----------
    func : callable
    store : StoreBackendBase
    func_id : str
        Its location in the store.
    code_info : tuple
        Its code, file and first line.

    Returns
    -------
    bool
        Whether results that are stored are its own.
    """
    code, source_file, first_line = code_info
    stamp = store._code_stamp((func_id,))
    try:
        stored = _read_stored(store, func_id)
    except OSError as error:
        # It may be there and of other code: results are neither taken over nor lost.
        _warn_not_claimed(func_id, store, error, "read")
        return False
    if stored is None and store._has_results((func_id,)) and not has_code_in_key(func):
        # Of which code they are, nobody knows; unless it comes.
        stamp, stored, are_there = _await_code(store, func_id)
        if stored is None and are_there and not _remove_unknown(store, func_id):
            return False
    if stored is None:
        write_code(func, store, func_id, code_info)
        return False
    stored_code, stored_line = extract_first_line(stored)
    if stored_code == code:
        _remember(func, store, func_id, stamp)
        return True
    keep = _same_code(stored_code, code_info) or has_code_in_key(func)
    if not _is_damaged(stored, stored_code, code):
        _warn_of_collision(func, code_info, stored_code, stored_line)
    elif not keep:
        warnings.warn(
            f"The code that belongs to the cache entries of {func_id} in "
            f"{store.location} is damaged; they are removed.",
            CacheWarning,
            stacklevel=user_stacklevel(),
        )
    if keep:
        return write_code(func, store, func_id, code_info)
    try:
        store.clear_path([func_id])
    except OSError as error:
        _warn_not_claimed(func_id, store, error)
        return False
    write_code(func, store, func_id, code_info)
    return False


def _await_code(store: Store, func_id: str) -> tuple[object, str | None, bool]:
    """Read code that is missing though there are results, until one of both changes.

    So it is for a moment when they are cleared while another process stores one: that
    takes its own back, or the next call writes the code.

    Returns
    -------
    stamp : object
        Of the code, from before it was read.
    code : str or None
    are_there : bool
        Whether there were results when it was read.
    """
    for attempt in range(_ORPHAN_LOOKS):
        if attempt:
            time.sleep(_ORPHAN_PAUSE)
        stamp = store._code_stamp((func_id,))
        stored = _read(store, func_id)
        are_there = store._has_results((func_id,))
        if stored is not None or not are_there:
            break
    return stamp, stored, are_there


def _remove_unknown(store: Store, func_id: str) -> bool:
    """Remove results whose code is missing; tell whether they are gone."""
    warnings.warn(
        f"The code that belongs to the cache entries of {func_id} in {store.location} "
        "is missing; they are removed.",
        CacheWarning,
        stacklevel=user_stacklevel(),
    )
    try:
        store.clear_path([func_id])
    except OSError as error:
        _warn_not_claimed(func_id, store, error)
        return False
    return True


def write_code(func: Any, store: Store, func_id: str, code_info: CodeInfo) -> bool:
    """Write the code of a function into the store; warn where that is not possible.

    Returns
    -------
    bool
        Whether it is there now.
    """
    code, _, first_line = code_info
    text = f"{FIRST_LINE_TEXT} {first_line}\n{code}"
    try:
        store.store_cached_func_code([func_id], text)
        stamp = store._code_stamp((func_id,))
        if _read(store, func_id) != text:
            return False  # another process was faster: the next call finds its code
    except OSError as error:
        _warn_not_claimed(func_id, store, error)
        return False
    _remember(func, store, func_id, stamp)
    return True


def extract_first_line(func_code: str) -> tuple[str, int]:
    """Split stored code into the code and its line number.

    Parameters
    ----------
    func_code : str
        As stored.

    Returns
    -------
    code : str
    first_line : int
        -1 where none was noted.
    """
    if not func_code.startswith(FIRST_LINE_TEXT):
        return func_code, -1
    header, _, code = func_code.partition("\n")
    try:
        return code, int(header[len(FIRST_LINE_TEXT) :])
    except ValueError:
        return code, -1


def _read(store: Store, func_id: str) -> str | None:
    try:
        return _read_stored(store, func_id)
    except OSError:
        return None


def _read_stored(store: Store, func_id: str) -> str | None:
    """Read stored code: None where there is none, an OSError where none can tell."""
    try:
        return store.get_cached_func_code([func_id])
    except (FileNotFoundError, NotADirectoryError, KeyError):
        return None
    except IsADirectoryError:
        return ""  # damage, too
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _is_damaged(stored: str, stored_code: str, code: str) -> bool:
    """Tell whether stored code was cut, or overwritten, rather than edited."""
    if not stored.startswith(FIRST_LINE_TEXT):
        return True
    # The source of a function ends with the end of a line.
    cut = not stored_code.endswith("\n") and code.endswith("\n")
    return cut and code.startswith(stored_code)


def _remember(func: Any, store: Store, func_id: str, stamp: object) -> None:
    seen = _Seen(getattr(func, "__code__", None), stamp)
    try:
        _FUNCTION_HASHES.setdefault(func, {})[(store.location, func_id)] = seen
    except TypeError:
        pass  # cannot be hashed, or has no weak references: compared at every call


def _same_code(stored_code: str, code_info: CodeInfo) -> bool:
    code, _, first_line = code_info
    if stored_code == code:
        return True
    if first_line == -1:
        return False
    stored_tree, tree = _parse(stored_code), _parse(code)
    return stored_tree is not None and stored_tree == tree


def _parse(code: str) -> str | None:
    """Reduce source to what is computed: no comments, layout and docstrings."""
    try:
        tree = ast.parse(textwrap.dedent(code))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # a part of a statement, as the source of a lambda can be
    for node in ast.walk(tree):
        if not isinstance(
            node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
        ):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _warn_of_collision(
    func: Any, code_info: CodeInfo, stored_code: str, stored_line: int
) -> None:
    """Warn if the stored code is rather another function's than an older version."""
    code, source_file, first_line = code_info
    name = get_func_name(func, resolv_alias=False, win_characters=False)[1]
    if name == "<lambda>" or first_line == -1 or stored_line == -1:
        place = (
            ""
            if source_file is None or first_line == -1
            else (f" ({source_file}:{first_line})")
        )
        warnings.warn(
            f"Cannot detect name collisions for function '{name}'{place}: whether "
            "another version of it or another function was cached before cannot be "
            "told. Named functions in a file are told apart better.",
            JobLibCollisionWarning,
            stacklevel=user_stacklevel(),
        )
    if source_file is None or first_line == -1 or stored_line == -1:
        return
    if _stands_in_file(source_file, stored_code, stored_line):
        if has_code_in_key(func):
            consequence = "Their results are kept apart."
        elif _same_code(stored_code, code_info):
            consequence = "They compute the same, and share their results."
        else:
            consequence = "Each removes the results of the other: rename one of them."
        warnings.warn(
            f"Possible name collisions between functions '{name}' "
            f"({source_file}:{stored_line}) and '{name}' ({source_file}:{first_line}). "
            f"{consequence}",
            JobLibCollisionWarning,
            stacklevel=user_stacklevel(),
        )


def _stands_in_file(source_file: str, code: str, first_line: int) -> bool:
    """Tell whether a piece of code is still at a line of a file."""
    try:
        with tokenize.open(source_file) as stream:
            lines = stream.readlines()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return False
    wanted = code.splitlines(keepends=True)
    return (
        bool(wanted) and lines[first_line - 1 : first_line - 1 + len(wanted)] == wanted
    )


def _warn_not_claimed(
    func_id: str, store: Store, error: OSError, what: str = "write"
) -> None:
    warnings.warn(
        f"Unable to {what} the code of {func_id} to the cache in {store.location}: "
        f"{error}. Its results are computed and returned, but not stored.",
        CacheWarning,
        stacklevel=user_stacklevel(),
    )
