"""The mailboxes' view of the ledger: interfaces.MailBook over its read and its write side.

Reading sees what is committed and never waits for the writer; writing shares its commits with everybody else.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    union,
)

from ingestd.domain.document import Instant
from ingestd.domain.mail import Filed, MessagePlace
from ingestd.domain.states import SETTLED
from ingestd.interfaces import Mailed
from ingestd.ledger import arrived, messages, schema
from ingestd.ledger.reader import SqlLedgerReader
from ingestd.ledger.store import SqlLedger

_CHUNK = 500
"""UIDs in one statement; SQLite takes 32766 parameters, older ones 999."""

_MOST_FOUND = 100
"""Messages with one Message-ID; strangers choose it, and may choose the same one for ever."""


class SqlMailBook:
    """interfaces.MailBook on SQLite or PostgreSQL. Closing is left to whoever opened the two sides.

    All methods raise LedgerUnavailable, those that write StorageExhausted, too.
    """

    def __init__(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        self._ledger = ledger
        self._reader = reader

    async def arrived(
        self, account: str, mailbox: str, uidvalidity: int, uids: Collection[int]
    ) -> Mapping[int, str]:
        where = {"account": account, "mailbox": mailbox, "uidvalidity": uidvalidity}
        wanted = sorted(uids)

        def ask(connection: Connection) -> Mapping[int, str]:
            found: dict[int, str] = {}
            for start in range(0, len(wanted), _CHUNK):
                chunk = {**where, "uids": wanted[start : start + _CHUNK]}
                for statement in (_FOUND_THERE, _IS_THERE):
                    for uid, arrival_id in connection.execute(statement, chunk):
                        found[uid] = max(arrival_id, found.get(uid, ""))
            return found

        return await self._reader.read(ask) if wanted else {}

    async def mailed(self, arrival: str) -> Mailed | None:
        return await self._reader.mailed(arrival)

    async def unfiled(self, source: str, *, limit: int, after: str = "") -> Sequence[Mailed]:
        return await self._mailed(_UNFILED, {"source": source, "after": after, "limit": limit})

    async def count_from(self, source: str, sender: str, *, since: Instant) -> int:
        values = {"source": source, "sender": messages.searchable_address(sender), "since": since}
        return await self._count(_FROM, values)

    async def companions_of(self, sha256: str, *, source: str) -> int:
        return await self._count(_COMPANIONS, {"source": source, "sha256": sha256})

    async def taken_from(self, message_id: str, raw_sha256: str) -> frozenset[str] | None:
        same = {"message_id": messages.searchable(message_id), "raw_sha256": raw_sha256}

        def ask(connection: Connection) -> frozenset[str] | None:
            arrivals = connection.execute(_SAME_MESSAGE, same).scalars().all()
            if not arrivals:
                return None
            values = {"arrivals": arrivals, "raw_sha256": raw_sha256}
            return frozenset(connection.execute(_CAME_OF, values).scalars())

        return await self._reader.read(ask)

    async def count_answers(self, address: str, *, since: Instant) -> int:
        values = {"address": messages.searchable_address(address), "since": since}
        return await self._count(_ANSWERS, values)

    async def moved(self, arrival: str, *, place: MessagePlace | None, filed: Filed, now: Instant) -> None:
        await self._ledger.write(messages.moved(arrival, place=place, filed=filed, now=now))

    async def answered(self, arrival: str, *, address: str | None, now: Instant) -> None:
        await self._ledger.write(messages.answered(arrival, address=address, now=now))

    async def hold_answer(self, arrival: str, *, owner: str, until: Instant, now: Instant) -> bool:
        return await self._ledger.write(messages.hold_answer(arrival, owner=owner, until=until, now=now))

    async def find_message(self, message_id: str) -> Sequence[Mailed]:
        bare = message_id.strip().removeprefix("<").removesuffix(">")
        if not bare:
            return []  # those without one are no answer to any question
        written = [messages.searchable(one) for one in (bare, f"<{bare}>")]
        return await self._mailed(_BY_MESSAGE_ID, {"written": written})

    async def hold_mailbox(self, name: str, *, owner: str, until: Instant, now: Instant) -> bool:
        return await self._ledger.write(messages.hold_mailbox(name, owner=owner, until=until, now=now))

    async def _mailed(self, statement: Any, values: Mapping[str, Any]) -> Sequence[Mailed]:
        """The messages whose arrivals the statement finds, in its order."""

        def ask(connection: Connection) -> Sequence[Mailed]:
            ids = connection.execute(statement, values).scalars().all()
            return arrived.mailed(connection, ids, self._reader.spool_path)

        return await self._reader.read(ask)

    async def _count(self, statement: Any, values: Mapping[str, Any]) -> int:
        def ask(connection: Connection) -> int:
            count: int = connection.execute(statement, values).scalar_one()
            return count

        return await self._reader.read(ask)


_present = schema.messages.c


def _in_place(table: Table) -> tuple[ColumnElement[bool], ...]:
    return (
        table.c.account == bindparam("account"),
        table.c.mailbox == bindparam("mailbox"),
        table.c.uidvalidity == bindparam("uidvalidity"),
        table.c.uid.in_(bindparam("uids", expanding=True)),
    )


_FOUND_THERE = select(schema.arrivals.c.uid, schema.arrivals.c.id).where(*_in_place(schema.arrivals))
_IS_THERE = select(_present.uid, _present.arrival_id).where(*_in_place(schema.messages))


def _waits(link: Table) -> ColumnElement[bool]:
    """Some receipt that `link` connects with a document of the message is not settled."""
    return (
        exists()
        .where(
            schema.documents.c.arrival_id == _present.arrival_id,
            link.c.document_id == schema.documents.c.id,
            schema.receipts.c.id == link.c.receipt_id,
            # As Receipt.settled says it.
            or_(
                schema.receipts.c.state.not_in([state.value for state in SETTLED]),
                schema.receipts.c.ask_at.is_not(None),
            ),
        )
        .correlate(schema.messages)
    )


_UNFILED = (
    select(_present.arrival_id)
    .where(
        _present.source == bindparam("source"),
        _present.filed == literal_column("''"),  # as in the index: SQLite proves nothing of a parameter
        _present.arrival_id > bindparam("after"),
        ~_waits(schema.receipt_documents),
        ~_waits(schema.sightings),
    )
    .order_by(_present.arrival_id)
    .limit(bindparam("limit"))
)
_FROM = (
    select(func.count())
    .select_from(schema.messages)
    .where(
        _present.source == bindparam("source"),
        _present.sender == bindparam("sender"),
        _present.received_at >= bindparam("since"),
    )
)
_COMPANIONS = (
    select(func.count())
    .select_from(schema.companions)
    .where(
        schema.companions.c.source == bindparam("source"),
        schema.companions.c.sha256 == bindparam("sha256"),
    )
)
_SAME_MESSAGE = (
    select(schema.arrivals.c.id)
    .where(
        # Only this one is indexed; hardly a server delivers a message without a Message-ID.
        schema.arrivals.c.message_id == bindparam("message_id"),
        schema.arrivals.c.raw_sha256 == bindparam("raw_sha256"),
    )
    .order_by(schema.arrivals.c.id)
    .limit(_MOST_FOUND)
)
_CAME_OF = union(
    select(schema.documents.c.sha256).where(
        schema.documents.c.arrival_id.in_(bindparam("arrivals", expanding=True))
    ),
    select(schema.containers.c.sha256).where(
        schema.containers.c.arrival_id.in_(bindparam("arrivals", expanding=True)),
        schema.containers.c.sha256 != bindparam("raw_sha256"),  # the message itself is one
    ),
)
_ANSWERS = (
    select(func.count())
    .select_from(schema.messages)
    .where(_present.answered_to == bindparam("address"), _present.answered_at >= bindparam("since"))
)
_BY_MESSAGE_ID = (
    select(schema.arrivals.c.id)
    .where(schema.arrivals.c.message_id.in_(bindparam("written", expanding=True)))
    .order_by(schema.arrivals.c.id.desc())
    .limit(_MOST_FOUND)
)
