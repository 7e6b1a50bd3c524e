"""The watch as it runs: real ways, a real file, a ledger; only the world outside is told by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.alerts import Hearing, Looking, MailWay, Memory, Watch, Way, WebhookWay, watch
from ingestd.clock import process_clock
from ingestd.domain.document import Instant
from ingestd.replies import SmtpHerald
from ingestd.settings import AlertSettings, SmtpSettings
from tests.unit.alerts.cases import START, failing, snapshot
from tests.unit.alerts.server import Hook, hook
from tests.unit.pipeline.rooms import Ears, open_rooms
from tests.unit.replies.sink import Sink, sink

QUICK = AlertSettings(
    failing=timedelta(),
    after=timedelta(milliseconds=300),
    every=timedelta(milliseconds=600),
    most_per_day=100,
    low_disk=0,
)


@dataclass
class World:
    """What the pipeline would say."""

    failing: Mapping[tuple[str, str | None], tuple[Instant, str]] = field(default_factory=dict)
    paused: Mapping[str, tuple[Instant, str]] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=lambda: {"concur": 4})

    def fail(self) -> None:
        self.failing = {("concur", None): (process_clock()(), "It answers 503.")}

    def recover(self) -> None:
        self.failing = {}


@dataclass
class Town:
    directory: Path
    mails: Sink
    chat: Hook
    world: World = field(default_factory=World)
    ears: Ears = field(default_factory=Ears)
    settings: AlertSettings = QUICK

    def ways(self) -> list[Way]:
        clock = process_clock()
        smtp = SmtpSettings(
            host="127.0.0.1", port=self.mails.port, security="none", sender="r@example.com",
            timeout=timedelta(seconds=2),
        )  # fmt: skip
        url = f"{self.chat.url}/hook/sesame"
        return [
            MailWay(SmtpHerald(smtp, to="it@example.com", clock=clock), to="it@example.com", host="srv1"),
            WebhookWay(
                lambda: url, name="webhook", host="srv1", quotable=True, silence=timedelta(seconds=0.5)
            ),
        ]

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Watch]:
        """As long as a run."""
        async with open_rooms(self.directory) as rooms:
            clock = process_clock()
            looking = Looking(
                reader=rooms.reader, outside=self.world, sources={}, destinations={}, folders=(),
                directory=self.directory, clock=clock, hearing=Hearing(),
            )  # fmt: skip
            running = Watch(
                self.settings,
                self.ways(),
                looking=looking,
                memory=Memory(self.directory / "alerts.json"),
                clock=clock,
                observer=self.ears,
            )
            task = asyncio.create_task(running.run())
            try:
                yield running
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    @property
    def subjects(self) -> list[str]:
        marks = [mail.content.decode().partition("Subject: ")[2] for mail in self.mails.received]
        return [text.split("\r\n", 1)[0].partition(": ")[2] for text in marks]

    @property
    def events(self) -> list[Any]:
        return [posted["ingestd"]["event"] for posted in self.chat.posted]


FAILS, WELL = "the target concur fails", "all is well again"


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with sink() as mails, hook() as chat:
        yield Town(tmp_path, mails, chat)


async def until(ready: Callable[[], bool], what: Callable[[], object], seconds: float = 20) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not ready():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what()) from None


async def a_while() -> None:
    """Longer than it takes to tell anything."""
    await asyncio.sleep(1.3)


async def test_an_outage_is_told_once_by_each_way_and_taken_back_once(town: Town) -> None:
    async with town.watched() as running:
        town.world.fail()
        await until(lambda: len(town.events) == len(town.subjects) == 1, lambda: town.events)
        assert running.open() == {"target": 1}
        await a_while()
        town.world.recover()
        await until(lambda: len(town.events) == len(town.subjects) == 2, lambda: town.events)
        await a_while()
    assert town.subjects == [FAILS, WELL] and town.events == ["trouble", "well"]
    assert running.open() == {}


async def test_a_restart_repeats_nothing_and_forgets_no_good_news(town: Town) -> None:
    async with town.watched():
        town.world.fail()
        await until(lambda: len(town.events) == len(town.subjects) == 1, lambda: town.events)
        await a_while()
    async with town.watched():
        await a_while()
    assert town.events == ["trouble"] and len(town.subjects) == 1
    town.world.recover()
    async with town.watched():
        await until(lambda: len(town.events) == len(town.subjects) == 2, lambda: town.events)
        await a_while()
    async with town.watched():
        await a_while()
    assert town.subjects == [FAILS, WELL] and town.events == ["trouble", "well"]


async def test_a_damaged_memory_begins_anew_and_is_said_so(town: Town) -> None:
    (town.directory / "alerts.json").write_text("{")
    town.world.fail()
    async with town.watched():
        await until(lambda: len(town.events) == 1, lambda: town.events)
    assert "alerts.forgotten" in town.ears.events()


async def test_it_ends_although_a_way_swallows_the_first_cancellation(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(self: MailWay, message: object, at: object) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)

    monkeypatch.setattr(MailWay, "send", deaf)
    town.world.fail()
    async with town.watched():
        await until(lambda: len(town.events) == 1, lambda: town.events)


async def test_a_webhook_that_fails_keeps_no_mail_waiting_and_is_tried_again(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "FIRST_PAUSE", timedelta(milliseconds=400))
    town.chat.answers = [500, 0, 302]
    town.world.fail()
    async with town.watched():
        await until(lambda: town.subjects == [FAILS], lambda: town.subjects)
        await until(lambda: len(town.events) == 4, lambda: town.events)
        await a_while()
    assert town.subjects == [FAILS] and len(town.events) == 4
    told = [fields for event, fields in town.ears.heard if event == "alerts.unsent"]
    assert [fields["failures"] for fields in told] == [1, 2, 3]
    assert [fields["way"] for fields in told] == ["webhook"] * 3
    assert "sesame" not in json.dumps([fields for _, fields in town.ears.heard], default=str)
    assert town.chat.paths == ["/hook/sesame"] * 4, "no redirect was followed"


async def test_pauses_grow_up_to_an_hour(town: Town) -> None:
    town.mails.refuse = {"RCPT": "550 5.1.1 nobody here"}
    waits: list[object] = []
    teller = watch._Teller(
        town.ways()[0], replace(QUICK, after=timedelta()), Memory(town.directory / "x"), town.ears
    )
    now = START
    for _ in range(10):
        moment = snapshot(now, **failing(START))
        await teller.turn(moment, now)
        waits = [fields["seconds"] for event, fields in town.ears.heard if event == "alerts.unsent"]
        assert isinstance(waits[-1], int)
        assert not await teller.turn(moment, Instant(now + waits[-1] * 1_000_000 - 1)), "not before"
        now = Instant(now + waits[-1] * 1_000_000)
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


async def test_a_disk_that_is_full_stops_no_message(town: Town) -> None:
    (town.directory / "alerts.json.new").mkdir()
    town.world.fail()
    async with town.watched():
        await until(lambda: len(town.events) == len(town.subjects) == 1, lambda: town.events)
        await a_while()
    assert "alerts.unsaved" in town.ears.events()
    assert town.events == ["trouble"]
