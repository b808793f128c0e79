"""What a function does with the values it closes over, as far as its source tells.

A value that is only read is part of the function, as a default is. One that is only
written to (a list in which calls are noted) cannot change a result. The rest may be
either.
"""

from __future__ import annotations

import ast
import collections
import enum
from typing import TYPE_CHECKING, Any

from .._identity_map import WeakIdentityMap
from .codetext import function_tree

if TYPE_CHECKING:
    import types


class Usage(enum.Enum):
    """What is done with a value that is closed over."""

    READ = "read"
    PASSED = "passed on"
    WRITTEN = "written"
    EITHER = "either"


# Methods of the builtin containers, by what they can do.
_READERS = frozenset(
    "copy count get index items keys values union intersection difference issubset "
    "issuperset isdisjoint symmetric_difference".split()
)
# These tell nothing of what was there before.
_WRITERS = frozenset("append appendleft extend extendleft add update clear".split())
_CONTAINERS = (list, set, dict, collections.deque)
_LOOKS = (
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.For,
    ast.FormattedValue,
    ast.If,
    ast.IfExp,
    ast.Subscript,
    ast.UnaryOp,
    ast.While,
    ast.comprehension,
)

_usages = WeakIdentityMap()  # by compiled code, what `_find_usages` found


def usage_of(func: types.FunctionType, name: str, value: Any) -> Usage:
    """Tell what a function does with a value it closes over.

    Parameters
    ----------
    func : function
    name : str
        The variable.
    value : object
        What it holds now.

    Returns
    -------
    Usage
    """
    try:
        usages: dict[str, Usage] = _usages.get(func.__code__)
    except KeyError:
        usages = _find_usages(func)
        _usages.set(func.__code__, usages)
    usage = usages.get(name, Usage.EITHER)
    if type(value) in _CONTAINERS:
        # Rather computed anew after a function has changed what it was given than
        # loaded where someone else has.
        return Usage.READ if usage is Usage.PASSED else usage
    # The methods of others may do what they like, whatever they are called.
    return Usage.READ if usage is Usage.READ else Usage.EITHER


def _find_usages(func: types.FunctionType) -> dict[str, Usage]:
    tree = function_tree(func)
    if tree is None:
        return {}
    parents = {
        child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)
    }
    found: dict[str, set[Usage]] = {name: set() for name in func.__code__.co_freevars}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Nonlocal, ast.Global)):
            for name in node.names:
                found.setdefault(name, set()).add(Usage.EITHER)
        elif isinstance(node, ast.Name) and node.id in found:
            found[node.id].add(_usage(node, parents))
    return {name: _join(usages) for name, usages in found.items()}


def _join(usages: set[Usage]) -> Usage:
    if usages == {Usage.READ, Usage.PASSED}:
        return Usage.PASSED
    return usages.pop() if len(usages) == 1 else Usage.EITHER


def _usage(name: ast.Name, parents: dict[ast.AST, ast.AST]) -> Usage:
    """Judge one place where a variable stands."""
    if not isinstance(name.ctx, ast.Load):
        return Usage.EITHER
    node: ast.AST = name
    parent = parents[node]
    depth = 0
    while isinstance(parent, (ast.Attribute, ast.Subscript)) and parent.value is node:
        node, parent, depth = parent, parents[parent], depth + 1
        if not isinstance(node.ctx, ast.Load):
            outright = depth == 1 and not isinstance(parent, ast.AugAssign)
            return Usage.WRITTEN if outright else Usage.EITHER
    if not isinstance(parent, ast.Call) or parent.func is not node:
        looked_at = depth or isinstance(parent, _LOOKS)
        return Usage.READ if looked_at else Usage.PASSED
    if depth == 1 and isinstance(node, ast.Attribute):
        if node.attr in _WRITERS:
            return Usage.WRITTEN
        if node.attr in _READERS:
            return Usage.READ
    return Usage.EITHER
