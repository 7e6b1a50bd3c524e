"""What people and the clock do to a receipt outside an attempt."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from ingestd.domain.errors import (
    IllegalTransition,
    StaleClaim,
)
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
)
from tests.contract.ledger_making import (
    START,
    accept_one,
    after,
    bring_to,
    claim_one,
    prepare,
)


class Moves:
    async def test_every_event_the_table_does_not_know_changes_nothing(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await bring_to(ledger, State.DROPPED)
        for event in Event:
            with pytest.raises(IllegalTransition):
                await ledger.move(receipt, event, now=START, image_id="X")
        assert await reader.get(receipt.id) == receipt

    async def test_a_failing_move_does_not_hurt_those_committed_with_it(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipts = [await accept_one(ledger, f"{i}") for i in range(20)]
        stale = replace(receipts[3], version=9)
        moves = [ledger.move(r, Event.REJECT, now=START, reason="blank") for r in receipts]
        bad = [
            ledger.begin(receipts[0], now=START),
            ledger.move(stale, Event.REJECT, now=START, reason="blank"),
        ]
        results = await asyncio.gather(*moves[:10], *bad, *moves[10:], return_exceptions=True)
        errors = [type(result) for result in results if isinstance(result, BaseException)]
        assert errors == [IllegalTransition, StaleClaim]
        assert (await reader.counts())[State.REJECTED] == 20

    async def test_an_unconfirmed_upload_is_confirmed_by_its_image_id(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await bring_to(ledger, State.UNCONFIRMED)
        with pytest.raises(IllegalTransition, match="image ID"):
            await ledger.move(receipt, Event.CONFIRM, now=START)
        done = await ledger.move(receipt, Event.CONFIRM, now=START, image_id="IMG9", actor="ann")
        assert (done.state, done.image_id, done.reason) == (State.UPLOADED, "IMG9", None)
        *_, last = await reader.history(receipt.id)
        assert (last.actor, last.reason) == ("ann", "image ID IMG9")

    async def test_a_requeue_starts_afresh(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        failed = await bring_to(ledger, State.FAILED)
        assert failed.attempts == 1
        ready = await ledger.move(failed, Event.REQUEUE, now=after(5), actor="ann")
        assert (ready.state, ready.attempts, ready.reason, ready.waived) == (State.READY, 0, None, ())
        assert ready.due_at <= after(5)

    async def test_a_requeue_is_due_at_once_though_the_commands_clock_is_ahead(
        self, ledger: SqlLedger
    ) -> None:
        failed = await bring_to(ledger, State.FAILED)
        ready = await ledger.move(failed, Event.REQUEUE, now=after(7200), actor="ann")
        assert ready.due_at <= failed.updated_at

    async def test_a_released_claim_keeps_the_time_it_is_given(self, ledger: SqlLedger) -> None:
        claimed = await bring_to(ledger, State.CLAIMED)
        ready = await ledger.move(claimed, Event.RELEASE, now=START, due_at=after(60))
        assert ready.due_at == after(60)

    async def test_a_lease_that_has_run_out_is_not_renewed(self, ledger: SqlLedger) -> None:
        claimed = await bring_to(ledger, State.CLAIMED)
        assert claimed.owner is not None
        late = after(100_000)
        await ledger.renew(owner=claimed.owner, lease=timedelta(seconds=60), now=late)
        assert (await ledger.recover(now=late, everything=False)).released == 1

    async def test_nothing_stays_due_later_than_the_clamp(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        await prepare(ledger, receipt, now=after(9999))
        assert await ledger.clamp_due(latest=after(60)) == 1
        assert await ledger.clamp_due(latest=after(60)) == 0
        assert (await claim_one(ledger, now=after(60))).due_at == after(60)
