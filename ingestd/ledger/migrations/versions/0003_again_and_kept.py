"""Which receipts are a repeat on purpose; what is in the spool, in the order in which it came."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_receipts = sa.table("receipts", sa.column("generation", sa.Integer()), sa.column("again", sa.Boolean()))


def upgrade() -> None:
    again: sa.Column[bool] = sa.Column("again", sa.Boolean(), nullable=False, server_default=sa.false())
    op.add_column("receipts", again)
    # It was not written down. Until now every receipt of documents known before was taken for one on purpose.
    op.execute(sa.update(_receipts).where(_receipts.c.generation > 1).values(again=sa.true()))
    _create_index("documents", "id", "purged_at IS NULL")
    _create_index("receipts", "id", "image_sha256 IS NOT NULL AND image_purged_at IS NULL")
    _create_index("containers", "arrival_id", "purged_at IS NULL")


def _create_index(table: str, column: str, kept: str) -> None:
    where = sa.text(kept)
    op.create_index(f"ix_{table}_kept", table, [column], sqlite_where=where, postgresql_where=where)
