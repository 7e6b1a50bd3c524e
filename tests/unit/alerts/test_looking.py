"""Snapshots of a real pipeline over a real ledger."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from ingestd.alerts.hearing import Hearing
from ingestd.alerts.looking import SHOWN, Looking
from ingestd.clock import process_clock
from ingestd.domain.document import Instant
from ingestd.domain.outcome import Refused, Unavailable
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import Event, State
from ingestd.interfaces import Login, SourceStatus
from ingestd.logs import Observers
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Vault, open_rooms

NO = Refused(reason="No such report.", fix="Correct the ID.")


@dataclass
class Scene:
    rooms: Rooms
    shelf: Shelf
    vault: Vault
    looking: Looking
    pipeline: Pipeline

    async def receipt(self, filename: str) -> Receipt:
        return next(receipt for receipt in await self.rooms.reader.find() if receipt.filename == filename)


@dataclass
class Plan:
    items: dict[str, bytes] = field(default_factory=dict)
    folders: frozenset[str] = frozenset({"shelf"})
    vault: Vault = field(default_factory=Vault)


@asynccontextmanager
async def scene(directory: Path, plan: Plan) -> AsyncIterator[Scene]:
    """After a run that did all it could."""
    async with open_rooms(directory) as rooms:
        hearing = Hearing()
        flow = rooms.flow(plan.vault, observer=Observers(Ears(), hearing))
        shelf = Shelf(plan.items)
        pipeline = Pipeline(flow, {"shelf": shelf})
        looking = Looking(
            reader=rooms.reader,
            outside=pipeline,
            sources={"shelf": shelf},
            destinations={"vault": plan.vault},
            folders=plan.folders,
            directory=directory,
            clock=process_clock(),
            hearing=hearing,
        )
        await pipeline.run(until_idle=timedelta())
        yield Scene(rooms, shelf, plan.vault, looking, pipeline)


async def test_what_needs_a_person_is_counted_and_the_last_ones_are_named(tmp_path: Path) -> None:
    items = {f"bad{n}.jpg": b"BAD %d" % n for n in range(SHOWN + 3)} | {"good.jpg": b"good"}
    async with scene(tmp_path, Plan(items)) as here:
        snapshot = await here.looking.look()
        assert snapshot.books is not None
        assert (snapshot.books.needy, len(snapshot.books.newest)) == (SHOWN + 3, SHOWN)
        assert snapshot.books.counts[State.UPLOADED] == 1
        (first, *_) = newest = snapshot.books.newest
        assert [needy.changed_at for needy in newest] == sorted((n.changed_at for n in newest), reverse=True)
        assert (first.state, first.reason, first.discreet) == (State.REJECTED, "Bad. Send a good one.", False)
        assert snapshot.answered == {"vault"}
        assert snapshot.free_bytes is not None and snapshot.free_bytes > 0


async def test_an_old_receipt_that_fails_today_is_among_the_newest(tmp_path: Path) -> None:
    items = {f"bad{n:02}.jpg": b"BAD %d" % n for n in range(SHOWN * 2)}
    async with scene(tmp_path, Plan(items)) as here:
        await here.looking.look()
        oldest = min(await here.rooms.reader.find(), key=lambda receipt: receipt.id)
        now = process_clock()()
        again = await here.rooms.ledger.move(oldest, Event.REQUEUE, now=now)
        await here.rooms.ledger.move(again, Event.HOLD, now=process_clock()(), reason="Look at it.")
        books = (await here.looking.look()).books
        assert books is not None and books.newest[0].id == oldest.id
        assert (books.newest[0].state, books.needy) == (State.HELD, SHOWN * 2)


async def test_a_receipt_that_the_target_is_still_asked_about_needs_nobody(tmp_path: Path) -> None:
    vault = Vault(lost=1, sight=lambda slot: None)
    async with scene(tmp_path, Plan({"lost.jpg": b"x", "bad.jpg": b"BAD"}, vault=vault)) as here:
        lost = await here.receipt("lost.jpg")
        assert lost.state is State.UNCONFIRMED and lost.settled, "a receipt slot can't be asked"
        books = (await here.looking.look()).books
        assert books is not None and books.needy == 2
        claimed = await _claimed_again(here, lost)
        await here.rooms.ledger.move(
            claimed, Event.LOSE, now=process_clock()(), reason="In doubt.", due_at=Instant(2**52)
        )
        anew = replace(here.looking)  # behind the same count, others are noticed within a minute
        books = (await anew.look()).books
        assert books is not None and books.needy == 1
        assert [needy.filename for needy in books.newest] == ["bad.jpg"]


async def _claimed_again(here: Scene, receipt: Receipt) -> Receipt:
    now = process_clock()()
    await here.rooms.ledger.move(receipt, Event.REQUEUE, now=now)
    await asyncio.sleep(0.002)
    (claimed,) = await here.rooms.ledger.claim(
        owner="x", lease=timedelta(minutes=1), limit=1, now=process_clock()()
    )
    return claimed


async def test_names_of_sources_that_are_no_folders_stay_with_us(tmp_path: Path) -> None:
    async with scene(tmp_path, Plan({"bad.jpg": b"BAD"}, folders=frozenset())) as here:
        here.shelf.status = SourceStatus(trouble="mallory sent too much", troubled_since=Instant(5))
        snapshot = await here.looking.look()
        assert snapshot.books is not None and snapshot.books.newest[0].discreet
        source = snapshot.sources["shelf"]
        assert source.discreet and not source.scanned
        assert source.trouble is not None and source.trouble.since == 5


async def test_a_target_that_fails_shows_since_when_and_why(tmp_path: Path) -> None:
    vault = Vault(logins=[Login(account="ann", expires_at=Instant(7)), Login(account=None, expires_at=None)])
    vault.answer = lambda receipt: Unavailable(reason="It answers 503.", everything=True)
    before = process_clock()()
    async with scene(tmp_path, Plan({"a.jpg": b"a"}, vault=vault)) as here:
        snapshot = await here.looking.look()
        trouble = snapshot.failing["vault", None]
        assert trouble.reason == "It answers 503." and before <= trouble.since <= snapshot.at
        assert snapshot.answered == frozenset() and snapshot.places.keys() == {"vault"}
        assert snapshot.logins == {("vault", "ann"): 7}


async def test_a_ledger_that_can_not_be_read_is_a_finding_and_comes_back(tmp_path: Path) -> None:
    async with scene(tmp_path, Plan({"bad.jpg": b"BAD"})) as here:
        away = tmp_path / "away"
        await here.rooms.reader.aclose()
        ledger = tmp_path / "ledger.db"
        ledger.rename(away)
        ledger.mkdir()
        first, second = await here.looking.look(), await here.looking.look()
        assert first.books is None and first.unreadable is not None
        assert second.unreadable is not None and second.unreadable.since == first.unreadable.since
        ledger.rmdir()
        away.rename(ledger)
        third = await here.looking.look()
        assert third.books is not None and third.unreadable is None


async def test_who_asks_often_gets_the_same_snapshot(tmp_path: Path) -> None:
    async with scene(tmp_path, Plan()) as here:
        looks = await asyncio.gather(*(here.looking.look(age=timedelta(minutes=1)) for _ in range(20)))
        assert all(look is looks[0] for look in looks)
        assert await here.looking.look() is not looks[0]


async def test_what_could_not_be_started_is_remembered() -> None:
    hearing = Hearing()
    hearing.note("letters.unavailable", level="warning", reason="WeasyPrint is not installed")
    for outcome, destined in (
        ("unavailable", "a:receipt"),
        ("refused", "b:report/1"),
        ("uploaded", "c:receipt"),
    ):
        hearing.note("attempt.finished", outcome=outcome, destined=destined)
    assert hearing.lacking == {"letters": "WeasyPrint is not installed"}
    assert hearing.answered == {"b", "c"}
