"""The code of functions and classes as text: equal when what is computed is.

Where there is source, comments, layout and docstrings leave no trace in the text, nor
does the version of Python; where there is none, compiled code is digested.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
import types
import weakref
from typing import Any

from .._func_source import code_digest, get_func_code
from .._identity_map import WeakIdentityMap
from .staleness import is_source_of

CodeInfo = tuple[str, "str | None", int]
LAMBDA = "<lambda>"

# Source is read once: the file may change while the function lives on as it was.
_code_infos: weakref.WeakKeyDictionary[Any, tuple[Any, CodeInfo]] = (
    weakref.WeakKeyDictionary()
)
# By compiled code: equal code may come from a file that says something else by now.
_trees = WeakIdentityMap()
_numbers = WeakIdentityMap()
_new_number = itertools.count(1).__next__
_texts = WeakIdentityMap()


def as_function(func: Any) -> Any:
    """Return what is really called, and how it is named and inspected.

    Parameters
    ----------
    func : callable

    Returns
    -------
    callable
        For an object whose class defines ``__call__``, that method; else `func`.
    """
    if isinstance(func, (types.FunctionType, types.MethodType, type)):
        return func
    # What it is made of counts, not whether there is something that can be called.
    method = inspect.getattr_static(type(func), "__call__", None)
    return func.__call__ if isinstance(method, types.FunctionType) else func


def is_lambda(func: Any) -> bool:
    """Tell whether a function is one of many of the same name, whatever it is called."""
    code = getattr(func, "__code__", None)
    return LAMBDA in (getattr(func, "__name__", None), getattr(code, "co_name", None))


def code_number(code: Any) -> int:
    """Number compiled code: in a process no two have one number, as ids can be."""
    if not isinstance(code, types.CodeType):
        return 0
    try:
        number: int = _numbers.get(code)
    except KeyError:
        number = _new_number()
        _numbers.set(code, number)
    return number


def get_code_info(func: Any) -> CodeInfo:
    """Get code, file and first line of a function, of a partial object's function.

    Parameters
    ----------
    func : callable

    Returns
    -------
    code : str
    source_file : str or None
    first_line : int
        As by `joblib.func_inspect.get_func_code`.
    """
    if isinstance(func, functools.partial):
        return get_code_info(func.func)
    func = as_function(func)
    func = getattr(func, "__func__", func)
    code = getattr(func, "__code__", None)
    if code is None:
        return _info_without_code(func)
    try:
        known = _code_infos.get(func)
        if known is not None and known[0] is code:
            return known[1]
    except TypeError:  # cannot be hashed, or has no weak references
        return get_func_code(func)
    info = get_func_code(func)
    if info[2] != -1 and isinstance(func, types.FunctionType):
        if not is_source_of(info[0], func):
            info = code_digest(code), info[1], -1
    try:
        _code_infos[func] = (code, info)
    except TypeError:
        pass
    return info


def _info_without_code(func: Any) -> CodeInfo:
    if isinstance(func, type):
        return class_text(func), None, -1
    wrapped = getattr(func, "__wrapped__", None)
    if wrapped is not None and wrapped is not func:  # as by functools.lru_cache
        return get_code_info(wrapped)
    owner = getattr(func, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        # Its representation would tell the address of the object.
        return f"<built-in method {func.__qualname__}>", None, -1
    return get_func_code(func)


def function_tree(func: types.FunctionType) -> ast.AST | None:
    """Parse the source of a function; None without source that can be parsed.

    Returns
    -------
    ast.AST or None
        The source as a whole, which for a lambda may hold others beside it.
    """
    code = func.__code__
    try:
        tree: ast.AST | None = _trees.get(code)
    except KeyError:
        source, _, first_line = get_code_info(func)
        tree = None if first_line == -1 else parse(source)
        _trees.set(code, tree)
    return tree


def function_text(func: types.FunctionType) -> str:
    """Return text that tells the code of a function, without defaults and closure."""
    code = func.__code__
    try:
        text: str = _texts.get(code)
    except KeyError:
        text = _make_function_text(func)
        _texts.set(code, text)
    return text


def _make_function_text(func: types.FunctionType) -> str:
    tree: ast.AST | None = function_tree(func)
    if tree is not None and is_lambda(func):
        # Several in one piece of source: what they were compiled to differs.
        lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
        tree = lambdas[0] if len(lambdas) == 1 else None
    return code_digest(func.__code__) if tree is None else tree_text(tree)


def class_text(cls: type) -> str:
    """Return text that tells the code of a class, without that of its bases."""
    name = f"{cls.__module__}.{cls.__qualname__}"
    functions = dict(functions_of(cls))
    parts = [f"{attribute}={value!r}" for attribute, value in _constants_of(cls)]
    tree = _class_tree(cls, list(functions.values()))
    if tree is not None:
        parts.append(tree_text(tree))
    else:
        bases = [f"{base.__module__}.{base.__qualname__}" for base in cls.__bases__]
        parts.append(f"({','.join(bases)})")
        parts += [
            f"{attribute}:{function_text(function)}"
            for attribute, function in sorted(functions.items())
        ]
    return f"class:{name}:{';'.join(parts)}"


def _class_tree(cls: type, functions: list[types.FunctionType]) -> ast.AST | None:
    """Parse the source of a class, if what is found is the source of this one."""
    try:
        lines, first_line = inspect.getsourcelines(cls)
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError, IndexError, SyntaxError, UnicodeDecodeError):
        return None
    last_line = first_line + len(lines)
    for function in functions:
        code = function.__code__
        if function.__qualname__.rpartition(".")[0] != cls.__qualname__:
            continue
        if code.co_filename == file and not (
            first_line <= code.co_firstlineno < last_line
        ):
            return None  # one of two classes of one name in one file
    return parse("".join(lines))


def functions_of(cls: type) -> list[tuple[str, types.FunctionType]]:
    """Return the functions among the attributes of a class, by name."""
    found = []
    for name, value in vars(cls).items():
        parts: tuple[Any, ...] = (value,)
        if isinstance(value, property):
            parts = (value.fget, value.fset, value.fdel)
        for index, part in enumerate(parts):
            plain = inspect.unwrap(getattr(part, "__func__", part))
            if isinstance(plain, types.FunctionType):
                found.append((f"{name}{index or ''}", plain))
    return found


def _constants_of(cls: type) -> list[tuple[str, Any]]:
    kinds = (bool, int, float, complex, str, bytes)
    return sorted(
        (name, value)
        for name, value in vars(cls).items()
        if type(value) in kinds and not (name.startswith("__") and name.endswith("__"))
    )


def parse(source: str | bytes) -> ast.AST | None:
    """Parse source that may be indented; None where that is not possible."""
    try:
        return ast.parse(textwrap.dedent(source) if isinstance(source, str) else source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # a part of a statement, as the source of a lambda can be


def tree_text(node: ast.AST) -> str:
    """Write a syntax tree, without docstrings and the same in each Python.

    `ast.dump` would write fields that only some versions know.
    """
    parts = []
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name == "body" and _has_docstring(node):
            value = value[1:] or [ast.Pass()]
        if value is None or value == [] or name in ("kind", "type_ignores"):
            continue
        parts.append(f"{name}={_value_text(value)}")
    return f"{type(node).__name__}({','.join(parts)})"


def _value_text(value: Any) -> str:
    if isinstance(value, ast.AST):
        return tree_text(value)
    if isinstance(value, list):
        return f"[{','.join(map(_value_text, value))}]"
    return repr(value)


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
