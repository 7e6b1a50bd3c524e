"""Reports that are due to the sources: at least once, and again whenever a receipt's end changes.

One row for each arrival that wants to hear of a receipt. It becomes due when the receipt settles; when the
receipt leaves that state, nothing is due until it settles again.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import bindparam, case, select, update

from ingestd.domain.document import Document, Instant
from ingestd.domain.receipt import NO_TARGET
from ingestd.domain.states import State
from ingestd.interfaces import Feedback, Report
from ingestd.ledger.brought import BROUGHT, by_receipt
from ingestd.ledger.rows import ORIGIN_COLUMNS, origin
from ingestd.ledger.schema import arrivals, feedback, messages, receipts
from ingestd.ledger.transaction import Operation, Transaction


def feedback_due(*, limit: int, now: Instant, but_not: Collection[str] = ()) -> Operation[Sequence[Feedback]]:
    def run(tx: Transaction) -> Sequence[Feedback]:
        tx.flush()
        rows = tx.execute(_DUE, {"now": now, "limit": limit, "but_not": sorted(but_not)}).all()
        if not rows:
            return []
        arrived = sorted({row.arrival_id for row in rows})
        brought = by_receipt(tx.execute(BROUGHT, {"ids": arrived}), tx.spool_path)
        return [_feedback(row, brought[row.receipt_id, row.arrival_id]) for row in rows]

    return run


def feedback_done(item: Feedback, *, place: str | None, now: Instant) -> Operation[None]:
    """The place is kept in any case: the original is there now, whatever became of the receipt."""

    def run(tx: Transaction) -> None:
        tx.change(_DONE, {**_key(item), "place": place, "b_now": now})

    return run


def feedback_deferred(item: Feedback, *, due_at: Instant) -> Operation[None]:
    def run(tx: Transaction) -> None:
        tx.change(_DEFER, {**_key(item), "due_at": due_at})

    return run


def _feedback(row: Any, brought: Sequence[Document]) -> Feedback:
    report = Report(
        origin=origin(row),
        arrival=row.arrival_id,
        receipt=row.receipt_id,
        documents=tuple(brought),
        state=State(row.state),
        destined="" if row.target == NO_TARGET else f"{row.target}:{row.slot}",
        image_id=row.image_id,
        reason=row.reason,
        at=row.updated_at,
        repeat=row.repeat,
        place=row.place,
    )
    return Feedback(
        id=f"{row.receipt_id}/{row.arrival_id}/{row.version}", report=report, failures=row.failures
    )


def _key(item: Feedback) -> dict[str, Any]:
    receipt_id, arrival_id, version = item.id.split("/")
    return {"b_receipt": receipt_id, "b_arrival": arrival_id, "b_version": int(version)}


_DUE = (
    select(
        *(
            feedback.c[name]
            for name in ("receipt_id", "arrival_id", "repeat", "version", "failures", "place")
        ),
        *(receipts.c[name] for name in ("state", "target", "slot", "image_id", "reason", "updated_at")),
        *ORIGIN_COLUMNS,
    )
    .join(receipts, receipts.c.id == feedback.c.receipt_id)
    .join(arrivals, arrivals.c.id == feedback.c.arrival_id)
    .outerjoin(messages, messages.c.arrival_id == arrivals.c.id)
    .where(
        feedback.c.due_at <= bindparam("now"), arrivals.c.source.not_in(bindparam("but_not", expanding=True))
    )
    .order_by(feedback.c.due_at, feedback.c.receipt_id, feedback.c.arrival_id)
    .limit(bindparam("limit"))
)
_SAME_ROW = (feedback.c.receipt_id == bindparam("b_receipt"), feedback.c.arrival_id == bindparam("b_arrival"))
_IS_LATEST = feedback.c.version == bindparam("b_version")
_DONE = (
    update(feedback)
    .where(*_SAME_ROW)
    .values(
        place=bindparam("place"),
        due_at=case((_IS_LATEST, None), else_=feedback.c.due_at),
        done_at=case((_IS_LATEST, bindparam("b_now")), else_=feedback.c.done_at),
    )
)
_DEFER = (
    update(feedback)
    .where(*_SAME_ROW, _IS_LATEST, feedback.c.due_at.is_not(None))
    .values(due_at=bindparam("due_at"), failures=feedback.c.failures + 1)
)
