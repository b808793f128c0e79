"""Tasks and task wrappers of the backend contract, importable by any worker."""

from __future__ import annotations

import time
import warnings
from typing import Any

from ..parallel import Parallel, delayed


class TaskError(Exception):
    """What failing tasks of the checks raise."""


def square(x: int) -> int:
    return x * x


def fail_on_odd(x: int) -> int:
    if x % 2:
        raise TaskError(f"odd: {x}")
    return x


def sleep_then(seconds: float, x: int) -> int:
    time.sleep(seconds)
    return x


def nested_sum(n: int) -> int:
    return sum(Parallel(n_jobs=2)(delayed(square)(i) for i in range(n)))


def put_into(target: list[Any], i: int) -> None:
    target[i] = i


def nothing() -> None:
    pass


class Unpicklable:
    """Can't be sent anywhere."""

    def __reduce__(self) -> Any:
        raise TypeError("this object can't be pickled")


def make_unpicklable() -> Unpicklable:
    return Unpicklable()


def adding_wrapper(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs) + 1000


def doubling_wrapper(func: Any, args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs) * 2


def failing_setup(func: Any, args: Any, kwargs: Any) -> Any:
    raise TaskError("setup")


def failing_teardown(func: Any, args: Any, kwargs: Any) -> Any:
    try:
        return func(*args, **kwargs)
    finally:
        raise RuntimeError("teardown")


def close_quietly(generator: Any) -> None:
    """Close a generator of results before its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of results that nobody took
        generator.close()
