"""The journey of a series: its states and the legal transitions, as a table."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a series stands."""

    RECEIVING = "receiving"  # instances arrive
    COMPLETE = "complete"  # quiet, or the count is reached; waits for the rules
    PASSED = "passed"  # no rule selects it; kept, not processed
    REFUSED = "refused"  # malformed or unfit; kept, with the reason
    QUEUED = "queued"  # a job waits for a worker
    MEASURING = "measuring"
    HARMONIZING = "harmonizing"
    CHECKING = "checking"
    DERIVING = "deriving"
    SENDING = "sending"
    CONFIRMING = "confirming"
    DONE = "done"  # every destination confirmed every derived instance
    FAILED = "failed"  # stopped by a permanent error
    WAITING = "waiting"  # stopped until a person acts
    CANCELLED = "cancelled"  # stopped by a person


WORKING = (State.MEASURING, State.HARMONIZING, State.CHECKING, State.DERIVING, State.SENDING, State.CONFIRMING)
"""The steps of the workflow, in their order."""

ACTIVE = frozenset({State.QUEUED, *WORKING})
"""A job exists and will be worked on without anyone's doing."""

TROUBLE = frozenset({State.REFUSED, State.FAILED, State.WAITING})
"""A series stands here because something is wrong; somebody may want to know."""

_STOPPED_BY = frozenset({State.REFUSED, State.FAILED, State.WAITING, State.CANCELLED})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.RECEIVING: frozenset({State.COMPLETE, State.REFUSED, State.CANCELLED}),
    # A rule or a configuration that cannot be followed makes a series wait for a person before it has a job.
    # Late instances that its rule ignores leave it done.
    State.COMPLETE: frozenset(
        {State.QUEUED, State.PASSED, State.REFUSED, State.WAITING, State.DONE, State.RECEIVING, State.CANCELLED}
    ),
    # A late instance reopens a series that has come to rest; a person may retry it.
    State.PASSED: frozenset({State.RECEIVING, State.COMPLETE}),
    State.REFUSED: frozenset({State.RECEIVING, State.COMPLETE, State.QUEUED}),
    State.DONE: frozenset({State.RECEIVING, State.QUEUED}),
    State.FAILED: frozenset({State.QUEUED, State.RECEIVING, State.COMPLETE, State.CANCELLED}),
    State.WAITING: frozenset({State.QUEUED, State.COMPLETE, State.RECEIVING, State.CANCELLED}),
    State.CANCELLED: frozenset({State.QUEUED, State.RECEIVING, State.COMPLETE}),
    # A worker that takes a job over starts at the step where the last one died.
    State.QUEUED: frozenset({*WORKING, *_STOPPED_BY}),
    State.MEASURING: frozenset({State.HARMONIZING, *_STOPPED_BY}),
    State.HARMONIZING: frozenset({State.CHECKING, *_STOPPED_BY}),
    State.CHECKING: frozenset({State.DERIVING, *_STOPPED_BY}),
    State.DERIVING: frozenset({State.SENDING, *_STOPPED_BY}),
    State.SENDING: frozenset({State.CONFIRMING, *_STOPPED_BY}),
    # A destination that holds fewer instances than were sent is sent to again.
    State.CONFIRMING: frozenset({State.DONE, State.SENDING, *_STOPPED_BY}),
}


def may_move(here: State, there: State) -> bool:
    """Whether a series in state `here` may move to state `there`."""
    return there in TRANSITIONS[here]
