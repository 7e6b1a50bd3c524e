"""What commands and pages find."""

import pytest

from ingestd.domain.outcome import Unconfirmed, Uploaded
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State
from ingestd.interfaces import Chain, Kept
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    verify_chain,
)
from tests.contract.ledger_making import (
    START,
    accept_one,
    after,
    claim_one,
    document,
    image_of,
    new_arrival,
    new_receipt,
    prepare,
    start_upload,
)


class Reading:
    async def test_a_receipt_is_found_by_an_unambiguous_beginning(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        assert await reader.get(receipt.id[:8].upper()) == receipt
        assert await reader.get(receipt.id[:7]) is None
        assert await reader.get("%" * 8) is None
        await accept_one(ledger, "second")
        assert await reader.get(receipt.id[:8]) is None
        assert await reader.get(receipt.id) == receipt

    async def test_receipts_are_listed_newest_first(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        old, mid, new = [await accept_one(ledger, f"{i}", now=after(i)) for i in range(3)]
        await ledger.move(mid, Event.REJECT, now=after(50), reason="blank")
        assert [r.id for r in await reader.find()] == [new.id, mid.id, old.id]
        assert [r.id for r in await reader.find(limit=1)] == [new.id]
        assert [r.id for r in await reader.find(states=[State.REJECTED])] == [mid.id]
        assert [r.id for r in await reader.find(changed_since=after(2))] == [new.id, mid.id]

    @pytest.mark.parametrize("states", [[], [State.REJECTED], [State.HELD, State.REJECTED], list(State)])
    async def test_pages_of_a_list_leave_none_out_and_tell_none_twice(
        self, ledger: SqlLedger, reader: SqlLedgerReader, states: list[State]
    ) -> None:
        for n in range(20):
            receipt = await accept_one(ledger, f"{n}", now=after(n // 5))  # some IDs of the same millisecond
            match n % 4:
                case 0:
                    await ledger.move(receipt, Event.REJECT, now=START, reason="blank")
                case 1:
                    await ledger.move(receipt, Event.HOLD, now=START, reason="odd")
        everything = await reader.find(states=states)
        assert len(everything) == {0: 20, 1: 5, 2: 10, len(State): 20}[len(states)]
        assert [r.id for r in everything] == sorted((r.id for r in everything), reverse=True)
        pages: list[Receipt] = []
        while page := await reader.find(states=states, limit=3, before=pages[-1].id if pages else None):
            assert len(page) <= 3
            pages += page
        assert pages == everything

    async def test_an_arrival_is_found_by_an_unambiguous_beginning(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        for beginning in (receipt.arrival, receipt.arrival[:8].upper()):
            found = await reader.arrived(beginning)
            assert found is not None
            assert (found.id, found.receipts, found.ignored) == (receipt.arrival, (receipt,), ())
        assert await reader.arrived(receipt.arrival[:7]) is None
        assert await reader.arrived("%" * 8) is None
        assert await reader.mailed(receipt.arrival) is None
        await accept_one(ledger, "second")
        assert await reader.arrived(receipt.arrival[:8]) is None

    async def test_waiting_counts_what_still_happens_by_itself(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        nothing = await reader.waiting(horizon=after(100))
        assert (nothing.received, nothing.owned, nothing.next_due) == (0, 0, None)
        await accept_one(ledger, "received")
        await start_upload(ledger, "uploading")
        for content, due_at in (("due", 5), ("later", 500)):
            receipt = await accept_one(ledger, content)
            await prepare(ledger, receipt, now=after(due_at))
        await ledger.move(await accept_one(ledger, "bad"), Event.REJECT, now=START, reason="blank")
        waiting = await reader.waiting(horizon=after(100))
        assert (waiting.received, waiting.owned, waiting.feedback_due) == (1, 1, 1)
        assert (waiting.ready_due, waiting.ready_later, waiting.next_due) == (1, 1, after(5))

    async def test_waiting_counts_what_the_target_is_to_be_asked_about(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lose = Step(event=Event.LOSE, due_at=after(10))
        lost = await ledger.finish(
            await start_upload(ledger, "lost"), lose, Unconfirmed(reason="?"), now=START
        )
        confirm = Step(event=Event.CONFIRM, verify_at=after(20))
        await ledger.finish(await start_upload(ledger, "up"), confirm, Uploaded(image_id="1"), now=START)
        asking = [(await reader.waiting(horizon=after(seconds))).asking for seconds in (9, 10, 20)]
        assert asking == [0, 1, 2]
        assert (await reader.waiting(horizon=after(20), closed=[("concur", None)])).asking == 0
        await ledger.asked(lost, now=after(11), note="no", ask_at=None)
        assert (await reader.waiting(horizon=after(99))).asking == 1

    async def test_the_oldest_that_waits_is_of_those_on_their_way(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        assert await reader.oldest_waiting() is None
        rejected, first, second, third = [await accept_one(ledger, f"{n}", now=after(n)) for n in range(4)]
        await ledger.move(rejected, Event.REJECT, now=after(9), reason="blank")
        assert await reader.oldest_waiting() == after(1)
        await prepare(ledger, first, now=after(9))
        assert await reader.oldest_waiting() == after(1)
        uploading = await ledger.begin(await claim_one(ledger, now=after(9)), now=after(9))
        assert await reader.oldest_waiting() == after(1)
        step = Step(event=Event.CONFIRM)
        await ledger.finish(uploading, step, Uploaded(image_id="1"), now=after(9))
        assert await reader.oldest_waiting() == after(2)
        for receipt in (second, third):
            await ledger.move(receipt, Event.DROP, now=after(9))
        assert await reader.oldest_waiting() is None

    async def test_every_chain_is_told_once_page_by_page(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipts = [await accept_one(ledger, f"{n}", now=after(n)) for n in range(7)]
        for receipt in receipts[::2]:
            await prepare(ledger, receipt)
        pages: list[Chain] = []
        while page := await reader.chains(after=pages[-1].receipt if pages else "", limit=3):
            assert len(page) <= 3
            pages += page
        assert [chain.receipt for chain in pages] == [receipt.id for receipt in receipts]
        for chain in pages:
            assert list(chain.entries) == list(await reader.history(chain.receipt))
            assert verify_chain(chain.entries)
            assert (chain.entries[-1].version, chain.entries[-1].digest) == (chain.version, chain.head)

    async def test_the_bytes_the_spool_should_hold_are_told_once_in_order(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        contents = [f"{n}" * (n + 1) for n in range(6)]
        for content in contents:
            await ledger.accept(new_arrival(new_receipt(document(content=content))), now=START)
            await ledger.accept(new_arrival(new_receipt(document("copy.pdf", content))), now=START)
        archive = document("batch.zip", "PK")
        arrival = new_arrival(new_receipt(document(content="member")), containers=[archive])
        (member,) = (await ledger.accept(arrival, now=START)).receipts
        images = [image_of(digit * 64) for digit in "0f"]
        await prepare(ledger, member, images[0])
        await prepare(ledger, member_again := await accept_one(ledger, "other"), images[1])
        sizes = {document(content=c).sha256: len(c) for c in (*contents, "member", "other", "PK")}
        sizes |= {image.sha256: image.size for image in images}
        for limit in (1, 2, 4, 99):
            found: list[Kept] = []
            while page := await reader.kept(after=found[-1].sha256 if found else "", limit=limit):
                assert len(page) <= limit
                found += page
            assert [(kept.sha256, kept.size) for kept in found] == sorted(sizes.items())
        gone = [archive.sha256, images[1].sha256, member_again.sha256]
        await ledger.purged(gone, now=after(9))
        left = {kept.sha256 for kept in await reader.kept(after="", limit=99)}
        assert left == sizes.keys() - set(gone)
