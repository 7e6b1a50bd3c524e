"""The protocols between the flow and everything it talks to. They are structural: nobody inherits them.

Glossary: an *arrival* is what a source hands over at once (a file, a mail); its *payloads* become documents;
documents become *receipts*, one for each image a target gets. To *acknowledge* is to take the original away
from the source, and happens only after the ledger committed all that came of it. A *claim* is one process
holding a receipt under a *lease*. A *report* tells the source, and so the person there, how a receipt ended.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal, Protocol

from ingestd.domain.document import Document, Instant, InvalidDocument, Origin, Payload, ReceiptImage
from ingestd.domain.mail import Filed, Letter, MessagePlace
from ingestd.domain.outcome import Outcome
from ingestd.domain.receipt import Attempt, Receipt
from ingestd.domain.retry import Step
from ingestd.domain.routing import Destined, Slot
from ingestd.domain.states import Event, State

Clock = Callable[[], Instant]


# --- sources -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A payload that is counted but never becomes a document (a logo, a 40 GB file), and why."""

    filename: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What a source hands over at once. `id` is a UUIDv7 that the source keeps across a crash.

    `spooled` are documents that the source has put into the spool itself, after the payloads in order, and
    `containers` what they were taken out of. `to` and `fields` come from a sidecar; `hold` is set when the
    sender's instructions can't be followed or the sender isn't known. `person` sent it, and `account` is the
    one to upload with where the route names none. `acknowledge` takes the original away; `give_back` leaves
    it to be handed over again later, or with `anew` as another arrival.
    """

    id: str
    origin: Origin
    payloads: tuple[Payload, ...]
    acknowledge: Callable[[], Awaitable[None]]
    give_back: "GiveBack"
    refused: tuple[Refusal, ...] = ()
    spooled: tuple[Document, ...] = ()
    containers: tuple[Document, ...] = ()
    to: Destined | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    hold: str | None = None
    person: str | None = None
    account: str | None = None


class GiveBack(Protocol):
    def __call__(self, *, anew: bool = False) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a receipt stands now, for the source that brought it; sent again whenever that changes.

    `documents` are those of this arrival only. `repeat`: this arrival was a repeat of a receipt already
    known, and nothing was uploaded for it. `place` is what the previous report on it returned.
    """

    origin: Origin
    arrival: str
    receipt: str
    documents: tuple[Document, ...]
    state: State
    destined: str
    image_id: str | None
    reason: str | None
    at: Instant
    repeat: bool
    place: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """`trouble` is a sentence for a person, None while all is well; `settling` counts what isn't ready yet.

    `scans` counts successful full scans since the start. `troubled_since` is set together with `trouble`.
    """

    scans: int = 0
    settling: int = 0
    trouble: str | None = None
    troubled_since: Instant | None = None


class Source(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def status(self) -> SourceStatus: ...

    def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        """Arrivals as they become ready, for ever; trouble is waited out and shown in `status`.

        `once`: ends after a successful full scan that found nothing new, nothing settling and nothing given
        back.
        """
        ...

    async def report(self, report: Report) -> str | None:
        """Tell the person who sent it. Idempotent. Returns the place where the original now is, if any.

        Raises SourceUnavailable when it can't be told now.
        """
        ...

    async def tidy(self) -> None:
        """Remove what the source kept for people long enough (keep_uploaded). Called about once an hour."""
        ...


class SourceUnavailable(Exception):
    """The source can't be reached now; the daemon tries again later."""


# --- mail --------------------------------------------------------------------------------------------------


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

        Counted as long as the ledger lives, also when the bytes themselves were purged.
        """
        ...

    async def count_answers(self, address: str, *, since: Instant) -> int:
        """Answers sent to this address, in whatever case it is written, since then."""
        ...

    async def moved(self, arrival: str, *, place: MessagePlace | None, filed: Filed, now: Instant) -> None:
        """Durable when it returns, like all that follow. Raises UnknownArrival, and changes nothing."""
        ...

    async def answered(self, arrival: str, *, address: str | None, now: Instant) -> None:
        """`address` None: the answer was given up; it counts for no cap. Raises UnknownArrival."""
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


# --- normalizer and destinations ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a slot takes. `max_bytes` in bytes, `max_pages` None for no limit, `one_image`: never appends."""

    types: frozenset[str]
    max_bytes: int
    max_pages: int | None = None
    one_image: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """The members of an archive, spooled and durable, in the archive's order; and those that are no document.

    Each document's `arrived_as` is the archive's path, a slash, and the member's own name made presentable.
    """

    documents: tuple[Document, ...]
    refused: tuple[Refusal, ...] = ()


class Normalizer(Protocol):
    async def unpack(self, document: Document, path: str) -> Unpacked | None:
        """What an archive holds; None for what is no archive, or one that can't be opened or holds nothing.

        `path` is what the archive arrived as. An archive that stays a document is refused by `normalize`,
        which says why. Raises StorageExhausted, and for broken machinery.
        """
        ...

    async def normalize(
        self, documents: Sequence[Document], limits: Limits, *, passwords: Sequence[str] = ()
    ) -> ReceiptImage | InvalidDocument:
        """One image made of these documents in this order, or why there is none.

        `passwords` are tried on encrypted PDFs. Raises StorageExhausted, OSError for documents that can't be
        read, and for broken machinery.
        """
        ...

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool | None:
        """Whether two images show the same receipt: aligned, then compared in full. False when in doubt.

        None when the comparison did not come to an end: it took too long, or broke down. Raises OSError for
        images that can't be read, and for broken machinery.
        """
        ...


class Destination(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def accounts(self) -> Collection[str]:
        """Whom else it can upload as, beside its own user."""
        ...

    @property
    def slots(self) -> Mapping[str, bool]:
        """The slot kinds it has, each with whether it needs an ID."""
        ...

    def limits(self, slot: Slot) -> Limits: ...

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome: ...

    async def check(self) -> Sequence[str]:
        """Problems a person should know before the first upload. Empty: the target answers."""
        ...

    async def aclose(self) -> None: ...


# --- ledger ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReceipt:
    """A receipt to be recorded. `again`: upload although it is a repeat. `hold`: why a person must decide."""

    documents: tuple[Document, ...]
    target: str
    slot: str
    key: str
    account: str | None = None
    person: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    again: bool = False
    hold: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArrival:
    """All that came of one arrival; it is committed as a whole or not at all.

    `payloads` is how many the source handed over, archives counted by their members, before anything was made
    of them: one side of the balance. None: as many as there are documents and ignored ones. `containers` are
    the archives themselves; their bytes are kept as long as any of the arrival's documents.
    """

    id: str
    origin: Origin
    receipts: tuple[NewReceipt, ...]
    ignored: tuple[Refusal, ...] = ()
    payloads: int | None = None
    containers: tuple[Document, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the ledger made of an arrival: one entry for each NewReceipt, in order.

    `repeats` holds the IDs of those in `receipts` that existed before. `known`: this arrival had been
    committed before (a crash came before its acknowledgement), nothing was added; `unrecorded` are the sha256
    of documents that were not among its documents and archives then. They have no entry.
    """

    receipts: tuple[Receipt, ...]
    repeats: frozenset[str] = frozenset()
    known: bool = False
    unrecorded: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A receipt with its documents in order, and where they came from."""

    receipt: Receipt
    origin: Origin
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A report that is due. `failures` counts the tries that did not get through."""

    id: str
    report: Report
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """sha256 of documents, images and archives; `last` is where to go on, None when there are no more.

    What has not been purged meanwhile may be found again further on.
    """

    sha256s: Sequence[str]
    last: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was taken from owners that are gone: claims given back, uploads now unconfirmed."""

    released: int
    lost: int


class Ledger(Protocol):
    """The write side. Every method is one transaction, durable when it returns; many share one fsync.

    A method that moves a receipt raises StaleClaim when the receipt isn't at the version given any more, and
    IllegalTransition when the table has no such way; either changes nothing. All raise StorageExhausted when
    the disk is full and LedgerUnavailable when the ledger can't be used.
    """

    async def accept(self, arrival: NewArrival, *, now: Instant) -> Accepted: ...

    async def take_received(
        self, *, owner: str, lease: timedelta, limit: int, now: Instant
    ) -> Sequence[Work]:
        """Received receipts for preparation, oldest first, reserved for this owner; the state stays."""
        ...

    async def assign(
        self, receipt: Receipt, *, destined: Destined, account: str | None, now: Instant
    ) -> Receipt:
        """Give a receipt without a target its target and slot, and with them a new idempotency key.

        `account` None: the one it came with, if any.
        """
        ...

    async def move(
        self,
        receipt: Receipt,
        event: Event,
        *,
        now: Instant,
        image_id: str | None = None,
        reason: str | None = None,
        due_at: Instant | None = None,
        actor: str = "ingestd",
    ) -> Receipt:
        """One transition outside an attempt: reject, hold, drop, requeue, confirm, release …

        A requeue adds the reason it was held for to `waived`, sets attempts to 0 and due_at to now. Of a
        failed receipt it raises SlotTaken as `prepare` does.
        """
        ...

    async def prepare(
        self, receipt: Receipt, image: ReceiptImage, *, one_image: bool, now: Instant
    ) -> Receipt:
        """received -> ready with this image, its steps, warnings and fingerprint.

        `one_image`: raises SlotTaken, and changes nothing, when another receipt of this target and slot is
        ready, claimed, uploading, unconfirmed or uploaded; unless that was waived, or this one was accepted
        with `again` and the other one is of the same documents.
        """
        ...

    async def claim(
        self,
        *,
        owner: str,
        lease: timedelta,
        limit: int,
        now: Instant,
        closed: Collection[tuple[str, str | None]] = (),
    ) -> Sequence[Receipt]:
        """Ready receipts that are due, longest due first, now claimed; none of `closed` (target, account)."""
        ...

    async def begin(self, receipt: Receipt, *, now: Instant) -> Receipt:
        """claimed -> uploading, and open the attempt. Must be durable before the first byte is sent."""
        ...

    async def finish(self, receipt: Receipt, step: Step, outcome: Outcome, *, now: Instant) -> Receipt:
        """Close the open attempt with its outcome and move the receipt by `step`."""
        ...

    async def release(self, *, owner: str, now: Instant) -> int:
        """Give back everything this owner claimed and did not begin, and what it took for preparation."""
        ...

    async def renew(self, *, owner: str, lease: timedelta, now: Instant) -> None:
        """Prolong every lease of this owner that has not run out; `recover` takes the others."""
        ...

    async def recover(self, *, now: Instant, everything: bool) -> Recovered:
        """Release or lose what owners hold whose lease ran out; `everything`: whatever the lease says."""
        ...

    async def clamp_due(self, *, latest: Instant) -> int:
        """No receipt stays due later than this (the clock may have jumped while nobody ran)."""
        ...

    async def requeue_unconfirmed(self, *, target: str, now: Instant) -> int:
        """Requeue the unconfirmed receipts of this target whose due_at has come (on_unconfirmed = retry)."""
        ...

    async def feedback_due(
        self, *, limit: int, now: Instant, but_not: Collection[str] = ()
    ) -> Sequence[Feedback]:
        """Longest due first, none for the sources in `but_not`."""
        ...

    async def feedback_done(self, feedback: Feedback, *, place: str | None, now: Instant) -> None:
        """Marks it done unless the receipt has moved on since; then the newer report stays due."""
        ...

    async def feedback_deferred(self, feedback: Feedback, *, due_at: Instant) -> None: ...

    async def expired(self, *, before: Instant, after: str, limit: int) -> Expired:
        """Which bytes nobody needs: all their receipts were uploaded or dropped before then.

        Looks at the next `limit` of them behind `after` (at first ""), so that each look is short.
        """
        ...

    async def purged(self, sha256s: Sequence[str], *, now: Instant) -> None: ...

    async def forget_looks(self, *, before: Instant, limit: int) -> int:
        """Forget what images of receipts received before then look like, of at most `limit`; how many."""
        ...

    async def known(self, sha256s: Sequence[str]) -> frozenset[str]:
        """Those of the given hashes that belong to a document or an image of the ledger."""
        ...

    async def aclose(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transition as recorded. `digest` chains it to the entry before: sha256 over both."""

    receipt: str
    version: int
    at: Instant
    event: str
    before: State | None
    after: State
    actor: str
    reason: str | None
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The books, counted from two sides.

    payloads = documents + sightings + ignored, and receipts = the sum of states.
    """

    payloads: int
    documents: int
    sightings: int
    ignored: int
    receipts: int
    states: Mapping[State, int]

    @property
    def closed(self) -> bool:
        taken = self.documents + self.sightings + self.ignored
        return self.payloads == taken and self.receipts == sum(self.states.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What still has to happen by itself: for run --until-idle, the progress display and the status line.

    `ready_due` and `feedback_due` are those due by the horizon asked for, `ready_later` the other ready ones.
    """

    received: int
    ready_due: int
    ready_later: int
    owned: int
    feedback_due: int
    next_due: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """What became of an arrival: the receipts it made or met again, in order, and what was ignored."""

    id: str
    origin: Origin
    received_at: Instant
    receipts: tuple[Receipt, ...]
    ignored: tuple[Refusal, ...]


class LedgerReader(Protocol):
    """The read side, for commands and pages. Sees only what is committed."""

    async def get(self, receipt_id: str) -> Receipt | None:
        """By full ID, or by an unambiguous beginning of at least 8 characters."""
        ...

    async def find(
        self,
        *,
        states: Collection[State] = (),
        limit: int | None = None,
        changed_since: Instant | None = None,
        before: str | None = None,
    ) -> Sequence[Receipt]:
        """Newest first. `before`: only those older than the receipt with this ID, as the next page begins."""
        ...

    async def arrived(self, arrival_id: str) -> Arrived | None:
        """By full ID, or by an unambiguous beginning of at least 8 characters."""
        ...

    async def mailed(self, arrival_id: str) -> Mailed | None:
        """By full ID; None for what came in another way than by mail."""
        ...

    async def lookalikes(
        self, receipt: Receipt, image: ReceiptImage, *, since: Instant, limit: int
    ) -> Sequence[Receipt]:
        """Other receipts of the same target and account, received since then, whose image may show the same.

        Those that are ready, claimed, uploading, unconfirmed or uploaded, with as many pages and a
        fingerprint at most NEAR_BITS away; nearest first, at most `limit`. Of very many only the newest are
        looked at.
        """
        ...

    async def documents(self, receipt_id: str) -> Sequence[Document]:
        """What the receipt is made of, in order."""
        ...

    async def containers(self, receipt_id: str) -> Sequence[Document]:
        """The archives of the arrival that made this receipt."""
        ...

    async def history(self, receipt_id: str) -> Sequence[HistoryEntry]: ...

    async def attempts(self, receipt_id: str) -> Sequence[Attempt]: ...

    async def counts(self) -> Mapping[State, int]:
        """Every state has an entry."""
        ...

    async def waiting(self, *, horizon: Instant, closed: Collection[tuple[str, str | None]] = ()) -> Waiting:
        """`closed`: (target, account) that take nothing before the horizon; theirs count as ready_later."""
        ...

    async def balance(self) -> Balance: ...

    async def aclose(self) -> None: ...


# --- everybody ---------------------------------------------------------------------------------------------

Level = Literal["debug", "info", "warning", "error"]


class Observer(Protocol):
    """Hears what happens: `noun.verb` with fields. Logs, metrics and the progress display implement it."""

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None: ...
