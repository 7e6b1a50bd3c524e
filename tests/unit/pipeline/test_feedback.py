"""Feedback: at least once, later when the source can't be reached or is out of the configuration."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from ingestd.clock import process_clock
from ingestd.domain.document import Instant
from ingestd.domain.retry import later
from ingestd.domain.states import State
from ingestd.interfaces import Report, Source, SourceUnavailable
from ingestd.pipeline import Pipeline
from ingestd.pipeline.feedback import ABSENT_WAIT, BATCH, FIRST_WAIT, LONGEST_WAIT
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Vault, open_rooms

SOON = timedelta(seconds=1)


class Moody(Shelf):
    """A shelf nobody can be told at while `away`."""

    away = True
    asked = 0

    async def report(self, report: Report) -> str | None:
        self.asked += 1
        if self.away:
            raise SourceUnavailable("the share is not mounted")
        return await super().report(report)


async def run(rooms: Rooms, shelf: Shelf | None, *, ears: Ears | None = None, after: timedelta) -> None:
    """Everything that is due by then, that much later than now."""
    clock = process_clock()

    def then() -> Instant:
        return later(clock(), after)

    sources: dict[str, Source] = {shelf.name: shelf} if shelf else {}
    flow = rooms.flow(Vault(), ears=ears, clock=then)
    await Pipeline(flow, sources).run(until_idle=SOON)


async def test_a_report_that_does_not_get_through_waits_and_is_delivered_later(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, ears = Moody({"a.jpg": b"x"}), Ears()
        await run(rooms, shelf, ears=ears, after=timedelta())
        assert (shelf.asked, shelf.reports) == (1, [])
        assert "feedback.deferred" in ears.events()
        (receipt,) = await rooms.reader.find()
        assert receipt.state is State.UPLOADED, "a report never touches the receipt"

        shelf.away = False
        await run(rooms, shelf, after=FIRST_WAIT + SOON)
        assert [(r.state, r.image_id) for r in shelf.reports] == [(State.UPLOADED, receipt.image_id)]
        await run(rooms, shelf, after=2 * LONGEST_WAIT)
        assert len(shelf.reports) == 1


async def test_a_source_that_stays_away_is_asked_less_and_less_often(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, after = Moody({"a.jpg": b"x"}), timedelta()
        await run(rooms, shelf, after=after)
        for wait in (FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT):
            asked = shelf.asked
            await run(rooms, shelf, after=after + wait - 2 * SOON)
            assert shelf.asked == asked
            after += wait + SOON
            await run(rooms, shelf, after=after)
            assert shelf.asked == asked + 1


async def test_a_source_taken_out_of_the_configuration_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, ears = Moody({"a.jpg": b"x"}), Ears()
        await run(rooms, shelf, after=timedelta())
        after = FIRST_WAIT + SOON
        await run(rooms, None, ears=ears, after=after)
        await run(rooms, None, ears=ears, after=after + SOON)
        assert ears.events().count("feedback.deferred") == 1, "it is not asked after all the time"

        shelf.away = False
        await run(rooms, shelf, after=after + ABSENT_WAIT + SOON)
        assert [report.state for report in shelf.reports] == [State.UPLOADED]


class Slow(Shelf):
    """A mailbox far away, say: nobody is told here before all is told elsewhere."""

    name = "slow"

    def __init__(self, items: Mapping[str, bytes], elsewhere: Shelf, expected: int) -> None:
        super().__init__(items)
        self._elsewhere = elsewhere
        self._expected = expected

    async def report(self, report: Report) -> str | None:
        async with asyncio.timeout(30):
            while len(self._elsewhere.reports) < self._expected:
                await asyncio.sleep(0.01)
        return await super().report(report)


async def test_a_slow_source_keeps_no_other_one_waiting(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        quick = Shelf({f"{number}.jpg": b"%d" % number for number in range(BATCH + 10)})
        slow = Slow({"a.jpg": b"x"}, quick, expected=BATCH + 10)
        await Pipeline(rooms.flow(Vault()), {"slow": slow, "shelf": quick}).run(until_idle=SOON)
        assert (len(quick.reports), len(slow.reports)) == (BATCH + 10, 1)
