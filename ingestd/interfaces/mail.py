"""Mail: what a message holds, what the ledger knows of it, and how its sender is answered."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingestd.domain.document import Document, Instant, InvalidDocument, Origin
from ingestd.domain.mail import Filed, Letter, MessagePlace
from ingestd.domain.receipt import Receipt
from ingestd.interfaces.sources import Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A part of a message that may be a receipt, in the spool.

    `inline`: it is shown within the text, where logos and signatures are, too. `text`: it is no part but the
    text of the message itself, as a document of MESSAGE_TYPE; such a leaf stands alone.
    """

    document: Document
    inline: bool = False
    text: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedMessage:
    """What a message holds: leaves in mail order, and the parts that are no receipt, each with its reason."""

    letter: Letter
    leaves: tuple[Leaf, ...] = ()
    refused: tuple[Refusal, ...] = ()


class MailOpener(Protocol):
    """Opens messages in the limited processes; implemented by the normalizer."""

    async def open_message(self, message: Document) -> OpenedMessage | InvalidDocument:
        """Its header, its leaves spooled and durable. InvalidDocument: it can't be opened, and why.

        Raises StorageExhausted, OSError for a message that can't be read, and for broken machinery.
        """
        ...

    async def signed_by(self, message: Document, keys: Mapping[tuple[str, str], bytes]) -> frozenset[str]:
        """Domains whose DKIM signature over the message holds (RFC 6376), given the TXT records.

        `keys` maps (domain, selector) to the record. Empty also when the check breaks its process.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MailedReceipt:
    """A receipt that a message brought. `documents` are the message's own; `repeat` as in Report."""

    receipt: Receipt
    documents: tuple[Document, ...]
    repeat: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailed:
    """What became of a message so far, and where it stands.

    `place` None: it was deleted, or left the mailbox. `answered`: the answer was sent, or given up for good;
    when (`answered_at`) and to whom (`answered_to`, None: nobody). `moved_at`: when it came to its place.
    """

    arrival: str
    origin: Origin
    received_at: Instant
    receipts: tuple[MailedReceipt, ...]
    ignored: tuple[Refusal, ...]
    place: MessagePlace | None
    filed: Filed
    answered: bool
    answered_at: Instant | None = None
    answered_to: str | None = None
    moved_at: Instant | None = None


class MailBook(Protocol):
    """What the ledger knows of messages; the mailboxes' own view of it."""

    async def arrived(
        self, account: str, mailbox: str, uidvalidity: int, uids: Collection[int]
    ) -> Mapping[int, str]:
        """Those of the UIDs that were committed, now or in their former place, each with its arrival.

        Of several (a server that was restored gives UIDs out again) the newest.
        """
        ...

    async def mailed(self, arrival: str) -> Mailed | None: ...

    async def unfiled(self, source: str, *, limit: int, after: str = "") -> Sequence[Mailed]:
        """Messages of this source that were never filed although no receipt of theirs waits any more.

        Oldest first, those behind the arrival `after`. Also one that is gone: `moved` with how it would have
        been filed ends that.
        """
        ...

    async def count_from(self, source: str, sender: str, *, since: Instant) -> int:
        """Messages of this sender, in whatever case it is written, that were committed since then."""
        ...

    async def companions_of(self, sha256: str, *, source: str) -> int:
        """Messages of this source that brought a document with these bytes beside others.

        Counted as long as the ledger lives, also when the bytes themselves were purged: it never gets less.
        """
        ...

    async def taken_from(self, message_id: str, raw_sha256: str) -> frozenset[str] | None:
        """The sha256 of all documents and archives that came of messages of exactly these bytes.

        Of any source, also when they were purged. Empty: nothing came of it; None: no such message came.
        """
        ...

    async def count_answers(self, address: str, *, since: Instant) -> int:
        """Answers sent to this address, in whatever case it is written, since then."""
        ...

    async def moved(self, arrival: str, *, place: MessagePlace | None, filed: Filed, now: Instant) -> None:
        """Durable when it returns, like all that follow. Raises UnknownArrival, and changes nothing."""
        ...

    async def answered(self, arrival: str, *, address: str | None, now: Instant) -> None:
        """`address` None: the answer was given up; it counts for no cap. Raises UnknownArrival.

        Ends the lease of `hold_answer` in the same transaction.
        """
        ...

    async def hold_answer(self, arrival: str, *, owner: str, until: Instant, now: Instant) -> bool:
        """One node at a time answers a message. False: another one does. As for `hold_mailbox`."""
        ...

    async def find_message(self, message_id: str) -> Sequence[Mailed]:
        """By Message-ID, with or without angle brackets; newest first, of very many only the newest."""
        ...

    async def hold_mailbox(self, name: str, *, owner: str, until: Instant, now: Instant) -> bool:
        """One reader for each mailbox, whatever number of nodes share the ledger. False: another has it.

        Holding it again prolongs it; `until` <= now gives it up, and returns False.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One reply to one message: how each of its parts ended."""

    mailed: Mailed
    to: str


class Correspondent(Protocol):
    async def send(self, answer: Answer) -> None:
        """Hand it to the mail server; sent twice it is the same message (its Message-ID is the arrival's).

        Raises SourceUnavailable when it may be tried again, Undeliverable when not.
        """
        ...


class Undeliverable(Exception):
    """The mail server refuses this answer for good; the message says what it said."""
