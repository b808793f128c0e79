"""The states of one call, and how one turns into another.

::

                      start()                source read to its end
    CREATED --> DISPATCHING --> DRAINING --------------------------> DONE
                     |              |          and nothing pending
                     +------+-------+
                            v
                        ABORTING --> ABORTED
        (an error, an interrupt, a timeout, a closed generator)
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a run stands; see the drawing above."""

    CREATED = enum.auto()
    DISPATCHING = enum.auto()
    DRAINING = enum.auto()
    DONE = enum.auto()
    ABORTING = enum.auto()
    ABORTED = enum.auto()


#: what the caller waits for, when it is not one job: whatever comes next, the end
ANY = object()
END = object()

#: the states that a state may turn into
NEXT = {
    State.CREATED: {State.DISPATCHING, State.ABORTING, State.DONE},
    State.DISPATCHING: {State.DRAINING, State.ABORTING},
    State.DRAINING: {State.DONE, State.ABORTING},
    State.ABORTING: {State.ABORTED},
    State.DONE: set(),
    State.ABORTED: set(),
}
