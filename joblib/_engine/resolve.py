"""Which backend serves a call: one pure function, one table.

======  ==========  =============  ===================================  ===============
row     call names  context names  condition                            result
======  ==========  =============  ===================================  ===============
1       any         any            unknown or contradictory hints       ValueError
2       a backend   any            sharedmem required, not offered      ValueError
3       a backend   any            else                                 NAMED
4       nothing     a backend      sharedmem required, not offered      THREADS
5       nothing     a backend      else: `prefer` yields                CONTEXT
6       nothing     nothing        sharedmem required, threads wanted   THREADS
7       nothing     nothing        processes wanted, default: threads   PROCESSES
8       nothing     nothing        else                                 DEFAULT
======  ==========  =============  ===================================  ===============

In rows 6 and 7 a default backend that has what is wanted serves the call.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

VALID_BACKEND_HINTS = ("processes", "threads", None)
VALID_BACKEND_CONSTRAINTS = ("sharedmem", None)


class Choice(enum.Enum):
    """Whose backend it is."""

    NAMED = "the call's own"
    CONTEXT = "the context's"
    THREADS = "the default thread backend"
    PROCESSES = "the default process backend"
    DEFAULT = "the default backend"


@dataclass(frozen=True)
class Traits:
    """The flags of a backend that the rule looks at.

    Attributes
    ----------
    label : str
        How messages call the backend.
    supports_sharedmem, uses_threads : bool
        As on the backend.
    """

    label: str
    supports_sharedmem: bool
    uses_threads: bool

    @classmethod
    def of(cls, backend: Any) -> Traits:
        """Read the traits off a backend or its class."""
        kind = backend if isinstance(backend, type) else type(backend)
        return cls(
            kind.__name__,
            bool(getattr(backend, "supports_sharedmem", False)),
            bool(getattr(backend, "uses_threads", False)),
        )


@dataclass(frozen=True)
class Decision:
    """What was decided, and why.

    Attributes
    ----------
    choice : Choice
        Whose backend serves the call.
    n_jobs : int or None
        The number of jobs; None means the chosen backend's own default.
    row : int
        The row of the table that decided.
    reason : str
        The same in a sentence.
    """

    choice: Choice
    n_jobs: int | None
    row: int
    reason: str


def check_hints(prefer: str | None, require: str | None) -> None:
    """Row 1 of the table: raise ValueError for hints that make no sense."""
    if prefer not in VALID_BACKEND_HINTS:
        raise ValueError(
            f"prefer={prefer} is not a valid backend hint, "
            f"expected one of {VALID_BACKEND_HINTS}"
        )
    if require not in VALID_BACKEND_CONSTRAINTS:
        raise ValueError(
            f"require={require} is not a valid backend constraint, "
            f"expected one of {VALID_BACKEND_CONSTRAINTS}"
        )
    if prefer == "processes" and require == "sharedmem":
        raise ValueError(
            "prefer='processes' and require='sharedmem' are inconsistent: "
            "processes share no memory. Leave one of the two out."
        )


def resolve(
    named: Traits | None,
    context: Traits | None,
    require: str | None,
    prefer: str | None,
    default: Traits | None,
    n_jobs: int | None = None,
    context_n_jobs: int | None = None,
) -> Decision:
    """Settle which backend serves a call, and with how many jobs.

    Parameters
    ----------
    named, context : Traits or None
        The backend that the call names, and the one that the context names.
    require, prefer : str or None
        The hints in force: the call's, else the context's.
    default : Traits or None
        The backend used when nobody names one; it does not matter where somebody does.
    n_jobs, context_n_jobs : int or None
        What the call and the context ask for.

    Raises
    ------
    ValueError
        In rows 1 and 2 of the table.
    """
    check_hints(prefer, require)
    shared = require == "sharedmem"
    # In row 4 the context's n_jobs was meant for the context's own backend.
    jobs = n_jobs if n_jobs is not None else context_n_jobs

    if named is not None:
        if shared and not named.supports_sharedmem:
            raise ValueError(
                f"Backend {named.label} does not support shared memory, which the "
                "call requires (require='sharedmem'). Name a backend that does, "
                "such as 'threading', or leave `backend` out."
            )
        return Decision(
            Choice.NAMED, jobs, 3, f"Using {named.label}: the call names it."
        )

    if context is not None:
        if shared and not context.supports_sharedmem:
            return Decision(
                Choice.THREADS,
                n_jobs,
                4,
                "Using {chosen} as joblib backend "
                f"instead of {context.label} as the latter "
                "does not provide shared memory semantics.",
            )
        ignored = (
            f"; prefer={prefer!r} yields to it"
            if prefer is not None and (prefer == "threads") != context.uses_threads
            else ""
        )
        return Decision(
            Choice.CONTEXT,
            jobs,
            5,
            f"Using {context.label}: the context names it{ignored}.",
        )

    assert default is not None
    if shared and not default.supports_sharedmem:
        return Decision(
            Choice.THREADS, jobs, 6, "Using {chosen}: the call requires shared memory."
        )
    if not shared and prefer == "threads" and not default.uses_threads:
        return Decision(
            Choice.THREADS, jobs, 6, "Using {chosen}: the call prefers threads."
        )
    if prefer == "processes" and default.uses_threads:
        return Decision(
            Choice.PROCESSES, jobs, 7, "Using {chosen}: the call prefers processes."
        )
    return Decision(
        Choice.DEFAULT, jobs, 8, f"Using {default.label}: the default backend."
    )
