"""Large containers of plain values, which marshal writes several times as fast as pickle.

Pickle keeps a memo of each text that it has written; of 300,000 of them that is most
of the work. Marshal knows fewer types, and takes some for others: what it gets here
is looked through first. Both ends are the same Python.
"""

from __future__ import annotations

import marshal
from types import FunctionType
from typing import Any

#: a container of fewer elements is not worth a look
LARGE = 10_000
#: containers within the container that are looked through; marshal goes as deep
MOST_INNER = 900

_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_PLAIN = _ATOMS | _CONTAINERS


class Flat:
    """Stands for a container in a pickle; what is unpickled is the container.

    Parameters
    ----------
    obj : dict, list, tuple, set or frozenset

    Raises
    ------
    ValueError
        If it is too large for marshal.
    """

    __slots__ = ("_data",)

    def __init__(self, obj: Any) -> None:
        self._data = marshal.dumps(obj)

    def __reduce__(self) -> tuple[Any, ...]:
        return marshal.loads, (self._data,)


def count_flat(obj: Any) -> int:
    """Return how many containers a container consists of; 0 if it is not flat.

    It is flat if there is nothing in it but plain values, also further down.

    >>> count_flat([1, "a", None]), count_flat({"a": [1], "b": [2]}), count_flat([len])
    (1, 3, 0)
    """
    todo = [obj]
    n_seen = 0
    while todo:
        container = todo.pop()
        n_seen += 1
        values: Any = container
        if type(container) is dict:
            if not set(map(type, container)) <= _ATOMS:
                return 0
            values = container.values()
        kinds = set(map(type, values))
        if kinds <= _ATOMS:
            continue
        if not kinds <= _PLAIN or type(container) in (set, frozenset):
            return 0
        todo += [value for value in values if type(value) in _CONTAINERS]
        if n_seen + len(todo) > MOST_INNER:
            return 0
    return n_seen


def _replacements(values: list[Any]) -> dict[int, Flat]:
    """Return by their ids what stands for the containers among plain values.

    There is none unless all of them are large and flat. Of several none has others
    within: those might be in more than one, and are to be the same object then.
    """
    found = {id(v): v for v in values if type(v) in _CONTAINERS}
    if not all(len(container) >= LARGE for container in found.values()):
        return {}
    most = MOST_INNER if len(found) == 1 else 1
    if not all(1 <= count_flat(container) <= most for container in found.values()):
        return {}
    try:
        return {key: Flat(container) for key, container in found.items()}
    except ValueError:
        return {}


def _is_alone(function: Any) -> bool:
    """Whether a function brings nothing along that an argument could be a part of."""
    return (
        type(function) is FunctionType
        and function.__closure__ is None
        and not function.__defaults__
        and not function.__kwdefaults__
    )


def flatten_tasks(tasks: list[Any]) -> list[Any]:
    """Return tasks in which large plain containers go by marshal; the same if none.

    Only tasks are changed that have nothing but plain values besides: something else
    might have the container as a part of it, and they are to stay the same object.

    Parameters
    ----------
    tasks : list of tuple
        Each ``(function, args, kwargs)``.
    """
    values: list[Any] = []
    for function, args, kwargs in tasks:
        kinds = {*map(type, args), *map(type, kwargs.values())}
        # Nearly always this ends with the first task.
        if kinds <= _ATOMS or not kinds <= _PLAIN or not _is_alone(function):
            return tasks
        values += args
        values += kwargs.values()
    flat = _replacements(values)
    if not flat:
        return tasks
    return [
        (
            function,
            tuple(flat.get(id(arg), arg) for arg in args),
            {name: flat.get(id(arg), arg) for name, arg in kwargs.items()},
        )
        for function, args, kwargs in tasks
    ]


def flatten_results(results: Any) -> Any:
    """Return results in which large plain containers go by marshal; else the same."""
    if type(results) is not list:
        return results
    for result in results:
        if type(result) in _CONTAINERS and len(result) >= LARGE:
            break
    else:
        return results
    if not set(map(type, results)) <= _PLAIN:
        return results
    flat = _replacements(results)
    if not flat:
        return results
    return [flat.get(id(result), result) for result in results]
