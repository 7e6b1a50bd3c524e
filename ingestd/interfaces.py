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

    `to` and `fields` come from a sidecar; `hold` is set when the sender's instructions can't be followed.
    `acknowledge` takes the original away; `give_back` leaves it to be handed over again later, or with
    `anew` as another arrival.
    """

    id: str
    origin: Origin
    payloads: tuple[Payload, ...]
    acknowledge: Callable[[], Awaitable[None]]
    give_back: "GiveBack"
    refused: tuple[Refusal, ...] = ()
    to: Destined | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    hold: str | None = None


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

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool:
        """Whether two images show the same receipt: aligned, then compared in full. False when in doubt."""
        ...


class Destination(Protocol):
    @property
    def name(self) -> str: ...

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
    committed before (a crash came before its acknowledgement), nothing was added.
    """

    receipts: tuple[Receipt, ...]
    repeats: frozenset[str] = frozenset()
    known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A receipt with its documents in order."""

    receipt: Receipt
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A report that is due. `failures` counts the tries that did not get through."""

    id: str
    report: Report
    failures: int


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
        """Give a receipt without a target its target and slot, and with them a new idempotency key."""
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
        failed receipt it raises SlotTaken when another one got its slot meanwhile, unless that was waived.
        """
        ...

    async def prepare(
        self, receipt: Receipt, image: ReceiptImage, *, one_image: bool, now: Instant
    ) -> Receipt:
        """received -> ready with this image, its steps, warnings and fingerprint.

        `one_image`: raises SlotTaken, and changes nothing, when another receipt of this target and slot is
        ready, claimed, uploading, unconfirmed or uploaded.
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

    async def feedback_due(self, *, limit: int, now: Instant) -> Sequence[Feedback]: ...

    async def feedback_done(self, feedback: Feedback, *, place: str | None, now: Instant) -> None:
        """Marks it done unless the receipt has moved on since; then the newer report stays due."""
        ...

    async def feedback_deferred(self, feedback: Feedback, *, due_at: Instant) -> None: ...

    async def expired(self, *, before: Instant, limit: int) -> Sequence[str]:
        """sha256 of documents and images nobody needs: all their receipts uploaded or dropped before then."""
        ...

    async def purged(self, sha256s: Sequence[str], *, now: Instant) -> None: ...

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
    ) -> Sequence[Receipt]:
        """Newest first."""
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
