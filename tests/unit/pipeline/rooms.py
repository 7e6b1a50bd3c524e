"""Small real rooms for tests of the flow: a source and a target in memory, beside the real ledger and spool.

They keep what a judge needs: what is still at the source, what the target holds, and who was told what.
"""

import io
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from ingestd.clock import process_clock
from ingestd.domain.document import (
    Document,
    Instant,
    InvalidDocument,
    Origin,
    OriginKind,
    Payload,
    ReceiptImage,
)
from ingestd.domain.outcome import Outcome, Uploaded
from ingestd.domain.receipt import Receipt, new_id
from ingestd.domain.retry import RetryPolicy
from ingestd.domain.routing import Route, Slot
from ingestd.interfaces import Arrival, Level, Limits, Report, SourceStatus
from ingestd.ledger import SqlLedger, SqlLedgerReader, open_ledger, open_reader, sqlite_url
from ingestd.pipeline import Flow, IntakeSettings, UpkeepSettings
from ingestd.spool import Spool

QUICK = RetryPolicy(
    first=timedelta(milliseconds=10),
    ceiling=timedelta(milliseconds=50),
    unavailable=timedelta(milliseconds=20),
)


class Bytes:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def open(self) -> BinaryIO:
        return io.BytesIO(self._content)

    def recheck(self) -> None:
        return None


class Shelf:
    """A source in memory: what lies on it is handed over, and gone when it is acknowledged."""

    name = "shelf"

    def __init__(self, items: Mapping[str, bytes]) -> None:
        self.items = dict(items)
        self.reports: list[Report] = []
        self.status = SourceStatus(scans=1)
        self._ids = {name: new_id(process_clock()()) for name in items}
        self._out: set[str] = set()

    async def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        for name in list(self.items):
            if name in self.items and name not in self._out:
                self._out.add(name)
                yield self._arrival(name)

    def _arrival(self, name: str) -> Arrival:
        async def acknowledge() -> None:
            del self.items[name]
            self._out.discard(name)

        async def give_back(*, anew: bool = False) -> None:
            self._out.discard(name)

        return Arrival(
            id=self._ids[name],
            origin=Origin(kind=OriginKind.FILE, source=self.name, path=name),
            payloads=(Payload(filename=name, declared_type=None, content=Bytes(self.items[name])),),
            acknowledge=acknowledge,
            give_back=give_back,
        )

    def forget_handing_out(self) -> None:
        """As after a restart: what was not acknowledged is handed over again."""
        self._out.clear()

    async def report(self, report: Report) -> str | None:
        self.reports.append(report)
        return None

    async def tidy(self) -> None:
        return None


class Sound:
    """A normalizer that accepts everything but what begins with BAD."""

    async def normalize(
        self, documents: Sequence[Document], limits: Limits
    ) -> ReceiptImage | InvalidDocument:
        document = documents[0]
        if document.path.read_bytes().startswith(b"BAD"):
            return InvalidDocument(reason="Bad.", fix="Send a good one.", filename=document.filename)
        return ReceiptImage(
            path=document.path,
            mime_type="image/jpeg",
            size=document.size,
            pages=1,
            sha256=document.sha256,
        )


Answering = Callable[[Receipt], Outcome]


@dataclass
class Vault:
    """A target in memory. `answer` decides; None: stored and confirmed. `tick` is called around storing."""

    name: str = "vault"
    slots: Mapping[str, bool] = field(default_factory=lambda: {"receipt": False})
    stored: list[str] = field(default_factory=list)
    answer: Answering | None = None
    tick: Callable[[], Awaitable[None]] | None = None

    def limits(self, slot: Slot) -> Limits:
        return Limits(types=frozenset({"image/jpeg"}), max_bytes=10**7)

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome:
        if self.tick is not None:
            await self.tick()
        if self.answer is not None and not isinstance(outcome := self.answer(receipt), Uploaded):
            return outcome
        self.stored.append(receipt.filename)
        if self.tick is not None:
            await self.tick()
        return Uploaded(image_id=f"image-{len(self.stored)}")

    async def check(self) -> Sequence[str]:
        return []

    async def aclose(self) -> None:
        return None


class Ears:
    """An Observer that keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, object]]] = []

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        self.heard.append((event, fields))

    def events(self) -> list[str]:
        return [event for event, _ in self.heard]


@dataclass(kw_only=True)
class Rooms:
    spool: Spool
    ledger: SqlLedger
    reader: SqlLedgerReader

    def flow(self, vault: Vault, *, ears: Ears | None = None, **changes: object) -> Flow:
        clock = process_clock()
        settings: dict[str, object] = {
            "ledger": self.ledger,
            "reader": self.reader,
            "spool": self.spool,
            "normalizer": Sound(),
            "destinations": {vault.name: vault},
            "policies": {vault.name: QUICK},
            "routes": [Route(send=f"{vault.name}:receipt")],
            "observer": ears or Ears(),
            "clock": clock,
            "owner": new_id(clock()),
            "grace": timedelta(seconds=5),
            "intake": IntakeSettings(width=2, retry_full=timedelta(milliseconds=20)),
            "upkeep": UpkeepSettings(),
        }
        return Flow(**(settings | changes))  # type: ignore[arg-type]  # the names are Flow's own


@asynccontextmanager
async def open_rooms(directory: Path) -> AsyncIterator[Rooms]:
    spool = Spool(directory / "spool", min_free_bytes=0)
    url = sqlite_url(directory / "ledger.db")
    ledger = open_ledger(url, migrate=True, spool_path=spool.path)
    reader = open_reader(url, spool_path=spool.path)
    try:
        yield Rooms(spool=spool, ledger=ledger, reader=reader)
    finally:
        await reader.aclose()
        await ledger.aclose()


def now() -> Instant:
    return process_clock()()
