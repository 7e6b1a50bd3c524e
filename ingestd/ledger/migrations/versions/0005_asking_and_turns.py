"""When a target is asked about an upload in doubt or read back; who takes turns with whom."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # NULL for those that are unconfirmed now: their senders were told that a person has to look.
    for name in ("ask_at", "tried_since", "verify_at", "verified_at"):
        op.add_column("receipts", sa.Column(name, sa.BigInteger()))
    op.add_column("attempts", sa.Column("slot_before", sa.Text()))
    for name in ("share", "gate"):
        op.add_column("receipts", sa.Column(name, _ID, nullable=False, server_default=""))
    op.execute(f"UPDATE receipts SET share = substr({_SHARE}, 1, 320), gate = {_GATE}")  # noqa: S608 - constants of this module
    _create_index(
        "turns", ["state", "share", "gate", "due_at", "id"], "state = 'received' OR state = 'ready'"
    )
    _create_index("ask_at", ["ask_at", "id"], "ask_at IS NOT NULL")
    _create_index("verify_at", ["verify_at", "id"], "verify_at IS NOT NULL")


# As ledger/turns.py does it for new ones; of messages the sender is written without upper case already.
_SHARE = """coalesce(
    'person ' || nullif(person, ''),
    'sender ' || nullif((SELECT m.sender FROM messages m WHERE m.arrival_id = receipts.arrival_id), ''),
    'sender ' || nullif((SELECT lower(a.sender) FROM arrivals a WHERE a.id = receipts.arrival_id), ''),
    'account ' || nullif(account, ''),
    'source ' || source
)"""
_GATE = "CASE WHEN account IS NULL THEN target ELSE target || ':' || account END"


def _create_index(name: str, columns: list[str], kept: str) -> None:
    where = sa.text(kept)
    op.create_index(f"ix_receipts_{name}", "receipts", columns, sqlite_where=where, postgresql_where=where)
