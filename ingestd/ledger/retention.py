"""Which bytes of the spool somebody may still need: those of every receipt not uploaded or dropped long ago.

The same bytes may belong to many receipts; all of them have to be done with them. An archive is needed as
long as anything that came of its arrival.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    exists,
    func,
    not_,
    or_,
    select,
    union,
    union_all,
    update,
)

from ingestd.domain.document import Instant
from ingestd.domain.states import State
from ingestd.interfaces import Expired, Kept
from ingestd.ledger.schema import containers, documents, receipt_documents, receipts, sightings
from ingestd.ledger.transaction import Operation, Transaction

_CHUNK = 500
"""Hashes in one statement; SQLite takes 32766 parameters, older ones 999."""


def expired(*, before: Instant, after: str, limit: int) -> Operation[Expired]:
    """Ledger.expired, in the order of the IDs. What can't go yet costs many short looks and no long one."""

    def run(tx: Transaction) -> Expired:
        tx.flush()
        values = {"after": after, "first_id": _first_id(before), "limit": limit}
        ids = tx.execute(_NEXT, values).scalars().all()
        if not ids:
            return Expired(sha256s=(), last=None)
        found = tx.execute(_EXPIRED, {"after": after, "upto": ids[-1], "before": before}).scalars()
        # The bytes of a document that was sent as it is are found twice.
        return Expired(sha256s=tuple(dict.fromkeys(found)), last=ids[-1] if len(ids) == limit else None)

    return run


def purged(sha256s: Sequence[str], *, now: Instant) -> Operation[None]:
    def run(tx: Transaction) -> None:
        tx.flush()
        for chunk in _chunks(sha256s):
            tx.execute(_PURGE_DOCUMENTS, {"ids": chunk, "now": now})
            tx.execute(_PURGE_IMAGES, {"ids": chunk, "now": now})
            tx.execute(_PURGE_CONTAINERS, {"ids": chunk, "now": now})

    return run


def known(sha256s: Sequence[str]) -> Operation[frozenset[str]]:
    """Not those that were purged: a file of theirs that is still there is a leftover."""

    def run(tx: Transaction) -> frozenset[str]:
        tx.flush()
        found: set[str] = set()
        for chunk in _chunks(sha256s):
            found.update(tx.execute(_KNOWN, {"ids": chunk}).scalars())
        return frozenset(found)

    return run


def kept(connection: Connection, *, after: str, limit: int) -> Sequence[Kept]:
    """LedgerReader.kept. Documents are the most; the others are read as far as a page of those reaches.

    So what was purged long ago is passed by once, not once for each page.
    """
    values = {"after": after, "limit": limit, "upto": _BEHIND_ALL}
    found = {row.sha256: row.size for row in connection.execute(_KEPT_DOCUMENTS, values)}
    if len(found) == limit:
        values["upto"] = max(found)
    for statement in (_KEPT_IMAGES, _KEPT_CONTAINERS):
        for row in connection.execute(statement, values):
            found.setdefault(row.sha256, row.size)
    return [Kept(sha256=sha256, size=found[sha256]) for sha256 in sorted(found)[:limit]]


def _first_id(at: Instant) -> str:
    """Sorts before every ID made at this time or later (UUIDv7 begins with its milliseconds)."""
    milliseconds = f"{at // 1000:012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}"


def _chunks(sha256s: Sequence[str]) -> list[Sequence[str]]:
    return [sha256s[start : start + _CHUNK] for start in range(0, len(sha256s), _CHUNK)]


def _kept_of(sha256: ColumnElement[Any], size: ColumnElement[Any], kept: ColumnElement[bool]) -> Select[Any]:
    return (
        select(sha256.label("sha256"), func.max(size).label("size"))
        .where(kept, sha256 > bindparam("after"), sha256 <= bindparam("upto"))
        .group_by(sha256)
        .order_by(sha256)
        .limit(bindparam("limit"))
    )


_BEHIND_ALL = "g"
"""Behind every digit a hash is written with."""
_FINAL = [State.UPLOADED.value, State.DROPPED.value]
_NEEDED = or_(receipts.c.state.not_in(_FINAL), receipts.c.updated_at >= bindparam("before", type_=BigInteger))
# Each has an index that holds only what is in the spool, in the order of the IDs.
_IN_SPOOL = (
    (documents.c.id, documents.c.sha256, documents.c.purged_at.is_(None)),
    (
        receipts.c.id,
        receipts.c.image_sha256,
        and_(receipts.c.image_sha256.is_not(None), receipts.c.image_purged_at.is_(None)),
    ),
    (containers.c.arrival_id, containers.c.sha256, containers.c.purged_at.is_(None)),
)
_KEPT_DOCUMENTS = _kept_of(documents.c.sha256, documents.c.size, documents.c.purged_at.is_(None))
_KEPT_IMAGES = _kept_of(
    receipts.c.image_sha256,
    receipts.c.image_size,
    and_(receipts.c.image_sha256.is_not(None), receipts.c.image_purged_at.is_(None)),
)
_KEPT_CONTAINERS = _kept_of(containers.c.sha256, containers.c.size, containers.c.purged_at.is_(None))
_AFTER = bindparam("after", type_=Text)
_LIMIT: BindParameter[int] = bindparam("limit", type_=BigInteger)
_next = union_all(
    *(
        select(
            select(id_.label("id"))
            # What came in later can't have been done with before.
            .where(in_spool, id_ > _AFTER, id_ < bindparam("first_id", type_=Text))
            .order_by(id_)
            .limit(_LIMIT)
            .subquery()
            .c.id
        )
        for id_, _, in_spool in _IN_SPOOL
    )
).subquery("next")
_NEXT = select(_next.c.id).order_by(_next.c.id).limit(_LIMIT)
_kept = union_all(
    *(
        select(sha256.label("sha256")).where(in_spool, id_ > _AFTER, id_ <= bindparam("upto", type_=Text))
        for id_, sha256, in_spool in _IN_SPOOL
    )
).subquery("kept")
_same = documents.alias("same")
_member = documents.alias("member")
_archive = containers.alias("archive")


def _through(link: Table, document: FromClause, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Some receipt that `link` connects with such a document is still needed."""
    return (
        exists()
        .where(*conditions, link.c.document_id == document.c.id, receipts.c.id == link.c.receipt_id, _NEEDED)
        .correlate(_kept)
    )


_IS_SAME = (_same.c.sha256 == _kept.c.sha256, _same.c.purged_at.is_(None))
_IS_MEMBER = (
    _archive.c.sha256 == _kept.c.sha256,
    _archive.c.purged_at.is_(None),
    _member.c.arrival_id == _archive.c.arrival_id,
)
_EXPIRED = select(_kept.c.sha256).where(
    not_(_through(receipt_documents, _same, *_IS_SAME)),
    not_(_through(sightings, _same, *_IS_SAME)),
    not_(_through(receipt_documents, _member, *_IS_MEMBER)),
    not_(_through(sightings, _member, *_IS_MEMBER)),
    ~exists().where(receipts.c.image_sha256 == _kept.c.sha256, _NEEDED).correlate(_kept),
)
_IDS: BindParameter[Sequence[str]] = bindparam("ids", expanding=True)
_PURGE_DOCUMENTS = (
    update(documents)
    .where(documents.c.sha256.in_(_IDS), documents.c.purged_at.is_(None))
    .values(purged_at=bindparam("now"))
)
_PURGE_IMAGES = (
    update(receipts)
    .where(receipts.c.image_sha256.in_(_IDS), receipts.c.image_purged_at.is_(None))
    .values(image_purged_at=bindparam("now"))
)
_PURGE_CONTAINERS = (
    update(containers)
    .where(containers.c.sha256.in_(_IDS), containers.c.purged_at.is_(None))
    .values(purged_at=bindparam("now"))
)
_KNOWN = union(
    select(documents.c.sha256).where(documents.c.sha256.in_(_IDS), documents.c.purged_at.is_(None)),
    select(receipts.c.image_sha256).where(
        receipts.c.image_sha256.in_(_IDS), receipts.c.image_purged_at.is_(None)
    ),
    select(containers.c.sha256).where(containers.c.sha256.in_(_IDS), containers.c.purged_at.is_(None)),
)
