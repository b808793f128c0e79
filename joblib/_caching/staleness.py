"""Whether the source in a file is still that of a function which runs.

A file that is edited while a process goes on says what the function will be at the next
start. Taken for its source today, it would label today's results as tomorrow's.
"""

from __future__ import annotations
import __future__

import functools
import os
import time
import tokenize
import types
from typing import TYPE_CHECKING, Any

from .._func_source import code_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

_STARTED = time.time()
_CLOCK_STEP = 2.0  # seconds, of the coarsest file systems
# What a compiler does by default is not what it did for the function.
_FUTURE = 0
for _name in __future__.all_feature_names:
    _FUTURE |= getattr(__future__, _name).compiler_flag


def is_source_of(source: str, func: Any) -> bool:
    """Tell whether a function was compiled from the source that is found for it.

    Parameters
    ----------
    source : str
        What is found for it now.
    func : function

    Returns
    -------
    bool
        True, too, where the file is older than this process: there is no need to look.
    """
    code = func.__code__
    try:
        stat = os.stat(code.co_filename)
    except OSError:
        return True  # no file, but a cell of a notebook: each has its own source
    if stat.st_mtime < _STARTED - _CLOCK_STEP:
        return True
    wanted = code_digest(code)
    if _is_in_file(code, wanted, source, stat.st_mtime_ns, stat.st_size):
        return True
    # The file may be another by now, or half of one.
    try:
        compiled = compile(
            _put_into_place(source, func),
            code.co_filename,
            "exec",
            flags=code.co_flags & _FUTURE,
            dont_inherit=True,
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False  # part of a statement, or of another one
    return any(
        found.co_name == code.co_name and code_digest(found) == wanted
        for found in _codes_in(compiled)
    )


def _is_in_file(
    code: types.CodeType, wanted: str, source: str, mtime_ns: int, size: int
) -> bool:
    """Tell whether a file holds this source, and where it does, this code.

    Only as part of its file is a function compiled to what it was: a name that is
    imported at the top is called in another way than any other.
    """
    text, codes = _read_file(code.co_filename, mtime_ns, size)
    line = code.co_firstlineno
    if not any(
        found.co_name == code.co_name and code_digest(found) == wanted
        for found in codes.get(line, ())
    ):
        return False
    lines = source.rstrip("\n").split("\n")
    return text[line - 1 : line - 1 + len(lines)] == lines


@functools.lru_cache(maxsize=4)
def _read_file(
    path: str, mtime_ns: int, size: int
) -> tuple[list[str], dict[int, list[types.CodeType]]]:
    """Read and compile a file: its lines, and code by the line it begins in."""
    by_line: dict[int, list[types.CodeType]] = {}
    try:
        with tokenize.open(path) as stream:
            text = stream.read()
        compiled = compile(text, path, "exec", dont_inherit=True)
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return [], by_line
    for code in _codes_in(compiled):
        by_line.setdefault(code.co_firstlineno, []).append(code)
    return text.split("\n"), by_line


def _put_into_place(source: str, func: Any) -> str:
    """Put classes and functions around source, as they are around it in its file.

    They decide which variables are closed over and how private names are written.
    """
    code = func.__code__
    around = func.__qualname__.split(".")[:-1]
    variables = [name for name in code.co_freevars if name != "__class__"]
    lines = []
    if source[:1].isspace() and not around:
        lines.append("if True:")
    for index, name in enumerate(around):
        indent = " " * len(lines)
        if name == "<locals>":
            continue
        is_function = around[index + 1 : index + 2] == ["<locals>"]
        if not is_function:
            lines.append(f"{indent}class {name}:")
            continue
        parameters = ", ".join(variables)
        variables = []
        shown = name if name.isidentifier() else "_"
        lines.append(f"{indent}def {shown}({parameters}):")
    return "\n".join((*lines, source))


def _codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes_in(constant)
