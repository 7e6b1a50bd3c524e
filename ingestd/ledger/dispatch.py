"""Who holds which receipt: reservations, claims, leases, and taking over from the dead.

FOR UPDATE SKIP LOCKED lets nodes on PostgreSQL pass each other by; SQLite has one writer and needs no such
words, so SQLAlchemy leaves them out there.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, bindparam, or_, select, update

from ingestd.domain.document import Document, Instant, Origin
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.states import OWNED, Event, State
from ingestd.interfaces import Recovered, Work
from ingestd.ledger.attempts import lose_orphan
from ingestd.ledger.rows import ORIGIN_COLUMNS, STORED_COLUMNS, Stored, document, origin
from ingestd.ledger.schema import arrivals, documents, feedback, messages, receipt_documents, receipts
from ingestd.ledger.transaction import Operation, Transaction
from ingestd.ledger.transitions import (
    DAEMON,
    advanced,
    fenced_many,
    fenced_update,
    fetch,
    record,
    transition,
)
from ingestd.ledger.turns import Gate, Queue, gate_of

LATEST = Instant(2**63 - 1)
"""The last time that both engines can store."""


def received_queue() -> Queue:
    """Those that nobody prepares; of these `until` is LATEST, for none of them waits for its time."""
    return Queue(State.RECEIVED, is_free())


def ready_queue() -> Queue:
    return Queue(State.READY)


def take_received(
    queue: Queue, *, owner: str, lease: timedelta, limit: int, now: Instant
) -> Operation[Sequence[Work]]:
    """Ledger.take_received."""

    def run(tx: Transaction) -> Sequence[Work]:
        until = later(now, lease)
        found = queue.take(tx, limit=limit, now=now, until=LATEST)
        taken = reserve(tx, found, owner=owner, lease_until=until)
        originals = _documents_of(tx, [receipt.id for receipt in taken])
        origins = _origins_of(tx, sorted({receipt.arrival for receipt in taken}))
        return [Work(receipt=r, origin=origins[r.arrival], documents=tuple(originals[r.id])) for r in taken]

    return run


def claim(
    queue: Queue,
    *,
    owner: str,
    lease: timedelta,
    limit: int,
    now: Instant,
    closed: Collection[Gate],
) -> Operation[Sequence[Receipt]]:
    """Ledger.claim."""

    def run(tx: Transaction) -> Sequence[Receipt]:
        until = later(now, lease)
        moved = []
        for before in queue.take(tx, limit=limit, now=now, until=now, closed=closed):
            after = advanced(
                before, Event.CLAIM, now=now, actor=owner, note=None, owner=owner, lease_until=until
            )
            record(tx, before, after, Event.CLAIM, actor=owner, note=None)
            moved.append((before, after))
        fenced_many(tx, _CLAIM, [(b, {name: getattr(a, name) for name in _CLAIMED}) for b, a in moved])
        return [after for _, after in moved]

    return run


def release(*, owner: str, now: Instant) -> Operation[int]:
    def run(tx: Transaction) -> int:
        reserved = tx.change(_UNRESERVE_OWN, {"b_owner": owner})
        claimed = fetch(tx, _CLAIMED_BY, {"owner": owner})
        for before in claimed:
            transition(tx, before, Event.RELEASE, now=now, actor=owner)
        return reserved + len(claimed)

    return run


def renew(*, owner: str, lease: timedelta, now: Instant) -> Operation[None]:
    def run(tx: Transaction) -> None:
        tx.change(_RENEW, {"b_owner": owner, "now": now, "until": later(now, lease)})

    return run


def recover(*, now: Instant, everything: bool) -> Operation[Recovered]:
    def run(tx: Transaction) -> Recovered:
        released = lost = 0
        for before in fetch(tx, _ORPHANED_ALL if everything else _ORPHANED, {"now": now}):
            if before.state is State.CLAIMED:
                transition(tx, before, Event.RELEASE, now=now, actor=DAEMON, note="its owner is gone")
                released += 1
            else:
                lose_orphan(tx, before, now=now)
                lost += 1
        tx.change(_UNRESERVE_ALL if everything else _UNRESERVE_EXPIRED, {"now": now})
        return Recovered(released=released, lost=lost)

    return run


def clamp_due(*, latest: Instant) -> Operation[int]:
    def run(tx: Transaction) -> int:
        tx.change(_CLAMP_FEEDBACK, {"latest": latest})
        return sum(tx.execute(clamp, {"latest": latest}).rowcount for clamp in _CLAMPS)

    return run


def reserve(tx: Transaction, found: Sequence[Stored], *, owner: str, lease_until: Instant) -> list[Stored]:
    """Receipts locked in this transaction are this owner's; the state stays, and so does the version."""
    fenced_many(tx, _RESERVE, [(r, {"owner": owner, "lease_until": lease_until}) for r in found])
    return [replace(receipt, owner=owner, lease_until=lease_until) for receipt in found]


def is_free() -> ColumnElement[bool]:
    """Nobody has reserved the receipt, or did not prolong it; with the parameter `now`."""
    return or_(receipts.c.owner.is_(None), _expired())


def any_of(gates: Collection[Gate]) -> ColumnElement[bool]:
    """A list and no chain of ORs: SQLite takes no more than a thousand of those, and accounts may be more."""
    return receipts.c.gate.in_(sorted(gate_of(*gate) for gate in gates))


def _documents_of(tx: Transaction, receipt_ids: Sequence[str]) -> dict[str, list[Document]]:
    found: dict[str, list[Document]] = {receipt_id: [] for receipt_id in receipt_ids}
    if found:
        tx.flush()
        for row in tx.execute(_DOCUMENTS, {"ids": receipt_ids}):
            found[row.receipt_id].append(document(row, tx.spool_path))
    return found


def _origins_of(tx: Transaction, arrival_ids: Sequence[str]) -> dict[str, Origin]:
    if not arrival_ids:
        return {}
    return {row.id: origin(row) for row in tx.execute(_ORIGINS, {"ids": arrival_ids})}


def _oldest_first(*conditions: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    """Receipts that are due, longest due first, locked; those another node has locked are passed by."""
    return (
        select(*STORED_COLUMNS)
        .where(*conditions)
        .order_by(receipts.c.due_at, receipts.c.id)
        .with_for_update(skip_locked=True)
    )


def _expired() -> ColumnElement[bool]:
    return receipts.c.lease_until <= bindparam("now")


_RESERVE = fenced_update("owner", "lease_until")
_CLAIMED = ("state", "version", "head", "updated_at", "owner", "lease_until")
_CLAIM = fenced_update(*_CLAIMED)
_CLAIMED_BY = _oldest_first(receipts.c.owner == bindparam("owner"), receipts.c.state == State.CLAIMED.value)
_ORPHANED_ALL = _oldest_first(
    receipts.c.owner.is_not(None), receipts.c.state.in_([state.value for state in OWNED])
)
_ORPHANED = _ORPHANED_ALL.where(_expired())
_UNRESERVE = (
    # States in which an owner only has it reserved; those of OWNED are left by a transition.
    update(receipts)
    .where(receipts.c.owner.is_not(None), *(receipts.c.state != state.value for state in sorted(OWNED)))
    .values(owner=None, lease_until=None)
)
_UNRESERVE_ALL = _UNRESERVE
_UNRESERVE_EXPIRED = _UNRESERVE.where(_expired())
_UNRESERVE_OWN = _UNRESERVE.where(receipts.c.owner == bindparam("b_owner"))
_RENEW = (
    update(receipts)
    .where(receipts.c.owner == bindparam("b_owner"), receipts.c.lease_until > bindparam("now"))
    .values(lease_until=bindparam("until"))
)
_WAITING = [state.value for state in (State.RECEIVED, State.READY)]
_CLAMPS = (
    update(receipts)
    .where(receipts.c.state.in_(_WAITING), receipts.c.due_at > bindparam("latest"))
    .values(due_at=bindparam("latest")),
    update(receipts).where(receipts.c.ask_at > bindparam("latest")).values(ask_at=bindparam("latest")),
    update(receipts).where(receipts.c.verify_at > bindparam("latest")).values(verify_at=bindparam("latest")),
)
_CLAMP_FEEDBACK = (
    update(feedback).where(feedback.c.due_at > bindparam("latest")).values(due_at=bindparam("latest"))
)
_DOCUMENTS = (
    select(
        receipt_documents.c.receipt_id,
        documents.c.filename,
        documents.c.size,
        documents.c.sha256,
        documents.c.declared_type,
        documents.c.arrived_as,
    )
    .join(documents, receipt_documents.c.document_id == documents.c.id)
    .where(receipt_documents.c.receipt_id.in_(bindparam("ids", expanding=True)))
    .order_by(receipt_documents.c.receipt_id, receipt_documents.c.position)
)
_ORIGINS = (
    select(arrivals.c.id, *ORIGIN_COLUMNS)
    .outerjoin(messages, messages.c.arrival_id == arrivals.c.id)
    .where(arrivals.c.id.in_(bindparam("ids", expanding=True)))
)
