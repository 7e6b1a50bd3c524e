"""What commands and pages find."""

import pytest

from ingestd.domain.receipt import Receipt
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
)
from tests.contract.ledger_making import (
    START,
    accept_one,
    after,
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
