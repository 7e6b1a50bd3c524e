"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    _create_intake()
    _create_receipts()
    _create_records()
    _create_bookmarks()


def _create_intake() -> None:
    op.create_table(
        "arrivals",
        sa.Column("id", _ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("account", sa.Text()),
        sa.Column("mailbox", sa.Text()),
        sa.Column("uidvalidity", sa.BigInteger()),
        sa.Column("uid", sa.BigInteger()),
        sa.Column("message_id", sa.Text()),
        sa.Column("raw_sha256", _ID),
        sa.Column("payload_count", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_arrivals"),
    )
    op.create_table(
        "documents",
        sa.Column("id", _ID, nullable=False),
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("entry", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("declared_type", sa.Text()),
        sa.Column("purged_at", sa.BigInteger()),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_documents_arrival_id"),
        sa.PrimaryKeyConstraint("id", name="pk_documents"),
    )
    op.create_index("ix_documents_arrival_id", "documents", ["arrival_id"])
    op.create_index(
        "ix_documents_sha256",
        "documents",
        ["sha256"],
        sqlite_where=sa.text("purged_at IS NULL"),
        postgresql_where=sa.text("purged_at IS NULL"),
    )
    op.create_table(
        "ignored",
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_ignored_arrival_id"),
        sa.PrimaryKeyConstraint("arrival_id", "position", name="pk_ignored"),
        sqlite_with_rowid=False,
    )


def _create_receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("key", _ID, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("account", sa.Text()),
        sa.Column("slot", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("sha256", _ID, nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("person", sa.Text()),
        sa.Column("fields", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("lease_until", sa.BigInteger()),
        sa.Column("image_sha256", _ID),
        sa.Column("image_type", sa.Text()),
        sa.Column("image_size", sa.BigInteger()),
        sa.Column("image_pages", sa.Integer()),
        sa.Column("image_purged_at", sa.BigInteger()),
        sa.Column("image_id", sa.Text()),
        sa.Column("reference", sa.Text()),
        sa.Column("reason", sa.Text()),
        sa.Column("waived", sa.Text()),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_receipts_arrival_id"),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
        sa.UniqueConstraint("key", "generation", name="uq_receipts_key_generation"),
    )
    op.create_index(
        "ix_receipts_image_sha256",
        "receipts",
        ["image_sha256"],
        sqlite_where=sa.text("image_sha256 IS NOT NULL"),
        postgresql_where=sa.text("image_sha256 IS NOT NULL"),
    )
    op.create_index(
        "ix_receipts_owner",
        "receipts",
        ["owner"],
        sqlite_where=sa.text("owner IS NOT NULL"),
        postgresql_where=sa.text("owner IS NOT NULL"),
    )
    op.create_index("ix_receipts_state_due_at_id", "receipts", ["state", "due_at", "id"])
    op.create_table(
        "receipt_documents",
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name="fk_receipt_documents_document_id"),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_receipt_documents_receipt_id"),
        sa.PrimaryKeyConstraint("receipt_id", "position", name="pk_receipt_documents"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_receipt_documents_document_id", "receipt_documents", ["document_id"])
    op.create_table(
        "sightings",
        sa.Column("id", _ID, nullable=False),
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("document_id", _ID, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_sightings_arrival_id"),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"], name="fk_sightings_document_id"),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_sightings_receipt_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sightings"),
    )
    op.create_index("ix_sightings_document_id", "sightings", ["document_id"])
    op.create_index("ix_sightings_receipt_id", "sightings", ["receipt_id"])


def _create_records() -> None:
    op.create_table(
        "attempts",
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger()),
        sa.Column("outcome", sa.Text()),
        sa.Column("status", sa.Integer()),
        sa.Column("correlation_id", sa.Text()),
        sa.Column("error_id", sa.Text()),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("bytes_sent", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_attempts_receipt_id"),
        sa.PrimaryKeyConstraint("receipt_id", "number", name="pk_attempts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "history",
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_history_receipt_id"),
        sa.PrimaryKeyConstraint("receipt_id", "version", name="pk_history"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feedback",
        sa.Column("receipt_id", _ID, nullable=False),
        sa.Column("arrival_id", _ID, nullable=False),
        sa.Column("repeat", sa.Boolean(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("done_at", sa.BigInteger()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("place", sa.Text()),
        sa.ForeignKeyConstraint(["arrival_id"], ["arrivals.id"], name="fk_feedback_arrival_id"),
        sa.ForeignKeyConstraint(["receipt_id"], ["receipts.id"], name="fk_feedback_receipt_id"),
        sa.PrimaryKeyConstraint("receipt_id", "arrival_id", name="pk_feedback"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_feedback_due_at",
        "feedback",
        ["due_at"],
        sqlite_where=sa.text("due_at IS NOT NULL"),
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )


def _create_bookmarks() -> None:
    op.create_table(
        "cursors",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "name", name="pk_cursors"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
        sqlite_with_rowid=False,
    )
