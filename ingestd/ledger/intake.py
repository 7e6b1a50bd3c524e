"""Recording an arrival: its documents, the receipts made of them, and the repeats among them.

An arrival is recorded whole or not at all, once, however often it is handed over. Each of its payloads is
counted once: as a document of a receipt, as a sighting of one, or as ignored. An archive is no payload; its
members are.
"""

from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, assert_never

from sqlalchemy import bindparam, func, select

from ingestd.domain.document import Document, Instant, OriginKind
from ingestd.domain.errors import IllegalTransition
from ingestd.domain.receipt import NO_TARGET, Receipt, idempotency_key, new_id
from ingestd.domain.routing import Destined
from ingestd.domain.states import Event, State
from ingestd.interfaces import Accepted, NewArrival, NewReceipt
from ingestd.ledger import messages, slots
from ingestd.ledger.chain import START, digest
from ingestd.ledger.rows import STORED_COLUMNS, Stored, receipt_row, to_json
from ingestd.ledger.schema import (
    arrivals,
    containers,
    documents,
    feedback,
    ignored,
    receipt_documents,
    receipts,
    sightings,
)
from ingestd.ledger.transaction import Operation, Transaction
from ingestd.ledger.transitions import (
    DAEMON,
    advanced,
    current,
    fenced,
    fenced_update,
    fetch,
    record,
    requeue,
)
from ingestd.ledger.turns import gate_of, share_of

_Hashes = tuple[str, ...]
"""Of the documents of one receipt, in order."""


def accept(arrival: NewArrival, *, now: Instant) -> Operation[Accepted]:
    """Ledger.accept."""

    def run(tx: Transaction) -> Accepted:
        if tx.is_there(_KNOWN_ARRIVAL, {"b_id": arrival.id}):
            return _accepted_before(tx, arrival)
        _record_arrival(tx, arrival, now)
        entries = []
        told: set[str] = set()
        for entry, new in enumerate(arrival.receipts):
            document_ids = _record_documents(tx, arrival, entry, new.documents, now)
            entries.append(_enter(tx, arrival, new, document_ids, told, now))
        repeats = frozenset(r.id for r in entries if r.arrival != arrival.id)
        return Accepted(receipts=tuple(entries), repeats=repeats)

    return run


def assign(receipt: Receipt, *, destined: Destined, account: str | None, now: Instant) -> Operation[Receipt]:
    """Ledger.assign. IllegalTransition also when these documents are already on their way there."""

    def run(tx: Transaction) -> Receipt:
        before = current(tx, receipt)
        uploads_as = before.account if account is None else account
        if before.target != NO_TARGET or before.state not in (State.RECEIVED, State.HELD):
            raise IllegalTransition(f"a receipt that is {before.state} for {before.target} stays there")
        tx.flush()
        hashes = tx.execute(_HASHES, {"b_id": before.id}).scalars().all()
        slot = str(destined.slot)
        key = idempotency_key(hashes, target=destined.target, account=uploads_as, slot=slot)
        twin = _latest(tx, key)
        seen = _standing(tx, twin)
        if seen is not None and not _is_tried_again(seen.state):
            raise IllegalTransition(
                f"these documents are already receipt {seen.id} for {destined}, which is {seen.state};"
                f" drop this one"
            )
        after = advanced(
            before,
            "assign",
            now=now,
            actor=DAEMON,
            note=str(destined),
            key=key,
            generation=twin.generation + 1 if twin else 1,
            target=destined.target,
            slot=slot,
            account=uploads_as,
        )
        row = {name: getattr(after, name) for name in _ASSIGNED}
        fenced(tx, _ASSIGN, before, {**row, "gate": gate_of(after.target, after.account)})
        record(tx, before, after, "assign", actor=DAEMON, note=str(destined))
        return after

    return run


def _record_arrival(tx: Transaction, arrival: NewArrival, now: Instant) -> None:
    origin = arrival.origin
    tx.insert(
        arrivals,
        {
            "id": arrival.id,
            "kind": origin.kind,
            "source": origin.source,
            "path": origin.path,
            "sender": origin.sender,
            "payload_count": _came_of(arrival) if arrival.payloads is None else arrival.payloads,
            "received_at": now,
            "facts": to_json(origin.facts),
            **messages.arrival_columns(origin),
        },
    )
    messages.record(tx, arrival, now)
    for position, refusal in enumerate(arrival.ignored):
        row = {"position": position, "filename": refusal.filename, "reason": refusal.reason}
        tx.append(ignored, {"arrival_id": arrival.id, **row})
    for position, container in enumerate(arrival.containers):
        tx.append(containers, {"arrival_id": arrival.id, "position": position, **_row_of(container)})


def _record_documents(
    tx: Transaction, arrival: NewArrival, entry: int, of: tuple[Document, ...], now: Instant
) -> list[str]:
    ids = []
    for position, document in enumerate(of):
        ids.append(new_id(now))
        row = {
            "id": ids[-1],
            "arrival_id": arrival.id,
            "entry": entry,
            "position": position,
            **_row_of(document),
        }
        tx.append(documents, row)
    return ids


def _row_of(document: Document) -> dict[str, Any]:
    return {
        "filename": document.filename,
        "size": document.size,
        "sha256": document.sha256,
        "declared_type": document.declared_type,
        "arrived_as": document.arrived_as or None,
    }


def _enter(
    tx: Transaction,
    arrival: NewArrival,
    new: NewReceipt,
    document_ids: list[str],
    told: set[str],
    now: Instant,
) -> Stored:
    """Make a receipt of these documents, or a sighting where it is a repeat."""
    latest = _latest(tx, new.key)
    seen = None if new.again else _standing(tx, latest)
    if seen is None:
        return _make(tx, arrival, new, document_ids, told, generation=latest, now=now)
    tried_again = _is_tried_again(seen.state)
    if tried_again and (new.hold or slots.lost(tx, seen) is not None):
        # It will have to wait for a person, and a failed receipt that is requeued doesn't: a new one does.
        return _make(tx, arrival, new, document_ids, told, generation=latest, now=now)
    return _sight(tx, arrival, seen, document_ids, told, tried_again=tried_again, now=now)


def _make(
    tx: Transaction,
    arrival: NewArrival,
    new: NewReceipt,
    document_ids: list[str],
    told: set[str],
    *,
    generation: Stored | None,
    now: Instant,
) -> Stored:
    accepted = _new_receipt(arrival, new, generation.generation + 1 if generation else 1, now)
    final = accepted
    if new.hold:
        final = advanced(accepted, Event.HOLD, now=now, actor=DAEMON, note=new.hold, reason=new.hold)
    share = share_of(new, sender=arrival.origin.sender, source=arrival.origin.source)
    gate = gate_of(final.target, final.account)
    tx.insert(receipts, {**receipt_row(final), "share": share, "gate": gate})
    for position, document_id in enumerate(document_ids):
        row = {"receipt_id": final.id, "position": position, "document_id": document_id}
        tx.append(receipt_documents, row)
    _report_to(tx, arrival, final, told, repeat=False)
    record(tx, None, accepted, "accept", actor=DAEMON, note=None)
    if final is not accepted:
        record(tx, accepted, final, Event.HOLD, actor=DAEMON, note=new.hold)
    return final


def _new_receipt(arrival: NewArrival, new: NewReceipt, generation: int, now: Instant) -> Stored:
    receipt_id, first = new_id(now), new.documents[0]
    head = digest(
        START,
        receipt=receipt_id,
        version=1,
        at=now,
        event="accept",
        before=None,
        after=State.RECEIVED,
        actor=DAEMON,
        reason=None,
    )
    return Stored(
        id=receipt_id,
        key=new.key,
        generation=generation,
        arrival=arrival.id,
        target=new.target,
        account=new.account,
        slot=new.slot,
        state=State.RECEIVED,
        version=1,
        head=head,
        attempts=0,
        tries=0,
        due_at=now,
        received_at=now,
        updated_at=now,
        source=arrival.origin.source,
        path=arrival.origin.path,
        filename=first.filename,
        sha256=first.sha256,
        documents=len(new.documents),
        person=new.person,
        fields=dict(new.fields),
        again=new.again,
    )


def _sight(
    tx: Transaction,
    arrival: NewArrival,
    seen: Stored,
    document_ids: list[str],
    told: set[str],
    *,
    tried_again: bool,
    now: Instant,
) -> Stored:
    for document_id in document_ids:
        row = {
            "id": new_id(now),
            "receipt_id": seen.id,
            "arrival_id": arrival.id,
            "document_id": document_id,
            "at": now,
            "effect": "requeued" if tried_again else "seen",
        }
        tx.append(sightings, row)
    if tried_again:
        seen = requeue(tx, seen, now=now, actor=DAEMON, reason="it was sent again")
    _report_to(tx, arrival, seen, told, repeat=not tried_again)
    return seen


def _is_tried_again(state: State) -> bool:
    """Whether a repeat of a receipt in this state means that the person tries again."""
    match state:
        case State.REJECTED | State.FAILED | State.DROPPED:
            return True
        case State.RECEIVED | State.READY | State.CLAIMED | State.UPLOADING | State.UPLOADED:
            return False
        case State.HELD | State.UNCONFIRMED:
            return False
        case _:
            assert_never(state)


def _report_to(
    tx: Transaction, arrival: NewArrival, receipt: Stored, told: set[str], *, repeat: bool
) -> None:
    """This arrival wants to hear of the receipt. Nobody waits at the source of a submission."""
    if arrival.origin.kind is OriginKind.SUBMISSION or receipt.id in told:
        return
    told.add(receipt.id)
    row = {
        "receipt_id": receipt.id,
        "arrival_id": arrival.id,
        "repeat": repeat,
        "version": receipt.version,
        "due_at": receipt.updated_at if receipt.settled else None,
        "failures": 0,
    }
    if receipt.arrival == arrival.id:
        tx.append(feedback, row)
    else:
        # At once: another operation of this batch may settle this receipt, and must find the row.
        tx.insert(feedback, row)


def _latest(tx: Transaction, key: str) -> Stored | None:
    if not tx.is_there(_KNOWN_KEY, {"b_key": key}):
        return None
    return fetch(tx, _LATEST, {"b_key": key})[0]


def _standing(tx: Transaction, latest: Stored | None) -> Stored | None:
    """The one that a repeat is a repeat of: the latest that wasn't dropped, or has the slot instead of it.

    A second receipt of the same documents that was asked for and came to nothing undoes no first one.
    """
    if latest is None:
        return None
    seen = latest
    if latest.state is State.DROPPED:
        found = fetch(tx, _LATEST_KEPT, {"b_key": latest.key})
        if not found:
            return None
        seen = found[0]
    taken = slots.lost(tx, seen)
    if taken is not None:
        (holder,) = fetch(tx, _BY_IDS, {"ids": [taken.receipt]})
        return holder if holder.key == seen.key else seen
    return seen


def _accepted_before(tx: Transaction, arrival: NewArrival) -> Accepted:
    """What became of these documents; by then some others of the arrival may have been acknowledged.

    A NewReceipt with a document that was not recorded has no entry: nobody may acknowledge it.
    """
    tx.flush()
    rows = tx.execute(_MADE, {"b_id": arrival.id}).all()
    made = [
        (tuple(row.sha256 for row in same), same[0].receipt_id)
        for same in (list(group) for _, group in groupby(rows, key=attrgetter("entry")))
    ]
    archives = frozenset(tx.execute(_ARCHIVES, {"b_id": arrival.id}).scalars())
    own = min(rows, key=lambda row: not row.made_of_it, default=None)
    again = [tuple(document.sha256 for document in new.documents) for new in arrival.receipts]
    ids = _match(made, again, archives, None if own is None else own.receipt_id)
    found = {receipt.id: receipt for receipt in fetch(tx, _BY_IDS, {"ids": list(set(ids))})}
    entries = tuple(found[receipt_id] for receipt_id in ids)
    repeats = frozenset(r.id for r in entries if r.arrival != arrival.id)
    recorded = archives.union(*(hashes for hashes, _ in made))
    unrecorded = frozenset[str]().union(*again) - recorded
    return Accepted(receipts=entries, repeats=repeats, known=True, unrecorded=unrecorded)


def _match(
    made: Sequence[tuple[_Hashes, str]], again: Sequence[_Hashes], archives: frozenset[str], own: str | None
) -> list[str]:
    """The receipt of each group of documents: the one made of just these, else the one that has the first.

    An archive that could be opened then and can't be now comes as a document: it stands for what it held,
    and is given one that was made of this arrival, or that a part of it repeats (`own`).
    """
    recorded = {sha256 for hashes, _ in made for sha256 in hashes}
    left = list(made)
    ids = []
    for hashes in again:
        exact = next((one for one in left if one[0] == hashes), None)
        if exact is not None:
            left.remove(exact)
            ids.append(exact[1])
        elif recorded.issuperset(hashes):
            ids.append(next(receipt_id for others, receipt_id in made if hashes[0] in others))
        elif own is not None and (recorded | archives).issuperset(hashes):
            ids.append(own)
    return ids


_KNOWN_ARRIVAL = select(arrivals.c.id).where(arrivals.c.id == bindparam("b_id"))
_KNOWN_KEY = select(receipts.c.generation).where(receipts.c.key == bindparam("b_key")).limit(1)
_LATEST = (
    # Locked, so that the receipt can't settle on another node before the sighting is there to be told.
    select(*STORED_COLUMNS)
    .where(receipts.c.key == bindparam("b_key"))
    .order_by(receipts.c.generation.desc())
    .limit(1)
    .with_for_update()
)
_LATEST_KEPT = (
    select(*STORED_COLUMNS)
    .where(receipts.c.key == bindparam("b_key"), receipts.c.state != State.DROPPED)
    .order_by(receipts.c.generation.desc())
    .limit(1)
    .with_for_update()
)
_BY_IDS = select(*STORED_COLUMNS).where(receipts.c.id.in_(bindparam("ids", expanding=True)))
_MADE = (
    select(
        documents.c.entry,
        documents.c.sha256,
        receipt_documents.c.receipt_id.is_not(None).label("made_of_it"),
        func.coalesce(receipt_documents.c.receipt_id, sightings.c.receipt_id).label("receipt_id"),
    )
    .select_from(
        documents.outerjoin(receipt_documents, receipt_documents.c.document_id == documents.c.id).outerjoin(
            sightings, sightings.c.document_id == documents.c.id
        )
    )
    .where(documents.c.arrival_id == bindparam("b_id"))
    .order_by(documents.c.entry, documents.c.position)
)
_ARCHIVES = select(containers.c.sha256).where(containers.c.arrival_id == bindparam("b_id"))
_HASHES = (
    select(documents.c.sha256)
    .join(receipt_documents, receipt_documents.c.document_id == documents.c.id)
    .where(receipt_documents.c.receipt_id == bindparam("b_id"))
    .order_by(receipt_documents.c.position)
)
_ASSIGNED = ("key", "generation", "target", "slot", "account", "version", "head", "updated_at")
_ASSIGN = fenced_update(*_ASSIGNED, "gate")


def _came_of(arrival: NewArrival) -> int:
    return sum(len(receipt.documents) for receipt in arrival.receipts) + len(arrival.ignored)
