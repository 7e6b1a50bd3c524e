"""Intake: what can't be read goes back, what does not fit waits, and repeats do what their route says."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from ingestd.domain.errors import ContentUnavailable
from ingestd.domain.routing import Repeat, Route
from ingestd.domain.states import State
from ingestd.interfaces import Arrival
from ingestd.pipeline import IntakeSettings, Pipeline
from ingestd.spool import Spool
from tests.unit.pipeline.rooms import Bytes, Ears, Rooms, Shelf, Vault, open_rooms

SOON = timedelta(seconds=1)


class Unreadable(Bytes):
    def open(self) -> BinaryIO:
        raise ContentUnavailable("somebody holds a lock on it")


class Changing(Bytes):
    def recheck(self) -> None:
        raise ContentUnavailable("it changed while it was copied")


class Difficult(Shelf):
    """A shelf whose contents are of another class; it counts what was given back."""

    contents: type[Bytes] = Unreadable
    given_back = 0

    def _arrival(self, first: str, names: Sequence[str]) -> Arrival:
        arrival = super()._arrival(first, names)

        async def give_back(*, anew: bool = False) -> None:
            self.given_back += 1

        return Arrival(
            id=arrival.id,
            origin=arrival.origin,
            payloads=tuple(
                replace(p, content=self.contents(self.items[p.filename])) for p in arrival.payloads
            ),
            acknowledge=arrival.acknowledge,
            give_back=give_back,
        )


async def test_what_can_not_be_read_just_now_is_given_back_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for kind in (Unreadable, Changing):
        async with open_rooms(tmp_path / kind.__name__) as rooms:
            shelf, ears = Difficult({"a.jpg": b"x"}), Ears()
            shelf.contents = kind
            await Pipeline(rooms.flow(Vault(), ears=ears), {shelf.name: shelf}).run(until_idle=SOON)
            assert shelf.items == {"a.jpg": b"x"}
            assert shelf.given_back == 1
            assert "arrival.postponed" in ears.events()
            assert list(await rooms.reader.find()) == []
            assert (await rooms.reader.balance()).payloads == 0


def small(rooms: Rooms, max_bytes: int) -> Spool:
    return Spool(rooms.spool.directory, min_free_bytes=0, max_bytes=max_bytes)


async def test_a_full_spool_pauses_intake_with_everything_kept_until_there_is_room(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        spool, ears = small(rooms, 250), Ears()
        items = {f"{n}.jpg": bytes([n]) * 100 for n in range(6)}
        shelf, vault = Shelf(items), Vault()
        flow = rooms.flow(vault, spool=spool, ears=ears)
        pipeline = Pipeline(flow, {shelf.name: shelf})
        running = asyncio.create_task(pipeline.run(until_idle=timedelta(minutes=1)))
        while len(vault.stored) < 2 or not pipeline.trouble:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # several looks at the full spool
        assert len(vault.stored) == 2, "what is in goes on"
        assert len(shelf.items) == 4
        assert "max_size" in pipeline.trouble[0]
        assert ears.events().count("intake.paused") == 1, "it is said once"
        spool._max_bytes = 10_000
        result = await running
        assert result.trouble == []
        assert sorted(vault.stored) == sorted(items)
        assert ears.events().count("intake.resumed") == 1
        assert not shelf.items


async def test_small_files_that_fit_do_not_hide_that_a_large_one_waits(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        spool, ears = small(rooms, 250), Ears()
        items = {"large.jpg": b"x" * 300, **{f"{n}.jpg": bytes([n]) * 10 for n in range(5)}}
        shelf, vault = Shelf(items), Vault()
        pipeline = Pipeline(rooms.flow(vault, spool=spool, ears=ears), {shelf.name: shelf})
        running = asyncio.create_task(pipeline.run(until_idle=timedelta(minutes=1)))
        while len(vault.stored) < 5 or not pipeline.trouble:
            await asyncio.sleep(0.01)
        assert set(shelf.items) == {"large.jpg"}
        assert "intake.resumed" not in ears.events()
        spool._max_bytes = 10_000
        await running
        assert not shelf.items
        said = [event for event in ears.events() if event in ("intake.paused", "intake.resumed")]
        assert said == ["intake.paused", "intake.resumed"]


async def test_a_stop_while_the_spool_is_full_leaves_everything_where_it_is(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Difficult({"a.jpg": b"x" * 100, "b.jpg": b"y" * 100})
        shelf.contents = Bytes
        settings = IntakeSettings(width=2, retry_full=timedelta(hours=1))
        flow = rooms.flow(Vault(), spool=small(rooms, 10), intake=settings)
        pipeline = Pipeline(flow, {shelf.name: shelf})
        running = asyncio.create_task(pipeline.run())
        while not pipeline.trouble:
            await asyncio.sleep(0.01)
        pipeline.stop()
        await asyncio.wait_for(running, 10)
        assert set(shelf.items) == {"a.jpg", "b.jpg"}
        assert shelf.given_back == 2
        assert (await rooms.reader.balance()).payloads == 0


async def test_a_repeat_is_a_sighting_or_an_upload_as_its_route_says(tmp_path: Path) -> None:
    for repeat, images in ((Repeat.SIGHTING, 1), (Repeat.UPLOAD, 2)):
        async with open_rooms(tmp_path / repeat) as rooms:
            shelf, vault, ears = Shelf({"a.jpg": b"same", "b.jpg": b"same"}), Vault(), Ears()
            flow = rooms.flow(vault, ears=ears, routes=[Route(send="vault:receipt", repeat=repeat)])
            await Pipeline(flow, {shelf.name: shelf}).run(until_idle=SOON)
            assert len(vault.stored) == images
            assert ears.events().count("receipt.repeated") == 2 - images
            books = await rooms.reader.balance()
            assert books.closed
            assert (books.sightings, books.states[State.UPLOADED]) == (2 - images, images)
            assert sorted(report.repeat for report in shelf.reports) == [False, images == 1]
