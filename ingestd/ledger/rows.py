"""Rows of the ledger as values of the domain, and back."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestd.domain.document import Document, Origin, OriginKind, ReceiptImage
from ingestd.domain.mail import MessageOrigin, MessagePlace
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State
from ingestd.ledger.schema import arrivals, messages, receipts

SpoolPath = Callable[[str], Path]
"""Where the spool keeps the bytes with this sha256 (hex)."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Stored(Receipt):
    """A receipt as the ledger hands it out: it carries the head of its hash chain along.

    The next history row chains to `head`, so a transition needs no look-up, and the write names it. `again`:
    whoever sent it wanted it uploaded although it is a repeat.
    """

    head: str
    generation: int
    tries: int
    again: bool


_NAMES = (
    "id", "key", "generation", "arrival_id", "target", "account", "slot", "state", "version", "head",
    "attempts", "tries", "due_at", "received_at", "updated_at", "source", "path", "filename", "sha256",
    "documents", "person", "fields", "owner", "lease_until", "image_sha256", "image_type", "image_size",
    "image_pages", "image_steps", "image_warnings", "image_id", "reference", "reason", "waived", "again",
    "ask_at", "tried_since", "verify_at", "verified_at",
)  # fmt: skip
STORED_COLUMNS = tuple(receipts.c[name] for name in _NAMES)
"""What `stored` reads, in its order."""


def stored(row: Sequence[Any], spool_path: SpoolPath) -> Stored:
    """A row of STORED_COLUMNS as a receipt. Its image comes without the fingerprint, which is in `looks`."""
    # In the order of STORED_COLUMNS.
    (
        id_, key, generation, arrival, target, account, slot, state, version, head, spent, tries, due_at,
        received_at, updated_at, source, path, filename, sha256, documents, person, notes, owner,
        lease_until, image_sha256, image_type, image_size, image_pages, steps, warnings, image_id, reference,
        reason, waived, again, ask_at, tried_since, verify_at, verified_at,
    ) = row  # fmt: skip
    image = None
    if image_sha256 is not None:
        image = ReceiptImage(
            path=spool_path(image_sha256),
            mime_type=image_type,
            size=image_size,
            pages=image_pages,
            sha256=image_sha256,
            steps=from_json_list(steps),
            warnings=from_json_list(warnings),
        )
    return Stored(
        id=id_, key=key, generation=generation, arrival=arrival, target=target, account=account, slot=slot,
        state=State(state), version=version, head=head, attempts=spent, tries=tries, due_at=due_at,
        received_at=received_at, updated_at=updated_at, source=source, path=path, filename=filename,
        sha256=sha256, documents=documents, person=person, fields=from_json(notes), owner=owner,
        lease_until=lease_until, image=image, image_id=image_id, reference=reference, reason=reason,
        waived=from_json_list(waived), again=again, ask_at=ask_at, tried_since=tried_since,
        verify_at=verify_at, verified_at=verified_at,
    )  # fmt: skip


def receipt_row(receipt: Stored) -> dict[str, Any]:
    """The row of a receipt that is new; it has no image yet."""
    return {
        "id": receipt.id,
        "key": receipt.key,
        "generation": receipt.generation,
        "arrival_id": receipt.arrival,
        "target": receipt.target,
        "account": receipt.account,
        "slot": receipt.slot,
        "state": receipt.state,
        "version": receipt.version,
        "head": receipt.head,
        "attempts": receipt.attempts,
        "tries": receipt.tries,
        "due_at": receipt.due_at,
        "received_at": receipt.received_at,
        "updated_at": receipt.updated_at,
        "source": receipt.source,
        "path": receipt.path,
        "filename": receipt.filename,
        "sha256": receipt.sha256,
        "documents": receipt.documents,
        "person": receipt.person,
        "fields": to_json(receipt.fields),
        "reason": receipt.reason,
        "again": receipt.again,
    }


def document(row: Any, spool_path: SpoolPath) -> Document:
    """A row that has filename, size, sha256, declared_type and arrived_as."""
    return Document(
        path=spool_path(row.sha256),
        filename=row.filename,
        size=row.size,
        sha256=row.sha256,
        declared_type=row.declared_type,
        arrived_as=row.arrived_as or "",
    )


def origin(row: Any) -> Origin:
    """A row that has ORIGIN_COLUMNS."""
    return Origin(
        kind=OriginKind(row.origin_kind),
        source=row.origin_source,
        path=row.origin_path,
        sender=row.origin_sender,
        facts=from_json(row.origin_facts),
        mail=None if row.origin_subject is None else _message_origin(row),
    )


def _message_origin(row: Any) -> MessageOrigin:
    return MessageOrigin(
        place=MessagePlace(
            account=row.origin_account,
            mailbox=row.origin_mailbox,
            uidvalidity=row.origin_uidvalidity,
            uid=row.origin_uid,
        ),
        message_id=row.origin_message_id,
        raw_sha256=row.origin_raw_sha256,
        subject=row.origin_subject,
        answer_to=row.origin_answer_to,
        references=from_json_list(row.origin_refers_to),
    )


ORIGIN_COLUMNS = (
    *(
        arrivals.c[name].label(f"origin_{name}")
        for name in (
            *("kind", "source", "path", "sender", "facts"),
            *("account", "mailbox", "uidvalidity", "uid", "message_id", "raw_sha256"),
        )
    ),
    *(messages.c[name].label(f"origin_{name}") for name in ("subject", "answer_to", "refers_to")),
)
"""What `origin` reads: of arrivals, outer joined with messages."""


def to_json(mapping: Mapping[str, str]) -> str:
    """ASCII only, so that no engine meets a surrogate or a NUL."""
    return _encode(dict(mapping)) if mapping else "{}"


def from_json(text: str) -> Mapping[str, str]:
    if text == "{}":
        return {}
    mapping: Mapping[str, str] = json.loads(text)
    return mapping


def to_json_list(texts: Sequence[str]) -> str | None:
    """ASCII only. NULL for an empty list, as in most rows."""
    return _encode(list(texts)) if texts else None


def from_json_list(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


_encode = json.JSONEncoder(separators=(",", ":")).encode
