"""The judge: was anything lost, doubled, misplaced or forged? It believes the target and the disk first.

What the ledger says is held against what the sandbox holds and against the files of the folder.
"""

import asyncio
import hashlib
import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State
from ingestd.interfaces import Balance
from ingestd.ledger import open_reader, sqlite_url, verify_chain
from tests.acceptance.place import Place, SandboxProcess, files_below
from tests.torture.drops import ONE_IMAGE, Dropped, Kind
from tests.torture.marked import marks_of

CLAIMED = Path(".ingestd/claimed")
_NOTES = (".reason.txt", ".repeat.txt")


@dataclass(slots=True)
class Verdict:
    """Each list holds what is wrong, one sentence an item. `unconfirmed` is allowed, and counted."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unconfirmed: int = 0
    stored: int = 0
    shown: dict[tuple[str, str], str] = field(default_factory=dict)
    """Image IDs of what the target holds, by what Dropped.image tells. A report's images share one."""

    @property
    def problems(self) -> list[str]:
        return [
            *(f"lost: {sentence}" for sentence in self.lost),
            *(f"doubled: {sentence}" for sentence in self.doubled),
            *self.wrong,
        ]

    def demand_nothing_wrong(self) -> None:
        """Fails the test, naming the first of what is wrong."""
        shown = "\n".join(self.problems[:30])
        assert not self.problems, f"{self}\n{shown}"

    def __str__(self) -> str:
        return (
            f"{self.stored} images stored, {len(self.lost)} lost, {len(self.doubled)} doubled, "
            f"{self.unconfirmed} unconfirmed, {len(self.wrong)} otherwise wrong"
        )


Image = dict[str, Any]
"""One of those the sandbox lists."""


def judge(
    place: Place,
    images: Sequence[Image],
    must: Collection[Dropped],
    may: Collection[Dropped] = (),
    content: Callable[[Image], bytes] | None = None,
) -> Verdict:
    """After a run to idle. `images`: what the sandbox holds; `content` gives the bytes of one (for groups).

    `must` was surely dropped; `may` perhaps (the power went while it was written).
    """
    verdict = Verdict(stored=len(images))
    books = asyncio.run(_read_books(place))
    verdict.unconfirmed = sum(r.state is State.UNCONFIRMED for r in books.receipts.values())
    _judge_images(verdict, images, [*must, *may], content)
    _judge_receipts(verdict, books, must)
    _judge_places(verdict, place, books, must, may)
    _judge_books(verdict, books, must, may)
    return verdict


def settle_unconfirmed(place: Place, sandbox: SandboxProcess) -> int:
    """What a careful person does: look at the target, and retry only what is not there. Returns how many."""
    held = {(image["place"], image["sha256"]) for image in sandbox.images()}
    again = []
    for receipt in place.receipts():
        if receipt["state"] == "unconfirmed":
            shown = json.loads(place.ingestd("show", receipt["id"], "--json").stdout)
            if (receipt["slot"], shown["image"]["sha256"]) not in held:
                again.append(receipt["id"])
    for start in range(0, len(again), 100):
        place.ingestd("retry", *again[start : start + 100])
    return len(again)


@contextmanager
def ledger_copy(place: Place) -> Iterator[sqlite3.Connection]:
    """The ledger as it lies there. A copy is opened, for opening the ledger itself would tidy it up."""
    with TemporaryDirectory() as directory:
        for name in ("ledger.db", "ledger.db-wal"):
            path = place.directory / "data" / name
            if path.exists():
                shutil.copy(path, directory)
        connection = sqlite3.connect(Path(directory) / "ledger.db")
        try:
            yield connection
        finally:
            connection.close()


def claimed(place: Place) -> dict[str, Path]:
    """Files claimed just now: arrival ID to path."""
    root = place.inbox / CLAIMED
    return {p.relative_to(root).parts[0]: p for p in root.rglob("*") if p.is_file()} if root.exists() else {}


@dataclass(frozen=True, slots=True)
class _Books:
    """What the ledger says. `receipts` and the sha256 of all their `documents`, by slot and the sha256 of the
    first; `broken`: receipts whose history is not sound."""

    receipts: dict[tuple[str, str], Receipt]
    documents: dict[tuple[str, str], list[str]]
    balance: Balance
    broken: list[str]


async def _read_books(place: Place) -> _Books:
    """The hash chain of every receipt is followed, up to the state that its row has."""
    reader = open_reader(sqlite_url(place.directory / "data/ledger.db"), spool_path=Path)
    try:
        broken = []
        documents = {}
        receipts = await reader.find()
        for receipt in receipts:
            history = await reader.history(receipt.id)
            if not history or not verify_chain(history) or history[-1].after is not receipt.state:
                broken.append(f"the history of {receipt.id} ({receipt.path}) does not hold together")
            found = await reader.documents(receipt.id)
            documents[receipt.slot, receipt.sha256] = [document.sha256 for document in found]
        by_first = {(receipt.slot, receipt.sha256): receipt for receipt in receipts}
        if len(by_first) < len(receipts):
            broken.append("there are several receipts for the same bytes and slot")
        return _Books(by_first, documents, await reader.balance(), broken)
    finally:
        await reader.aclose()


def _judge_images(
    verdict: Verdict,
    images: Sequence[Image],
    dropped: Collection[Dropped],
    content: Callable[[Image], bytes] | None,
) -> None:
    """What the target holds, whatever the ledger says: once, from one drop, the pages of a group in order."""
    allowed = {each.image for each in dropped if each.kind in (Kind.GOOD, Kind.REPEAT)}
    known = [(image["place"], image["sha256"]) for image in images]
    shown = [
        each if each in allowed or content is None else (each[0], f"pages {marks_of(content(image))}")
        for each, image in zip(known, images, strict=True)
    ]
    counts = Counter(shown)
    verdict.doubled += [f"{image} is stored {count} times" for image, count in counts.items() if count > 1]
    verdict.wrong += [f"the target holds {image}, which nobody dropped" for image in counts.keys() - allowed]
    slots = Counter(place for place, _ in known if place.startswith(ONE_IMAGE))
    verdict.doubled += [f"{slot} takes one image, has {count}" for slot, count in slots.items() if count > 1]
    verdict.shown = dict(zip(shown, (image["image_id"] for image in images), strict=True))


_EXPECTED = {
    Kind.GOOD: {State.UPLOADED, State.UNCONFIRMED},
    Kind.REPEAT: {State.UPLOADED, State.UNCONFIRMED},
    Kind.BAD: {State.REJECTED},
    Kind.LATE: {State.HELD},
}


def _judge_receipts(verdict: Verdict, books: _Books, must: Collection[Dropped]) -> None:
    """Every document has its receipt, and that the image the target really holds."""
    for dropped in must:
        receipt = books.receipts.get(dropped.receipt)
        if receipt is None:
            verdict.lost.append(f"{dropped.path} is not in the ledger")
        elif hashlib.sha256(dropped.content).hexdigest() not in books.documents[dropped.receipt]:
            verdict.lost.append(f"{dropped.path} is not among the pages of {receipt.id}")
        elif len(books.documents[dropped.receipt]) != max(1, len(dropped.marks)):
            verdict.wrong.append(f"{receipt.id} has other pages than {dropped.path} and those beside it")
        elif receipt.state not in _EXPECTED[dropped.kind]:
            verdict.lost.append(f"{dropped.path} ({dropped.kind}) is {receipt.state}: {receipt.reason}")
        elif receipt.state is State.UPLOADED and verdict.shown.get(dropped.image) != receipt.image_id:
            held = verdict.shown.get(dropped.image)
            verdict.lost.append(f"{dropped.path} is uploaded as {receipt.image_id}, the target has {held}")


def _judge_places(
    verdict: Verdict,
    place: Place,
    books: _Books,
    must: Collection[Dropped],
    may: Collection[Dropped],
) -> None:
    """Every file is in uploaded/ or rejected/, once, whole, and nothing else is there."""
    found: dict[str, list[str]] = {}
    for tree in ("uploaded", "rejected"):
        for path in files_below(place.inbox / tree):
            if not path.endswith(_NOTES):
                found.setdefault(path, []).append(tree)
    for path in files_below(place.inbox, ignored=("uploaded", "rejected", ".ingestd")):
        if not Path(path).name.startswith("."):
            found.setdefault(path, []).append("the inbox")
    for claim in claimed(place).values():
        path = "/".join(claim.relative_to(place.inbox / CLAIMED).parts[1:])
        found.setdefault(path, []).append("claimed")
    known = {dropped.path for dropped in (*must, *may)}
    verdict.wrong += [f"{path} in {found[path]} was never dropped" for path in found.keys() - known]
    for dropped in must:
        receipt = books.receipts.get(dropped.receipt)
        expected = "uploaded" if receipt and receipt.state is State.UPLOADED else "rejected"
        where = found.get(dropped.path, [])
        if where != [expected]:
            verdict.wrong.append(f"{dropped.path} should be in {expected}, is in {where}")
        elif (place.inbox / expected / dropped.path).read_bytes() != dropped.content:
            verdict.wrong.append(f"{dropped.path} in {expected} is not what was dropped")
        elif expected == "rejected" and not (place.inbox / expected / f"{dropped.path}.reason.txt").exists():
            verdict.wrong.append(f"{dropped.path} in rejected has no reason beside it")


def _judge_books(
    verdict: Verdict, books: _Books, must: Collection[Dropped], may: Collection[Dropped]
) -> None:
    verdict.wrong += books.broken
    balance = books.balance
    if not balance.closed:
        verdict.wrong.append(f"the books are not closed: {balance}")
    if not len(must) <= balance.payloads <= len(must) + len(may):
        verdict.wrong.append(f"{len(must)} files were dropped, the books say {balance.payloads}")
    repeats = sum(dropped.kind is Kind.REPEAT for dropped in must)
    more = sum(dropped.kind is Kind.REPEAT for dropped in may)
    if not repeats <= balance.sightings <= repeats + more:
        verdict.wrong.append(f"{repeats} files were repeats, the books say {balance.sightings}")
