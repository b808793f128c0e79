"""Many tasks of one function, kept as the columns of their arguments.

Each task is a tuple with a tuple and a dict in it. That is more to keep and to pickle than
its arguments often are, and above all more for Python's garbage collector to go through
again and again: of tasks that take next to nothing it is most of the cost. Columns of
numbers or strings the collector passes over.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

#: fewer tasks are kept as they are
FEWEST = 16
#: in place of a function: a task may, by mistake, have None there
_NO_FUNCTION: Any = object()


class Columns(Sequence[Any]):
    """Tasks that call one function, each made as it is asked for.

    Parameters
    ----------
    function : callable
    columns : sequence of sequence
        For each argument what the tasks have there; all of one length.

    Examples
    --------
    >>> tasks = Columns(pow, [(2, 3), (4, 5)])
    >>> len(tasks), tasks[1], tasks[:1] == list(tasks)[:1]
    (2, (<built-in function pow>, (3, 5), {}), True)
    """

    __slots__ = ("_columns", "_function")

    def __init__(
        self, function: Callable[..., Any], columns: Sequence[Sequence[Any]]
    ) -> None:
        self._function = function
        self._columns = columns

    @classmethod
    def of_rows(
        cls, function: Callable[..., Any], rows: list[tuple[Any, ...]]
    ) -> Columns | None:
        """Return tasks with these arguments; None if they differ in number, or have none."""
        try:
            columns = list(zip(*rows, strict=True))
        except ValueError:
            return None
        return cls(function, columns) if columns else None

    @classmethod
    def of(cls, tasks: list[Any]) -> Columns | None:
        """Return tasks in columns; None if they are few, or differ in more than values."""
        if len(tasks) < FEWEST:
            return None
        ahead = Ahead(compact=True)
        ahead.extend(tasks)
        taken = ahead.take(len(tasks))
        return taken if isinstance(taken, Columns) else None

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[Any]:
        function = self._function
        for args in zip(*self._columns, strict=True):
            yield function, args, {}

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(self)[index]
        return self._function, tuple(column[index] for column in self._columns), {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._function, self._columns)

    def _fits(self, other: Any) -> bool:
        return (
            type(other) is Columns
            and other._function is self._function
            and len(other._columns) == len(self._columns)
        )


def joined(parts: list[Sequence[Any]]) -> Sequence[Any]:
    """Return the tasks of all parts; in columns if all of them are, of one function."""
    first = parts[0]
    if isinstance(first, Columns) and all(map(first._fits, parts)):
        columns = zip(*(part._columns for part in parts), strict=True)  # type: ignore[attr-defined]
        together = [[one for part in column for one in part] for column in columns]
        return Columns(first._function, together)
    return [task for part in parts for task in part]


class _Apart:
    """A task that does not go into columns."""

    __slots__ = ("task",)

    def __init__(self, task: Any) -> None:
        self.task = task


class Ahead:
    """Tasks that have been read, and not yet given out.

    Parameters
    ----------
    compact : bool
        Whether they may be given out in columns. While they wait, their arguments alone
        are kept.
    """

    def __init__(self, compact: bool) -> None:
        self._compact = compact
        self._function: Any = _NO_FUNCTION
        #: tasks, or, if compact, tuples of arguments and what is `_Apart`
        self._waiting: deque[Any] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def extend(self, tasks: Iterable[Any]) -> int:
        """Read tasks; return how many there were."""
        waiting = self._waiting
        before = len(waiting)
        if not self._compact:
            waiting.extend(tasks)
            return len(waiting) - before
        function, add = self._function, waiting.append
        for task in tasks:
            if type(task) is tuple and len(task) == 3:
                one, args, kwargs = task
                if function is _NO_FUNCTION:
                    function = self._function = one
                plain = type(args) is tuple and type(kwargs) is dict and not kwargs
                if plain and one is function:
                    add(args)
                    continue
            add(_Apart(task))
        return len(waiting) - before

    def take(self, n: int) -> Sequence[Any]:
        """Give out the next `n` tasks, or as many as there are."""
        waiting = self._waiting
        taken = [waiting.popleft() for _ in range(min(n, len(waiting)))]
        if not self._compact:
            return taken
        function = self._function
        if len(taken) >= FEWEST and all(type(one) is tuple for one in taken):
            columns = Columns.of_rows(function, taken)
            if columns is not None:
                return columns
        return [
            (function, one, {}) if type(one) is tuple else one.task for one in taken
        ]
