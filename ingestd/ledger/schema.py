"""The tables of the ledger, for SQLite and PostgreSQL alike.

IDs are UUIDv7 text, times integer microseconds UTC, mappings and lists JSON text. `history` is only ever
appended to. On SQLite the narrow tables are stored in their primary key (WITHOUT ROWID): one tree to write,
not two.
Every table here is created by migrations/; a test compares the two, so change both or neither.
"""

import re
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    or_,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class ForeignText(TypeDecorator[str]):
    """Text that came from outside: a file name may hold bytes that are no UTF-8 (surrogates), a header NUL.

    No engine stores those, and a path must come back exactly as it was to find its file again. Each such
    character is written as the noncharacter U+FDD0 and four hex digits, and so is U+FDD0 itself.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return _UNSTORABLE.sub(lambda m: f"{_ESCAPE}{ord(m[0]):04x}", value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> str | None:
        if value is None or _ESCAPE not in value:
            return value
        return _ESCAPED.sub(lambda m: chr(int(m[1], 16)), value)


_ESCAPE = "\ufdd0"
_UNSTORABLE = re.compile("[\0\ud800-\udfff\ufdd0]")
_ESCAPED = re.compile("\ufdd0([0-9a-f]{4})")

_Id = Text().with_variant(Text(collation="C"), "postgresql")
"""Byte order on both engines: an ID or a hash is found by its beginning, through the index."""

_Share = ForeignText().with_variant(ForeignText(collation="C"), "postgresql")
"""Byte order for another reason: the order of turns means nothing, and this one is cheap."""

arrivals = Table(
    "arrivals",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("path", ForeignText, nullable=False),
    Column("sender", ForeignText, nullable=False),
    Column("account", Text),
    Column("mailbox", ForeignText),
    Column("uidvalidity", BigInteger),
    Column("uid", BigInteger),
    Column("message_id", ForeignText),
    Column("raw_sha256", _Id),
    Column("payload_count", Integer, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
)
Index(
    "ix_arrivals_message_id",
    arrivals.c.message_id,
    sqlite_where=arrivals.c.message_id.is_not(None),
    postgresql_where=arrivals.c.message_id.is_not(None),
)
Index(
    "ix_arrivals_place",
    arrivals.c.account,
    arrivals.c.mailbox,
    arrivals.c.uidvalidity,
    arrivals.c.uid,
    sqlite_where=arrivals.c.uid.is_not(None),
    postgresql_where=arrivals.c.uid.is_not(None),
)

messages = Table(  # what more there is to an arrival by mail: its present place, and its answer
    "messages",
    metadata,
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), primary_key=True),
    Column("source", Text, nullable=False),
    Column("sender", ForeignText, nullable=False),  # casefolded
    Column("received_at", BigInteger, nullable=False),
    Column("subject", ForeignText, nullable=False),
    Column("answer_to", ForeignText),
    Column("refers_to", Text),
    Column("account", Text),  # with the next three: where it is now; NULL: gone. Where it was is in arrivals
    Column("mailbox", ForeignText),
    Column("uidvalidity", BigInteger),
    Column("uid", BigInteger),
    Column("moved_at", BigInteger),
    Column("filed", Text, nullable=False),  # empty: not yet
    Column("answered_at", BigInteger),
    Column("answered_to", ForeignText),  # casefolded; NULL: nobody was
    sqlite_with_rowid=False,
)
Index(
    "ix_messages_place",
    messages.c.account,
    messages.c.mailbox,
    messages.c.uidvalidity,
    messages.c.uid,
    sqlite_where=messages.c.uid.is_not(None),
    postgresql_where=messages.c.uid.is_not(None),
)
Index(
    "ix_messages_unfiled",
    messages.c.source,
    messages.c.arrival_id,
    sqlite_where=messages.c.filed == "",
    postgresql_where=messages.c.filed == "",
)
Index("ix_messages_sender", messages.c.source, messages.c.sender, messages.c.received_at)
Index(
    "ix_messages_answered",
    messages.c.answered_to,
    messages.c.answered_at,
    sqlite_where=messages.c.answered_to.is_not(None),
    postgresql_where=messages.c.answered_to.is_not(None),
)

companions = Table(  # documents that came by mail beside others; they stay when the bytes are purged
    "companions",
    metadata,
    Column("source", Text, primary_key=True),
    Column("sha256", _Id, primary_key=True),
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), primary_key=True),
    sqlite_with_rowid=False,
)

documents = Table(
    "documents",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), nullable=False, index=True),
    Column("entry", Integer, nullable=False),  # which of the arrival's receipts-to-be it belongs to, from 0
    Column("position", Integer, nullable=False),
    Column("filename", ForeignText, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", _Id, nullable=False),
    Column("declared_type", ForeignText),
    Column("arrived_as", ForeignText),
    Column("purged_at", BigInteger),
)
Index(  # only of those whose bytes are in the spool, so that it stays as small as the spool
    "ix_documents_sha256",
    documents.c.sha256,
    sqlite_where=documents.c.purged_at.is_(None),
    postgresql_where=documents.c.purged_at.is_(None),
)
Index(
    "ix_documents_kept",
    documents.c.id,
    sqlite_where=documents.c.purged_at.is_(None),
    postgresql_where=documents.c.purged_at.is_(None),
)

receipts = Table(
    "receipts",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("key", _Id, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), nullable=False),
    Column("target", Text, nullable=False),
    Column("account", Text),
    Column("slot", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("head", Text, nullable=False),  # digest of the last history row
    Column("attempts", Integer, nullable=False),  # those that were spent
    Column("tries", Integer, nullable=False),  # all that were begun; numbers the attempts
    Column("due_at", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("path", ForeignText, nullable=False),
    Column("filename", ForeignText, nullable=False),
    Column("sha256", _Id, nullable=False),
    Column("documents", Integer, nullable=False),
    Column("person", ForeignText),
    Column("fields", Text, nullable=False),
    Column("owner", Text),
    Column("lease_until", BigInteger),
    Column("image_sha256", _Id),
    Column("image_type", Text),
    Column("image_size", BigInteger),
    Column("image_pages", Integer),
    Column("image_steps", Text),
    Column("image_warnings", Text),
    Column("image_purged_at", BigInteger),
    Column("image_id", ForeignText),
    Column("reference", ForeignText),
    Column("reason", ForeignText),
    Column("waived", Text),
    Column("again", Boolean, nullable=False),  # a repeat on purpose
    Column("ask_at", BigInteger),  # of unconfirmed ones: when the target is asked; NULL: a person looks
    Column("tried_since", BigInteger),
    Column("verify_at", BigInteger),  # of uploaded ones, with the next
    Column("verified_at", BigInteger),
    Column("share", _Share, nullable=False),  # who takes turns; as it came, see turns.py
    Column("gate", _Id, nullable=False),  # target and account: what may be closed
    UniqueConstraint("key", "generation"),
)
Index("ix_receipts_state_due_at_id", receipts.c.state, receipts.c.due_at, receipts.c.id)
Index("ix_receipts_state_id", receipts.c.state, receipts.c.id)  # for lists, page by page
_takes_turns = or_(receipts.c.state == "received", receipts.c.state == "ready")
Index(
    "ix_receipts_turns",
    *(receipts.c[name] for name in ("state", "share", "gate", "due_at", "id")),
    sqlite_where=_takes_turns,
    postgresql_where=_takes_turns,
)
Index(
    "ix_receipts_ask_at",
    receipts.c.ask_at,
    receipts.c.id,
    sqlite_where=receipts.c.ask_at.is_not(None),
    postgresql_where=receipts.c.ask_at.is_not(None),
)
Index(
    "ix_receipts_verify_at",
    receipts.c.verify_at,
    receipts.c.id,
    sqlite_where=receipts.c.verify_at.is_not(None),
    postgresql_where=receipts.c.verify_at.is_not(None),
)
Index(
    "ix_receipts_owner",
    receipts.c.owner,
    sqlite_where=receipts.c.owner.is_not(None),
    postgresql_where=receipts.c.owner.is_not(None),
)
Index(
    "ix_receipts_image_sha256",
    receipts.c.image_sha256,
    sqlite_where=receipts.c.image_sha256.is_not(None),
    postgresql_where=receipts.c.image_sha256.is_not(None),
)
_image_is_kept = and_(receipts.c.image_sha256.is_not(None), receipts.c.image_purged_at.is_(None))
Index(  # for walking through what is in the spool, oldest first; so are the two others of this name
    "ix_receipts_kept", receipts.c.id, sqlite_where=_image_is_kept, postgresql_where=_image_is_kept
)

receipt_documents = Table(
    "receipt_documents",
    metadata,
    Column("receipt_id", _Id, ForeignKey("receipts.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("document_id", _Id, ForeignKey("documents.id"), nullable=False, index=True),
    sqlite_with_rowid=False,
)

sightings = Table(
    "sightings",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("receipt_id", _Id, ForeignKey("receipts.id"), nullable=False, index=True),
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), nullable=False),
    Column("document_id", _Id, ForeignKey("documents.id"), nullable=False, index=True),
    Column("at", BigInteger, nullable=False),
    Column("effect", Text, nullable=False),
)

containers = Table(  # archives whose members are the documents of the arrival
    "containers",
    metadata,
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("filename", ForeignText, nullable=False),
    Column("arrived_as", ForeignText),
    Column("size", BigInteger, nullable=False),
    Column("sha256", _Id, nullable=False),
    Column("declared_type", ForeignText),
    Column("purged_at", BigInteger),
    sqlite_with_rowid=False,
)
Index(
    "ix_containers_sha256",
    containers.c.sha256,
    sqlite_where=containers.c.purged_at.is_(None),
    postgresql_where=containers.c.purged_at.is_(None),
)
Index(
    "ix_containers_kept",
    containers.c.arrival_id,
    sqlite_where=containers.c.purged_at.is_(None),
    postgresql_where=containers.c.purged_at.is_(None),
)

ignored = Table(
    "ignored",
    metadata,
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("filename", ForeignText, nullable=False),
    Column("reason", ForeignText, nullable=False),
    sqlite_with_rowid=False,
)

looks = Table(  # of images that were looked at; in the order in which lookalikes are searched
    "looks",
    metadata,
    Column("target", Text, primary_key=True),
    Column("account", Text, primary_key=True),  # empty: none
    Column("pages", Integer, primary_key=True),
    Column("at", BigInteger, primary_key=True),  # when the receipt was received
    Column("receipt_id", _Id, ForeignKey("receipts.id"), primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),  # 32 bytes
    sqlite_with_rowid=False,
)

slots = Table(  # those that take one image, and the receipt that has it or was the last on its way to it
    "slots",
    metadata,
    Column("target", Text, primary_key=True),
    Column("slot", Text, primary_key=True),
    Column("receipt_id", _Id, ForeignKey("receipts.id"), nullable=False),
    sqlite_with_rowid=False,
)

attempts = Table(
    "attempts",
    metadata,
    Column("receipt_id", _Id, ForeignKey("receipts.id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("outcome", Text),
    Column("status", Integer),
    Column("correlation_id", ForeignText),
    Column("error_id", ForeignText),
    Column("message", ForeignText, nullable=False),
    Column("bytes_sent", BigInteger, nullable=False),
    Column("slot_before", Text),
    sqlite_with_rowid=False,
)

history = Table(
    "history",
    metadata,
    Column("receipt_id", _Id, ForeignKey("receipts.id"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("before", Text),
    Column("after", Text, nullable=False),
    Column("actor", ForeignText, nullable=False),
    Column("reason", ForeignText),
    Column("digest", Text, nullable=False),
    sqlite_with_rowid=False,
)

feedback = Table(
    "feedback",
    metadata,
    Column("receipt_id", _Id, ForeignKey("receipts.id"), primary_key=True),
    Column("arrival_id", _Id, ForeignKey("arrivals.id"), primary_key=True),
    Column("repeat", Boolean, nullable=False),
    Column("version", Integer, nullable=False),  # of the receipt, when it settled or left that state
    Column("due_at", BigInteger),  # NULL: nothing to tell
    Column("done_at", BigInteger),
    Column("failures", Integer, nullable=False),
    Column("place", ForeignText),
    sqlite_with_rowid=False,
)
Index(
    "ix_feedback_due_at",
    feedback.c.due_at,
    sqlite_where=feedback.c.due_at.is_not(None),
    postgresql_where=feedback.c.due_at.is_not(None),
)

cursors = Table(
    "cursors",
    metadata,
    Column("source", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", ForeignText, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
