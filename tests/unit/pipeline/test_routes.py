"""Where receipts go when the configuration changes under them: new routes, and targets that are gone."""

from datetime import timedelta
from pathlib import Path

from ingestd.domain.outcome import Throttled
from ingestd.domain.receipt import NO_TARGET, Receipt
from ingestd.domain.routing import Route
from ingestd.domain.rules import TargetRules
from ingestd.domain.states import Event, State
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import QUICK, Ears, Rooms, Shelf, Vault, now, open_rooms

SOON = timedelta(seconds=1)


async def held(rooms: Rooms, shelf: Shelf) -> Receipt:
    """What came while there were no routes."""
    flow = rooms.flow(Vault(), routes=[])
    await Pipeline(flow, {shelf.name: shelf}).run(until_idle=SOON)
    (receipt,) = await rooms.reader.find(states={State.HELD})
    assert receipt.target == NO_TARGET
    assert "No route" in (receipt.reason or "")
    return receipt


async def test_a_held_receipt_that_is_retried_asks_the_routes_of_today(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, vault = Shelf({"a.jpg": b"x"}), Vault()
        receipt = await held(rooms, shelf)
        await Pipeline(rooms.flow(vault), {}).run(until_idle=SOON)
        assert vault.stored == [], "a new route alone moves nothing: a person decides"

        await rooms.ledger.move(receipt, Event.REQUEUE, now=now())
        await Pipeline(rooms.flow(vault), {shelf.name: shelf}).run(until_idle=SOON)
        assert vault.stored == ["a.jpg"]
        assert [report.state for report in shelf.reports] == [State.HELD, State.UPLOADED]


async def test_a_held_receipt_that_is_retried_without_a_route_is_held_again(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt = await held(rooms, Shelf({"a.jpg": b"x"}))
        await rooms.ledger.move(receipt, Event.REQUEUE, now=now())
        await Pipeline(rooms.flow(Vault(), routes=[]), {}).run(until_idle=SOON)
        (again,) = await rooms.reader.find()
        assert again.state is State.HELD
        assert "--to TARGET:SLOT" in (again.reason or "")


async def test_a_held_receipt_whose_documents_went_there_already_says_so(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt = await held(rooms, Shelf({"a.jpg": b"same"}))
        vault, shelf = Vault(), Shelf({"b.jpg": b"same"})
        await Pipeline(rooms.flow(vault), {shelf.name: shelf}).run(until_idle=SOON)
        (uploaded,) = await rooms.reader.find(states={State.UPLOADED})

        await rooms.ledger.move(receipt, Event.REQUEUE, now=now())
        await Pipeline(rooms.flow(vault), {}).run(until_idle=SOON)
        assert vault.stored == ["b.jpg"]
        (again,) = await rooms.reader.find(states={State.HELD})
        assert uploaded.id in (again.reason or "") and "No route" not in (again.reason or "")


async def test_a_ready_receipt_whose_target_is_gone_from_the_configuration_fails_and_says_so(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        old, shelf = Vault(name="old"), Shelf({"a.jpg": b"x"})
        old.answer = lambda _: Throttled(reason="not now", wait=timedelta(seconds=30))
        slow = rooms.flow(old, rules={"old": TargetRules(retry=QUICK)})
        result = await Pipeline(slow, {shelf.name: shelf}).run(until_idle=SOON)
        (receipt,) = result.waiting
        assert receipt.state is State.READY

        ears, vault = Ears(), Vault()
        clock = slow.clock
        ahead = rooms.flow(vault, ears=ears, clock=lambda: type(receipt.due_at)(clock() + 60_000_000))
        await Pipeline(ahead, {shelf.name: shelf}).run(until_idle=SOON)
        (failed,) = await rooms.reader.find()
        assert failed.state is State.FAILED
        assert "'old' is not in the configuration" in (failed.reason or "")
        assert [report.state for report in shelf.reports] == [State.FAILED]


async def test_a_received_receipt_whose_target_is_gone_is_held_for_a_person(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Shelf({"a.jpg": b"BAD"})
        old = Vault(name="old")
        await Pipeline(rooms.flow(old), {shelf.name: shelf}).run(until_idle=SOON)
        (rejected,) = await rooms.reader.find()
        await rooms.ledger.move(rejected, Event.REQUEUE, now=now())
        flow = rooms.flow(Vault(), routes=[Route(send="vault:receipt")])
        await Pipeline(flow, {}).run(until_idle=SOON)
        (receipt,) = await rooms.reader.find()
        assert receipt.state is State.HELD
        assert "no target 'old'" in (receipt.reason or "")
