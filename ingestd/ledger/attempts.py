"""One upload attempt: opened durably before the first byte leaves, closed with what the target answered."""

from datetime import timedelta
from typing import Any, assert_never

from sqlalchemy import bindparam, update

from ingestd.domain.document import Instant
from ingestd.domain.errors import IllegalTransition
from ingestd.domain.outcome import (
    Outcome,
    Pending,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.receipt import Receipt, SlotBefore
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State, advance
from ingestd.ledger.rows import Stored
from ingestd.ledger.schema import attempts, receipts
from ingestd.ledger.transaction import Operation, Transaction
from ingestd.ledger.transitions import DAEMON, advanced, current, fenced, fenced_update, record, transition

ORPHANED = "orphaned"
"""Outcome of an attempt whose process died."""

_LOST = (
    "ingestd was stopped while it uploaded this, so the target may have it or not. Look there, then confirm"
    " it with its image ID, or retry it."
)


def begin(receipt: Receipt, *, now: Instant, slot_before: SlotBefore | None = None) -> Operation[Receipt]:
    """Ledger.begin. StaleClaim also when the lease ran out: another node may be about to take over."""

    def run(tx: Transaction) -> Receipt:
        before = current(tx, receipt)
        owner = before.owner or DAEMON
        note = None if slot_before is None else _asked_first(slot_before)
        since = now if before.tried_since is None else before.tried_since
        after = advanced(
            before, Event.BEGIN, now=now, actor=owner, note=note, tries=before.tries + 1, tried_since=since
        )
        fenced(tx, _BEGIN, before, {name: getattr(after, name) for name in _BEGUN} | {"now": now})
        row = {
            "receipt_id": after.id,
            "number": after.tries,
            "owner": owner,
            "started_at": now,
            "message": "",
            "bytes_sent": 0,
            "slot_before": slot_before,
        }
        tx.append(attempts, row)
        record(tx, before, after, Event.BEGIN, actor=owner, note=note)
        return after

    return run


def finish(receipt: Receipt, step: Step, outcome: Outcome, *, now: Instant) -> Operation[Receipt]:
    """Ledger.finish."""

    def run(tx: Transaction) -> Receipt:
        before = current(tx, receipt)
        if before.state is not State.UPLOADING:
            raise IllegalTransition(f"a receipt that is {before.state} has no open attempt")
        advance(before.state, step.event)
        spent = before.attempts + (1 if step.spent else 0)
        reason = _reason(outcome, step, spent, timedelta(microseconds=now - (before.tried_since or now)))
        _close(tx, before, outcome, now)
        return transition(
            tx,
            before,
            step.event,
            now=now,
            actor=before.owner or DAEMON,
            note=f"image ID {outcome.image_id}" if isinstance(outcome, Uploaded) else reason,
            reason=reason,
            attempts=spent,
            due_at=now if step.due_at is None else step.due_at,
            ask_at=step.due_at if step.event is Event.LOSE else None,
            verify_at=step.verify_at if step.event is Event.CONFIRM else None,
            image_id=outcome.image_id if isinstance(outcome, Uploaded) else before.image_id,
            reference=outcome.reference if isinstance(outcome, Pending) else before.reference,
        )

    return run


def lose_orphan(tx: Transaction, before: Stored, *, now: Instant) -> Stored:
    """What is under way in a process that is gone may have arrived; the target is asked at once."""
    tx.flush()
    tx.change(_CLOSE, _closing(before, now, outcome=ORPHANED))
    return transition(
        tx,
        before,
        Event.LOSE,
        now=now,
        actor=DAEMON,
        note=_LOST,
        reason=_LOST,
        attempts=before.attempts + 1,
        due_at=now,
        ask_at=now,
    )


def _asked_first(found: SlotBefore) -> str:
    match found:
        case SlotBefore.EMPTY:
            return "the slot was looked at first and was empty"
        case SlotBefore.UNKNOWN:
            return "the slot was looked at first, and the target does not say what it holds"
        case _:
            assert_never(found)


def _reason(outcome: Outcome, step: Step, spent: int, tried_for: timedelta) -> str | None:
    match outcome:
        case Uploaded():
            return None
        case Pending():
            return "The target took the image and has not said yet what it made of it."
        case Throttled(reason=reason) | Unconfirmed(reason=reason):
            text = reason
        case Unavailable(reason=reason, fix=fix) | Refused(reason=reason, fix=fix):
            text = f"{reason} {fix}".strip()
        case _:
            assert_never(outcome)
    if step.event is Event.EXHAUST:
        # Where none is spent, only the time can have run out.
        tried = f"{spent} attempts" if step.spent else f"{_in_days(tried_for)} of trying"
        return f"{text} Given up after {tried}; retry it when the cause is gone."
    return text


def _in_days(time: timedelta) -> str:
    if time < timedelta(days=2):
        return f"{time // timedelta(hours=1)} hours"
    return f"{time.days} days"


def _close(tx: Transaction, before: Stored, outcome: Outcome, now: Instant) -> None:
    evidence = outcome.evidence
    closing = _closing(
        before,
        now,
        outcome=type(outcome).__name__.lower(),
        status=evidence.status,
        correlation_id=evidence.correlation_id,
        error_id=evidence.error_id,
        message=evidence.message,
        bytes_sent=evidence.bytes_sent,
    )
    tx.change(_CLOSE, closing)


def _closing(before: Stored, now: Instant, *, outcome: str, **evidence: Any) -> dict[str, Any]:
    nothing = {"status": None, "correlation_id": None, "error_id": None, "message": "", "bytes_sent": 0}
    key = {"b_receipt": before.id, "b_number": before.tries}
    return {**nothing, **evidence, **key, "outcome": outcome, "finished_at": now}


_BEGUN = ("state", "version", "head", "updated_at", "tries", "tried_since")
_BEGIN = fenced_update(*_BEGUN).where(receipts.c.lease_until > bindparam("now"))
_CLOSE = (
    update(attempts)
    .where(attempts.c.receipt_id == bindparam("b_receipt"), attempts.c.number == bindparam("b_number"))
    .values(
        {
            name: bindparam(name)
            for name in (
                *("finished_at", "outcome", "status", "correlation_id", "error_id", "message"),
                "bytes_sent",
            )
        }
    )
)
