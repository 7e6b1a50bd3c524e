"""Archives: their members are the documents, and every one of them is accounted for."""

from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.errors import StorageExhausted
from ingestd.domain.routing import Repeat, Route
from ingestd.domain.states import State
from ingestd.interfaces import Ledger, NewArrival, Refusal
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Sound, Vault, open_rooms

SOON = timedelta(seconds=2)
ROUTES = [
    Route(patterns={"path": "entries/{entry}/*"}, send="vault:entry/{entry}"),
    Route(send="vault:receipt"),
]
BATCH = b"ZIP\ntaxi.jpg=one\nsub/lunch.jpg=two\nThumbs.db="


async def run(rooms: Rooms, shelf: Shelf, ears: Ears | None = None, **changes: object) -> Vault:
    vault = Vault()
    flow = rooms.flow(vault, ears=ears, routes=ROUTES, **changes)
    await Pipeline(flow, {shelf.name: shelf}).run(until_idle=SOON)
    return vault


async def test_the_members_of_an_archive_are_receipts_and_the_rest_is_ignored_with_a_reason(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, ears = Shelf({"batch.zip": BATCH, "c.jpg": b"c"}), Ears()
        vault = await run(rooms, shelf, ears)
        assert sorted(vault.stored) == ["c.jpg", "lunch.jpg", "taxi.jpg"]
        books = await rooms.reader.balance()
        assert books.closed
        assert (books.payloads, books.documents, books.ignored) == (4, 3, 1)
        ((_, said),) = [heard for heard in ears.heard if heard[0] == "payload.ignored"]
        assert (said["filename"], said["reason"]) == ("Thumbs.db", "It is empty.")
        assert not shelf.items


async def test_members_for_a_slot_of_one_image_become_one_with_the_files_beside_the_archive(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Shelf({"entries/E1/z.jpg": b"z", "entries/E1/batch.zip": BATCH})
        shelf.groups = [list(shelf.items)]
        await run(rooms, shelf)
        (receipt,) = await rooms.reader.find()
        assert (receipt.state, receipt.slot) == (State.UPLOADED, "entry/E1")
        assert [document.arrived_as for document in await rooms.reader.documents(receipt.id)] == [
            "entries/E1/batch.zip/sub/lunch.jpg",
            "entries/E1/batch.zip/taxi.jpg",
            "entries/E1/z.jpg",
        ]


async def test_an_archive_that_can_not_be_opened_stays_a_document_of_its_own(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Shelf({"bad.zip": b"BAD archive"})
        await run(rooms, shelf)
        (receipt,) = await rooms.reader.find()
        assert (receipt.state, receipt.filename) == (State.REJECTED, "bad.zip")


async def test_an_archive_sent_again_is_a_sighting_of_each_member(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = await run(rooms, Shelf({"batch.zip": BATCH}))
        again = await run(rooms, Shelf({"copy.zip": BATCH}))
        assert (len(vault.stored), again.stored) == (2, [])
        books = await rooms.reader.balance()
        assert books.closed and (books.sightings, books.ignored) == (2, 2)


async def test_the_archive_itself_is_kept_as_long_as_its_members(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        accepted: list[NewArrival] = []

        class Listening:
            def __getattr__(self, name: str) -> object:
                return getattr(rooms.ledger, name)

            async def accept(self, arrival: NewArrival, **named: object) -> object:
                accepted.append(arrival)
                return await rooms.ledger.accept(arrival, **named)  # type: ignore[arg-type]  # passed through

        await run(rooms, Shelf({"batch.zip": BATCH}), ledger=Listening())
        ((container,),) = [arrival.containers for arrival in accepted]
        assert (container.filename, container.path.read_bytes()) == ("batch.zip", BATCH)
        assert container.sha256 in await rooms.ledger.known([container.sha256]), "no orphan to be swept"


async def test_a_disk_that_is_full_while_an_archive_is_opened_is_waited_out(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:

        class Full(Sound):
            left = 2

            async def unpack(self, *arguments: object) -> object:  # type: ignore[override]  # passed through
                if self.left:
                    self.left -= 1
                    raise StorageExhausted("no room for the members")
                return await super().unpack(*arguments)  # type: ignore[arg-type]  # passed through

        shelf, ears = Shelf({"batch.zip": BATCH}), Ears()
        vault = await run(rooms, shelf, ears, normalizer=Full(rooms.spool))
        assert len(vault.stored) == 2 and not shelf.items
        assert ears.events().count("intake.paused") == 1
        assert (await rooms.reader.balance()).payloads == 3


@pytest.mark.parametrize("content", [BATCH, b"plain"])
async def test_an_arrival_that_comes_again_after_a_crash_is_known(tmp_path: Path, content: bytes) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Shelf({"batch.zip": content})

        class Dying:
            def __getattr__(self, name: str) -> object:
                return getattr(rooms.ledger, name)

            async def accept(self, arrival: NewArrival, **named: object) -> object:
                ledger: Ledger = rooms.ledger
                await ledger.accept(arrival, **named)  # type: ignore[arg-type]  # passed through
                raise ConnectionError("killed")

        with pytest.raises(ConnectionError):
            await run(rooms, shelf, ledger=Dying())
        assert shelf.items, "never acknowledged"
        before = await rooms.reader.balance()
        shelf.forget_handing_out()
        await run(rooms, shelf)
        assert not shelf.items
        after = await rooms.reader.balance()
        assert after.closed and (after.payloads, after.sightings) == (before.payloads, 0)


async def test_an_archive_that_can_not_be_opened_when_it_comes_again_is_known_too(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:

        class Dying:
            def __getattr__(self, name: str) -> object:
                return getattr(rooms.ledger, name)

            async def accept(self, arrival: NewArrival, **named: object) -> object:
                ledger: Ledger = rooms.ledger
                await ledger.accept(arrival, **named)  # type: ignore[arg-type]  # passed through
                raise ConnectionError("killed")

        class Tired(Sound):
            left = 1

            async def unpack(self, *arguments: object) -> object:  # type: ignore[override]  # passed through
                if self.left:
                    self.left -= 1
                    return None
                return await super().unpack(*arguments)  # type: ignore[arg-type]  # passed through

        shelf = Shelf({"batch.zip": BATCH, "b.jpg": b"b"})
        shelf.groups = [list(shelf.items)]
        routes = [Route(send="vault:receipt", repeat=Repeat.UPLOAD)]
        with pytest.raises(ConnectionError):
            await Pipeline(rooms.flow(Vault(), routes=routes, ledger=Dying()), {shelf.name: shelf}).run(
                until_idle=SOON
            )
        for _ in range(2):
            shelf.forget_handing_out()
            flow = rooms.flow(Vault(), routes=routes, normalizer=Tired(rooms.spool))
            await Pipeline(flow, {shelf.name: shelf}).run(until_idle=SOON)
        assert not shelf.items
        assert {r.filename for r in await rooms.reader.find()} == {"taxi.jpg", "lunch.jpg", "b.jpg"}
        assert len(await rooms.reader.find()) == 3
        assert (await rooms.reader.balance()).payloads == 4


@pytest.mark.parametrize("members", ["a.jpg=a", "logo.png="])
async def test_an_archive_of_nothing_new_that_can_not_be_opened_when_it_comes_again_is_counted_once(
    tmp_path: Path, members: str
) -> None:
    """The crash comes between the commit and the acknowledgement."""
    async with open_rooms(tmp_path) as rooms:
        await run(rooms, Shelf({"a.jpg": b"a"}))

        class Dying:
            def __getattr__(self, name: str) -> object:
                return getattr(rooms.ledger, name)

            async def accept(self, arrival: NewArrival, **named: object) -> object:
                ledger: Ledger = rooms.ledger
                await ledger.accept(arrival, **named)  # type: ignore[arg-type]  # passed through
                raise ConnectionError("killed")

        class Closed(Sound):
            async def unpack(self, *arguments: object) -> None:
                return None

        shelf = Shelf({"batch.zip": f"ZIP\n{members}".encode()})
        with pytest.raises(ConnectionError):
            await run(rooms, shelf, ledger=Dying())
        before = await rooms.reader.balance()
        shelf.forget_handing_out()
        await run(rooms, shelf, normalizer=Closed(rooms.spool))
        assert not shelf.items
        after = await rooms.reader.balance()
        assert after == before and after.closed
        assert after.payloads == 2


async def test_each_payload_that_was_not_read_is_told_by_its_own_name(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Shelf({"in/a.zip": b"ZIP\nx.jpg=x\nempty.jpg=", "in/b.jpg": b"b"})
        shelf.groups = [list(shelf.items)]
        shelf.refused = (Refusal(filename="huge.jpg", reason="It is too large."),)
        pipeline = Pipeline(rooms.flow(Vault(), routes=ROUTES), {shelf.name: shelf})
        result = await pipeline.run(until_idle=SOON)
        assert list(result.refused) == ["in/a.zip: huge.jpg: It is too large."]
