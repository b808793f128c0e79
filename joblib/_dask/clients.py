"""Which dask client serves a backend, and how many cores its cluster has."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import time
import weakref
from collections.abc import Iterable
from typing import Any

from .pulse import CLOSED, answer_of

#: parameters of ``Client.submit`` that are not for the user of `Parallel` to set
_OURS = {"self", "func", "args", "kwargs", "pure", "actor", "actors"}

#: seconds for which a cluster's workers are known: asking for them takes as long as
#: a small task, and many calls are made of a few of those
ASK_AGAIN = 0.5

_KNOWN: weakref.WeakKeyDictionary[Any, tuple[float, dict[str, int]]] = (
    weakref.WeakKeyDictionary()
)

NO_CLIENT = (
    "There is no dask client to run tasks with. To use joblib with dask, first "
    "create a dask client:\n\n"
    "    from dask.distributed import Client\n"
    "    client = Client()  # or Client('scheduler-address:8786')\n\n"
    "or name the scheduler: "
    "parallel_config('dask', scheduler_host='scheduler-address:8786')."
)


def require_dask() -> None:
    """Raise ValueError saying what to install where distributed is missing."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "The 'dask' backend needs dask and distributed, which could not be "
            f"imported ({error}). Please install dask and distributed: "
            "pip install 'joblib[distributed]'."
        ) from error


def check_submit_options(options: dict[str, Any]) -> None:
    """Raise TypeError unless ``Client.submit`` has a parameter for each option."""
    from distributed import Client

    allowed = set(inspect.signature(Client.submit).parameters) - _OURS
    unknown = sorted(set(options) - allowed)
    if unknown:
        raise TypeError(
            f"The dask backend got options that dask does not know: {unknown}. "
            f"Besides its own parameters it takes those of Client.submit: "
            f"{sorted(allowed)}."
        )
    key = options.get("key")
    if key is not None and not (isinstance(key, str) and key):
        raise TypeError(
            f"key must be a str, with which the keys of all tasks begin, got {key!r}."
        )


def on_worker() -> bool:
    """Tell whether this code runs in a task on a dask worker."""
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def find_client(
    client: Any = None, scheduler_host: Any = None, loop: Any = None
) -> tuple[Any, bool]:
    """Return the client to use, and whether it was made here.

    In this order: the one given; in a task its worker's own; the current one, if
    it is connected to `scheduler_host` or that is None; a new one.
    """
    if client is not None:
        return _usable(client), False
    from distributed import Client, get_client

    if on_worker() and scheduler_host is None:
        return _usable(get_client()), False
    try:
        current = Client.current()
    except ValueError:
        current = None
    if scheduler_host is None:
        if current is None:
            raise ValueError(NO_CLIENT)
        return _usable(current), False
    if current is not None and _is_connected_to(current, scheduler_host):
        return _usable(current), False
    return Client(scheduler_host, loop=loop, set_as_default=False), True


def find_client_in_task(context: contextvars.Context | None) -> Any:
    """Return the client of the worker on which a backend was unpickled.

    The task may ask from a thread that it started; dask knows a task's worker by
    context variables, so `context` is the one in which the unpickling happened.
    """
    if context is not None and not on_worker():
        return context.copy().run(find_client)[0]
    return find_client()[0]


def _usable(client: Any) -> Any:
    if client.asynchronous:
        raise ValueError(
            f"The dask client {client!r} is asynchronous: it has no event loop of "
            "its own, and Parallel waits for results. Please use a client that was "
            "made with asynchronous=False."
        )
    if client.status in CLOSED:
        raise ValueError(f"The dask client {client!r} is closed. {NO_CLIENT}")
    return client


def _is_connected_to(client: Any, host: Any) -> bool:
    address = getattr(client.scheduler, "address", None)
    if address is None or not isinstance(host, str):
        return False
    from distributed.comm.addressing import get_address_host_port, normalize_address

    if normalize_address(host) == address:
        return True
    try:
        return bool(get_address_host_port(host) == get_address_host_port(address))
    except (ValueError, OSError, NotImplementedError):
        return False


def shares_process(client: Any) -> bool:
    """Tell whether the client's workers live in its own process."""
    address = getattr(client.scheduler, "address", None) or ""
    return str(address).startswith("inproc://")


def _threads_of(client: Any) -> dict[str, int]:
    """Return the number of threads of each worker, by address."""
    asked, threads = _KNOWN.get(client, (-ASK_AGAIN, {}))
    if client.status in CLOSED:
        raise RuntimeError(f"The dask client was closed. {NO_CLIENT}")
    if threads and time.monotonic() - asked < ASK_AGAIN:
        return threads
    threads = dict(answer_of(client, client.nthreads(asynchronous=True)))
    note_workers(client, threads)
    return threads


def note_workers(client: Any, threads: dict[str, int]) -> None:
    """Take note of how many threads each worker has now, by address."""
    _KNOWN[client] = time.monotonic(), threads


def is_known_well(client: Any) -> bool:
    """Whether the cluster's workers were counted a moment ago."""
    asked, threads = _KNOWN.get(client, (0.0, {}))
    return bool(threads) and time.monotonic() - asked < ASK_AGAIN


def known_workers(client: Any) -> set[str]:
    """Return the addresses of the workers there were when they were last counted."""
    return set(_KNOWN.get(client, (0.0, {}))[1])


def count_cores(client: Any, workers: Any = None, told: int = 0) -> int:
    """Return how many tasks the cluster's workers can run at once now.

    With `told`, the number that somebody else has given, nobody is asked: what was
    known last will do, or else that.

    Parameters
    ----------
    client : distributed.Client
        The cluster's client.
    workers : str or iterable of str, optional
        Count these workers alone: addresses, host names or aliases. Where none of
        them is an address that the scheduler knows, all are counted.
    told : int, default=0
        What will do if nothing is known.
    """
    if told:
        threads = _KNOWN.get(client, (0.0, {}))[1]
        if not threads:
            return told
    else:
        threads = _threads_of(client)
    return cores_of(threads, workers)


def cores_of(threads: dict[str, int], workers: Any = None) -> int:
    """Return how many threads workers have together, given those of each; see above."""
    if workers is not None:
        named: Iterable[str] = [workers] if isinstance(workers, str) else workers
        known = [threads[name] for name in named if name in threads]
        if known:
            return sum(known)
    return sum(threads.values())


def do_nothing(**_: Any) -> None:
    """Run as a task, to find out that there is a worker for it."""


def seconds_of(timeout: Any) -> float:
    """Return `wait_for_workers_timeout` in seconds, as dask reads it; None is 0.

    >>> seconds_of(3), seconds_of(None), seconds_of(float("inf"))
    (3.0, 0.0, inf)

    Raises
    ------
    ValueError
        If it is none.
    """
    if timeout is None or isinstance(timeout, (int, float)):
        seconds = float(timeout or 0)
    else:
        from dask.utils import parse_timedelta

        try:
            seconds = float(parse_timedelta(timeout, "s"))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError):
            seconds = math.nan
    if math.isnan(seconds):
        raise ValueError(
            "wait_for_workers_timeout must be a number of seconds, text such as "
            f"'30 s' or '2 minutes', a timedelta, or None; got {timeout!r}"
        )
    return seconds


def call_for_worker(client: Any, options: dict[str, Any]) -> Any:
    """Send a task that does nothing; return its future.

    An adaptive cluster starts workers when there is work.
    """
    restrictions = {name: options[name] for name in options if name != "key"}
    return client.submit(do_nothing, pure=False, **restrictions)


def wait_for_worker(client: Any, timeout: float, options: dict[str, Any]) -> None:
    """Wait until a worker takes tasks, at most `timeout` seconds.

    Raises
    ------
    TimeoutError
        If there is no worker by then; it names the scheduler and the timeout.
    """
    probe = call_for_worker(client, options)
    try:
        probe.result(timeout=None if timeout == math.inf else timeout)
    except (TimeoutError, asyncio.TimeoutError) as error:  # two in Python 3.10
        raise TimeoutError(
            f"DaskDistributedBackend has no worker after {timeout:g} seconds. The "
            f"scheduler at {client.scheduler.address} has none that takes tasks: "
            "start workers and check that they can reach it, or let it wait longer "
            "with parallel_config('dask', wait_for_workers_timeout=...)."
        ) from error
    finally:
        probe.release()  # sent, and not waited for: the scheduler may be frozen
