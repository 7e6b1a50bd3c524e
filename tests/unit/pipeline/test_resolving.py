"""Uploads in doubt: asked before, asked after, and never sent a second time while they may be there."""

import asyncio
import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import pytest

from ingestd.clock import process_clock
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.outcome import CannotSay, NotThere, Refused, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.receipt import Receipt, SlotBefore
from ingestd.domain.retry import RetryPolicy, Step, later
from ingestd.domain.routing import Route, Slot
from ingestd.domain.rules import GatePolicy, TargetRules
from ingestd.domain.states import Event, State
from ingestd.interfaces import Downloaded
from ingestd.pipeline import Flow, Pipeline
from ingestd.pipeline.resolving import tried
from tests.unit.pipeline.rooms import QUICK, Ears, Rooms, Shelf, Vault, now, open_rooms

SOON = timedelta(seconds=20)
ENTRY = (Route(send="vault:entry/{name}", patterns={"path": "{name}.jpg"}),)
AT_ONCE = TargetRules(retry=QUICK, not_there_after=timedelta(0))


def flow(
    rooms: Rooms, vault: Vault, *, rules: TargetRules = AT_ONCE, routes: Sequence[Route] = ENTRY
) -> Flow:
    return rooms.flow(vault, rules={vault.name: rules}, routes=routes)


async def run(flow: Flow, *names: str, until_idle: timedelta = SOON) -> None:
    shelf = Shelf({name: name.encode() for name in names})
    await Pipeline(flow, {shelf.name: shelf}).run(until_idle=until_idle)


async def only(rooms: Rooms) -> Receipt:
    (receipt,) = await rooms.reader.find()
    return receipt


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first question comes at once; how long to wait is domain.doubt's word, and tested there."""
    monkeypatch.setattr("ingestd.pipeline.delivery.FIRST_QUESTION", timedelta(0))


async def test_an_entry_is_asked_before_its_first_upload_and_that_is_recorded(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        (attempt,) = await rooms.reader.attempts(receipt.id)
        assert receipt.state is State.UPLOADED
        assert (vault.looks, attempt.slot_before) == (1, SlotBefore.EMPTY)


async def test_an_entry_that_has_an_image_is_never_sent_another(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(held={"entry/E1": b"somebody's"})
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        assert receipt.state is State.FAILED
        assert "already has an image" in (receipt.reason or "")
        assert vault.stored == []


async def test_without_asking_first_the_entry_is_not_looked_at(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault()
        await run(flow(rooms, vault, rules=TargetRules(retry=QUICK, ask_first=False)), "E1.jpg")
        assert (vault.looks, (await only(rooms)).state) == (0, State.UPLOADED)


async def test_a_lost_answer_is_confirmed_by_looking_without_sending_again(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(lost=1)
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        assert (receipt.state, receipt.image_id) == (State.UPLOADED, "of entry/E1")
        assert vault.stored == ["E1.jpg"]
        evidence = [
            e.reason or "" for e in await rooms.reader.history(receipt.id) if e.event == Event.CONFIRM
        ]
        assert "what was read back is the one that was sent" in evidence[0]


async def test_uploads_that_fill_every_place_keep_no_question_waiting_till_their_end(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, looked_after = Vault(lost=1, tick=lambda: asyncio.sleep(0.1)), list[int]()

        def sight(slot: Slot) -> None:
            looked_after.append(len(vault.stored))

        vault.sight = sight
        rules = replace(AT_ONCE, ask_first=False, gate=GatePolicy(concurrency=1, adaptive=False))
        await run(flow(rooms, vault, rules=rules), *(f"E{number}.jpg" for number in range(16)))
        assert len(vault.stored) == 16
        assert looked_after[0] < 12


async def test_a_full_disk_puts_a_question_off_and_asks_nothing_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestd.pipeline.patience.LOOK_AGAIN_SECONDS", 0.01)
    async with open_rooms(tmp_path) as rooms:
        vault, real = Vault(lost=1), rooms.spool.check_room
        asked: list[int] = []

        def check_room() -> None:
            if vault.stored and len(asked) < 5:
                asked.append(vault.looks)
                raise StorageExhausted
            real()

        monkeypatch.setattr(rooms.spool, "check_room", check_room)
        await run(flow(rooms, vault), "E1.jpg")
        assert ((await only(rooms)).state, asked, vault.looks) == (State.UPLOADED, [1] * 5, 2)


async def test_a_disk_that_fills_while_an_image_is_read_back_makes_it_be_read_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingestd.pipeline.patience.LOOK_AGAIN_SECONDS", 0.01)

    class Full(Vault):
        async def download(self, url: str, into: BinaryIO) -> Downloaded | CannotSay:
            if self.looks < 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return await super().download(url, into)

    async with open_rooms(tmp_path) as rooms:
        vault = Full(lost=1)
        await run(flow(rooms, vault), "E1.jpg")
        assert ((await only(rooms)).state, vault.looks) == (State.UPLOADED, 4)


async def test_what_did_not_arrive_is_sent_again(tmp_path: Path) -> None:
    def void_once(receipt: Receipt) -> Unconfirmed | Uploaded:
        return Unconfirmed(reason="Silence.") if not receipt.attempts else Uploaded(image_id="x")

    async with open_rooms(tmp_path) as rooms:
        vault = Vault(answer=void_once)
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        assert (receipt.state, receipt.attempts, vault.stored) == (State.UPLOADED, 2, ["E1.jpg"])
        assert any("has no image" in (e.reason or "") for e in await rooms.reader.history(receipt.id))


async def test_what_shows_only_after_it_was_called_missing_is_not_sent_again_or_refused(
    tmp_path: Path,
) -> None:
    """A target that is slow to show what it has: empty when asked in doubt, taken when asked before."""
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(lost=1)
        blind = iter([NotThere(), NotThere()])
        vault.sight = lambda slot: next(blind, None)
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        assert (receipt.state, vault.stored) == (State.UPLOADED, ["E1.jpg"])
        events = [entry.event for entry in await rooms.reader.history(receipt.id)]
        assert events.count("lose") == 2


async def test_another_image_in_the_slot_of_an_upload_in_doubt_is_a_failure_that_says_so(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(lost=1, given=b"somebody's")
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        assert receipt.state is State.FAILED
        assert "it is not this one" in (receipt.reason or "")


async def test_a_target_that_can_not_be_asked_is_asked_again_and_nobody_is_told_meanwhile(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, shelf = Vault(lost=1), Shelf({"E1.jpg": b"x"})
        down = CannotSay(reason="503.", obstacle=Unavailable(reason="503.", everything=True))
        vault.sight = lambda slot: down if vault.stored else None
        await Pipeline(flow(rooms, vault), {shelf.name: shelf}).run(until_idle=timedelta(seconds=1))
        receipt = await only(rooms)
        assert receipt.state is State.UNCONFIRMED
        assert receipt.ask_at is not None
        assert not receipt.settled
        assert shelf.reports == []
        assert vault.stored == ["E1.jpg"]


async def test_a_slot_that_can_not_be_read_is_left_to_a_person_who_is_told(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault, shelf = Vault(lost=1), Shelf({"E1.jpg": b"x"})
        vault.sight = lambda slot: CannotSay(reason="403.") if vault.stored else None
        await Pipeline(flow(rooms, vault), {shelf.name: shelf}).run(until_idle=SOON)
        receipt = await only(rooms)
        assert (receipt.state, receipt.ask_at) == (State.UNCONFIRMED, None)
        assert [report.state for report in shelf.reports] == [State.UNCONFIRMED]


async def test_a_kind_that_can_not_be_looked_up_is_held_at_once_or_sent_again_as_set(tmp_path: Path) -> None:
    for setting, ending in (("hold", State.UNCONFIRMED), ("retry", State.UPLOADED)):
        async with open_rooms(tmp_path / setting) as rooms:
            vault = Vault(lost=1)
            rules = TargetRules(retry=QUICK, on_unconfirmed=setting)  # type: ignore[arg-type]  # one of its two words
            await run(flow(rooms, vault, rules=rules, routes=[Route(send="vault:receipt")]), "a.jpg")
            receipt = await only(rooms)
            assert receipt.state is ending
            assert len(vault.stored) == (1 if setting == "hold" else 2)


async def test_sending_again_is_bounded_by_the_attempts(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        retry = RetryPolicy(
            first=QUICK.first, ceiling=QUICK.ceiling, unavailable=QUICK.unavailable, attempts=3
        )
        vault = Vault(answer=lambda _: Unconfirmed(reason="Silence."))
        await run(flow(rooms, vault, rules=TargetRules(retry=retry, not_there_after=timedelta(0))), "E1.jpg")
        receipt = await only(rooms)
        assert (receipt.state, receipt.attempts) == (State.FAILED, 3)
        assert "Given up after 3 attempts" in (receipt.reason or "")


async def test_what_a_crash_left_is_looked_up_after_the_next_start(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(lost=1)
        works = flow(rooms, vault)
        await run(
            rooms.flow(Vault(answer=lambda _: Unavailable(reason="down", everything=True)), routes=ENTRY),
            "E1.jpg",
            until_idle=timedelta(0),
        )
        receipt = await only(rooms)
        assert receipt.state is State.READY
        (claimed,) = await rooms.ledger.claim(
            owner="gone",
            lease=timedelta(seconds=60),
            limit=1,
            now=now() + 10**9,  # type: ignore[arg-type]  # a later Instant
        )
        begun = await rooms.ledger.begin(claimed, now=now(), slot_before=SlotBefore.EMPTY)
        vault.held["entry/E1"] = begun.image.path.read_bytes() if begun.image else b""
        await Pipeline(works, {}).run(until_idle=SOON)
        assert (await only(rooms)).state is State.UPLOADED
        assert vault.stored == []


async def test_a_clock_that_was_set_back_hides_no_attempt_that_may_have_arrived(tmp_path: Path) -> None:
    """By the clock the second attempt began before the first one; what it left there is its own."""
    async with open_rooms(tmp_path) as rooms:
        closed = Unavailable(reason="503.", everything=True, wait=timedelta(minutes=1))
        vault, behind = Vault(answer=lambda _: closed), later(now(), -timedelta(days=1))
        await run(flow(rooms, vault), "E1.jpg", until_idle=timedelta(0))
        first = (await only(rooms)).tried_since
        await rooms.ledger.clamp_due(latest=behind)
        lease = timedelta(seconds=60)
        (claimed,) = await rooms.ledger.claim(owner="here", lease=lease, limit=1, now=behind)
        begun = await rooms.ledger.begin(claimed, now=behind, slot_before=SlotBefore.EMPTY)
        step = Step(event=Event.LOSE, due_at=behind)
        lost = await rooms.ledger.finish(begun, step, Unconfirmed(reason="Silence."), now=behind)
        assert lost.tried_since == first
        found = [attempt.outcome for attempt in await tried(rooms.reader, lost)]
        assert found == ["unavailable", "unconfirmed"]


async def test_a_slot_that_never_answers_is_asked_less_and_less(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(sight=lambda slot: CannotSay(reason="504.", obstacle=Unavailable(reason="504.")))
        retry = replace(QUICK, unavailable=timedelta(minutes=5))
        clock, rules = process_clock(), {vault.name: TargetRules(retry=retry)}
        await run(rooms.flow(vault, rules=rules, routes=ENTRY), "E1.jpg", until_idle=timedelta(0))
        aged = rooms.flow(
            vault, rules=rules, routes=ENTRY, clock=lambda: later(clock(), timedelta(minutes=20))
        )
        await Pipeline(aged, {}).run(until_idle=timedelta(0))
        receipt = await only(rooms)
        assert (receipt.state, vault.stored) == (State.READY, [])
        assert receipt.due_at > later(aged.clock(), timedelta(minutes=4))


async def test_a_person_who_sends_it_again_overrules_what_was_in_doubt(tmp_path: Path) -> None:
    """Before the attempt the slot has an image: with the doubt settled by a person, it is somebody else's."""
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(lost=1)
        vault.sight = lambda slot: CannotSay(reason="403.") if vault.stored else None
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        await rooms.ledger.move(receipt, Event.REQUEUE, now=now(), actor="ann")
        vault.sight = lambda slot: None
        await Pipeline(flow(rooms, vault), {}).run(until_idle=SOON)
        receipt = await only(rooms)
        assert (receipt.state, vault.stored) == (State.FAILED, ["E1.jpg"])
        assert "already has an image" in (receipt.reason or "")


async def test_an_obstacle_met_while_asking_first_closes_the_gate_and_sends_nothing(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        closed = Unavailable(reason="503.", everything=True, wait=timedelta(minutes=1))
        down = CannotSay(reason="503.", obstacle=closed)
        vault, ears = Vault(sight=lambda slot: down), Ears()
        works = rooms.flow(vault, rules={vault.name: AT_ONCE}, routes=ENTRY, ears=ears)
        await run(works, "E1.jpg", "E2.jpg", until_idle=timedelta(0))
        assert {receipt.state for receipt in await rooms.reader.find()} == {State.READY}
        assert "gate.closed" in ears.events()
        assert vault.stored == []


async def test_a_refusal_after_a_doubt_is_looked_into_before_it_counts(tmp_path: Path) -> None:
    """The target is slow to show what it has: empty whenever it is asked, and a second image is refused."""

    def refuse_the_second(receipt: Receipt) -> Refused | Uploaded:
        return Refused(reason="It has an image.", fix="") if receipt.attempts else Uploaded(image_id="x")

    async with open_rooms(tmp_path) as rooms:
        vault = Vault(lost=1, answer=refuse_the_second)
        blind = iter([NotThere()] * 3)
        vault.sight = lambda slot: next(blind, None)
        await run(flow(rooms, vault), "E1.jpg")
        receipt = await only(rooms)
        assert (receipt.state, vault.stored) == (State.UPLOADED, ["E1.jpg"])


async def test_a_refusal_without_a_doubt_is_final(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        vault = Vault(answer=lambda _: Refused(reason="No.", fix="Ask."))
        await run(flow(rooms, vault), "E1.jpg")
        assert ((await only(rooms)).state, vault.looks) == (State.FAILED, 1)
