"""A message as it was understood: who it says it is from, what it answers, and whether it may be answered.

Everything here came from a stranger: decoded, made presentable and bounded, and still only a claim until
authenticity says otherwise.
"""

from dataclasses import dataclass
from enum import StrEnum

MESSAGE_TYPE = "message/rfc822"
"""MIME type of a message (RFC 2046 section 5.2.1); of a document: its text becomes the receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePlace:
    """Where a message was found. UIDs count within one mailbox and UIDVALIDITY (RFC 9051 section 2.3.1.1).

    `account` is the login at the host (`receipts@example.com@imap.example.com:993`).
    """

    account: str
    mailbox: str
    uidvalidity: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a DKIM-Signature field claims: the domain `d=` and the selector `s=` (RFC 6376 section 3.5)."""

    domain: str
    selector: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """The header of a message. Addresses are `local@domain`, the domain in lower case and ASCII (A-labels).

    `senders` are all addresses of all From fields: one, in a message that may be believed. `recipients` are
    those of To, Cc, Delivered-To, X-Original-To and Envelope-To, in this order, each once. `subject` is one
    line of text. `message_id` and `references` keep their angle brackets; `message_id` is empty when there
    is none. `return_path` is None when unknown and empty for `<>`. `authentication` are the unfolded values
    of the Authentication-Results fields, topmost first, empty for one too long to be read whole; `signatures`
    the claims of the DKIM-Signature fields.
    `unanswerable` says why nobody may be answered (automatic, bulk, a list, a bounce), None when one may.
    `trace` counts the Received fields.
    """

    senders: tuple[str, ...] = ()
    reply_to: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    subject: str = ""
    message_id: str = ""
    references: tuple[str, ...] = ()
    return_path: str | None = None
    authentication: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] = ()
    unanswerable: str | None = None
    trace: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageOrigin:
    """What the ledger keeps of a message beside its documents; part of the Origin of a mail arrival.

    `answer_to` is the address that may be told how its receipts ended; None: nobody is. `references` is what
    an answer refers to, its last entry the message itself.
    """

    place: MessagePlace
    message_id: str
    raw_sha256: str
    subject: str = ""
    answer_to: str | None = None
    references: tuple[str, ...] = ()


class Filed(StrEnum):
    """Where a message was put after all its receipts had settled."""

    NOWHERE = ""
    UPLOADED = "uploaded"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody whose receipts are uploaded with an account of a target, and who may send them.

    `addresses` are the person's own; `delegates` may send for the person, whose address then stands alone in
    the subject. All are matched without regard to case.
    """

    name: str
    addresses: tuple[str, ...]
    account: str | None = None
    delegates: tuple[str, ...] = ()
