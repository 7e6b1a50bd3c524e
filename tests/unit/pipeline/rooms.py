"""Small real rooms for tests of the flow: a source and a target in memory, beside the real ledger and spool.

They keep what a judge needs: what is still at the source, what the target holds, and who was told what.
"""

import asyncio
import io
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Literal

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
from ingestd.domain.likeness import FINGERPRINT_DIGITS
from ingestd.domain.outcome import CannotSay, Found, LookUp, NotThere, Outcome, Unconfirmed, Uploaded
from ingestd.domain.receipt import Receipt, new_id
from ingestd.domain.retry import RetryPolicy
from ingestd.domain.routing import Destined, Route, Slot
from ingestd.domain.rules import TargetRules
from ingestd.interfaces import (
    Arrival,
    Downloaded,
    Level,
    Limits,
    Login,
    Refusal,
    Report,
    SourceStatus,
    Unpacked,
)
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
    """A source in memory: what lies on it is handed over, and gone when it is acknowledged.

    `groups` are names that are handed over as one arrival, in that order, each with its path; an arrival that
    lost members to an acknowledgement that was cut short is handed over with those that are left.
    """

    name = "shelf"
    kind = OriginKind.FILE
    to: Destined | None = None
    hold: str | None = None
    refused: tuple[Refusal, ...] = ()
    groups: Sequence[Sequence[str]] = ()

    def __init__(self, items: Mapping[str, bytes]) -> None:
        self.items = dict(items)
        self.reports: list[Report] = []
        self.status = SourceStatus(scans=1)
        self._ids = {name: new_id(process_clock()()) for name in items}
        self._out: set[str] = set()

    async def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        grouped = {name for group in self.groups for name in group}
        for group in [*self.groups, *([name] for name in self.items if name not in grouped)]:
            names = [name for name in group if name in self.items]
            if names and group[0] not in self._out:
                self._out.add(group[0])
                yield self._arrival(group[0], names)

    def _arrival(self, first: str, names: Sequence[str]) -> Arrival:
        async def acknowledge() -> None:
            for name in names:
                self.items.pop(name, None)
            self._out.discard(first)

        async def give_back(*, anew: bool = False) -> None:
            if anew:
                self._ids[first] = new_id(process_clock()())
            self._out.discard(first)

        grouped = any(first in group for group in self.groups)
        return Arrival(
            id=self._ids[first],
            origin=Origin(kind=self.kind, source=self.name, path=first),
            payloads=tuple(
                Payload(
                    filename=name.rpartition("/")[2],
                    declared_type=None,
                    content=Bytes(self.items[name]),
                    arrived_as=name if grouped else "",
                )
                for name in names
            ),
            acknowledge=acknowledge,
            give_back=give_back,
            to=self.to,
            hold=self.hold,
            refused=self.refused,
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
    """A normalizer that accepts everything but what begins with BAD.

    What begins with ZIP is an archive: a member in each further line, `name=content`; without a content it is
    passed over. What begins with LOOK is followed by a fingerprint (one hex digit, repeated) and a picture:
    `LOOK a lunch`; pictures of the same words show the same receipt. What begins with LOCKED opens with the
    password behind it. Several documents become one image of all their bytes.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.asked: list[tuple[str, ...]] = []
        """The names of the documents of each image, in their order."""
        self.compared = 0

    async def unpack(self, document: Document, path: str) -> Unpacked | None:
        kind, *lines = document.path.read_bytes().decode(errors="replace").split("\n")
        if kind != "ZIP" or not lines:
            return None
        members = [line.partition("=") for line in lines]
        return Unpacked(
            documents=tuple(self._member(path, name, text) for name, _, text in members if text),
            refused=tuple(
                Refusal(filename=name, reason="It is empty.") for name, _, text in members if not text
            ),
        )

    def _member(self, path: str, name: str, text: str) -> Document:
        spooled = self._spool.write(io.BytesIO(text.encode()))
        return Document(
            path=spooled.path,
            filename=name.rpartition("/")[2],
            size=spooled.size,
            sha256=spooled.sha256,
            declared_type=None,
            arrived_as=f"{path}/{name}",
        )

    async def normalize(
        self, documents: Sequence[Document], limits: Limits, *, passwords: Sequence[str] = ()
    ) -> ReceiptImage | InvalidDocument:
        await asyncio.sleep(0)  # others come in between, as in life
        self.asked.append(tuple(document.filename for document in documents))
        contents = [document.path.read_bytes() for document in documents]
        for document, content in zip(documents, contents, strict=True):
            if content.startswith(b"BAD"):
                return InvalidDocument(reason="Bad.", fix="Send a good one.", filename=document.filename)
            if content.startswith(b"LOCKED") and content.partition(b" ")[2].decode() not in passwords:
                return InvalidDocument(reason="Locked.", fix="Remove the password.")
        first = documents[0]
        path, size, sha256 = first.path, first.size, first.sha256
        if len(documents) > 1:
            merged = self._spool.write(io.BytesIO(b"+".join(contents)))
            path, size, sha256 = merged.path, merged.size, merged.sha256
        looked_at = contents[0].startswith(b"LOOK")
        return ReceiptImage(
            path=path,
            mime_type="image/jpeg",
            size=size,
            pages=len(documents),
            sha256=sha256,
            steps=("Merged.",) if len(documents) > 1 else (),
            fingerprint=chr(contents[0][5]) * FINGERPRINT_DIGITS if looked_at else None,
        )

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool:
        self.compared += 1
        await asyncio.sleep(0)
        shown = [image.path.read_bytes().split(b" ")[2] for image in (first, second)]
        return shown[0] == shown[1]

    async def compare_returned(
        self, sent: ReceiptImage, returned: Path, declared_type: str
    ) -> Literal["same", "other", "unclear"]:
        content = returned.read_bytes()
        if content == sent.path.read_bytes():
            return "same"
        return "unclear" if content.startswith(b"BLURRED") else "other"


Answering = Callable[[Receipt], Outcome]


@dataclass
class Vault:
    """A target in memory. `answer` decides; None: stored and confirmed. `tick` is called around storing.

    It can be read: an entry shows the image it holds, a receipt the one with that ID. `lost` receipts are
    stored, and the answer is Unconfirmed. `sight` overrules what a look-up says, `given` what is downloaded.
    """

    name: str = "vault"
    slots: Mapping[str, bool] = field(default_factory=lambda: {"receipt": False, "entry": True})
    accounts: Collection[str] = frozenset({"ann", "bob"})
    stored: list[str] = field(default_factory=list)
    answer: Answering | None = None
    tick: Callable[[], Awaitable[None]] | None = None
    lost: int = 0
    sight: Callable[[Slot], LookUp | None] = lambda slot: None
    given: bytes | None = None
    held: dict[str, bytes] = field(default_factory=dict)
    """What can be read back: by slot for an entry, by image ID for a receipt."""
    looks: int = 0
    logins: Sequence[Login] = ()
    kept_in: int = 0

    def limits(self, slot: Slot) -> Limits:
        return Limits(types=frozenset({"image/jpeg"}), max_bytes=10**7, one_image=slot.kind == "entry")

    async def upload(self, image: ReceiptImage, receipt: Receipt) -> Outcome:
        if self.tick is not None:
            await self.tick()
        if self.answer is not None and not isinstance(outcome := self.answer(receipt), Uploaded):
            return outcome
        self.stored.append(receipt.filename)
        image_id = f"image-{len(self.stored)}"
        self.held[receipt.slot if self.reads_back(receipt.destined.slot) else image_id] = (
            image.path.read_bytes()
        )
        if self.tick is not None:
            await self.tick()
        if self.lost:
            self.lost -= 1
            return Unconfirmed(reason="The answer was lost.")
        return Uploaded(image_id=image_id)

    def reads_back(self, slot: Slot) -> bool:
        return slot.kind == "entry"

    def shows_alone(self, slot: Slot) -> bool:
        return True

    async def look_up(self, slot: Slot, *, account: str | None, image_id: str | None = None) -> LookUp:
        self.looks += 1
        if (said := self.sight(slot)) is not None:
            return said
        key = str(slot) if self.reads_back(slot) else image_id or ""
        return Found(image_id=f"of {key}", url=key) if key in self.held else NotThere()

    async def download(self, url: str, into: BinaryIO) -> Downloaded | CannotSay:
        content = self.held[url] if self.given is None else self.given
        into.write(content)
        return Downloaded(mime_type="image/jpeg", size=len(content))

    async def stay_logged_in(self) -> Sequence[str]:
        self.kept_in += 1
        return ["Nobody is at home."]

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
            "normalizer": Sound(self.spool),
            "destinations": {vault.name: vault},
            "rules": {vault.name: TargetRules(retry=QUICK)},
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
