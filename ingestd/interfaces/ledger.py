"""The write side of the ledger: every way a receipt comes in and moves."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from ingestd.domain.document import Document, Instant, Origin, ReceiptImage
from ingestd.domain.outcome import Outcome
from ingestd.domain.receipt import Receipt, SlotBefore
from ingestd.domain.retry import Step
from ingestd.domain.routing import Destined
from ingestd.domain.states import Event
from ingestd.interfaces.sources import Refusal, Report


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
        """Received receipts for preparation, in turns as for `claim`, reserved for this owner.

        The state stays.
        """
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
        verify_at: Instant | None = None,
        afresh: bool = True,
        actor: str = "ingestd",
    ) -> Receipt:
        """One transition outside an attempt: reject, hold, drop, requeue, confirm, release, contradict …

        A requeue adds the reason it was held for to `waived`, and is due at once; `afresh` sets attempts and
        tried_since back, as a person's decision does. Of a failed receipt it raises SlotTaken as `prepare`
        does. `verify_at` goes with a confirm. Of a lose (a claimed receipt whose slot turned out to be taken,
        perhaps by its own earlier attempt) due_at is when the target is to be asked.
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
        """Ready receipts that are due, now claimed; none of `closed` (target, account).

        Those who send take turns (the person, else the sender, else the account, else the source), and of one
        of them the longest due comes first. A turn goes on where the last claim by this object ended.
        `take_received` does the same.
        """
        ...

    async def begin(
        self, receipt: Receipt, *, now: Instant, slot_before: SlotBefore | None = None
    ) -> Receipt:
        """claimed -> uploading, and open the attempt. Must be durable before the first byte is sent."""
        ...

    async def finish(self, receipt: Receipt, step: Step, outcome: Outcome, *, now: Instant) -> Receipt:
        """Close the open attempt with its outcome and move the receipt by `step`."""
        ...

    async def take_unconfirmed(
        self,
        *,
        owner: str,
        lease: timedelta,
        limit: int,
        now: Instant,
        closed: Collection[tuple[str, str | None]] = (),
    ) -> Sequence[Receipt]:
        """Unconfirmed receipts whose ask_at has come, longest due first, reserved for this owner.

        The state stays, and so does the version: whoever moves it first wins. `closed` as in `claim`.
        """
        ...

    async def asked(
        self,
        receipt: Receipt,
        *,
        now: Instant,
        note: str,
        ask_at: Instant | None,
        reason: str | None = None,
    ) -> Receipt:
        """The target was asked about an unconfirmed receipt and decided nothing: a row of its history.

        `ask_at` None: a person decides; `reason` tells that person what is known (None: it stays).
        """
        ...

    async def take_unverified(
        self,
        *,
        owner: str,
        lease: timedelta,
        limit: int,
        now: Instant,
        closed: Collection[tuple[str, str | None]] = (),
    ) -> Sequence[Receipt]:
        """Uploaded receipts whose verify_at has come, longest due first, reserved for this owner."""
        ...

    async def verified(
        self, receipt: Receipt, *, now: Instant, note: str, same: bool, verify_at: Instant | None = None
    ) -> Receipt:
        """An uploaded receipt was read back: a row of its history. `same` sets verified_at.

        `verify_at`: when to try once more; None: it is done with, verified or not verifiable.
        """
        ...

    async def release(self, *, owner: str, now: Instant) -> int:
        """Give back everything this owner claimed and did not begin, and all that it reserved; how many."""
        ...

    async def renew(self, *, owner: str, lease: timedelta, now: Instant) -> None:
        """Prolong every lease of this owner that has not run out; `recover` takes the others."""
        ...

    async def recover(self, *, now: Instant, everything: bool) -> Recovered:
        """Release or lose what owners hold whose lease ran out; `everything`: whatever the lease says."""
        ...

    async def clamp_due(self, *, latest: Instant) -> int:
        """No receipt stays due, to be asked about or to be verified later than this; how many were.

        The clock may have jumped while nobody ran.
        """
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
