"""From received to ready: reservations, images, targets given later."""

from dataclasses import replace

import pytest

from ingestd.domain.errors import (
    IllegalTransition,
)
from ingestd.domain.routing import Destined, Slot
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
)
from tests.contract.ledger_making import (
    LEASE,
    NO_ROUTE,
    START,
    accept_one,
    after,
    document,
    image_of,
    make_ready,
    new_arrival,
    new_receipt,
    prepare,
    upload,
)


class Preparation:
    async def test_received_receipts_are_reserved_oldest_first_with_their_documents_in_order(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        pages = (document("1.pdf", "one"), document("2.pdf", "two"), document("3.pdf", "three"))
        first = (await ledger.accept(new_arrival(new_receipt(*pages)), now=START)).receipts[0]
        second = await accept_one(ledger, "later", now=after(1))
        works = await ledger.take_received(owner="here", lease=LEASE, limit=9, now=after(2))
        assert [work.receipt.id for work in works] == [first.id, second.id]
        assert works[0].documents == pages
        assert works[0].receipt.state is State.RECEIVED
        assert works[0].receipt.version == first.version

    async def test_a_reservation_lasts_as_long_as_its_lease(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await accept_one(ledger)

        async def take(owner: str, seconds: float) -> int:
            taken = await ledger.take_received(owner=owner, lease=LEASE, limit=9, now=after(seconds))
            return len(taken)

        assert await take("here", 0) == 1
        assert await take("there", 59) == 0
        assert await take("here", 59) == 0
        assert await take("there", 60) == 1
        assert await ledger.release(owner="there", now=after(61)) == 1
        assert await take("here", 61) == 1

    async def test_preparing_a_receipt_records_its_image_and_ends_the_reservation(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await accept_one(ledger)
        (work,) = await ledger.take_received(owner="here", lease=LEASE, limit=1, now=START)
        image = image_of("ab" * 32)
        ready = await prepare(ledger, work.receipt, image, now=after(1))
        assert (ready.state, ready.image, ready.owner, ready.lease_until) == (State.READY, image, None, None)
        assert await reader.get(ready.id) == ready

    async def test_a_receipt_without_image_or_target_is_never_ready(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        with pytest.raises(IllegalTransition, match="no image"):
            await ledger.move(receipt, Event.PREPARE, now=START)
        arrival = new_arrival(new_receipt(document(content="lost"), target="", slot="", hold=NO_ROUTE))
        held = (await ledger.accept(arrival, now=START)).receipts[0]
        waived = await ledger.move(held, Event.REQUEUE, now=START, actor="ann")
        with pytest.raises(IllegalTransition, match="no target"):
            await prepare(ledger, waived)

    async def test_a_receipt_without_a_target_can_be_given_one(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        arrival = new_arrival(new_receipt(target="", slot="", hold=NO_ROUTE))
        held = (await ledger.accept(arrival, now=START)).receipts[0]
        destined = Destined("concur", Slot("report", "R1"))
        assigned = await ledger.assign(held, destined=destined, account="ann", now=after(1))
        assert assigned.destined == destined
        assert assigned.key == new_receipt(slot="report/R1", account="ann").key
        assert await reader.get(held.id) == assigned
        requeued = await ledger.move(assigned, Event.REQUEUE, now=after(2), actor="ann")
        assert (requeued.state, requeued.waived, requeued.reason) == (State.RECEIVED, (NO_ROUTE,), None)
        with pytest.raises(IllegalTransition):
            await ledger.assign(requeued, destined=destined, account="ann", now=after(3))

    async def test_a_target_is_not_given_to_what_is_already_on_its_way_there(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await upload(ledger)
        arrival = new_arrival(new_receipt(target="", slot="", hold=NO_ROUTE))
        held = (await ledger.accept(arrival, now=START)).receipts[0]
        with pytest.raises(IllegalTransition, match="already receipt"):
            await ledger.assign(held, destined=Destined("concur", Slot("receipt")), account=None, now=START)
        assert await reader.get(held.id) == held

    async def test_what_was_done_to_make_an_image_stays_with_it_and_in_the_history(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        steps = ("Turned by 90°.", "Kept the file name K\udcfcche\0.")
        image = replace(image_of("ab" * 32), steps=steps, warnings=("Page 1 is blurred.",))
        ready = await prepare(ledger, await accept_one(ledger), image)
        assert ready.image == image
        found = await reader.get(ready.id)
        assert found == ready
        *_, last = await reader.history(ready.id)
        assert (last.event, last.reason) == ("prepare", "; ".join(steps))

    async def test_a_long_list_of_steps_is_shortened_in_the_history_alone(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        steps = tuple(f"Removed script {i}." for i in range(200))
        ready = await prepare(ledger, await accept_one(ledger), replace(image_of("ab" * 32), steps=steps))
        assert ready.image is not None
        assert ready.image.steps == steps
        assert await reader.get(ready.id) == ready
        *_, last = await reader.history(ready.id)
        assert last.reason is not None
        assert len(last.reason) == 500
        assert last.reason.startswith("Removed script 0.; Removed script 1.")

    async def test_an_image_nothing_was_done_to_leaves_no_note(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        ready = await make_ready(ledger)
        *_, last = await reader.history(ready.id)
        assert (last.event, last.reason) == ("prepare", None)

    async def test_each_check_a_person_overruled_is_remembered_once(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        for reason in ("No route\nfits.", "Looks like IMG1.", "No route\nfits.", "K\udcfcche"):
            held = await ledger.move(receipt, Event.HOLD, now=START, reason=reason)
            receipt = await ledger.move(held, Event.REQUEUE, now=START, actor="ann")
        assert receipt.waived == ("No route\nfits.", "Looks like IMG1.", "K\udcfcche")
        ready = await prepare(ledger, receipt)
        assert ready.waived == receipt.waived
        assert await reader.get(receipt.id) == ready
