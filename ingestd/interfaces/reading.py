"""The read side of the ledger, for commands, pages and alerts."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ingestd.domain.document import Document, Instant, Origin, ReceiptImage
from ingestd.domain.receipt import Attempt, Receipt
from ingestd.domain.states import State
from ingestd.interfaces.mail import Mailed
from ingestd.interfaces.sources import Refusal


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
class Chain:
    """The history of one receipt, and the version and digest it should end with."""

    receipt: str
    version: int
    head: str
    entries: Sequence[HistoryEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A document, image or archive that was not purged: bytes the spool should hold."""

    sha256: str
    size: int


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

    `ready_due`, `feedback_due` and `asking` (unconfirmed ones to ask the target about, uploaded ones to read
    back) are those due by the horizon asked for, `ready_later` the other ready ones.
    """

    received: int
    ready_due: int
    ready_later: int
    owned: int
    asking: int
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

    async def oldest_waiting(self) -> Instant | None:
        """When the longest waiting receipt that is received, ready or under way came; None: none waits."""
        ...

    async def chains(self, *, after: str, limit: int) -> Sequence[Chain]:
        """The histories of the next `limit` receipts behind the ID `after` (at first ""), in order of IDs.

        An empty page is the end. A receipt whose history is gone comes with no entries.
        """
        ...

    async def kept(self, *, after: str, limit: int) -> Sequence[Kept]:
        """The next `limit` blobs behind the sha256 `after` that the spool should hold, in order, each once.

        An empty page is the end.
        """
        ...

    async def waiting(self, *, horizon: Instant, closed: Collection[tuple[str, str | None]] = ()) -> Waiting:
        """`closed`: (target, account) that take nothing before the horizon; theirs count as ready_later."""
        ...

    async def balance(self) -> Balance: ...

    async def aclose(self) -> None: ...
