"""Near-duplicates: warned of or held, never missed because two came at once, never in the way of the rest."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest

from ingestd.clock import process_clock
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.routing import Repeat, Route
from ingestd.domain.states import Event, State
from ingestd.interfaces import Limits
from ingestd.pipeline import Pipeline
from ingestd.settings import PreparationSettings
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Sound, Vault, now, open_rooms

SOON = timedelta(seconds=2)
FIRST, TWIN, OTHER = b"LOOK a lunch by day", b"LOOK a lunch by night", b"LOOK a taxi by day"
Setting = Literal["off", "warn", "hold"]


async def run(
    rooms: Rooms, items: dict[str, bytes], setting: Setting = "warn", **changes: object
) -> dict[str, Receipt]:
    """The receipts by name once all is done."""
    shelf = Shelf(items)
    preparation = PreparationSettings(near_duplicates=setting)
    flow = rooms.flow(Vault(), **({"preparation": preparation} | changes))  # type: ignore[arg-type]  # Flow's own
    await Pipeline(flow, {shelf.name: shelf}).run(until_idle=SOON)
    return {receipt.filename: receipt for receipt in await rooms.reader.find()}


def warnings(receipt: Receipt) -> Sequence[str]:
    assert receipt.image is not None
    return receipt.image.warnings


async def test_a_receipt_seen_before_is_uploaded_with_a_warning_that_names_the_first(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, {"first.jpg": FIRST})
        receipts = await run(rooms, {"twin.jpg": TWIN, "other.jpg": OTHER})
        assert {receipt.state for receipt in receipts.values()} == {State.UPLOADED}
        (warning,) = warnings(receipts["twin.jpg"])
        first = receipts["first.jpg"]
        for word in (first.id, "first.jpg", "vault:receipt", "uploaded", str(first.image_id)):
            assert word in warning
        assert warnings(first) == warnings(receipts["other.jpg"]) == ()


async def test_a_receipt_seen_before_is_held_where_that_is_wanted_until_a_person_decides(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, {"first.jpg": FIRST}, "hold")
        receipts = await run(rooms, {"twin.jpg": TWIN}, "hold")
        twin, first = receipts["twin.jpg"], receipts["first.jpg"]
        assert twin.state is State.HELD
        for words in (first.id, f"ingestd retry {twin.id}", f"ingestd drop {twin.id}"):
            assert words in (twin.reason or "")
        await rooms.ledger.move(twin, Event.REQUEUE, now=now())
        receipts = await run(rooms, {}, "hold")
        assert receipts["twin.jpg"].state is State.UPLOADED
        (warning,) = warnings(receipts["twin.jpg"])
        assert first.id in warning


async def test_switched_off_nothing_is_compared(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        sound = Sound(rooms.spool)
        await run(rooms, {"first.jpg": FIRST}, "off", normalizer=sound)
        receipts = await run(rooms, {"twin.jpg": TWIN}, "off", normalizer=sound)
        assert sound.compared == 0
        assert warnings(receipts["twin.jpg"]) == ()


async def test_what_was_received_before_the_window_is_not_looked_at(tmp_path: Path) -> None:
    window = timedelta(days=10)
    preparation = PreparationSettings(near_duplicate_window=window)
    for age, told in ((window - SOON, 1), (window + SOON, 0)):
        async with open_rooms(tmp_path / str(told)) as rooms:
            await run(rooms, {"first.jpg": FIRST})
            clock = process_clock()
            receipts = await run(
                rooms,
                {"twin.jpg": TWIN},
                preparation=preparation,
                clock=lambda clock=clock, age=age: later(clock(), age),
            )
            assert len(warnings(receipts["twin.jpg"])) == told


async def test_the_same_file_for_another_slot_is_told_and_the_same_slot_on_purpose_is_not(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        sound = Sound(rooms.spool)
        again = Route(patterns={"filename": "again*"}, send="vault:receipt", repeat=Repeat.UPLOAD)
        entry = Route(patterns={"filename": "entry*"}, send="vault:entry/E1")
        routes = [again, entry, Route(send="vault:receipt")]
        for name in ("first.jpg", "again.jpg", "entry.jpg"):
            receipts = await run(rooms, {name: FIRST}, "hold", routes=routes, normalizer=sound)
        assert {name: receipt.state for name, receipt in receipts.items()} == {
            "first.jpg": State.UPLOADED,
            "again.jpg": State.UPLOADED,
            "entry.jpg": State.HELD,
        }
        assert sound.compared == 0, "equal bytes need no look"


@pytest.mark.parametrize("damage", ["purged", "unreadable"])
async def test_a_first_image_that_is_gone_is_passed_over(tmp_path: Path, damage: str) -> None:
    async with open_rooms(tmp_path) as rooms:
        first = (await run(rooms, {"first.jpg": FIRST}))["first.jpg"]
        assert first.image is not None
        first.image.path.unlink()
        if damage == "unreadable":
            first.image.path.mkdir()
        ears = Ears()
        receipts = await run(rooms, {"twin.jpg": TWIN}, observer=ears)
        assert receipts["twin.jpg"].state is State.UPLOADED
        assert warnings(receipts["twin.jpg"]) == ()
        assert ears.events().count("lookalike.unreadable") == (damage == "unreadable")


async def test_a_comparison_that_breaks_is_said_and_is_no_duplicate(tmp_path: Path) -> None:
    class Broken(Sound):
        async def same(self, first: ReceiptImage, second: ReceiptImage) -> None:  # type: ignore[override]  # narrower
            return None

    async with open_rooms(tmp_path) as rooms:
        first = (await run(rooms, {"first.jpg": FIRST}))["first.jpg"]
        ears = Ears()
        normalizer = Broken(rooms.spool)
        twin = (await run(rooms, {"twin.jpg": TWIN}, "hold", observer=ears, normalizer=normalizer))[
            "twin.jpg"
        ]
        assert twin.state is State.UPLOADED
        assert ("lookalike.broken", {"receipt": twin.id, "other": first.id}) in ears.heard


# --- at the same time --------------------------------------------------------------------------------------


class Together(Sound):
    """Gives its images out only when `number` of them are wanted, and says how many are compared at once."""

    def __init__(self, rooms: Rooms, number: int) -> None:
        super().__init__(rooms.spool)
        self._gathering = asyncio.Barrier(number)
        self.comparing = self.most_comparing = 0

    async def normalize(
        self, documents: Sequence[Document], limits: Limits, *, passwords: Sequence[str] = ()
    ) -> ReceiptImage | InvalidDocument:
        verdict = await super().normalize(documents, limits, passwords=passwords)
        await self._gathering.wait()
        return verdict

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool:
        self.comparing += 1
        self.most_comparing = max(self.most_comparing, self.comparing)
        await asyncio.sleep(0.05)
        self.comparing -= 1
        return await super().same(first, second)


async def test_twins_that_are_prepared_at_once_do_not_miss_each_other(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        items = {f"{n}.jpg": b"LOOK a lunch %d" % n for n in range(4)}
        receipts = await run(rooms, items, "hold", normalizer=Together(rooms, 4), prepare_workers=4)
        states = sorted(str(receipt.state) for receipt in receipts.values())
        assert states == ["held", "held", "held", "uploaded"]


async def test_the_last_of_a_batch_is_not_held_for_one_that_never_became_ready(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        entry = Route(patterns={"filename": "entry*"}, send="vault:entry/E1")
        routes = [entry, Route(send="vault:receipt")]
        await run(rooms, {"entry-0.jpg": b"taken"}, routes=routes)
        items = {"entry-1.jpg": FIRST, "twin.jpg": TWIN}
        together = Together(rooms, 2)
        receipts = await run(rooms, items, "hold", routes=routes, normalizer=together, prepare_workers=2)
        assert receipts["entry-1.jpg"].state is State.HELD, "its slot is taken, or its twin came first"
        assert receipts["twin.jpg"].state is State.UPLOADED


async def test_what_looks_different_waits_for_nobody(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        for digit in "05af":
            await run(rooms, {f"old-{digit}.jpg": f"LOOK {digit} old-{digit} x".encode()})
        together = Together(rooms, 4)
        items = {f"new-{digit}.jpg": f"LOOK {digit} new-{digit} y".encode() for digit in "05af"}
        receipts = await run(rooms, items, "hold", normalizer=together, prepare_workers=4)
        assert together.most_comparing == 4
        assert {receipt.state for receipt in receipts.values()} == {State.UPLOADED}


async def test_other_accounts_wait_for_nobody_and_are_no_duplicates(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        ann = Route(patterns={"filename": "ann*"}, send="vault:receipt", account="ann")
        routes = [ann, Route(send="vault:receipt")]
        receipts = await run(rooms, {"first.jpg": FIRST, "ann.jpg": TWIN}, "hold", routes=routes)
        assert {receipt.state for receipt in receipts.values()} == {State.UPLOADED}
