"""Rule 1: every state of a receipt, and every way from one to another, stands in this file and nowhere else.

    state        leaves by event -> state                     who moves it / after a crash
    received     prepare -> ready, reject -> rejected,        preparation; simply prepared again
                 hold -> held, drop -> dropped
    held         requeue -> received, drop -> dropped         a person; a requeue waives the check
    ready        claim -> claimed, drop -> dropped            dispatch, from due_at on
    claimed      begin -> uploading, release -> ready,        its owner; orphaned: release (no byte was sent)
                 refuse -> failed, hold -> held,
                 lose -> unconfirmed                       its slot, asked first, may hold what an earlier
                                                           attempt left there without an answer
    uploading    confirm -> uploaded, defer -> ready,         its owner; orphaned: lose (may have arrived)
                 refuse/exhaust -> failed,
                 lose -> unconfirmed
    unconfirmed  confirm -> uploaded, requeue -> ready,       a look-up at the target when due, or a person
                 refuse -> failed, drop -> dropped
    rejected     requeue -> received, drop -> dropped         a person (not an acceptable receipt)
    failed       requeue -> ready, drop -> dropped            a person (the target said no, attempts ran out)
    uploaded     contradict -> failed                         verification found another image
    dropped      (final)

`claimed` and `uploading` are two states on purpose: the intent to upload is durable before the first byte
leaves, so that a crash tells "nothing was sent" from "something may have arrived".
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from ingestd.domain.errors import IllegalTransition


class State(StrEnum):
    RECEIVED = "received"
    HELD = "held"
    READY = "ready"
    CLAIMED = "claimed"
    UPLOADING = "uploading"
    UNCONFIRMED = "unconfirmed"
    REJECTED = "rejected"
    FAILED = "failed"
    UPLOADED = "uploaded"
    DROPPED = "dropped"


class Event(StrEnum):
    PREPARE = "prepare"
    REJECT = "reject"
    HOLD = "hold"
    DROP = "drop"
    REQUEUE = "requeue"
    CLAIM = "claim"
    RELEASE = "release"
    BEGIN = "begin"
    CONFIRM = "confirm"
    DEFER = "defer"
    REFUSE = "refuse"
    EXHAUST = "exhaust"
    LOSE = "lose"
    CONTRADICT = "contradict"


_TABLE: dict[State, dict[Event, State]] = {
    State.RECEIVED: {
        Event.PREPARE: State.READY,
        Event.REJECT: State.REJECTED,
        Event.HOLD: State.HELD,
        Event.DROP: State.DROPPED,
    },
    State.HELD: {Event.REQUEUE: State.RECEIVED, Event.DROP: State.DROPPED},
    State.READY: {Event.CLAIM: State.CLAIMED, Event.DROP: State.DROPPED},
    State.CLAIMED: {
        Event.BEGIN: State.UPLOADING,
        Event.RELEASE: State.READY,
        Event.REFUSE: State.FAILED,
        Event.HOLD: State.HELD,
        Event.LOSE: State.UNCONFIRMED,
    },
    State.UPLOADING: {
        Event.CONFIRM: State.UPLOADED,
        Event.DEFER: State.READY,
        Event.REFUSE: State.FAILED,
        Event.EXHAUST: State.FAILED,
        Event.LOSE: State.UNCONFIRMED,
    },
    State.UNCONFIRMED: {
        Event.CONFIRM: State.UPLOADED,
        Event.REQUEUE: State.READY,
        Event.REFUSE: State.FAILED,
        Event.DROP: State.DROPPED,
    },
    State.REJECTED: {Event.REQUEUE: State.RECEIVED, Event.DROP: State.DROPPED},
    State.FAILED: {Event.REQUEUE: State.READY, Event.DROP: State.DROPPED},
    State.UPLOADED: {Event.CONTRADICT: State.FAILED},
    State.DROPPED: {},
}

TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {state: MappingProxyType(events) for state, events in _TABLE.items()}
)

OWNED = frozenset({State.CLAIMED, State.UPLOADING})
"""States in which one process holds the receipt under a lease."""

SETTLED = frozenset(
    {State.UPLOADED, State.REJECTED, State.HELD, State.FAILED, State.UNCONFIRMED, State.DROPPED}
)
"""States that are reported to the source; the daemon does nothing more of its own accord."""

NEEDS_PERSON = frozenset({State.REJECTED, State.HELD, State.FAILED, State.UNCONFIRMED})


def advance(state: State, event: Event) -> State:
    """The state after `event`. Raises IllegalTransition, and changes nothing, where the table has no row."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        allowed = ", ".join(TRANSITIONS[state]) or "nothing"
        raise IllegalTransition(f"a receipt that is {state} can't {event}; possible: {allowed}") from None
