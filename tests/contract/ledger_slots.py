"""A slot that takes one image, and who may go there."""

import asyncio

import pytest

from ingestd.domain.errors import (
    SLOT_TAKEN,
    SlotTaken,
)
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    open_ledger,
)
from tests.contract.ledger_making import (
    START,
    accept_for,
    after,
    bring_to,
    claim_one,
    document,
    fail,
    new_arrival,
    new_receipt,
    prepare,
    spool_path,
)


class Slots:
    @pytest.mark.parametrize(
        "state", [State.READY, State.CLAIMED, State.UPLOADING, State.UNCONFIRMED, State.UPLOADED]
    )
    async def test_a_slot_that_has_its_image_or_may_get_it_takes_no_other(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State
    ) -> None:
        first = await bring_to(ledger, state, slot="expenseentry/E1")
        second = await accept_for(ledger, "second", "expenseentry/E1")
        with pytest.raises(SlotTaken) as taken:
            await prepare(ledger, second, one_image=True)
        assert (taken.value.receipt, taken.value.filename) == (first.id, "lunch.pdf")
        assert taken.value.state == state
        assert await reader.get(second.id) == second
        for slot, target in (("expenseentry/E2", "concur"), ("expenseentry/E1", "other")):
            elsewhere = await accept_for(ledger, "elsewhere", slot, target=target)
            assert (await prepare(ledger, elsewhere, one_image=True)).state is State.READY

    @pytest.mark.parametrize("state", [State.HELD, State.REJECTED, State.FAILED, State.DROPPED])
    async def test_a_slot_is_free_when_the_first_ended_in_another_way(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State
    ) -> None:
        await bring_to(ledger, state, slot="expenseentry/E1")
        second = await accept_for(ledger, "second", "expenseentry/E1")
        assert (await prepare(ledger, second, one_image=True)).state is State.READY
        third = await accept_for(ledger, "third", "expenseentry/E1")
        with pytest.raises(SlotTaken) as taken:
            await prepare(ledger, third, one_image=True)
        assert taken.value.receipt == second.id

    async def test_a_slot_that_takes_many_images_takes_many(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        for content in ("a", "b", "c"):
            await prepare(ledger, await accept_for(ledger, content, "report/R1"))
        assert (await reader.counts())[State.READY] == 3

    async def test_of_many_receipts_for_one_slot_prepared_at_once_one_gets_it(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        rivals = [await accept_for(ledger, f"{i}", f"expenseentry/{i % 3}") for i in range(24)]
        results = await asyncio.gather(
            *(prepare((ledger, other)[i % 2], r, one_image=True) for i, r in enumerate(rivals)),
            return_exceptions=True,
        )
        await other.aclose()
        ready = [r for r in results if isinstance(r, Receipt)]
        assert {r.slot for r in ready} == {f"expenseentry/{i}" for i in range(3)}
        assert len(ready) == 3
        assert sum(isinstance(r, SlotTaken) for r in results) == 21
        counts = await reader.counts()
        assert (counts[State.READY], counts[State.RECEIVED]) == (3, 21)

    async def test_a_failed_receipt_does_not_come_back_to_a_slot_another_one_got(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        failed = await bring_to(ledger, State.FAILED, slot="expenseentry/E1")
        second = await accept_for(ledger, "second", "expenseentry/E1")
        second = await prepare(ledger, second, one_image=True)
        with pytest.raises(SlotTaken):
            await ledger.move(failed, Event.REQUEUE, now=START, actor="ann")
        assert await reader.get(failed.id) == failed
        # Its documents once more: they are prepared anew, and then held for a person.
        again = new_receipt(slot="expenseentry/E1")
        accepted = (await ledger.accept(new_arrival(again), now=START)).receipts[0]
        assert (accepted.id != failed.id, accepted.state) == (True, State.RECEIVED)
        with pytest.raises(SlotTaken):
            await prepare(ledger, accepted, one_image=True)
        await ledger.move(second, Event.DROP, now=START)
        requeued = await ledger.move(failed, Event.REQUEUE, now=START, actor="ann")
        assert requeued.state is State.READY
        with pytest.raises(SlotTaken) as taken:
            await prepare(ledger, accepted, one_image=True)
        assert taken.value.receipt == failed.id

    async def test_a_failed_receipt_comes_back_beside_another_one_when_a_person_said_so(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        slot = "expenseentry/E1"
        first = await prepare(ledger, await accept_for(ledger, "first", slot), one_image=True)
        second = await accept_for(ledger, "second", slot)
        held = await ledger.move(second, Event.HOLD, now=START, reason=f"{SLOT_TAKEN} by the first.")
        waived = await ledger.move(held, Event.REQUEUE, now=START)
        failed = await fail(ledger, await prepare(ledger, waived, one_image=False))
        requeued = await ledger.move(failed, Event.REQUEUE, now=after(2), actor="ann")
        assert requeued.state is State.READY
        third = await accept_for(ledger, "third", slot)
        with pytest.raises(SlotTaken) as taken:
            await prepare(ledger, third, one_image=True)
        assert taken.value.receipt == first.id

    async def test_what_was_sent_again_on_purpose_is_retried_beside_the_first_and_nothing_else_is(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        slot = "expenseentry/E1"
        first = await bring_to(ledger, State.UPLOADED, slot=slot)
        wanted = new_arrival(new_receipt(slot=slot, again=True))
        (second,) = (await ledger.accept(wanted, now=after(1))).receipts
        failed = await fail(ledger, await prepare(ledger, second, one_image=True))
        requeued = await ledger.move(failed, Event.REQUEUE, now=after(2), actor="ann")
        assert requeued.state is State.READY
        other = new_receipt(document("other.pdf", "other"), slot=slot, again=True)
        (other_receipt,) = (await ledger.accept(new_arrival(other), now=after(3))).receipts
        with pytest.raises(SlotTaken) as taken:
            await prepare(ledger, other_receipt, one_image=True)
        assert taken.value.receipt == first.id, "the first keeps its slot"

    async def test_a_receipt_does_not_come_back_beside_a_repeat_that_nobody_wanted_twice(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        slot = "expenseentry/E1"
        failed = await bring_to(ledger, State.FAILED, slot=slot)
        held = (await ledger.accept(new_arrival(new_receipt(slot=slot, hold="?")), now=after(1))).receipts[0]
        assert held.key == failed.key
        received = await ledger.move(held, Event.REQUEUE, now=after(1))
        await prepare(ledger, received, one_image=True)
        with pytest.raises(SlotTaken, match="send the file again and retry"):
            await ledger.move(failed, Event.REQUEUE, now=after(2))

    async def test_a_person_who_overrules_a_slot_that_is_free_by_then_gets_it(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        slot = "expenseentry/E1"
        first = await prepare(ledger, await accept_for(ledger, "first", slot), one_image=True)
        second = await accept_for(ledger, "second", slot)
        held = await ledger.move(second, Event.HOLD, now=START, reason=f"{SLOT_TAKEN} by the first.")
        waived = await ledger.move(held, Event.REQUEUE, now=START)
        await ledger.move(first, Event.DROP, now=START)
        await prepare(ledger, waived, one_image=True)
        with pytest.raises(SlotTaken) as taken:
            await prepare(ledger, await accept_for(ledger, "third", slot), one_image=True)
        assert taken.value.receipt == second.id

    async def test_a_receipt_keeps_its_slot_when_it_is_prepared_again(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_for(ledger, "lunch", "expenseentry/E1")
        ready = await prepare(ledger, receipt, one_image=True)
        claimed = await claim_one(ledger)
        held = await ledger.move(claimed, Event.HOLD, now=START, reason="odd")
        received = await ledger.move(held, Event.REQUEUE, now=START)
        again = await prepare(ledger, received, one_image=True)
        assert (again.id, again.state) == (ready.id, State.READY)
