"""Small helpers: safe arithmetic, defaults that know they are, traceback wrappers."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from ._captured import CapturedError, unwrap

#: longest expression and largest number that `eval_expr` works with
MAX_EXPRESSION_LENGTH = 30
MAX_LITERAL = 1_000_000

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


class _TooLarge(Exception):
    """A number on the way is over `MAX_LITERAL`."""


def _bounded(value: Any) -> Any:
    if abs(value) > MAX_LITERAL:
        raise _TooLarge(value)
    return value


def _value_of(node: ast.AST) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return _bounded(node.value)
    if isinstance(node, ast.BinOp):
        left, right = _value_of(node.left), _value_of(node.right)
        return _bounded(_BINARY[type(node.op)](left, right))
    if isinstance(node, ast.UnaryOp):
        return _UNARY[type(node.op)](_value_of(node.operand))
    raise TypeError(type(node).__name__)


def eval_expr(expr: str) -> Any:
    """Evaluate arithmetic of literal numbers: ``+ - * / // % **`` and brackets.

    Raises
    ------
    ValueError
        If `expr` is anything else, too long, or meets a number over a million.

    Examples
    --------
    >>> eval_expr("2 * 8")
    16
    >>> eval_expr("__import__('os')")
    Traceback (most recent call last):
      ...
    ValueError: "__import__('os')" is not a valid or supported arithmetic expression.
    """
    if len(expr) > MAX_EXPRESSION_LENGTH:
        raise ValueError(
            f"Expression {expr[:MAX_EXPRESSION_LENGTH]!r}... is too long: "
            f"{len(expr)} characters, at most {MAX_EXPRESSION_LENGTH} are allowed."
        )
    try:
        return _value_of(ast.parse(expr, mode="eval").body)
    except _TooLarge as error:
        raise ValueError(
            f"Numeric literal {error.args[0]} is too large, max is {MAX_LITERAL}."
        ) from None
    except (
        TypeError,
        SyntaxError,
        KeyError,
        ValueError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise ValueError(
            f"{expr!r} is not a valid or supported arithmetic expression."
        ) from error


class _Sentinel:
    """The default of a parameter, told apart from the same value given by hand."""

    def __init__(self, default_value: Any) -> None:
        self.default_value = default_value

    def __repr__(self) -> str:
        return f"default({self.default_value!r})"


class _TracebackCapturingWrapper:
    """Wrap a function to return its exception, traceback kept, instead of raising.

    The wrapper is picklable where the function is; what it returns goes through
    `_retrieve_traceback_capturing_wrapped_call` in the caller.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func

    def __call__(self, **kwargs: Any) -> Any:
        try:
            return self.func(**kwargs)
        except BaseException as error:  # the worker's boundary: it all goes home
            return CapturedError(error)


_retrieve_traceback_capturing_wrapped_call = unwrap
