"""A slot that takes one image: the second receipt for it waits for a person, who may overrule that."""

from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.errors import SLOT_TAKEN
from ingestd.domain.outcome import Outcome, Refused
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Repeat, Route
from ingestd.domain.states import Event, State
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import Rooms, Shelf, Vault, now, open_rooms

SOON = timedelta(seconds=2)


async def run(
    rooms: Rooms, items: dict[str, bytes], send: str, *, vault: Vault | None = None, **route: object
) -> dict[str, Receipt]:
    shelf = Shelf(items)
    routes = [Route(send=send, **route)]  # type: ignore[arg-type]  # the names are Route's own
    await Pipeline(rooms.flow(vault or Vault(), routes=routes), {shelf.name: shelf}).run(until_idle=SOON)
    return {receipt.filename: receipt for receipt in await rooms.reader.find()}


async def test_a_later_page_is_held_and_goes_when_a_person_says_so(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, {"first.jpg": b"1"}, "vault:entry/E1")
        receipts = await run(rooms, {"later.jpg": b"2"}, "vault:entry/E1")
        first, later = receipts["first.jpg"], receipts["later.jpg"]
        assert (first.state, later.state) == (State.UPLOADED, State.HELD)
        assert (later.reason or "").startswith(SLOT_TAKEN)
        for words in (first.id, "first.jpg", "uploaded", "A later page can't be added", f"drop {later.id}"):
            assert words in (later.reason or "")
        await rooms.ledger.move(later, Event.REQUEUE, now=now())
        receipts = await run(rooms, {}, "vault:entry/E1")
        assert receipts["later.jpg"].state is State.UPLOADED


async def test_two_at_once_are_one_and_a_held_one(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipts = await run(rooms, {f"{n}.jpg": bytes([n]) for n in range(4)}, "vault:entry/E1")
        states = sorted(str(receipt.state) for receipt in receipts.values())
        assert states == ["held", "held", "held", "uploaded"]


@pytest.mark.parametrize(("first", "second"), [("entry/E1", "entry/E2"), ("receipt", "receipt")])
async def test_other_slots_and_slots_of_many_images_take_it(tmp_path: Path, first: str, second: str) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, {"1.jpg": b"1"}, f"vault:{first}")
        receipts = await run(rooms, {"2.jpg": b"2"}, f"vault:{second}")
        assert {receipt.state for receipt in receipts.values()} == {State.UPLOADED}


async def test_what_was_sent_again_on_purpose_and_failed_is_retried_beside_the_first(tmp_path: Path) -> None:
    def refusing(receipt: Receipt) -> Outcome:
        return Refused(reason="No.", fix="Ask.")

    async with open_rooms(tmp_path) as rooms:
        await run(rooms, {"1.jpg": b"1"}, "vault:entry/E1")
        again = {"repeat": Repeat.UPLOAD}
        receipts = await run(rooms, {"2.jpg": b"1"}, "vault:entry/E1", vault=Vault(answer=refusing), **again)
        assert (receipts["1.jpg"].state, receipts["2.jpg"].state) == (State.UPLOADED, State.FAILED)
        await rooms.ledger.move(receipts["2.jpg"], Event.REQUEUE, now=now())
        receipts = await run(rooms, {}, "vault:entry/E1")
        assert {receipt.state for receipt in receipts.values()} == {State.UPLOADED}


async def test_the_same_documents_sent_again_on_purpose_are_not_held(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, {"1.jpg": b"1"}, "vault:entry/E1")
        receipts = await run(rooms, {"2.jpg": b"1"}, "vault:entry/E1", repeat=Repeat.UPLOAD)
        assert {receipt.state for receipt in receipts.values()} == {State.UPLOADED}
        assert len(receipts) == 2
