"""What becomes of an upload in doubt: a pure function of what the target says, and of what was known before.

Sent again is only what surely isn't there. Confirmed is what is there and was not there before, or what was
read back and found to be ours. All else is left to a person, with what is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, assert_never

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.outcome import CannotSay, Found, LookUp, NotThere
from ingestd.domain.receipt import Attempt, SlotBefore
from ingestd.domain.retry import LONGEST_ASKED_WAIT, later
from ingestd.domain.rules import TargetRules

IN_DOUBT = frozenset({"unconfirmed", "orphaned", "pending"})
"""Outcomes of attempts that may have left an image behind."""
SHORTEST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
NO_ANSWER_FOR = timedelta(hours=1)
"""How long one question is asked again that has no answer while the target is well otherwise."""

Compared = Literal["same", "other", "unclear"]
"""Of what the target gave back with what it was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm:
    image_id: str
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAgain:
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAgain:
    at: Instant
    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveToPerson:
    """`evidence` goes into the history, `reason` is what the person reads; None: what is there already."""

    evidence: str
    reason: str | None = None


Decision = Confirm | SendAgain | Refuse | AskAgain | LeaveToPerson


def decide(
    look: LookUp,
    attempts: Sequence[Attempt],
    *,
    compared: Compared | CannotSay,
    rules: TargetRules,
    spent: int,
    slot: str,
    now: Instant,
) -> Decision:
    """`attempts` of the receipt in order, at least one in doubt; `spent`: how many of them count.

    `compared`: what was read back with what was sent, CannotSay when it could not be. `slot`: as people write
    it.
    """
    doubtful = [attempt for attempt in attempts if attempt.outcome in IN_DOUBT]
    match look:
        case Found():
            return _found(look, doubtful, compared, rules, slot, now)
        case NotThere():
            return _not_there(doubtful, rules, spent, slot, now)
        case CannotSay():
            return _cannot_say(look, doubtful, rules, now)
        case _:
            assert_never(look)


def _found(
    look: Found,
    doubtful: Sequence[Attempt],
    compared: Compared | CannotSay,
    rules: TargetRules,
    slot: str,
    now: Instant,
) -> Decision:
    if compared == "same":
        evidence = f"{slot} was asked: it has an image, and what was read back is the one that was sent."
        return Confirm(image_id=look.image_id, evidence=evidence)
    if compared == "other":
        return Refuse(
            reason=f"{slot} already has an image, and it is not this one. Look there, and decide which of "
            "the two belongs to it; remove that image there and retry this receipt, or drop it."
        )
    if doubtful and doubtful[0].slot_before is SlotBefore.EMPTY:
        evidence = f"{slot} was asked: it has an image now, and had none before attempt {doubtful[0].number}."
        return Confirm(image_id=look.image_id, evidence=evidence)
    if isinstance(compared, CannotSay) and isinstance(
        again := _cannot_say(compared, doubtful, rules, now), AskAgain
    ):
        return again
    return LeaveToPerson(
        evidence=f"{slot} was asked: it has an image, but nobody looked before the attempt, and it could not "
        "be compared.",
        reason=f"The answer of the target was lost. {slot} has an image now, but it may be another one. Look "
        "there, then confirm it with its image ID, retry it, or drop it.",
    )


def _not_there(
    doubtful: Sequence[Attempt], rules: TargetRules, spent: int, slot: str, now: Instant
) -> Decision:
    last = _ended(doubtful[-1]) if doubtful else now
    certain = later(last, rules.not_there_after)
    if doubtful and now < certain:
        # An image that is still being processed does not show yet.
        return AskAgain(at=certain, evidence=f"{slot} was asked: it has no image yet.")
    if spent >= rules.retry.attempts:
        return Refuse(
            reason=f"The answer of the target was lost, and {slot} has no image. Given up after {spent} "
            "attempts; retry it when the cause is gone."
        )
    return SendAgain(evidence=f"{slot} was asked: it has no image, so nothing arrived.")


def _cannot_say(look: CannotSay, doubtful: Sequence[Attempt], rules: TargetRules, now: Instant) -> Decision:
    last = _ended(doubtful[-1]) if doubtful else now
    patience = rules.look_up_for if look.obstacle is not None else min(rules.look_up_for, NO_ANSWER_FOR)
    if not look.worth_asking_again or now >= later(last, patience):
        return LeaveToPerson(evidence=f"The target was asked and can't say if it arrived: {look.reason}")
    waited = timedelta(seconds=max(0, now - last) / MICROSECONDS)
    pause = min(max(SHORTEST_PAUSE, waited / 2), LONGEST_PAUSE)
    wait = look.obstacle.wait if look.obstacle is not None else None
    asked = min(wait or timedelta(), LONGEST_ASKED_WAIT)
    return AskAgain(
        at=later(now, max(pause, asked)), evidence=f"The target could not be asked: {look.reason}"
    )


def _ended(attempt: Attempt) -> Instant:
    return attempt.started_at if attempt.finished_at is None else attempt.finished_at
