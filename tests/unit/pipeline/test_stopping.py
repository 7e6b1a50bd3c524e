"""Stop at every instant: soft or hard, at each boundary of the pipeline, and then run again.

An instant is a boundary of a ledger operation or of an upload. Whatever the instant, nothing is lost, the
books close, and the target holds nothing twice but what the ledger called unconfirmed.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.errors import LedgerUnavailable
from ingestd.domain.states import State
from ingestd.interfaces import Arrival
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Vault, open_rooms

ITEMS = {"a.jpg": b"first", "b.jpg": b"second", "bad.jpg": b"BAD"}
WAIT = timedelta(seconds=2)


class Instants:
    """Counts boundaries and acts at one of them."""

    def __init__(self, at: int, act: Callable[[], None]) -> None:
        self.passed = 0
        self._at = at
        self._act = act

    async def tick(self) -> None:
        self.passed += 1
        if self.passed == self._at:
            self._act()
        await asyncio.sleep(0)


class Ticking:
    """The real ledger with an instant before and after each operation."""

    def __init__(self, ledger: Any, instants: Instants) -> None:
        self._ledger = ledger
        self._instants = instants

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        operation = getattr(self._ledger, name)

        async def ticking(*arguments: Any, **named: Any) -> Any:
            await self._instants.tick()
            result = await operation(*arguments, **named)
            await self._instants.tick()
            return result

        return ticking


async def interrupted_run(rooms: Rooms, shelf: Shelf, vault: Vault, at: int, *, hard: bool) -> bool:
    """Runs until idle, interrupted at the given instant. False when the run ended before it came."""
    acted = False

    def act() -> None:
        nonlocal acted
        acted = True
        if hard:
            running.cancel()
        else:
            pipeline.stop()

    instants = Instants(at, act)
    vault.tick = instants.tick
    flow = rooms.flow(vault, ledger=Ticking(rooms.ledger, instants), upload_workers=2, prepare_workers=2)
    pipeline = Pipeline(flow, {shelf.name: shelf})
    running = asyncio.create_task(pipeline.run(until_idle=WAIT))
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()
    vault.tick = None
    return acted


async def judge(rooms: Rooms, shelf: Shelf, vault: Vault) -> None:
    """After one more undisturbed run everything is where it belongs."""
    shelf.forget_handing_out()
    pipeline = Pipeline(rooms.flow(vault), {shelf.name: shelf})
    await pipeline.run(until_idle=WAIT)
    receipts = {r.filename: r for r in await rooms.reader.find()}
    assert set(receipts) == set(ITEMS)
    assert not shelf.items
    assert receipts["bad.jpg"].state is State.REJECTED
    for name in ("a.jpg", "b.jpg"):
        assert receipts[name].state in (State.UPLOADED, State.UNCONFIRMED)
        assert vault.stored.count(name) <= 1
        if receipts[name].state is State.UPLOADED:
            assert vault.stored.count(name) == 1
    assert (await rooms.reader.balance()).closed
    assert {report.origin.path for report in shelf.reports} == set(ITEMS)


@pytest.mark.parametrize("hard", [False, True], ids=["soft", "hard"])
async def test_a_stop_at_every_instant_loses_and_doubles_nothing(tmp_path: Path, hard: bool) -> None:
    at = 0
    while True:
        at += 1
        async with open_rooms(tmp_path / str(at)) as rooms:
            shelf, vault = Shelf(ITEMS), Vault()
            acted = await interrupted_run(rooms, shelf, vault, at, hard=hard)
            await judge(rooms, shelf, vault)
        if not acted:
            break
    assert at > 30


async def test_a_soft_stop_leaves_nothing_unconfirmed(tmp_path: Path) -> None:
    for at in range(1, 60, 4):
        async with open_rooms(tmp_path / str(at)) as rooms:
            shelf, vault = Shelf(ITEMS), Vault()
            await interrupted_run(rooms, shelf, vault, at, hard=False)
            counts = await rooms.reader.counts()
            assert counts[State.UNCONFIRMED] == counts[State.UPLOADING] == counts[State.CLAIMED] == 0


async def test_a_hard_stop_during_an_upload_makes_it_unconfirmed(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, vault, reached = Shelf({"a.jpg": b"x"}), Vault(), asyncio.Event()

        async def never() -> None:
            reached.set()
            await asyncio.Event().wait()

        vault.tick = never
        pipeline = Pipeline(rooms.flow(vault), {shelf.name: shelf})
        running = asyncio.create_task(pipeline.run())
        await reached.wait()
        running.cancel()
        await asyncio.wait([running])
        (receipt,) = await rooms.reader.find()
        assert receipt.state is State.UNCONFIRMED
        assert "nobody knows" in (receipt.reason or "")


async def test_what_hangs_longer_than_grace_is_cut_off(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, vault, ears = Shelf({"a.jpg": b"x"}), Vault(), Ears()
        reached = asyncio.Event()

        async def never() -> None:
            reached.set()
            await asyncio.Event().wait()

        vault.tick = never
        flow = rooms.flow(vault, ears=ears, grace=timedelta(milliseconds=100))
        pipeline = Pipeline(flow, {shelf.name: shelf})
        running = asyncio.create_task(pipeline.run())
        await reached.wait()
        pipeline.stop()
        await running
        assert "run.grace_over" in ears.events()
        (receipt,) = await rooms.reader.find()
        assert receipt.state is State.UNCONFIRMED


async def test_a_ledger_that_breaks_ends_the_run_at_once_even_when_no_further_file_comes(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, vault = Patient({"a.jpg": b"x"}), Vault()

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return getattr(rooms.ledger, name)

            async def accept(self, *_: Any, **__: Any) -> None:
                raise LedgerUnavailable("the disk is gone")

        pipeline = Pipeline(rooms.flow(vault, ledger=Broken()), {shelf.name: shelf})
        with pytest.raises(LedgerUnavailable, match="the disk is gone"):
            await asyncio.wait_for(pipeline.run(), 10)
        assert shelf.items == {"a.jpg": b"x"}


class Patient(Shelf):
    """A shelf that goes on waiting for more."""

    async def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        async for arrival in super().arrivals(once=once):
            yield arrival
        await asyncio.Event().wait()
