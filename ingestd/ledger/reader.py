"""The read side of the ledger, for commands and pages: sees what is committed, and can't write.

Each call is one transaction on a connection of its own in a thread, so a command never waits for the daemon,
and the daemon never for a command. All figures of one answer are of the same instant.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    bindparam,
    func,
    not_,
    or_,
    select,
    union_all,
)

from ingestd.domain.document import Document, Instant, ReceiptImage
from ingestd.domain.receipt import Attempt, Receipt, SlotBefore
from ingestd.domain.states import OWNED, State
from ingestd.interfaces import Arrived, Balance, Chain, HistoryEntry, Kept, Mailed, Waiting
from ingestd.ledger import arrived, images, retention, schema
from ingestd.ledger.dispatch import any_of
from ingestd.ledger.engine import open_engine, our_errors, sqlite_path
from ingestd.ledger.rows import STORED_COLUMNS, SpoolPath, document, stored
from ingestd.ledger.upgrade import check_revision

Result = TypeVar("Result")

SHORTEST_PREFIX = 8


def open_reader(url: str, *, spool_path: SpoolPath) -> "SqlLedgerReader":
    """Open an existing ledger for reading. Blocks. Raises LedgerTooNew and LedgerUnavailable."""
    path = sqlite_path(url)
    engine = open_engine(url, writes=False)
    try:
        check_revision(engine, path)
    except BaseException:
        engine.dispose()
        raise
    return SqlLedgerReader(engine, spool_path=spool_path, path=path)


class SqlLedgerReader:
    """interfaces.LedgerReader on SQLite or PostgreSQL. All methods raise LedgerUnavailable."""

    def __init__(self, engine: Engine, *, spool_path: SpoolPath, path: Path | None) -> None:
        self._engine = engine
        self.spool_path = spool_path
        self._path = path

    async def get(self, receipt_id: str) -> Receipt | None:
        """None also for a beginning that fits several receipts, or is shorter than 8 characters."""
        bounds = _bounds(receipt_id)
        if bounds is None:
            return None

        def ask(connection: Connection) -> Receipt | None:
            rows = connection.execute(_BY_PREFIX, bounds).all()
            return stored(rows[0], self.spool_path) if len(rows) == 1 else None

        return await self.read(ask)

    async def find(
        self,
        *,
        states: Collection[State] = (),
        limit: int | None = None,
        changed_since: Instant | None = None,
        before: str | None = None,
    ) -> Sequence[Receipt]:
        """A page of a state costs what it holds: each state is read in the order of its own index."""
        conditions = [] if before is None else [_receipt.id < before]
        if changed_since is not None:
            conditions.append(_receipt.updated_at >= changed_since)
        statement = _newest_first(states, conditions, limit)

        def ask(connection: Connection) -> Sequence[Receipt]:
            rows = connection.execution_options(yield_per=1000).execute(statement)
            return [stored(row, self.spool_path) for row in rows]

        return await self.read(ask)

    async def lookalikes(
        self, receipt: Receipt, image: ReceiptImage, *, since: Instant, limit: int
    ) -> Sequence[Receipt]:
        """Equally near ones oldest first. None for an image without a fingerprint."""

        def ask(connection: Connection) -> Sequence[Receipt]:
            return images.lookalikes(
                connection, receipt, image, since=since, limit=limit, spool_path=self.spool_path
            )

        return await self.read(ask)

    async def arrived(self, arrival_id: str) -> Arrived | None:
        """None also for a beginning that fits several arrivals, or is shorter than 8 characters."""
        bounds = _bounds(arrival_id)
        if bounds is None:
            return None
        return await self.read(lambda connection: arrived.arrived(connection, bounds, self.spool_path))

    async def mailed(self, arrival_id: str) -> Mailed | None:
        """By full ID; None for what came in another way than by mail."""

        def ask(connection: Connection) -> Mailed | None:
            return next(iter(arrived.mailed(connection, [arrival_id], self.spool_path)), None)

        return await self.read(ask)

    async def documents(self, receipt_id: str) -> Sequence[Document]:
        """In the order of the pages. The receipt's full ID; empty for one that doesn't exist."""

        def ask(connection: Connection) -> Sequence[Document]:
            rows = connection.execute(_DOCUMENTS, {"id": receipt_id})
            return [document(row, self.spool_path) for row in rows]

        return await self.read(ask)

    async def containers(self, receipt_id: str) -> Sequence[Document]:
        """The archives of the arrival that made this receipt, in the order they came in."""

        def ask(connection: Connection) -> Sequence[Document]:
            rows = connection.execute(_CONTAINERS, {"id": receipt_id})
            return [document(row, self.spool_path) for row in rows]

        return await self.read(ask)

    async def history(self, receipt_id: str) -> Sequence[HistoryEntry]:
        """Oldest first. The receipt's full ID; empty for one that doesn't exist."""

        def ask(connection: Connection) -> Sequence[HistoryEntry]:
            return [_history_entry(row) for row in connection.execute(_HISTORY, {"id": receipt_id})]

        return await self.read(ask)

    async def attempts(self, receipt_id: str) -> Sequence[Attempt]:
        """Oldest first. The receipt's full ID; empty for one that doesn't exist."""

        def ask(connection: Connection) -> Sequence[Attempt]:
            return [_attempt(row) for row in connection.execute(_ATTEMPTS, {"id": receipt_id})]

        return await self.read(ask)

    async def counts(self) -> Mapping[State, int]:
        return await self.read(_counts)

    async def oldest_waiting(self) -> Instant | None:
        return await self.read(lambda connection: connection.execute(_OLDEST_WAITING).scalar_one())

    async def chains(self, *, after: str, limit: int) -> Sequence[Chain]:
        """An empty page is the end. A receipt whose history is gone comes with no entries."""

        def ask(connection: Connection) -> Sequence[Chain]:
            heads = connection.execute(_HEADS, {"after": after, "limit": limit}).all()
            if not heads:
                return []
            entries: dict[str, list[HistoryEntry]] = {row.id: [] for row in heads}
            for row in connection.execute(_HISTORIES, {"after": after, "upto": heads[-1].id}):
                if row.receipt_id in entries:
                    entries[row.receipt_id].append(_history_entry(row))
            return [
                Chain(receipt=row.id, version=row.version, head=row.head, entries=tuple(entries[row.id]))
                for row in heads
            ]

        return await self.read(ask)

    async def kept(self, *, after: str, limit: int) -> Sequence[Kept]:
        """An empty page is the end. Each hash once, however many documents have these bytes."""
        return await self.read(lambda connection: retention.kept(connection, after=after, limit=limit))

    async def waiting(self, *, horizon: Instant, closed: Collection[tuple[str, str | None]] = ()) -> Waiting:
        """`next_due`: of the ready receipts; None when there is none."""
        due, asking = _READY_DUE, _ASKING
        if closed:
            due, asking = (statement.where(not_(any_of(closed))) for statement in (due, asking))

        def ask(connection: Connection) -> Waiting:
            counts = _counts(connection)
            ready_due = connection.execute(due, {"horizon": horizon}).scalar_one()
            return Waiting(
                received=counts[State.RECEIVED],
                ready_due=ready_due,
                ready_later=counts[State.READY] - ready_due,
                owned=sum(counts[state] for state in OWNED),
                feedback_due=connection.execute(_FEEDBACK_DUE, {"horizon": horizon}).scalar_one(),
                asking=connection.execute(asking, {"horizon": horizon}).scalar_one(),
                next_due=connection.execute(_NEXT_DUE).scalar_one(),
            )

        return await self.read(ask)

    async def balance(self) -> Balance:
        """Receipts are counted by their first history row, so that one that vanished shows."""

        def ask(connection: Connection) -> Balance:
            return Balance(
                payloads=connection.execute(_PAYLOADS).scalar_one(),
                documents=_count(connection, schema.receipt_documents),
                sightings=_count(connection, schema.sightings),
                ignored=_count(connection, schema.ignored),
                receipts=connection.execute(_BORN).scalar_one(),
                states=_counts(connection),
            )

        return await self.read(ask)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._engine.dispose)

    async def read(self, ask: Callable[[Connection], Result]) -> Result:
        """What `ask` finds, in one transaction; for the rest of this package."""
        return await asyncio.to_thread(self._in_one_transaction, ask)

    def _in_one_transaction(self, ask: Callable[[Connection], Result]) -> Result:
        with our_errors(self._path), self._engine.begin() as connection:
            return ask(connection)


def _bounds(beginning: str) -> dict[str, str] | None:
    """Between which texts the IDs with this beginning are; None for what is too short, or none at all."""
    beginning = beginning.strip().lower()
    if len(beginning) < SHORTEST_PREFIX or not re.fullmatch(r"[0-9a-f-]{8,36}", beginning):
        return None
    # "g" sorts behind every digit an ID is written with.
    return {"first": beginning, "behind": f"{beginning}g"}


def _newest_first(
    states: Collection[State], conditions: Sequence[ColumnElement[bool]], limit: int | None
) -> Select[Any]:
    if not states:
        return select(*STORED_COLUMNS).where(*conditions).order_by(_receipt.id.desc()).limit(limit)
    newest = union_all(
        *(
            select(
                select(_receipt.id)
                .where(_receipt.state == state.value, *conditions)
                .order_by(_receipt.id.desc())
                .limit(limit)
                .subquery()
                .c.id
            )
            for state in sorted(states)
        )
    ).subquery("newest")
    return (
        select(*STORED_COLUMNS)
        .join(newest, newest.c.id == _receipt.id)
        .order_by(_receipt.id.desc())
        .limit(limit)
    )


def _counts(connection: Connection) -> Mapping[State, int]:
    found = {row[0]: row[1] for row in connection.execute(_STATES)}
    return {state: found.get(state.value, 0) for state in State}


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _history_entry(row: Any) -> HistoryEntry:
    return HistoryEntry(
        receipt=row.receipt_id,
        version=row.version,
        at=row.at,
        event=row.event,
        before=None if row.before is None else State(row.before),
        after=State(row.after),
        actor=row.actor,
        reason=row.reason,
        digest=row.digest,
    )


def _attempt(row: Any) -> Attempt:
    return Attempt(
        receipt=row.receipt_id,
        number=row.number,
        owner=row.owner,
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=row.outcome,
        status=row.status,
        correlation_id=row.correlation_id,
        error_id=row.error_id,
        message=row.message,
        bytes_sent=row.bytes_sent,
        slot_before=None if row.slot_before is None else SlotBefore(row.slot_before),
    )


_receipt = schema.receipts.c
_BY_PREFIX = (
    select(*STORED_COLUMNS)
    .where(_receipt.id >= bindparam("first"), _receipt.id < bindparam("behind"))
    .limit(2)
)
_DOCUMENTS = (
    select(schema.documents)
    .join(schema.receipt_documents, schema.receipt_documents.c.document_id == schema.documents.c.id)
    .where(schema.receipt_documents.c.receipt_id == bindparam("id"))
    .order_by(schema.receipt_documents.c.position)
)
_CONTAINERS = (
    select(schema.containers)
    .join(schema.receipts, schema.receipts.c.arrival_id == schema.containers.c.arrival_id)
    .where(_receipt.id == bindparam("id"))
    .order_by(schema.containers.c.position)
)
_HISTORY = (
    select(schema.history)
    .where(schema.history.c.receipt_id == bindparam("id"))
    .order_by(schema.history.c.version)
)
_HEADS = (
    select(_receipt.id, _receipt.version, _receipt.head)
    .where(_receipt.id > bindparam("after"))
    .order_by(_receipt.id)
    .limit(bindparam("limit"))
)
_HISTORIES = (
    select(schema.history)
    .where(schema.history.c.receipt_id > bindparam("after"), schema.history.c.receipt_id <= bindparam("upto"))
    .order_by(schema.history.c.receipt_id, schema.history.c.version)
)
_ATTEMPTS = (
    select(schema.attempts)
    .where(schema.attempts.c.receipt_id == bindparam("id"))
    .order_by(schema.attempts.c.number)
)
_STATES = select(_receipt.state, func.count()).group_by(_receipt.state)
_READY = _receipt.state == State.READY.value
_READY_DUE = (
    select(func.count()).select_from(schema.receipts).where(_READY, _receipt.due_at <= bindparam("horizon"))
)
_NEXT_DUE = select(func.min(_receipt.due_at)).where(_READY)
_ASKING = (
    select(func.count())
    .select_from(schema.receipts)
    .where(or_(_receipt.ask_at <= bindparam("horizon"), _receipt.verify_at <= bindparam("horizon")))
)
# IDs begin with their time, so the least of a state is its oldest.
_first = union_all(
    *(
        select(func.min(_receipt.id).label("id")).where(_receipt.state == state.value)
        for state in (State.RECEIVED, State.READY, *sorted(OWNED))
    )
).subquery("first")
_OLDEST_WAITING = select(func.min(_receipt.received_at)).join_from(
    _first, schema.receipts, _receipt.id == _first.c.id
)
_FEEDBACK_DUE = (
    select(func.count()).select_from(schema.feedback).where(schema.feedback.c.due_at <= bindparam("horizon"))
)
_PAYLOADS = select(func.coalesce(func.sum(schema.arrivals.c.payload_count), 0))
_BORN = select(func.count()).select_from(schema.history).where(schema.history.c.version == 1)
