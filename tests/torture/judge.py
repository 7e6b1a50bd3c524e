"""The judge: was anything lost, doubled, misplaced or forged? It believes the target and the disk first.

What the ledger says is held against what the sandbox holds and against the files of the folder.
"""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
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
from tests.torture.drops import Dropped, Kind

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


def judge(
    place: Place,
    images: Sequence[dict[str, Any]],
    must: Collection[Dropped],
    may: Collection[Dropped] = (),
) -> Verdict:
    """After a run to idle. `images`: what the sandbox holds.

    `must` was surely dropped; `may` perhaps (the power went while it was written).
    """
    verdict = Verdict(stored=len(images))
    books = asyncio.run(_read_books(place))
    verdict.unconfirmed = sum(r.state is State.UNCONFIRMED for r in books.receipts.values())
    _judge_images(verdict, images, books, must, may)
    _judge_places(verdict, place, books, must, may)
    _judge_books(verdict, books, must, may)
    return verdict


def settle_unconfirmed(place: Place, sandbox: SandboxProcess) -> int:
    """What a careful person does: look at the target, and retry only what is not there. Returns how many."""
    held = {(image["place"], image["sha256"]) for image in sandbox.images()}
    again = [
        r["id"]
        for r in place.receipts()
        if r["state"] == "unconfirmed" and (r["slot"], r["sha256"]) not in held
    ]
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
    """What the ledger says. `receipts` by slot and sha256; `broken`: receipts whose history is not sound."""

    receipts: dict[tuple[str, str], Receipt]
    balance: Balance
    broken: list[str]


async def _read_books(place: Place) -> _Books:
    """The hash chain of every receipt is followed, up to the state that its row has."""
    reader = open_reader(sqlite_url(place.directory / "data/ledger.db"), spool_path=Path)
    try:
        broken = []
        receipts = await reader.find()
        for receipt in receipts:
            history = await reader.history(receipt.id)
            if not history or not verify_chain(history) or history[-1].after is not receipt.state:
                broken.append(f"the history of {receipt.id} ({receipt.path}) does not hold together")
        by_image = {(receipt.slot, receipt.sha256): receipt for receipt in receipts}
        if len(by_image) < len(receipts):
            broken.append("there are several receipts for the same bytes and slot")
        return _Books(by_image, await reader.balance(), broken)
    finally:
        await reader.aclose()


def _judge_images(
    verdict: Verdict,
    images: Sequence[dict[str, Any]],
    books: _Books,
    must: Collection[Dropped],
    may: Collection[Dropped],
) -> None:
    held = {(image["place"], image["sha256"]): image["image_id"] for image in images}
    counts = Counter((image["place"], image["sha256"]) for image in images)
    allowed = {dropped.image for dropped in (*must, *may) if dropped.kind is not Kind.BAD}
    verdict.doubled += [f"{image} is stored {count} times" for image, count in counts.items() if count > 1]
    verdict.wrong += [f"the target holds {image}, which nobody dropped" for image in held.keys() - allowed]
    for dropped in must:
        receipt = books.receipts.get(dropped.image)
        expected = {State.REJECTED} if dropped.kind is Kind.BAD else {State.UPLOADED, State.UNCONFIRMED}
        if receipt is None:
            verdict.lost.append(f"{dropped.path} is not in the ledger")
        elif receipt.state not in expected:
            verdict.lost.append(f"{dropped.path} ({dropped.kind}) is {receipt.state}: {receipt.reason}")
        elif receipt.state is State.UPLOADED and held.get(dropped.image) != receipt.image_id:
            verdict.lost.append(
                f"{dropped.path} is uploaded as {receipt.image_id}, the target has {held.get(dropped.image)}"
            )


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
        receipt = books.receipts.get(dropped.image)
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
