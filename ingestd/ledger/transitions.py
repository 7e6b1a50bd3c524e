"""The one way a receipt changes its state: states.advance(), a fenced UPDATE, a history row, the outbox.

Fenced: the UPDATE names the version and the chain head it was made from. If somebody else moved the receipt
meanwhile, it finds no row, StaleClaim is raised, and the whole operation is rolled back.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from sqlalchemy import Executable, Update, and_, bindparam, select, update

from ingestd.domain.document import Instant, ReceiptImage
from ingestd.domain.errors import IllegalTransition, StaleClaim, UnknownReceipt
from ingestd.domain.receipt import NO_TARGET, Receipt
from ingestd.domain.states import Event, State, advance
from ingestd.ledger import slots
from ingestd.ledger.chain import digest
from ingestd.ledger.rows import STORED_COLUMNS, Stored, stored, to_json_list
from ingestd.ledger.schema import feedback, history, receipts
from ingestd.ledger.transaction import Operation, Transaction

DAEMON = "ingestd"
"""The actor of what nobody asked for."""

Staying = Literal["assign", "ask", "verify"]
"""What stands in the history although the state stays."""

NOTE_CHARACTERS = 500
"""The longest list of steps in the history; all of them stand with the receipt."""


def move(
    receipt: Receipt,
    event: Event,
    *,
    now: Instant,
    image_id: str | None,
    reason: str | None,
    due_at: Instant | None,
    actor: str,
    verify_at: Instant | None = None,
    afresh: bool = True,
) -> Operation[Receipt]:
    """One transition outside an attempt, as Ledger.move documents it."""

    def run(tx: Transaction) -> Receipt:
        before = current(tx, receipt)
        _refuse_inside_attempt(before, event)
        match event:
            case Event.REQUEUE:
                return requeue(tx, before, now=now, actor=actor, reason=reason, afresh=afresh)
            case Event.CONFIRM if not image_id:
                raise IllegalTransition("an upload is confirmed by its image ID, and none was given")
            case Event.RELEASE:
                due = before.due_at if due_at is None else due_at
                return transition(tx, before, event, now=now, actor=actor, due_at=due)
            case _:
                return transition(
                    tx,
                    before,
                    event,
                    now=now,
                    actor=actor,
                    note=_confirming(image_id, reason) if event is Event.CONFIRM else reason,
                    reason=reason,
                    due_at=now if due_at is None else due_at,
                    image_id=image_id or before.image_id,
                    ask_at=due_at if event is Event.LOSE else None,
                    verify_at=verify_at if event is Event.CONFIRM else None,
                )

    return run


def requeue(
    tx: Transaction, before: Stored, *, now: Instant, actor: str, reason: str | None, afresh: bool = True
) -> Stored:
    """Back into the flow, due at once. What held it is waived; what an earlier upload left is forgotten.

    `afresh`: so is that it was tried before; only a person, or who sends it again, may decide that.
    Raises SlotTaken when it would be uploaded to a slot that another receipt got meanwhile, unless a person
    overruled that before or sent the same documents again on purpose.
    """
    if before.state is State.FAILED:
        slots.take_again(tx, before)
    waived = before.waived
    if before.state is State.HELD and before.reason is not None and before.reason not in waived:
        waived = (*waived, before.reason)
    return transition(
        tx,
        before,
        Event.REQUEUE,
        now=now,
        actor=actor,
        note=reason,
        reason=None,
        # A command's clock may be ahead of the daemon's; the receipt's own time never is.
        due_at=min(now, before.updated_at),
        attempts=0 if afresh else before.attempts,
        tried_since=None if afresh else before.tried_since,
        image_id=None,
        reference=None,
        waived=waived,
    )


def make_ready(
    tx: Transaction, before: Stored, image: ReceiptImage, *, now: Instant, actor: str, due_at: Instant
) -> Stored:
    """received -> ready. What was done to make the image stands in the history, and so in the hash chain."""
    if before.target == NO_TARGET:
        raise IllegalTransition("a receipt that has no target yet can't be made ready")
    return transition(
        tx,
        before,
        Event.PREPARE,
        now=now,
        actor=actor,
        note=_shortened("; ".join(image.steps)) if image.steps else None,
        reason=None,
        due_at=due_at,
        # As it is read back.
        image=replace(image, fingerprint=None) if image.fingerprint else image,
    )


def transition(
    tx: Transaction,
    before: Stored,
    event: Event,
    *,
    now: Instant,
    actor: str,
    note: str | None = None,
    **changes: Any,
) -> Stored:
    """Move a receipt that stays with or returns to nobody. `note` is the reason recorded in the history.

    `changes` are further fields of Stored; what belongs to the state it leaves (when to ask, to verify) is
    cleared unless they set it. Not for claims, which have statements of their own.
    """
    after = advanced(before, event, now=now, actor=actor, note=note, **{**_LEFT_BEHIND, **changes})
    statement = _PREPARE if event is Event.PREPARE else _MOVE
    fenced(tx, statement, before, _values(after, with_image=event is Event.PREPARE))
    record(tx, before, after, event, actor=actor, note=note)
    return after


def advanced(
    before: Stored,
    event: Event | Staying,
    *,
    now: Instant,
    actor: str,
    note: str | None,
    **changes: Any,
) -> Stored:
    """The receipt after this event, with the head of its chain. Raises IllegalTransition."""
    state = advance(before.state, event) if isinstance(event, Event) else before.state
    version = before.version + 1
    head = digest(
        before.head,
        receipt=before.id,
        version=version,
        at=now,
        event=event,
        before=before.state,
        after=state,
        actor=actor,
        reason=note,
    )
    return replace(before, state=state, version=version, head=head, updated_at=now, **changes)


def fenced(tx: Transaction, statement: Update, before: Stored, values: dict[str, Any]) -> None:
    """Run an UPDATE made by `fenced_update`. Raises StaleClaim when `before` is not the present row."""
    values |= {"b_id": before.id, "b_version": before.version, "b_head": before.head}
    if tx.change(statement, values) != 1:
        raise StaleClaim


def fenced_many(tx: Transaction, statement: Update, pairs: Sequence[tuple[Stored, dict[str, Any]]]) -> None:
    """The same for many receipts at once, all read and locked in this transaction."""
    rows = [{**v, "b_id": r.id, "b_version": r.version, "b_head": r.head} for r, v in pairs]
    if rows and tx.change(statement, *rows) != len(rows):
        raise StaleClaim


def fenced_update(*columns: str) -> Update:
    """UPDATE receipts SET these columns, for `fenced`."""
    same = and_(
        receipts.c.id == bindparam("b_id"),
        receipts.c.version == bindparam("b_version"),
        receipts.c.head == bindparam("b_head"),
    )
    return update(receipts).where(same).values({name: bindparam(name) for name in columns})


def record(
    tx: Transaction,
    before: Stored | None,
    after: Stored,
    event: Event | Staying | Literal["accept"],
    *,
    actor: str,
    note: str | None,
) -> None:
    """Append the history row of a change, and let the outbox know."""
    tx.append(
        history,
        {
            "receipt_id": after.id,
            "version": after.version,
            "at": after.updated_at,
            "event": event,
            "before": before.state if before else None,
            "after": after.state,
            "actor": actor,
            "reason": note,
            "digest": after.head,
        },
    )
    if before is None:
        return
    if after.settled and (isinstance(event, Event) or not before.settled):
        values = {"b_id": after.id, "version": after.version, "due_at": after.updated_at}
        tx.change(_REPORT, values)
    elif before.settled and not after.settled:
        tx.change(_REPORT, {"b_id": after.id, "version": after.version, "due_at": None})


def current(tx: Transaction, receipt: Receipt) -> Stored:
    """The receipt with its chain head. Raises UnknownReceipt and StaleClaim."""
    if isinstance(receipt, Stored):
        return receipt
    row = tx.execute(_BY_ID, {"b_id": receipt.id}).one_or_none()
    if row is None:
        raise UnknownReceipt(f"there is no receipt {receipt.id}")
    found = stored(row, tx.spool_path)
    if found.version != receipt.version:
        raise StaleClaim
    return found


def fetch(tx: Transaction, statement: Executable, values: dict[str, Any]) -> list[Stored]:
    """The receipts a SELECT of STORED_COLUMNS finds."""
    return [stored(row, tx.spool_path) for row in tx.execute(statement, values)]


def _refuse_inside_attempt(before: Receipt, event: Event) -> None:
    if before.state is State.UPLOADING or event in (Event.CLAIM, Event.BEGIN):
        advance(before.state, event)
        raise IllegalTransition(f"{event} of a receipt that is {before.state} belongs to an attempt")
    if event is Event.PREPARE:
        advance(before.state, event)
        raise IllegalTransition("a receipt that has no image yet can't be made ready")


def _confirming(image_id: str | None, evidence: str | None) -> str:
    return f"image ID {image_id}. {evidence}" if evidence else f"image ID {image_id}"


def _shortened(note: str) -> str:
    return note if len(note) <= NOTE_CHARACTERS else f"{note[: NOTE_CHARACTERS - 1]}…"


def _values(after: Stored, *, with_image: bool) -> dict[str, Any]:
    values = {name: getattr(after, name) for name in _MOVED}
    values["waived"] = to_json_list(after.waived)
    if with_image:
        assert after.image is not None
        values["image_sha256"] = after.image.sha256
        values["image_type"] = after.image.mime_type
        values["image_size"] = after.image.size
        values["image_pages"] = after.image.pages
        values["image_steps"] = to_json_list(after.image.steps)
        values["image_warnings"] = to_json_list(after.image.warnings)
        values["image_purged_at"] = None
    return values


_MOVED = (
    *("state", "version", "head", "attempts", "due_at", "updated_at", "owner", "lease_until"),
    *("image_id", "reference", "reason", "waived", "ask_at", "tried_since", "verify_at", "verified_at"),
)
_LEFT_BEHIND = dict.fromkeys(("owner", "lease_until", "ask_at", "verify_at", "verified_at"))
_IMAGE = (
    *("image_sha256", "image_type", "image_size", "image_pages", "image_steps", "image_warnings"),
    "image_purged_at",
)
_MOVE = fenced_update(*_MOVED)
_PREPARE = fenced_update(*_MOVED, *_IMAGE)
_BY_ID = select(*STORED_COLUMNS).where(receipts.c.id == bindparam("b_id"))
_REPORT = (
    update(feedback)
    .where(feedback.c.receipt_id == bindparam("b_id"))
    .values(version=bindparam("version"), due_at=bindparam("due_at"), failures=0, done_at=None)
)
