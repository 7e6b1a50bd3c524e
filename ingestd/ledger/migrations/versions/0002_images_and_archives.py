"""What was done to make an image, what it looks like, who has a slot; archives; several waived reasons."""

import json
import re

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("documents", sa.Column("arrived_as", sa.Text()))
    op.add_column("receipts", sa.Column("image_steps", sa.Text()))
    op.add_column("receipts", sa.Column("image_warnings", sa.Text()))
    _create_containers()
    _create_looks()
    _create_slots()
    _list_what_was_waived()
    _give_slots_to_those_who_have_them()


def _create_containers() -> None:
    op.create_table(
        "containers",
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("arrived_as", sa.Text()),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("declared_type", sa.Text()),
        sa.Column("purged_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_containers_arrival_id"),
        sa.PrimaryKeyConstraint("arrival_id", "position", name="pk_containers"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_containers_sha256",
        "containers",
        ["sha256"],
        sqlite_where=sa.text("purged_at IS NULL"),
        postgresql_where=sa.text("purged_at IS NULL"),
    )


def _create_looks() -> None:
    op.create_table(
        "looks",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_looks_receipt_id"),
        sa.PrimaryKeyConstraint("target", "account", "pages", "at", "receipt_id", name="pk_looks"),
        sqlite_with_rowid=False,
    )


def _create_slots() -> None:
    op.create_table(
        "slots",
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("receipt_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_slots_receipt_id"),
        sa.PrimaryKeyConstraint("target", "slot", name="pk_slots"),
        sqlite_with_rowid=False,
    )


# --- waived: one reason as it was -> a JSON list of reasons ---

_BATCH = 1000
_ESCAPED = re.compile("\ufdd0([0-9a-f]{4})")
_receipts = sa.table(
    "receipts", sa.column("id", sa.Text()), sa.column("waived", sa.Text()), sa.column("state", sa.Text())
)


def _list_what_was_waived() -> None:
    connection = op.get_bind()
    some = (
        sa.select(_receipts.c.id, _receipts.c.waived)
        .where(_receipts.c.waived.is_not(None), _receipts.c.id > sa.bindparam("behind"))
        .order_by(_receipts.c.id)
        .limit(_BATCH)
    )
    change = (
        sa.update(_receipts)
        .where(_receipts.c.id == sa.bindparam("b_id"))
        .values(waived=sa.bindparam("reasons"))
    )
    behind = ""
    while rows := connection.execute(some, {"behind": behind}).all():
        connection.execute(change, [{"b_id": row.id, "reasons": _as_list(row.waived)} for row in rows])
        behind = rows[-1].id


def _as_list(stored: str) -> str:
    """What no engine stores was written in another way (schema.ForeignText); in JSON nothing needs it."""
    return json.dumps([_ESCAPED.sub(lambda m: chr(int(m[1], 16)), stored)], separators=(",", ":"))


# --- slots that take one image: only expense entries and invoices did until now ---


def _give_slots_to_those_who_have_them() -> None:
    """Where several have it already, the first that was uploaded, else the first on its way."""
    for states, more in (
        ("'uploaded'", ""),
        (
            "'ready', 'claimed', 'uploading', 'unconfirmed'",
            " AND NOT EXISTS (SELECT 1 FROM slots s WHERE s.target = r.target AND s.slot = r.slot)",
        ),
    ):
        op.execute(
            "INSERT INTO slots (target, slot, receipt_id) SELECT r.target, r.slot, min(r.id) FROM receipts r"  # noqa: S608 - constants of this module
            f" WHERE r.state IN ({states})"
            f" AND (substr(r.slot, 1, 13) = 'expenseentry/' OR substr(r.slot, 1, 8) = 'invoice/'){more}"
            " GROUP BY r.target, r.slot"
        )
