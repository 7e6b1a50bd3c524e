"""Images: the way from received to ready, what they look like, and which others look alike.

A receipt is in `looks` once, with what its last preparation saw. The rows are narrow and lie in the order of
the search, so that comparing with all images of one account is reading one piece of the file.
"""

from collections.abc import Sequence
from operator import itemgetter

from sqlalchemy import Connection, bindparam, delete, select

from ingestd.domain.document import Instant, ReceiptImage
from ingestd.domain.likeness import FINGERPRINT_DIGITS, NEAR_BITS
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State
from ingestd.ledger import slots
from ingestd.ledger.rows import STORED_COLUMNS, SpoolPath, Stored, stored
from ingestd.ledger.schema import looks, receipts
from ingestd.ledger.transaction import Operation, Transaction
from ingestd.ledger.transitions import DAEMON, current, make_ready

_CHUNK = 1000
"""Rows of `looks` in memory at a time."""

NEWEST = 20_000
"""Looks compared for one receipt, the newest ones: what a search may cost is bounded."""

_Look = tuple[int, str]
"""How many bits differ, and the ID of the receipt."""


def prepare(receipt: Receipt, image: ReceiptImage, *, one_image: bool, now: Instant) -> Operation[Receipt]:
    """Ledger.prepare."""

    def run(tx: Transaction) -> Receipt:
        before = current(tx, receipt)
        after = make_ready(tx, before, image, now=now, actor=DAEMON, due_at=now)
        if one_image:
            slots.take(tx, before)
        if before.image is not None:
            _forget_look(tx, before, before.image)
        if image.fingerprint is not None:
            row = {**_place(before, image), "fingerprint": _packed(image.fingerprint)}
            tx.append(looks, row)
        return after

    return run


def forget_looks(*, before: Instant, limit: int) -> Operation[int]:
    """Ledger.forget_looks. Reads the whole table, which is narrow and holds what the window does."""

    def run(tx: Transaction) -> int:
        tx.flush()
        old = [row._asdict() for row in tx.execute(_OLD, {"before": before, "limit": limit})]
        if old:
            tx.execute(_FORGET, old)
        return len(old)

    return run


def lookalikes(
    connection: Connection,
    receipt: Receipt,
    image: ReceiptImage,
    *,
    since: Instant,
    limit: int,
    spool_path: SpoolPath,
) -> Sequence[Receipt]:
    """LedgerReader.lookalikes, among the newest ones. Equally near ones oldest first."""
    if image.fingerprint is None or limit < 1:
        return []
    wanted = int.from_bytes(_packed(image.fingerprint))
    nearest: list[_Look] = []
    place = {**_place(receipt, image), "since": since, "newest": NEWEST}
    for rows in connection.execute(_ALIKE, place).partitions():
        # Older ones come first, so an equally near one that comes later has no place among enough of them.
        bound = NEAR_BITS if len(nearest) < limit else nearest[-1][0] - 1
        near = [
            (bits, other)
            for other, fingerprint in rows
            if (bits := (wanted ^ int.from_bytes(fingerprint)).bit_count()) <= bound
        ]
        if near:
            nearest = sorted(nearest + _in_their_slots(connection, near), key=itemgetter(0))[:limit]
    return _in_order(connection, [other for _, other in nearest], spool_path)


def _forget_look(tx: Transaction, receipt: Stored, earlier: ReceiptImage) -> None:
    tx.flush()
    tx.execute(_FORGET, {f"b_{name}": value for name, value in _place(receipt, earlier).items()})


def _place(receipt: Receipt, image: ReceiptImage) -> dict[str, str | int]:
    """Where a look is kept: its primary key."""
    return {
        "target": receipt.target,
        "account": receipt.account or "",
        "pages": image.pages,
        "at": receipt.received_at,
        "receipt_id": receipt.id,
    }


def _packed(fingerprint: str) -> bytes:
    """32 bytes. Raises ValueError for what is no fingerprint."""
    if len(fingerprint) != FINGERPRINT_DIGITS:
        raise ValueError("a fingerprint has 64 hex digits")
    return bytes.fromhex(fingerprint)


def _in_their_slots(connection: Connection, near: Sequence[_Look]) -> list[_Look]:
    """Asked by ID alone: a condition on the state would lead SQLite to the index of states, which is long."""
    rows = connection.execute(_STATES, {"ids": [other for _, other in near]})
    standing = {row.id for row in rows if State(row.state) in slots.IN_THE_SLOT}
    return [look for look in near if look[1] in standing]


def _in_order(connection: Connection, ids: Sequence[str], spool_path: SpoolPath) -> Sequence[Receipt]:
    found = {row.id: row for row in connection.execute(_BY_IDS, {"ids": ids})} if ids else {}
    return [stored(found[one], spool_path) for one in ids]


_PLACE = ("target", "account", "pages", "at", "receipt_id")
_FORGET = delete(looks).where(*(looks.c[name] == bindparam(f"b_{name}") for name in _PLACE))
_OLD = (
    select(*(looks.c[name].label(f"b_{name}") for name in _PLACE))
    .where(looks.c.at < bindparam("before"))
    .limit(bindparam("limit"))
)
_newest = (
    select(looks.c.at, looks.c.receipt_id, looks.c.fingerprint)
    .where(
        looks.c.target == bindparam("target"),
        looks.c.account == bindparam("account"),
        looks.c.pages == bindparam("pages"),
        looks.c.at >= bindparam("since"),
        looks.c.receipt_id != bindparam("receipt_id"),
    )
    .order_by(looks.c.at.desc(), looks.c.receipt_id.desc())
    .limit(bindparam("newest"))
    .subquery("newest")
)
_ALIKE = (
    select(_newest.c.receipt_id, _newest.c.fingerprint)
    .order_by(_newest.c.at, _newest.c.receipt_id)
    .execution_options(yield_per=_CHUNK)
)
_STATES = select(receipts.c.id, receipts.c.state).where(receipts.c.id.in_(bindparam("ids", expanding=True)))
_BY_IDS = select(*STORED_COLUMNS).where(receipts.c.id.in_(bindparam("ids", expanding=True)))
