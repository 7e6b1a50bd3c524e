"""Upkeep: what is purged and what stays, orphans of the spool, leases, unconfirmed receipts sent again."""

import asyncio
import os
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest

from ingestd.clock import process_clock
from ingestd.domain.document import Instant
from ingestd.domain.errors import LedgerUnavailable
from ingestd.domain.outcome import Unconfirmed
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import RetryPolicy, later
from ingestd.domain.rules import TargetRules
from ingestd.domain.states import Event, State
from ingestd.pipeline import Flow, Pipeline, UpkeepSettings, upkeep
from ingestd.pipeline.upkeep import Upkeep
from ingestd.settings import PreparationSettings
from tests.unit.pipeline.rooms import QUICK, Ears, Rooms, Shelf, Vault, now, open_rooms

SOON = timedelta(seconds=1)
KEEP = timedelta(days=30)


async def take_in(rooms: Rooms, items: dict[str, bytes]) -> dict[str, Receipt]:
    """Each item on its way to its end; the receipts by name."""
    shelf = Shelf(items)
    await Pipeline(rooms.flow(Vault()), {shelf.name: shelf}).run(until_idle=SOON)
    return {receipt.filename: receipt for receipt in await rooms.reader.find()}


def age(rooms: Rooms, by: timedelta) -> None:
    """Every blob of the spool was written that long ago."""
    for blob in rooms.spool.directory.glob("??/*"):
        at = blob.stat().st_mtime - by.total_seconds()
        os.utime(blob, (at, at))


async def tidy(rooms: Rooms, *, after: timedelta, ears: Ears | None = None) -> None:
    clock = process_clock()

    def then() -> Instant:
        return later(clock(), after)

    settings = UpkeepSettings(keep=KEEP, tidy_every=timedelta())
    await Upkeep([], rooms.flow(Vault(), ears=ears, clock=then, upkeep=settings))._tidy()


async def test_originals_go_when_they_were_kept_long_enough_and_the_rows_stay(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipts = await take_in(rooms, {"a.jpg": b"good", "b.jpg": b"BAD"})
        good, bad = (rooms.spool.path(receipts[name].sha256) for name in ("a.jpg", "b.jpg"))
        await tidy(rooms, after=KEEP - SOON)
        assert good.exists()
        age(rooms, KEEP)
        ears = Ears()
        await tidy(rooms, after=KEEP + SOON, ears=ears)
        assert not good.exists()
        assert bad.exists(), "a person may still retry what was rejected"
        assert ("spool.purged", {"count": 1}) in ears.heard
        assert {r.filename for r in await rooms.reader.find()} == {"a.jpg", "b.jpg"}
        assert (await rooms.reader.balance()).closed
        ears = Ears()
        await tidy(rooms, after=2 * KEEP, ears=ears)
        assert "spool.purged" not in ears.events()


async def test_originals_that_can_not_go_yet_keep_none_behind_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PURGE_BATCH", 1)
    async with open_rooms(tmp_path) as rooms:
        items = {"bad.jpg": b"BAD", "used.jpg": b"used", "old.jpg": b"old"}
        receipts = {name: (await take_in(rooms, {name: data}))[name] for name, data in items.items()}
        age(rooms, KEEP)
        rooms.spool.write(BytesIO(b"used"))
        await tidy(rooms, after=KEEP + SOON)
        left = {name for name, receipt in receipts.items() if rooms.spool.path(receipt.sha256).exists()}
        assert left == {"bad.jpg", "used.jpg"}


async def test_nothing_that_takes_long_costs_the_leases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "TICK", timedelta(milliseconds=5))
    async with open_rooms(tmp_path) as rooms:
        lease, begun, shelf = timedelta(seconds=1), asyncio.Event(), Shelf({})
        flow = rooms.flow(Vault(), upkeep=UpkeepSettings(lease=lease, tidy_every=timedelta()))
        receipt = await claimed(rooms, flow, lease)

        async def slow() -> None:
            begun.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(shelf, "tidy", slow)
        keeper = asyncio.create_task(Upkeep([shelf], flow).run())
        async with asyncio.timeout(60):
            await begun.wait()
            tidying_at = flow.clock()
            while (receipt.lease_until or 0) <= later(tidying_at, lease):
                receipt = await rooms.reader.get(receipt.id) or receipt
        keeper.cancel()
        await asyncio.wait([keeper])
        assert receipt.state is State.CLAIMED


async def test_looks_go_when_nothing_is_compared_with_them_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PURGE_BATCH", 2)
    window = PreparationSettings().near_duplicate_window
    async with open_rooms(tmp_path) as rooms:
        await take_in(rooms, {f"{n}.jpg": b"LOOK a %d x" % n for n in range(5)})
        await tidy(rooms, after=window - SOON)
        assert await rooms.ledger.forget_looks(before=later(now(), SOON), limit=1) == 1
        await tidy(rooms, after=window + SOON)
        assert await rooms.ledger.forget_looks(before=later(now(), SOON), limit=1) == 0


async def test_what_never_came_into_the_ledger_is_swept_once_it_is_old(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipts = await take_in(rooms, {"a.jpg": b"good"})
        orphan = rooms.spool.write(BytesIO(b"copied, and then the power went"))
        await tidy(rooms, after=timedelta())
        assert orphan.path.exists(), "another process may be about to commit it"
        age(rooms, timedelta(days=2))
        await tidy(rooms, after=timedelta())
        assert not orphan.path.exists()
        assert rooms.spool.path(receipts["a.jpg"].sha256).exists()


async def test_a_thumbnail_that_lost_its_image_is_removed_and_the_others_stay(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt = (await take_in(rooms, {"a.jpg": b"good"}))["a.jpg"]
        gone = rooms.spool.write(BytesIO(b"an image that a crash took away"))
        for sha256 in (receipt.sha256, gone.sha256):
            assert rooms.spool.write_thumbnail(sha256, b"jpeg")
        gone.path.unlink()
        await tidy(rooms, after=timedelta())
        assert rooms.spool.thumbnail(receipt.sha256) is not None
        assert rooms.spool.thumbnail(gone.sha256) is None


async def claimed(rooms: Rooms, flow: Flow, lease: timedelta) -> Receipt:
    """A ready receipt, claimed with that lease."""
    await take_in(rooms, {"a.jpg": b"x"})
    (uploaded,) = await rooms.reader.find()
    shelf = Shelf({"b.jpg": b"y"})
    slow = rooms.flow(Vault(answer=lambda _: Unconfirmed(reason="?")))
    await Pipeline(slow, {shelf.name: shelf}).run(until_idle=SOON)
    (lost,) = await rooms.reader.find(states={State.UNCONFIRMED})
    await rooms.ledger.move(lost, Event.REQUEUE, now=now())
    (receipt,) = await rooms.ledger.claim(owner=flow.owner, lease=lease, limit=9, now=now())
    assert receipt.id != uploaded.id
    return receipt


async def test_leases_are_renewed_while_the_owner_lives_and_taken_over_when_it_is_gone(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        lease = timedelta(seconds=40)
        flow = rooms.flow(Vault(), upkeep=UpkeepSettings(lease=lease))
        receipt = await claimed(rooms, flow, lease)
        clock = process_clock()

        async def tick(owner: str, after: timedelta) -> Receipt:
            there = rooms.flow(
                Vault(), owner=owner, clock=lambda: later(clock(), after), upkeep=UpkeepSettings(lease=lease)
            )
            keeper = Upkeep([], there)
            keeper._renew_at = there.clock()
            await keeper._keep_leases()
            current = await rooms.reader.get(receipt.id)
            assert current is not None
            return current

        assert (await tick("another", timedelta(seconds=39))).state is State.CLAIMED
        renewed = await tick(flow.owner, timedelta(seconds=39))
        assert renewed.lease_until is not None and receipt.lease_until is not None
        assert renewed.lease_until > receipt.lease_until
        assert (await tick("another", timedelta(seconds=45))).state is State.CLAIMED
        assert (await tick("another", timedelta(seconds=90))).state is State.READY


async def test_after_a_jump_of_the_clock_nothing_is_due_too_late(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        policy = RetryPolicy()
        flow = rooms.flow(Vault(), rules={"vault": TargetRules(retry=policy)})
        receipt = await claimed(rooms, flow, SOON)
        in_a_year = later(now(), timedelta(days=365))
        await rooms.ledger.move(receipt, Event.RELEASE, now=now(), due_at=in_a_year)
        await Upkeep([], flow).first()
        current = await rooms.reader.get(receipt.id)
        assert current is not None
        assert current.due_at <= later(now(), policy.longest)


async def test_a_run_has_started_only_when_what_a_crash_left_is_in_order(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        flow = rooms.flow(Vault())
        receipt = await claimed(rooms, flow, timedelta(hours=1))
        begun = await rooms.ledger.begin(receipt, now=now())
        asked: list[str] = []

        def started() -> None:
            asked.append("started")
            pipeline.stop()

        class Asked:
            def __getattr__(self, name: str) -> object:
                asked.append(name)
                return getattr(rooms.ledger, name)

        flow = rooms.flow(Vault(), ledger=Asked(), rules={"vault": TargetRules(retry=QUICK)})
        pipeline = Pipeline(flow, {})
        await pipeline.run(started=started)
        assert asked[:3] == ["recover", "clamp_due", "started"]
        current = await rooms.reader.get(begun.id)
        assert current is not None
        assert current.state is State.UNCONFIRMED


async def test_a_run_that_can_not_put_things_in_order_never_starts(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        started: list[bool] = []

        class Broken:
            def __getattr__(self, name: str) -> object:
                if name == "recover":
                    raise LedgerUnavailable("the disk is gone")
                return getattr(rooms.ledger, name)

        pipeline = Pipeline(rooms.flow(Vault(), ledger=Broken()), {})
        with pytest.raises(LedgerUnavailable):
            await pipeline.run(started=lambda: started.append(True))
        assert not started


async def test_a_login_is_used_at_the_start_although_there_is_nothing_to_upload(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, ears = Vault(), Ears()
        await Pipeline(rooms.flow(vault, ears=ears), {}).run(until_idle=SOON)
        assert vault.kept_in == 1
        assert ("login.unavailable", {"target": "vault", "reason": "Nobody is at home."}) in ears.heard
