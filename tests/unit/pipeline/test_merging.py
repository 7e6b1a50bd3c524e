"""What becomes one receipt: documents of one arrival for the same slot, in the order people expect."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.document import OriginKind
from ingestd.domain.receipt import NO_TARGET, Receipt
from ingestd.domain.routing import Destined, Pages, Route
from ingestd.domain.states import Event, State
from ingestd.interfaces import Arrival
from ingestd.pipeline import Pipeline
from ingestd.pipeline import merging as merging_module
from ingestd.pipeline.merging import Merging
from tests.unit.pipeline.rooms import Rooms, Shelf, Sound, Vault, now, open_rooms

SOON = timedelta(seconds=2)
ENTRY = Route(patterns={"path": "entries/{entry}/*"}, send="vault:entry/{entry}")
REST = Route(send="vault:receipt")


async def run(
    rooms: Rooms, items: dict[str, bytes], *, routes: Sequence[Route] = (ENTRY, REST), **shelf: object
) -> tuple[list[tuple[str, ...]], Shelf]:
    """All items as one arrival; the documents of each image that was made, and the source."""
    source, sound = Shelf(items), Sound(rooms.spool)
    source.groups = [list(items)]
    for name, value in shelf.items():
        setattr(source, name, value)
    flow = rooms.flow(Vault(), routes=routes, normalizer=sound, prepare_workers=1)
    await Pipeline(flow, {source.name: source}).run(until_idle=SOON)
    assert (await rooms.reader.balance()).closed
    assert not source.items
    return sound.asked, source


def pages(*names: str) -> dict[str, bytes]:
    return {name: name.encode() for name in names}


async def test_files_for_a_slot_of_one_image_become_one_receipt_in_natural_order(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        asked, shelf = await run(rooms, pages("entries/E1/p10.jpg", "entries/E1/p2.jpg", "entries/E1/p1.jpg"))
        assert asked == [("p1.jpg", "p2.jpg", "p10.jpg")]
        (receipt,) = await rooms.reader.find()
        assert (receipt.state, receipt.slot, receipt.documents) == (State.UPLOADED, "entry/E1", 3)
        documents = await rooms.reader.documents(receipt.id)
        assert [d.arrived_as for d in documents] == [f"entries/E1/p{n}.jpg" for n in (1, 2, 10)]
        (report,) = shelf.reports
        assert len(report.documents) == 3


async def test_attachments_of_a_mail_keep_the_order_of_the_mail(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        items = pages("entries/E1/b.jpg", "entries/E1/a.jpg")
        asked, _ = await run(rooms, items, kind=OriginKind.MAIL)
        assert asked == [("b.jpg", "a.jpg")]


async def test_files_for_any_other_slot_stay_receipts_of_their_own(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        asked, _ = await run(rooms, pages("b.jpg", "a.jpg", "entries/E1/c.jpg"))
        assert sorted(asked) == [("a.jpg",), ("b.jpg",), ("c.jpg",)]


async def test_names_that_number_pages_become_one_receipt_for_any_slot(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        items = pages("x/hotel_p2.jpg", "x/hotel_p1.jpg", "x/taxi_p1.jpg", "y/hotel_p3.jpg")
        asked, _ = await run(rooms, items)
        assert sorted(asked) == [("hotel_p1.jpg", "hotel_p2.jpg"), ("hotel_p3.jpg",), ("taxi_p1.jpg",)]


async def test_each_slot_gets_its_own(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        items = pages("entries/E1/a.jpg", "entries/E2/b.jpg", "entries/E1/c.jpg")
        asked, _ = await run(rooms, items)
        assert sorted(asked) == [("a.jpg", "c.jpg"), ("b.jpg",)]
        assert {r.slot: r.documents for r in await rooms.reader.find()} == {"entry/E1": 2, "entry/E2": 1}


async def test_each_account_gets_its_own(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        ann = Route(patterns={"path": "ann/*"}, send="vault:receipt", account="ann", pages=Pages.MERGE)
        bob = Route(send="vault:receipt", account="bob", pages=Pages.MERGE)
        items = pages("ann/a.jpg", "b.jpg", "ann/c.jpg")
        asked, _ = await run(rooms, items, routes=[ann, bob])
        assert sorted(asked) == [("a.jpg", "c.jpg"), ("b.jpg",)]


@pytest.mark.parametrize(
    ("setting", "asked"),
    [
        (Pages.MERGE, [("a_p1.jpg", "a_p2.jpg", "b.jpg")]),
        (Pages.SEPARATE, [("a_p1.jpg",), ("a_p2.jpg",), ("b.jpg",)]),
    ],
)
async def test_a_route_says_otherwise(tmp_path: Path, setting: Pages, asked: list[tuple[str, ...]]) -> None:
    async with open_rooms(tmp_path) as rooms:
        items = pages("a_p1.jpg", "a_p2.jpg", "b.jpg")
        made, _ = await run(rooms, items, routes=[Route(send="vault:receipt", pages=setting)])
        assert sorted(made) == asked


async def test_what_a_sidecar_sends_to_a_slot_of_one_image_is_merged_too(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        to = Destined.parse("vault:entry/E9")
        asked, _ = await run(rooms, pages("b.jpg", "a.jpg"), to=to)
        assert asked == [("a.jpg", "b.jpg")]
        (receipt,) = await rooms.reader.find()
        assert receipt.slot == "entry/E9"


async def test_without_a_route_each_is_held_and_goes_by_its_own_path_when_it_is_retried(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        asked, _ = await run(rooms, pages("entries/E1/a.jpg", "other/b.jpg"), routes=[])
        held = await rooms.reader.find(states={State.HELD})
        assert asked == [] and [receipt.target for receipt in held] == [NO_TARGET] * 2
        for receipt in held:
            await rooms.ledger.move(receipt, Event.REQUEUE, now=now())
        await Pipeline(rooms.flow(Vault(), routes=[ENTRY, REST]), {}).run(until_idle=SOON)
        assert {r.filename: r.slot for r in await rooms.reader.find()} == {
            "a.jpg": "entry/E1",
            "b.jpg": "receipt",
        }


async def test_what_is_held_together_goes_together_when_a_person_says_where(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        names = ("entries/E1/p2.jpg", "entries/E1/p1.jpg", "x.jpg", "y.pdf")
        asked, _ = await run(rooms, pages(*names), hold="The sidecar is no JSON.")
        held = await rooms.reader.find(states={State.HELD})
        assert asked == [] and sorted(receipt.documents for receipt in held) == [1, 1, 2]
        both = next(receipt for receipt in held if receipt.documents == 2)
        assert (both.target, both.reason) == (NO_TARGET, "The sidecar is no JSON.")
        destined = Destined.parse("vault:entry/E7")
        assigned = await rooms.ledger.assign(both, destined=destined, account=None, now=now())
        await rooms.ledger.move(assigned, Event.REQUEUE, now=now())
        sound = Sound(rooms.spool)
        await Pipeline(rooms.flow(Vault(), normalizer=sound), {}).run(until_idle=SOON)
        assert sound.asked == [("p1.jpg", "p2.jpg")]
        (uploaded,) = await rooms.reader.find(states={State.UPLOADED})
        assert (uploaded.id, uploaded.slot) == (both.id, "entry/E7")


async def test_what_a_sidecar_sends_nowhere_is_held_together(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        to = Destined.parse("gone:entry/E9")
        await run(rooms, pages("entries/E1/a.jpg", "entries/E1/b.jpg", "c.jpg"), to=to)
        held = await rooms.reader.find(states={State.HELD})
        assert sorted(receipt.documents for receipt in held) == [1, 2]


async def test_too_many_documents_for_one_image_wait_for_a_person_and_none_is_sent_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging_module, "MOST_DOCUMENTS", 2)
    async with open_rooms(tmp_path) as rooms:
        asked, _ = await run(rooms, pages(*(f"entries/E1/{n}.jpg" for n in range(3))))
        held = await rooms.reader.find(states={State.HELD})
        assert asked == [] and sorted(receipt.documents for receipt in held) == [1, 2]
        assert all("3 documents" in (receipt.reason or "") for receipt in held)
        first = next(receipt for receipt in held if receipt.documents == 2)
        await rooms.ledger.move(first, Event.REQUEUE, now=now())
        await Pipeline(rooms.flow(Vault(), routes=[ENTRY]), {}).run(until_idle=SOON)
        (uploaded,) = await rooms.reader.find(states={State.UPLOADED})
        assert (uploaded.id, uploaded.slot) == (first.id, "entry/E1")


async def test_too_many_documents_for_a_slot_of_many_images_become_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging_module, "MOST_DOCUMENTS", 2)
    async with open_rooms(tmp_path) as rooms:
        items = pages(*(f"{n}.jpg" for n in range(5)))
        asked, _ = await run(rooms, items, routes=[Route(send="vault:receipt", pages=Pages.MERGE)])
        assert sorted(asked) == [("0.jpg", "1.jpg"), ("2.jpg", "3.jpg"), ("4.jpg",)]


# --- a group that is handed over again ---------------------------------------------------------------------


class Forgetful(Shelf):
    """Crashes in the middle of the first acknowledgement: one file is gone, the others are still there."""

    crashed = False
    rewritten: bytes | None = None

    async def acknowledge_part(self, names: Sequence[str]) -> None:
        self.crashed = True
        del self.items[names[0]]
        if self.rewritten is not None:
            self.items[names[1]] = self.rewritten


async def after_a_crash(rooms: Rooms, shelf: Forgetful) -> Sequence[Receipt]:
    """The arrival is committed, half acknowledged, and handed over again under the same ID."""
    flow = rooms.flow(Vault(), routes=[ENTRY])
    (names,) = shelf.groups
    pipeline = Pipeline(flow, {shelf.name: shelf})
    original = shelf._arrival

    def half(first: str, names: Sequence[str]) -> Arrival:
        arrival = original(first, names)
        return replace(arrival, acknowledge=lambda: shelf.acknowledge_part(names))

    shelf._arrival = half  # type: ignore[method-assign]  # the crash
    await pipeline.run(until_idle=SOON)
    assert shelf.crashed and len(shelf.items) == len(names) - 1
    shelf._arrival = original  # type: ignore[method-assign]  # the next start
    for _ in range(2):  # what was written since is given back, and comes again
        shelf.forget_handing_out()
        await Pipeline(rooms.flow(Vault(), routes=[ENTRY]), {shelf.name: shelf}).run(until_idle=SOON)
    assert not shelf.items
    assert (await rooms.reader.balance()).closed
    return await rooms.reader.find()


async def test_what_an_acknowledgement_that_was_cut_short_left_is_known(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Forgetful(pages("entries/E1/a.jpg", "entries/E1/b.jpg", "entries/E1/c.jpg"))
        shelf.groups = [list(shelf.items)]
        (receipt,) = await after_a_crash(rooms, shelf)
        assert (receipt.state, receipt.documents) == (State.UPLOADED, 3)
        assert (await rooms.reader.balance()).payloads == 3


async def test_what_was_written_after_the_commit_is_another_arrival(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Forgetful(pages("entries/E1/a.jpg", "entries/E1/b.jpg"))
        shelf.groups = [list(shelf.items)]
        shelf.rewritten = b"other bytes"
        new, old = await after_a_crash(rooms, shelf)
        assert (old.state, old.documents) == (State.UPLOADED, 2)
        assert (new.state, new.documents) == (State.HELD, 1), "the slot has its image"


# --- what a folder waits for -------------------------------------------------------------------------------


def test_a_folder_learns_which_files_belong_together() -> None:
    vault = Vault()
    report = Route(patterns={"path": "all/{x}/*"}, send="vault:receipt", pages=Pages.MERGE)
    single = Route(patterns={"path": "one/*"}, send="vault:entry/1", pages=Pages.SEPARATE)
    nowhere = Route(patterns={"path": "gone/*"}, send="gone:receipt")
    other = Route(patterns={"source": "other"}, send="vault:receipt", pages=Pages.MERGE)
    rest = Route(patterns={"filename": "*.jpg"}, send="vault:receipt")
    merging = Merging([other, ENTRY, report, single, nowhere, rest], {vault.name: vault})

    def key(path: str, source: str = "inbox") -> str | None:
        return merging.group_of(source, path)

    assert key("entries/E1/a.jpg") == key("entries/E1/deep/batch.zip") is not None
    assert key("entries/E1/a.jpg") != key("entries/E2/a.jpg")
    assert key("all/x/a.jpg") == key("all/y/b.pdf") is not None
    assert key("one/a_p1.jpg") is None
    assert key("gone/a_p1.jpg") is None
    assert key("a.jpg") is None
    assert key("nothing_p1.pdf") is None, "no route: it is held alone"
    assert key("a_p1.jpg") == key("a_p2.jpg") is not None
    assert key("a_p1.jpg") != key("b_p1.jpg")
    assert key("a_p1.jpg") != key("sub/a_p1.jpg")
    assert key("a.jpg", source="other") is not None
