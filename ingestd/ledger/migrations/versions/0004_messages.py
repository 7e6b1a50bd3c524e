"""Where each message stands and whether it was answered; receipts of a state in the order they came."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _create_messages()
    _create_companions()
    op.create_index("ix_receipts_state_id", "receipts", ["state", "id"])
    # No mail came until now, so these are empty; they hold nothing of other arrivals.
    _create_index("ix_arrivals_message_id", "arrivals", ["message_id"], where="message_id IS NOT NULL")
    _create_index("ix_arrivals_place", "arrivals", _PLACE, where="uid IS NOT NULL")


_PLACE = ["account", "mailbox", "uidvalidity", "uid"]


def _create_messages() -> None:
    op.create_table(
        "messages",
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("answer_to", sa.Text()),
        sa.Column("refers_to", sa.Text()),
        sa.Column("account", sa.Text()),
        sa.Column("mailbox", sa.Text()),
        sa.Column("uidvalidity", sa.BigInteger()),
        sa.Column("uid", sa.BigInteger()),
        sa.Column("moved_at", sa.BigInteger()),
        sa.Column("filed", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.BigInteger()),
        sa.Column("answered_to", sa.Text()),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_messages_arrival_id"),
        sa.PrimaryKeyConstraint("arrival_id", name="pk_messages"),
        sqlite_with_rowid=False,
    )
    _create_index("ix_messages_place", "messages", _PLACE, where="uid IS NOT NULL")
    _create_index("ix_messages_unfiled", "messages", ["source", "arrival_id"], where="filed = ''")
    op.create_index("ix_messages_sender", "messages", ["source", "sender", "received_at"])
    _create_index(
        "ix_messages_answered", "messages", ["answered_to", "answered_at"], where="answered_to IS NOT NULL"
    )


def _create_companions() -> None:
    op.create_table(
        "companions",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("arrival_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_companions_arrival_id"),
        sa.PrimaryKeyConstraint("source", "sha256", "arrival_id", name="pk_companions"),
        sqlite_with_rowid=False,
    )


def _create_index(name: str, table: str, columns: list[str], *, where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
