"""Retry is a pure function of (outcome, attempts, now): the pipeline only obeys it.

Backoff is exponential with full jitter: a random wait between zero and the doubled ceiling spreads the
retries of many receipts (Exponential Backoff And Jitter, AWS Architecture Blog, 2015).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.outcome import (
    Outcome,
    Pending,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.states import Event

LONGEST_ASKED_WAIT = timedelta(hours=1)
"""A Retry-After beyond this is not obeyed: it is more often a bug than a wish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    first: timedelta = timedelta(seconds=2)
    ceiling: timedelta = timedelta(minutes=15)
    unavailable: timedelta = timedelta(minutes=5)
    attempts: int = 12
    max_age: timedelta = timedelta(days=14)
    """Counted from the first attempt; an outage spends no attempt, but it spends time."""

    @property
    def longest(self) -> timedelta:
        """No receipt waits longer than this for its next attempt."""
        return max(self.ceiling, self.unavailable, LONGEST_ASKED_WAIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the outcome does to the receipt: the event, when it is due again, and if an attempt was spent.

    Of LOSE `due_at` is when the target is to be asked (None: never, a person looks), of CONFIRM `verify_at`
    is when the image is to be read back.
    """

    event: Event
    due_at: Instant | None = None
    spent: bool = True
    verify_at: Instant | None = None


def later(now: Instant, wait: timedelta) -> Instant:
    return Instant(now + round(wait.total_seconds() * MICROSECONDS))


def doubled(first: timedelta, times: int, ceiling: timedelta) -> timedelta:
    """`first` doubled so many times, never above the ceiling (nor above what a timedelta can hold)."""
    return timedelta(seconds=min(ceiling.total_seconds(), first.total_seconds() * 2 ** min(times, 60)))


def next_step(
    outcome: Outcome,
    policy: RetryPolicy,
    *,
    attempts: int,
    now: Instant,
    jitter: float,
    since: Instant | None = None,
) -> Step:
    """The step after `outcome` of attempt number `attempts` (1 for the first), the first begun at `since`.

    `jitter` is a random number in [0, 1). Waits are never below `policy.first`, so that a Retry-After of 0
    can't make a busy loop.
    """
    match outcome:
        case Uploaded():
            return Step(event=Event.CONFIRM)
        case Refused():
            return Step(event=Event.REFUSE)
        case Unconfirmed():
            return Step(event=Event.LOSE)
        case Pending(ask_after=wait):
            return Step(event=Event.LOSE, due_at=later(now, wait))
        case Throttled() | Unavailable() if since is not None and now >= later(since, policy.max_age):
            return Step(event=Event.EXHAUST, spent=not _outside(outcome))
        case Throttled(wait=asked):
            backoff = _backoff(policy, attempts, jitter)
            wait = backoff if asked is None else max(policy.first, min(asked, LONGEST_ASKED_WAIT))
            return Step(event=Event.DEFER, due_at=later(now, wait), spent=False)
        case Unavailable(wait=asked, everything=everything):
            if attempts >= policy.attempts and not everything:
                return Step(event=Event.EXHAUST)
            floor = min(asked or timedelta(), LONGEST_ASKED_WAIT)
            wait = max(floor, _backoff(policy, attempts, jitter))
            return Step(event=Event.DEFER, due_at=later(now, wait), spent=not everything)
        case _:
            assert_never(outcome)


def _outside(outcome: Throttled | Unavailable) -> bool:
    """Whether the cause lies with the target as a whole, and so spends no attempt of the receipt."""
    return isinstance(outcome, Throttled) or outcome.everything


def _backoff(policy: RetryPolicy, attempts: int, jitter: float) -> timedelta:
    return max(policy.first, jitter * doubled(policy.first, max(attempts, 1), policy.ceiling))
