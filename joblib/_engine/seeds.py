"""Random seeds for tasks: the same for every backend, number of jobs and batch size.

A task's seed is a child of the call's, told by the number of the task alone::

    SeedSequence(entropy, spawn_key=(*key of the call, number))

These are the children that ``SeedSequence(entropy).spawn(n)`` returns. What goes beyond
a context's first call, and calls that tasks make, get keys that `spawn` does not reach
before it has made four thousand million children.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from numbers import Integral
from typing import Any

from .context import TASK_SEED, _backend, current

#: goes before the number of a call in the keys of its tasks
_CALL = 2**32 - 1


class Seed:
    """A place in the tree of seeds: what makes a `SeedSequence`, without numpy."""

    __slots__ = ("entropy", "first", "key", "pool_size")

    def __init__(
        self, entropy: Any, key: tuple[int, ...], pool_size: int, first: int = 0
    ) -> None:
        self.entropy = entropy
        self.key = key
        self.pool_size = pool_size
        self.first = first  # the number of the first child that nobody has got yet

    def child(self, *path: int) -> Seed:
        """Return a place below this one."""
        if path[0] != _CALL:
            path = (path[0] + self.first, *path[1:])
        return Seed(self.entropy, (*self.key, *path), self.pool_size)

    def sequence(self) -> Any:
        """Return the numpy object."""
        from numpy.random import SeedSequence

        return SeedSequence(self.entropy, spawn_key=self.key, pool_size=self.pool_size)


class OneCall:
    """What a call was given itself: the same seeds each time it is made."""

    def __init__(self, seed: Seed) -> None:
        self._seed = seed

    def of_next_call(self) -> Seed:
        """Return the seed whose children are the tasks'."""
        return self._seed


class ManyCalls:
    """What a context was given, or a task has got: other seeds for each of its calls.

    Parameters
    ----------
    seed : Seed
    first_is_plain : bool
        The first call's tasks get the children of `seed` itself.
    """

    def __init__(self, seed: Seed, first_is_plain: bool) -> None:
        self.seed = seed
        self._first_is_plain = first_is_plain
        self._n_calls = 0
        self._lock = threading.Lock()

    def of_next_call(self) -> Seed:
        """Return the seed whose children are the tasks'."""
        with self._lock:
            number = self._n_calls
            self._n_calls += 1
        if number == 0 and self._first_is_plain:
            return self.seed
        return self.seed.child(_CALL, number)


def seeds_from(value: Any, in_context: bool) -> OneCall | ManyCalls:
    """Return what gives calls their seeds.

    Parameters
    ----------
    value : int, sequence of int or numpy.random.SeedSequence
    in_context : bool
        It is given to a context, and not to one call.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    ImportError
        If there is no numpy.
    """
    try:
        from numpy.random import SeedSequence
    except ImportError as error:
        raise ImportError("seed= needs numpy, which is not installed.") from error
    if isinstance(value, SeedSequence):
        sequence = value
    else:
        sequence = SeedSequence(_entropy(value))
    seed = Seed(
        sequence.entropy,
        tuple(sequence.spawn_key),
        sequence.pool_size,
        sequence.n_children_spawned,
    )
    return ManyCalls(seed, first_is_plain=True) if in_context else OneCall(seed)


def _entropy(value: Any) -> Any:
    several = isinstance(value, Iterable) and not isinstance(value, (str, bytes))
    numbers = list(value) if several else [value]
    if not numbers or not all(
        isinstance(number, Integral) and not isinstance(number, bool)
        for number in numbers
    ):
        raise TypeError(
            "seed must be an integer, a sequence of integers or a "
            f"numpy.random.SeedSequence, got {value!r} of type {type(value).__name__}."
        )
    if min(numbers) < 0:
        raise ValueError(f"seed must not be negative, got: {value!r}.")
    return [int(number) for number in numbers] if several else int(value)


class SeededTask:
    """A function that finds the seed of its task; see `task_seed`."""

    __slots__ = ("func", "seed")

    def __init__(self, func: Callable[..., Any], seed: Seed) -> None:
        self.func = func
        self.seed = seed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before = getattr(_backend, "config", None)
        scope = ManyCalls(self.seed, first_is_plain=False)
        _backend.config = {**current(), TASK_SEED: scope}
        try:
            return self.func(*args, **kwargs)
        finally:
            _backend.config = before


def task_seed() -> Any:
    """Return the seed of the task that calls this.

    Calls of `Parallel` that were given ``seed=``, or run within
    ``parallel_config(seed=...)``, have one for each of their tasks. It depends on that
    seed and the number of the task, and on nothing else: not on the backend, `n_jobs`,
    `batch_size`, or on how often the task was tried. Calls that a task makes itself
    have seeds below its own.

    Returns
    -------
    numpy.random.SeedSequence
        For ``numpy.random.default_rng``. A new object each time, equal to
        ``numpy.random.SeedSequence(seed).spawn(n)[number]``.

    Raises
    ------
    RuntimeError
        If the caller is not a task of a call that has a seed.

    Examples
    --------
    >>> import numpy as np
    >>> from joblib import Parallel, delayed, task_seed
    >>> def draw():
    ...     return int(np.random.default_rng(task_seed()).integers(100))
    >>> Parallel(n_jobs=1, seed=0)(delayed(draw)() for _ in range(4))
    [80, 66, 65, 89]
    >>> Parallel(n_jobs=2, prefer="threads", seed=0)(delayed(draw)() for _ in range(4))
    [80, 66, 65, 89]
    """
    scope = current().get(TASK_SEED)
    if scope is None:
        raise RuntimeError(
            "task_seed() was called outside of a task that has a seed. Give one to the "
            "call, Parallel(seed=0), or set it around: parallel_config(seed=0)."
        )
    return scope.seed.sequence()
