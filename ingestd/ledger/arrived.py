"""What became of arrivals, read back: their receipts in the order of the documents, and what was ignored."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from ingestd.domain.mail import Filed, MessagePlace
from ingestd.interfaces import Arrived, Mailed, MailedReceipt, Refusal
from ingestd.ledger.brought import BROUGHT, by_receipt
from ingestd.ledger.rows import ORIGIN_COLUMNS, STORED_COLUMNS, SpoolPath, origin, stored
from ingestd.ledger.schema import arrivals, feedback, ignored, messages, receipts

_CHUNK = 500
"""IDs in one statement; SQLite takes 32766 parameters, older ones 999."""


def arrived(connection: Connection, bounds: Mapping[str, str], spool_path: SpoolPath) -> Arrived | None:
    """The only arrival whose ID is between these bounds, `first` and `behind`."""
    rows = connection.execute(_BY_PREFIX, bounds).all()
    if len(rows) != 1:
        return None
    (row,) = rows
    receipts = _receipts(connection, [row.id], spool_path)[row.id]
    return Arrived(
        id=row.id,
        origin=origin(row),
        received_at=row.received_at,
        receipts=tuple(one.receipt for one in receipts),
        ignored=tuple(_ignored(connection, [row.id])[row.id]),
    )


def mailed(connection: Connection, arrival_ids: Sequence[str], spool_path: SpoolPath) -> list[Mailed]:
    """Those of the arrivals that came by mail, in the order given."""
    found: dict[str, Mailed] = {}
    for start in range(0, len(arrival_ids), _CHUNK):
        chunk = arrival_ids[start : start + _CHUNK]
        brought, left_out = _receipts(connection, chunk, spool_path), _ignored(connection, chunk)
        for row in connection.execute(_MESSAGES, {"ids": chunk}):
            found[row.id] = _mailed(row, brought[row.id], left_out[row.id])
    return [found[arrival_id] for arrival_id in arrival_ids if arrival_id in found]


def _mailed(row: Any, brought: Sequence[MailedReceipt], left_out: Sequence[Refusal]) -> Mailed:
    place = None
    if row.uid is not None:
        place = MessagePlace(
            account=row.account, mailbox=row.mailbox, uidvalidity=row.uidvalidity, uid=row.uid
        )
    return Mailed(
        arrival=row.id,
        origin=origin(row),
        received_at=row.received_at,
        receipts=tuple(brought),
        ignored=tuple(left_out),
        place=place,
        filed=Filed(row.filed),
        answered=row.answered_at is not None,
        answered_at=row.answered_at,
        answered_to=row.answered_to,
        moved_at=row.moved_at,
    )


def _receipts(
    connection: Connection, arrival_ids: Sequence[str], spool_path: SpoolPath
) -> dict[str, list[MailedReceipt]]:
    """By arrival; each receipt once, in the order of its first document there."""
    brought = by_receipt(connection.execute(BROUGHT, {"ids": arrival_ids}), spool_path)
    ids = sorted({receipt_id for receipt_id, _ in brought})
    known = {}
    told: dict[tuple[str, str], bool] = {}
    for start in range(0, len(ids), _CHUNK):
        chunk = ids[start : start + _CHUNK]
        for row in connection.execute(_RECEIPTS, {"ids": chunk}):
            receipt = stored(row, spool_path)
            known[receipt.id] = receipt
        for receipt_id, arrival_id, repeat in connection.execute(
            _TOLD, {"ids": chunk, "arrival_ids": arrival_ids}
        ):
            told[receipt_id, arrival_id] = repeat
    found: dict[str, list[MailedReceipt]] = defaultdict(list)
    for (receipt_id, arrival_id), documents in brought.items():
        repeat = told.get((receipt_id, arrival_id), known[receipt_id].arrival != arrival_id)
        found[arrival_id].append(
            MailedReceipt(receipt=known[receipt_id], documents=tuple(documents), repeat=repeat)
        )
    return found


def _ignored(connection: Connection, arrival_ids: Sequence[str]) -> dict[str, list[Refusal]]:
    found: dict[str, list[Refusal]] = defaultdict(list)
    for row in connection.execute(_IGNORED, {"ids": arrival_ids}):
        found[row.arrival_id].append(Refusal(filename=row.filename, reason=row.reason))
    return found


_WITH_ORIGIN = select(arrivals.c.id, arrivals.c.received_at, *ORIGIN_COLUMNS)
_BY_PREFIX = (
    _WITH_ORIGIN.outerjoin(messages, messages.c.arrival_id == arrivals.c.id)
    .where(arrivals.c.id >= bindparam("first"), arrivals.c.id < bindparam("behind"))
    .limit(2)
)
_PRESENT = ("account", "mailbox", "uidvalidity", "uid", "moved_at", "filed", "answered_at", "answered_to")
_MESSAGES = (
    _WITH_ORIGIN.add_columns(*(messages.c[name] for name in _PRESENT))
    .join(messages, messages.c.arrival_id == arrivals.c.id)
    .where(arrivals.c.id.in_(bindparam("ids", expanding=True)))
)
_RECEIPTS = select(*STORED_COLUMNS).where(receipts.c.id.in_(bindparam("ids", expanding=True)))
_TOLD = select(feedback.c.receipt_id, feedback.c.arrival_id, feedback.c.repeat).where(
    feedback.c.receipt_id.in_(bindparam("ids", expanding=True)),
    feedback.c.arrival_id.in_(bindparam("arrival_ids", expanding=True)),
)
_IGNORED = (
    select(ignored)
    .where(ignored.c.arrival_id.in_(bindparam("ids", expanding=True)))
    .order_by(ignored.c.arrival_id, ignored.c.position)
)
