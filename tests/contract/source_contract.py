"""What every source promises (interfaces.Source), tested against real originals: subclass it with a bench.

A bench puts originals where the source finds them and looks at what is left there.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from ingestd.clock import process_clock
from ingestd.domain.document import Document, Payload
from ingestd.domain.states import State
from ingestd.interfaces import Arrival, Report, Source, SourceStatus
from ingestd.spool import Spool

JPEG = b"\xff\xd8\xff\xe0 a receipt %d \xff\xd9"
WAIT_S = 20.0
PAGES = {f"page_{number}.jpg": JPEG % number for number in (10, 2, 1)}


class Bench(Protocol):
    spool: Spool

    def source(self) -> Source:
        """A new source over the same originals, as after a restart."""
        ...

    def drop(self, name: str, data: bytes) -> None: ...

    def drop_together(self, pages: Mapping[str, bytes]) -> None:
        """Originals that become one receipt. Called once."""
        ...

    def originals(self) -> int:
        """How many originals were not acknowledged yet, wherever they are kept."""
        ...

    def shown(self) -> dict[str, bytes]:
        """What the sender can see of reports: name -> content."""
        ...

    def break_it(self) -> None:
        """Make the place unreachable, with everything in it kept."""
        ...

    def mend_it(self) -> None: ...


class SourceContract:
    """Subclasses provide the fixture `bench`."""

    async def test_with_nothing_there_one_full_pass_ends(self, bench: Bench) -> None:
        source = bench.source()
        async with asyncio.timeout(WAIT_S):
            assert await collect(source, bench) == {}
        assert source.status.scans >= 1

    async def test_every_original_arrives_once_with_its_bytes(self, bench: Bench) -> None:
        wanted = {f"receipt-{n}.jpg": JPEG % n for n in range(5)}
        for name, data in wanted.items():
            bench.drop(name, data)
        assert await collect(bench.source(), bench) == wanted
        assert bench.originals() == 0
        assert await collect(bench.source(), bench) == {}

    async def test_nothing_goes_away_before_it_is_acknowledged(self, bench: Bench) -> None:
        bench.drop("a.jpg", JPEG % 1)
        source = bench.source()
        async with aclosing(source.arrivals(once=False)) as arrivals:
            arrival = await next_of(arrivals)
            assert read(arrival) == JPEG % 1
            assert bench.originals() == 1
            await arrival.acknowledge()
            assert bench.originals() == 0

    async def test_after_a_crash_it_arrives_again_under_the_same_id(self, bench: Bench) -> None:
        bench.drop("a.jpg", JPEG % 1)
        async with aclosing(bench.source().arrivals(once=False)) as arrivals:
            first = await next_of(arrivals)
        async with aclosing(bench.source().arrivals(once=False)) as arrivals:
            again = await next_of(arrivals)
            assert (again.id, again.origin) == (first.id, first.origin)
            assert read(again) == JPEG % 1
            await again.acknowledge()
        assert bench.originals() == 0

    async def test_what_is_given_back_comes_again_and_a_pass_waits_for_it(self, bench: Bench) -> None:
        bench.drop("a.jpg", JPEG % 1)
        seen: list[str] = []
        async with asyncio.timeout(WAIT_S), aclosing(bench.source().arrivals(once=True)) as arrivals:
            async for arrival in arrivals:
                seen.append(arrival.id)
                await (arrival.give_back() if len(seen) == 1 else arrival.acknowledge())
        assert len(seen) == 2
        assert bench.originals() == 0

    async def test_an_arrival_can_be_read_again(self, bench: Bench) -> None:
        """A full disk ends the first copy in the middle."""
        bench.drop("a.jpg", JPEG % 1)
        async with aclosing(bench.source().arrivals(once=False)) as arrivals:
            arrival = await next_of(arrivals)
            assert read(arrival) == read(arrival) == JPEG % 1
            await arrival.acknowledge()

    async def test_trouble_is_said_waited_out_and_over_when_it_is_over(self, bench: Bench) -> None:
        source = bench.source()
        async with aclosing(source.arrivals(once=False)) as arrivals:
            waiting = asyncio.ensure_future(anext(arrivals))
            await until(lambda: source.status.scans > 0)
            bench.break_it()
            await until(lambda: source.status.trouble is not None)
            assert source.status.troubled_since is not None
            bench.mend_it()
            bench.drop("late.jpg", JPEG % 9)
            async with asyncio.timeout(WAIT_S):
                arrival = await waiting
            assert read(arrival) == JPEG % 9
            assert source.status == replace(source.status, trouble=None, troubled_since=None)
            await arrival.acknowledge()

    async def test_a_report_told_twice_shows_the_same(self, bench: Bench) -> None:
        report = await arrived(bench, "a.jpg", State.REJECTED)
        source = bench.source()
        place = await source.report(report)
        first = bench.shown()
        assert await source.report(report) == place
        assert await source.report(replace(report, place=place)) == place
        assert bench.shown() == first

    async def test_a_rejection_tells_the_sender_why(self, bench: Bench) -> None:
        report = await arrived(bench, "a.jpg", State.REJECTED)
        await bench.source().report(report)
        assert any(b"It has no pages." in text for text in bench.shown().values())

    async def test_an_upload_after_a_rejection_takes_the_reason_away(self, bench: Bench) -> None:
        report = await arrived(bench, "a.jpg", State.REJECTED)
        place = await bench.source().report(report)
        await bench.source().report(replace(report, state=State.UPLOADED, image_id="IMG1", place=place))
        assert not any(b"It has no pages." in text for text in bench.shown().values())

    async def test_what_belongs_together_is_one_arrival_in_the_order_people_expect(
        self, bench: Bench
    ) -> None:
        bench.drop_together(PAGES)
        async with aclosing(bench.source().arrivals(once=True)) as arrivals:
            arrival = await next_of(arrivals)
            assert {p.filename: read_payload(p) for p in arrival.payloads} == PAGES
            assert [p.filename for p in arrival.payloads] == ["page_1.jpg", "page_2.jpg", "page_10.jpg"]
            assert len({p.arrived_as for p in arrival.payloads}) == 3
            assert bench.originals() == 3
            await arrival.acknowledge()
        assert bench.originals() == 0

    async def test_after_a_crash_all_of_it_arrives_again_under_the_same_id(self, bench: Bench) -> None:
        bench.drop_together(PAGES)
        async with aclosing(bench.source().arrivals(once=False)) as arrivals:
            first = await next_of(arrivals)
        async with aclosing(bench.source().arrivals(once=False)) as arrivals:
            again = await next_of(arrivals)
            assert (again.id, again.origin) == (first.id, first.origin)
            assert {p.filename: read_payload(p) for p in again.payloads} == PAGES
            await again.acknowledge()
        assert bench.originals() == 0

    async def test_a_pass_waits_for_all_of_it_when_it_is_given_back(self, bench: Bench) -> None:
        bench.drop_together(PAGES)
        seen: list[str] = []
        async with asyncio.timeout(WAIT_S), aclosing(bench.source().arrivals(once=True)) as arrivals:
            async for arrival in arrivals:
                assert len(arrival.payloads) == 3
                seen.append(arrival.id)
                await (arrival.give_back() if len(seen) == 1 else arrival.acknowledge())
        assert len(seen) == 2
        assert bench.originals() == 0

    async def test_a_report_on_several_documents_is_told_of_each_and_taken_back(self, bench: Bench) -> None:
        bench.drop_together(PAGES)
        report = await taken_in(bench, State.REJECTED)
        source = bench.source()
        place = await source.report(report)
        first = bench.shown()
        for data in PAGES.values():
            assert data in first.values()
        assert await source.report(report) == place
        assert await source.report(replace(report, place=place)) == place
        assert bench.shown() == first
        await source.report(replace(report, state=State.UPLOADED, image_id="IMG1", place=place))
        assert not any(b"It has no pages." in text for text in bench.shown().values())

    def test_a_status_starts_without_trouble(self, bench: Bench) -> None:
        assert bench.source().status == SourceStatus()


def read(arrival: Arrival) -> bytes:
    (payload,) = arrival.payloads
    return read_payload(payload)


def read_payload(payload: Payload) -> bytes:
    with payload.content.open() as stream:
        data = stream.read()
    payload.content.recheck()
    return data


async def next_of(arrivals: AsyncIterator[Arrival]) -> Arrival:
    async with asyncio.timeout(WAIT_S):
        return await anext(arrivals)


async def collect(source: Source, bench: Bench) -> dict[str, bytes]:
    """One full pass; everything is spooled and acknowledged, as the daemon does."""
    found: dict[str, bytes] = {}
    async with asyncio.timeout(WAIT_S), aclosing(source.arrivals(once=True)) as arrivals:
        async for arrival in arrivals:
            assert arrival.payloads[0].filename not in found
            found[arrival.payloads[0].filename] = read(arrival)
            await arrival.acknowledge()
    return found


async def arrived(bench: Bench, name: str, state: State) -> Report:
    """Drop one file, take it in, and return the report on it."""
    bench.drop(name, JPEG % 7)
    return await taken_in(bench, state)


async def taken_in(bench: Bench, state: State) -> Report:
    """Take the next arrival in, and return the report on one receipt made of all of it."""
    async with aclosing(bench.source().arrivals(once=False)) as arrivals:
        arrival = await next_of(arrivals)
        documents = tuple(spooled(bench.spool, payload) for payload in arrival.payloads)
        await arrival.acknowledge()
    return Report(
        origin=arrival.origin,
        arrival=arrival.id,
        receipt=arrival.id,
        documents=documents,
        state=state,
        destined="concur:receipt",
        image_id=None,
        reason="It has no pages. Scan it again.",
        at=process_clock()(),
        repeat=False,
        place=None,
    )


def spooled(spool: Spool, payload: Payload) -> Document:
    with payload.content.open() as stream:
        found = spool.write(stream)
    return Document(
        path=found.path,
        filename=payload.filename,
        size=found.size,
        sha256=found.sha256,
        declared_type=None,
        arrived_as=payload.arrived_as,
    )


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0.02)
