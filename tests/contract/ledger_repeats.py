"""The same documents again: a sighting, another try, or a second receipt on purpose."""

import asyncio
from dataclasses import replace

import pytest

from ingestd.domain.errors import (
    IllegalTransition,
)
from ingestd.domain.outcome import (
    Uploaded,
)
from ingestd.domain.receipt import new_id
from ingestd.domain.retry import Step
from ingestd.domain.routing import Destined
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    open_ledger,
)
from tests.contract.ledger_making import (
    START,
    after,
    bring_to,
    claim_one,
    document,
    due,
    fail,
    new_arrival,
    new_receipt,
    prepare,
    settle_feedback,
    spool_path,
)


class Repeats:
    @pytest.mark.parametrize(
        "state", [State.RECEIVED, State.READY, State.CLAIMED, State.UPLOADING, State.UPLOADED]
    )
    async def test_a_repeat_of_one_that_is_on_its_way_is_a_sighting(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State
    ) -> None:
        receipt = await bring_to(ledger, state)
        await settle_feedback(ledger)
        accepted = await ledger.accept(new_arrival(new_receipt()), now=after(1))
        assert accepted.receipts == (receipt,)
        assert accepted.repeats == {receipt.id}
        assert (await reader.balance()).sightings == 1
        told = await due(ledger, after(1))
        assert [report.repeat for report in told] == ([True] if state is State.UPLOADED else [])

    @pytest.mark.parametrize("state", [State.HELD, State.UNCONFIRMED])
    async def test_a_repeat_of_one_that_waits_for_a_person_changes_nothing(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State
    ) -> None:
        receipt = await bring_to(ledger, state)
        accepted = await ledger.accept(new_arrival(new_receipt()), now=after(1))
        assert accepted.receipts == (receipt,)
        assert (await reader.get(receipt.id)) == receipt

    @pytest.mark.parametrize(
        ("state", "then"), [(State.REJECTED, State.RECEIVED), (State.FAILED, State.READY)]
    )
    async def test_a_repeat_of_one_that_did_not_work_tries_again(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State, then: State
    ) -> None:
        receipt = await bring_to(ledger, state)
        accepted = await ledger.accept(new_arrival(new_receipt()), now=after(1))
        assert [r.id for r in accepted.receipts] == [receipt.id]
        assert accepted.receipts[0].state is then
        assert accepted.receipts[0].attempts == 0
        assert await due(ledger, after(1)) == []  # nothing to tell until it settles again
        assert (await reader.balance()).sightings == 1

    async def test_both_senders_hear_how_a_receipt_sent_again_ended(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await bring_to(ledger, State.REJECTED)
        again = await ledger.accept(new_arrival(new_receipt(), path="again.pdf"), now=START)
        assert again.receipts[0].sha256 == receipt.sha256
        await prepare(ledger, again.receipts[0])
        uploading = await ledger.begin(await claim_one(ledger), now=START)
        await ledger.finish(uploading, Step(event=Event.CONFIRM), Uploaded(image_id="IMG7"), now=START)
        told = await due(ledger)
        assert {(r.origin.path, r.image_id, r.repeat) for r in told} == {
            ("lunch.pdf", "IMG7", False),
            ("again.pdf", "IMG7", False),
        }

    @pytest.mark.parametrize(
        ("state", "again"), [(State.DROPPED, False), (State.UPLOADED, True), (State.RECEIVED, True)]
    )
    async def test_a_repeat_of_a_dropped_one_or_on_purpose_is_a_new_receipt(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State, again: bool
    ) -> None:
        receipt = await bring_to(ledger, state)
        accepted = await ledger.accept(new_arrival(new_receipt(again=again)), now=after(1))
        assert accepted.receipts[0].id != receipt.id
        assert not accepted.repeats
        assert len(await reader.find()) == 2

    @pytest.mark.parametrize("slot", ["receipt", "expenseentry/E1"])
    async def test_a_repeat_after_a_second_one_was_dropped_is_a_sighting_of_the_first(
        self, ledger: SqlLedger, reader: SqlLedgerReader, slot: str
    ) -> None:
        first = await bring_to(ledger, State.UPLOADED, slot=slot)
        wanted = new_arrival(new_receipt(slot=slot, again=True))
        (second,) = (await ledger.accept(wanted, now=after(1))).receipts
        await ledger.move(second, Event.DROP, now=after(2))
        accepted = await ledger.accept(new_arrival(new_receipt(slot=slot)), now=after(3))
        assert accepted.repeats == {first.id}
        (held,) = (await ledger.accept(new_arrival(new_receipt(target="", slot="")), now=after(4))).receipts
        with pytest.raises(IllegalTransition, match=first.id):
            destined = Destined.parse(f"concur:{slot}")
            await ledger.assign(held, destined=destined, account=None, now=after(5))
        (third,) = (await ledger.accept(replace(wanted, id=new_id(after(6))), now=after(6))).receipts
        assert third.id not in (first.id, second.id), "asked for"

    async def test_a_repeat_of_a_second_one_that_failed_beside_the_first_is_a_sighting_of_the_first(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        slot = "expenseentry/E1"
        first = await bring_to(ledger, State.UPLOADED, slot=slot)
        wanted = new_arrival(new_receipt(slot=slot, again=True))
        (second,) = (await ledger.accept(wanted, now=after(1))).receipts
        second = await fail(ledger, await prepare(ledger, second, one_image=False))
        accepted = await ledger.accept(new_arrival(new_receipt(slot=slot)), now=after(3))
        assert accepted.repeats == {first.id}
        assert await reader.get(second.id) == second

    async def test_a_repeat_that_must_be_held_does_not_requeue_what_failed(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        failed = await bring_to(ledger, State.FAILED)
        accepted = await ledger.accept(new_arrival(new_receipt(hold="Which year?")), now=after(1))
        assert accepted.receipts[0].state is State.HELD
        assert await reader.get(failed.id) == failed

    async def test_the_same_bytes_twice_in_one_arrival_are_one_receipt_and_a_sighting(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        arrival = new_arrival(
            new_receipt(document("a.pdf")), new_receipt(document("b.pdf")), new_receipt(document("c.pdf"))
        )
        accepted = await ledger.accept(arrival, now=START)
        assert len({receipt.id for receipt in accepted.receipts}) == 1
        again = await ledger.accept(arrival, now=START)
        assert again == replace(accepted, known=True)
        await ledger.move(accepted.receipts[0], Event.REJECT, now=START, reason="blank")
        (report,) = await due(ledger)
        assert [d.filename for d in report.documents] == ["a.pdf", "b.pdf", "c.pdf"]
        balance = await reader.balance()
        assert (balance.payloads, balance.documents, balance.sightings) == (3, 1, 2)

    async def test_a_merged_receipt_that_comes_again_is_a_sighting_of_each_page(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        pages = [document(f"{content}.pdf", content) for content in "abc"]
        (receipt,) = (await ledger.accept(new_arrival(new_receipt(*pages)), now=START)).receipts
        again = await ledger.accept(new_arrival(new_receipt(*pages)), now=after(1))
        assert again.repeats == {receipt.id}
        other_order = await ledger.accept(new_arrival(new_receipt(*pages[::-1])), now=after(2))
        assert other_order.receipts[0].id != receipt.id
        balance = await reader.balance()
        assert (balance.payloads, balance.documents, balance.sightings) == (9, 6, 3)

    async def test_equal_arrivals_accepted_at_the_same_moment_make_one_receipt(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        accepts = [
            node.accept(new_arrival(new_receipt(document(content=f"{i % 5}"))), now=START)
            for i in range(40)
            for node in (ledger, other)
        ]
        accepted = await asyncio.gather(*accepts)
        await other.aclose()
        assert len({a.receipts[0].id for a in accepted}) == 5
        assert (await reader.balance()).sightings == 75
