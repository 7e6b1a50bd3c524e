"""Sources: what they hand over, and what they are told of how it ended."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ingestd.domain.document import Document, Instant, Origin, Payload
from ingestd.domain.routing import Destined
from ingestd.domain.states import State


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
