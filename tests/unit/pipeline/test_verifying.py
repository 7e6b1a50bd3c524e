"""Verification: a match is recorded, another image is a loud failure, no answer is only a note."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.outcome import CannotSay, Found, LookUp, NotThere, Unavailable
from ingestd.domain.receipt import Receipt
from ingestd.domain.routing import Slot
from ingestd.domain.rules import TargetRules
from ingestd.domain.states import State
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import QUICK, Rooms, Shelf, Vault, open_rooms

SOON = timedelta(seconds=20)
VERIFIED = TargetRules(retry=QUICK, verify=True, not_there_after=timedelta(0), look_up_for=timedelta(0))


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingestd.pipeline.delivery.PROCESSING", timedelta(0))


async def verified(rooms: Rooms, vault: Vault, rules: TargetRules = VERIFIED) -> tuple[Receipt, list[str]]:
    """One receipt, uploaded and looked at; and what its history says of that."""
    shelf = Shelf({"a.jpg": b"x"})
    await Pipeline(rooms.flow(vault, rules={vault.name: rules}), {shelf.name: shelf}).run(until_idle=SOON)
    (receipt,) = await rooms.reader.find()
    history = await rooms.reader.history(receipt.id)
    return receipt, [entry.reason or "" for entry in history if entry.event in ("verify", "contradict")]


async def test_what_is_given_back_unchanged_is_verified_with_its_time(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt, notes = await verified(rooms, Vault())
        assert receipt.state is State.UPLOADED
        assert receipt.verified_at is not None
        assert receipt.verify_at is None
        assert notes == ["Verified: the target gives back what was sent."]


async def test_nothing_is_read_back_unless_it_was_asked_for(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()
        receipt, notes = await verified(rooms, vault, TargetRules(retry=QUICK))
        assert (receipt.verified_at, notes, vault.looks) == (None, [], 0)


async def test_another_image_contradicts_the_upload(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt, notes = await verified(rooms, Vault(given=b"another receipt"))
        assert receipt.state is State.FAILED
        assert receipt.verified_at is None
        assert "not the image that was sent" in (receipt.reason or "")
        assert len(notes) == 1


@pytest.mark.parametrize(
    ("sight", "why"),
    [
        (lambda slot: Found(image_id="x", url=None), "no URL"),
        (lambda slot: NotThere(), "does not show it"),
        (lambda slot: CannotSay(reason="Nobody may read it."), "Nobody may read it."),
        (lambda slot: CannotSay(reason="It is down.", obstacle=Unavailable(reason="")), "It is down."),
    ],
)
async def test_what_can_not_be_read_back_stays_uploaded_and_says_why(
    tmp_path: Path, sight: Callable[[Slot], LookUp], why: str
) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt, notes = await verified(rooms, Vault(sight=sight))
        assert (receipt.state, receipt.verified_at, receipt.verify_at) == (State.UPLOADED, None, None)
        assert notes[-1].startswith("Not verifiable: ")
        assert why in notes[-1]


async def test_what_looks_different_but_may_be_the_same_is_no_contradiction(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt, notes = await verified(rooms, Vault(given=b"BLURRED"))
        assert receipt.state is State.UPLOADED
        assert "can't be compared for sure" in notes[0]


async def test_what_does_not_show_yet_is_looked_at_again(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, early = Vault(), [NotThere()]
        vault.sight = lambda slot: early.pop() if early else None
        rules = TargetRules(retry=QUICK, verify=True)
        shelf = Shelf({"a.jpg": b"x"})
        await Pipeline(rooms.flow(vault, rules={vault.name: rules}), {shelf.name: shelf}).run(
            until_idle=timedelta(0)
        )
        (receipt,) = await rooms.reader.find()
        assert receipt.state is State.UPLOADED
        assert receipt.verify_at is not None


async def test_an_original_that_was_purged_can_not_be_verified(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()

        def gone(slot: Slot) -> LookUp | None:
            for path in rooms.spool.directory.glob("??/*"):
                if path.is_file():
                    path.unlink()
            return None

        vault.sight = gone
        receipt, notes = await verified(rooms, vault)
        assert receipt.state is State.UPLOADED
        assert "not in the spool" in notes[-1]


async def test_an_original_that_can_not_be_read_costs_only_its_own_verification(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()

        def unreadable(slot: Slot) -> LookUp | None:
            for blob in rooms.spool.directory.glob("??/*"):
                if blob.is_file():
                    blob.unlink()
                    blob.mkdir()
            return None

        vault.sight = unreadable
        receipt, notes = await verified(rooms, vault)
        assert receipt.state is State.UPLOADED
        assert "can't be read from the spool" in notes[-1]
