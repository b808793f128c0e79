"""What a call sends to its workers again and again, and what scattering it would save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

#: bytes: smaller pickles are not worth a word
LARGE = 1_000_000
#: objects that are watched at a time; they live as long as they are watched
MOST_WATCHED = 8

_PLAIN = (type(None), bool, int, float, complex)


class _Watched:
    __slots__ = ("label", "n_bytes", "n_sent", "obj")

    def __init__(self, obj: Any, label: str) -> None:
        self.obj = obj
        self.label = label
        self.n_sent = 0
        self.n_bytes: int | None = None


class Repeats:
    """Watches the parts of large tasks, to see which come again.

    Parameters
    ----------
    size_of : callable
        Returns the number of bytes of an object's pickle, as workers would get it.
    """

    def __init__(self, size_of: Callable[[Any], int]) -> None:
        self._size_of = size_of
        self._watched: dict[int, _Watched] = {}

    def note(self, tasks: Any, name: str, n_bytes: int) -> None:
        """Take note of tasks whose pickle has `n_bytes`; called by the feeding thread.

        Parameters
        ----------
        tasks : list of tuple
            Each ``(function, args, kwargs)``.
        name : str
            Of the first one's function.
        n_bytes : int
        """
        if n_bytes < LARGE:
            return
        seen = set()  # in one pickle an object is once, whatever refers to it
        for label, obj in _parts(tasks):
            if isinstance(obj, _PLAIN) or id(obj) in seen:
                continue
            seen.add(id(obj))
            watched = self._watched.pop(id(obj), None)
            if watched is None:
                watched = _Watched(obj, label.format(name=name))
            self._watched[id(obj)] = watched  # the latest is the last
            watched.n_sent += 1
            if watched.n_sent == 2:
                watched.n_bytes = self._measure(obj)
        while len(self._watched) > MOST_WATCHED:
            # Of those that came once, the one that has not come for longest.
            once = [key for key, one in self._watched.items() if one.n_sent == 1]
            del self._watched[once[0] if once else next(iter(self._watched))]

    def _measure(self, obj: Any) -> int:
        try:
            return self._size_of(obj)
        except Exception:  # what was pickled a moment ago may not be any more
            return 0

    def tell(self, backend: str) -> list[str]:
        """Return what there is to say, and forget it."""
        watched, self._watched = self._watched, {}
        return [
            f"{one.label}, of type {type(one.obj).__name__} and {one.n_bytes / 1e6:.1f} "
            f"MB when pickled, was sent {one.n_sent} times: "
            f"parallel_config({backend!r}, scatter=[...]) would send it once and save "
            f"{one.n_bytes * (one.n_sent - 1) / 1e6:.0f} MB."
            for one in watched.values()
            if one.n_bytes is not None and one.n_bytes >= LARGE
        ]


def _parts(tasks: Any) -> Iterator[tuple[str, Any]]:
    """Yield the functions and arguments of tasks, each with a label for `format`."""
    for function, args, kwargs in tasks:
        yield "The function {name!r}", function
        for index, arg in enumerate(args):
            yield f"args[{index}] of {{name!r}}", arg
        for key, arg in kwargs.items():
            yield f"argument {key!r} of {{name!r}}", arg
