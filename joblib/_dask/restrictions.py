"""Which workers a call's tasks may run on, and whether there is one of them left.

dask waits for ever for a worker that has what a task asks for. A nanny's new worker has
another address than the one it replaces, and a resource may have been mistyped.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any


def _is_exact(name: str) -> bool:
    """Tell whether this is the address of one worker, with nothing to be resolved.

    >>> [_is_exact(name) for name in ("tcp://10.0.0.1:80", "tls://node:80", "alice")]
    [True, False, False]
    """
    scheme, found, place = name.partition("://")
    if not found:
        return False
    if scheme == "inproc":
        return True
    host, _, port = place.rpartition(":")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return port.isdigit()


def _normal(name: Any) -> Any:
    """Return an address as dask writes it; what is none as it is."""
    if not (isinstance(name, str) and _is_exact(name)):
        return name
    from distributed.comm.addressing import resolve_address

    try:
        return resolve_address(name)
    except Exception:  # it is for dask to say what is wrong with it
        return name


class Restrictions:
    """The workers that a call's tasks may run on.

    Parameters
    ----------
    options : dict
        Keywords for ``Client.map``, of which ``workers``, ``allow_other_workers`` and
        ``resources`` count.

    Examples
    --------
    >>> gpu = Restrictions({"resources": {"GPU": 1}})
    >>> str(gpu)
    " with resources={'GPU': 1}"
    >>> some = {"tcp://10.0.0.1:80": {"resources": {"GPU": 2}}}
    >>> gpu.admit(some), gpu.admit({})
    (True, False)
    """

    def __init__(self, options: dict[str, Any]) -> None:
        workers = options.get("workers")
        if workers is None or options.get("allow_other_workers"):
            workers = []
        elif isinstance(workers, str):
            workers = [workers]
        self._workers = [_normal(name) for name in workers]
        self._resources = dict(options.get("resources") or {})
        #: names of workers that there have been
        self._met: set[Any] = set()

    def __bool__(self) -> bool:
        return bool(self._workers or self._resources)

    def __str__(self) -> str:
        told = []
        if self._workers:
            told.append(f"workers={self._workers!r}")
        if self._resources:
            told.append(f"resources={self._resources!r}")
        return " with " + " and ".join(told) if told else ""

    def names_one_of(self, addresses: Iterable[str]) -> bool:
        """Tell whether the address of one of these workers is enough to run the tasks."""
        return not self._resources and not {*addresses}.isdisjoint(self._workers)

    def admit(self, workers: dict[str, dict[str, Any]]) -> bool:
        """Tell whether one of these may run the tasks, as far as can be told.

        Names that dask may have to resolve are given the benefit of the doubt, as long
        as no worker has had them.

        Parameters
        ----------
        workers : dict
            What the scheduler says of each worker, by address.
        """
        able = {
            address: about
            for address, about in workers.items()
            if self._has_resources(about.get("resources"))
        }
        if not self._workers:
            return bool(able)
        names: set[Any] = set()
        for address, about in able.items():
            names |= {address, address.partition("://")[2]}
            names |= {about.get("name"), about.get("host")}
        here = names.intersection(self._workers)
        self._met |= here
        doubtful = [
            name
            for name in self._workers
            if name not in self._met and not (isinstance(name, str) and _is_exact(name))
        ]
        return bool(here) or (bool(doubtful) and bool(able))

    def _has_resources(self, those: dict[str, float] | None) -> bool:
        if those is None:  # dask does not say
            return True
        return all(those.get(name, 0) >= n for name, n in self._resources.items())
