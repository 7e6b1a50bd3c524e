"""Delivery beside the rest of the world: leases that ran out, outages of a whole target, defects of ours."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.clock import process_clock
from ingestd.domain.errors import LedgerUnavailable
from ingestd.domain.outcome import Outcome, Refused, Unavailable, Uploaded
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.states import State
from ingestd.pipeline import Pipeline
from tests.unit.pipeline.rooms import Ears, Rooms, Shelf, Vault, now, open_rooms

SOON = timedelta(seconds=1)


async def uploaded_while_the_lease_runs_out(rooms: Rooms, outcome: Outcome | None) -> tuple[Receipt, Ears]:
    """Another node calls the receipt unconfirmed while the target is still answering."""
    shelf, ears, vault = Shelf({"a.jpg": b"x"}), Ears(), Vault()
    if outcome is not None:
        vault.answer = lambda _: outcome

    async def lease_runs_out() -> None:
        vault.tick = None
        recovered = await rooms.ledger.recover(now=later(now(), timedelta(hours=1)), everything=False)
        assert recovered.lost == 1

    vault.tick = lease_runs_out
    await Pipeline(rooms.flow(vault, ears=ears), {shelf.name: shelf}).run(until_idle=SOON)
    (receipt,) = await rooms.reader.find()
    return receipt, ears


async def test_an_image_id_that_comes_after_the_lease_ran_out_is_recorded_all_the_same(
    tmp_path: Path,
) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt, ears = await uploaded_while_the_lease_runs_out(rooms, None)
        assert (receipt.state, receipt.image_id) == (State.UPLOADED, "image-1")
        assert "after the lease" in (receipt.reason or "")
        assert "receipt.overtaken" not in ears.events()


async def test_any_other_late_answer_leaves_the_word_of_the_other_node(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        receipt, ears = await uploaded_while_the_lease_runs_out(rooms, Refused(reason="No.", fix=""))
        assert receipt.state is State.UNCONFIRMED
        assert "receipt.overtaken" in ears.events()


async def test_an_outage_of_the_whole_target_costs_one_probe_a_pause_and_no_attempts(tmp_path: Path) -> None:
    pause, outage, workers, waiting = timedelta(milliseconds=150), timedelta(seconds=1.2), 3, 40
    async with open_rooms(tmp_path) as rooms:
        clock, refused = process_clock(), 0
        over_at = later(clock(), outage)

        def answer(_: Receipt) -> Outcome:
            nonlocal refused
            if clock() >= over_at:
                return Uploaded(image_id="")
            refused += 1
            return Unavailable(reason="503", wait=pause, everything=True)

        vault = Vault(answer=answer)
        shelf = Shelf({f"{n}.jpg": bytes([n]) for n in range(waiting)})
        flow = rooms.flow(vault, upload_workers=workers)
        await Pipeline(flow, {shelf.name: shelf}).run(until_idle=timedelta(seconds=30))
        assert sorted(vault.stored) == sorted(f"{n}.jpg" for n in range(waiting))
        assert 1 <= refused <= workers + outage / pause + 1
        assert {receipt.attempts for receipt in await rooms.reader.find()} == {1}


async def test_a_defect_of_ours_is_that_receipts_outcome_and_nothing_is_sent_again(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, ears = Shelf({"a.jpg": b"x", "b.jpg": b"y"}), Ears()

        def answer(receipt: Receipt) -> Outcome:
            return {"b.jpg": Uploaded(image_id="x")}[receipt.filename]

        vault = Vault(answer=answer)
        await Pipeline(rooms.flow(vault, ears=ears), {shelf.name: shelf}).run(until_idle=SOON)
        states = {r.filename: r.state for r in await rooms.reader.find()}
        assert states == {"a.jpg": State.UNCONFIRMED, "b.jpg": State.UPLOADED}
        assert "attempt.broke" in ears.events()


@pytest.mark.parametrize(
    "operation", ["take_received", "prepare", "move", "claim", "begin", "finish", "feedback_done"]
)
async def test_a_ledger_that_breaks_anywhere_ends_the_run_with_its_own_plain_error(
    tmp_path: Path, operation: str
) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf, vault = Shelf({"a.jpg": b"x", "b.jpg": b"BAD"}), Vault()

        class Broken:
            def __getattr__(self, name: str) -> Any:
                return broken if name == operation else getattr(rooms.ledger, name)

        async def broken(*_: Any, **__: Any) -> None:
            raise LedgerUnavailable("the disk is gone")

        pipeline = Pipeline(rooms.flow(vault, ledger=Broken()), {shelf.name: shelf})
        with pytest.raises(LedgerUnavailable, match="the disk is gone"):
            await pipeline.run()


async def test_without_any_target_left_receipts_fail_and_do_not_wait_for_ever(tmp_path: Path) -> None:
    async with open_rooms(tmp_path) as rooms:
        shelf = Shelf({"a.jpg": b"x", "b.jpg": b"y"})
        down = Vault(answer=lambda _: Unavailable(reason="down", everything=True))
        await Pipeline(rooms.flow(down), {shelf.name: shelf}).run(until_idle=timedelta(0))
        await Pipeline(rooms.flow(down, destinations={}, rules={}, routes=[]), {}).run(until_idle=SOON)
        receipts = await rooms.reader.find()
        assert [receipt.state for receipt in receipts] == [State.FAILED, State.FAILED]
        assert "not in the configuration" in (receipts[0].reason or "")
