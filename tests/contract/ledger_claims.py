"""Who holds which receipt: claims, leases, and what the dead left."""

import asyncio

import pytest

from ingestd.domain.errors import (
    StaleClaim,
)
from ingestd.domain.outcome import (
    Uploaded,
)
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    open_ledger,
)
from tests.contract.ledger_making import (
    LEASE,
    START,
    accept_one,
    after,
    claim_one,
    make_ready,
    prepare,
    spool_path,
    start_upload,
)


class Claims:
    async def test_the_longest_due_receipts_are_claimed_first(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipts = [await accept_one(ledger, f"{i}") for i in range(3)]
        for receipt, due_at in zip(receipts, (30, 10, 20), strict=True):
            await prepare(ledger, receipt, now=after(due_at))
        claimed = await ledger.claim(owner="here", lease=LEASE, limit=9, now=after(25))
        assert [r.id for r in claimed] == [receipts[1].id, receipts[2].id]
        assert {(r.state, r.owner, r.lease_until) for r in claimed} == {(State.CLAIMED, "here", after(85))}
        assert await reader.get(receipts[1].id) == claimed[0]

    async def test_a_closed_account_is_passed_by_and_no_other(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await make_ready(ledger, "nobody's", account=None)
        for account in ("ann", "bob"):
            await make_ready(ledger, account, account=account)

        async def open_accounts(*closed: tuple[str, str | None]) -> set[str | None]:
            claimed = await ledger.claim(owner="here", lease=LEASE, limit=9, now=START, closed=closed)
            await ledger.release(owner="here", now=START)
            return {receipt.account for receipt in claimed}

        assert await open_accounts() == {None, "ann", "bob"}
        assert await open_accounts(("concur", None)) == {"ann", "bob"}
        assert await open_accounts(("concur", "ann"), ("concur", None)) == {"bob"}
        assert await open_accounts(("other", None), ("other", "ann")) == {None, "ann", "bob"}

    async def test_two_nodes_never_claim_the_same_receipt(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        for i in range(30):
            await make_ready(ledger, f"{i}")
        claims = await asyncio.gather(
            *(
                node.claim(owner=owner, lease=LEASE, limit=3, now=START)
                for _ in range(8)
                for node, owner in ((ledger, "here"), (other, "there"))
            )
        )
        await other.aclose()
        claimed = [receipt.id for batch in claims for receipt in batch]
        assert len(claimed) == len(set(claimed)) == 30

    async def test_a_stale_owner_can_not_write(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        await make_ready(ledger)
        mine = await claim_one(ledger)
        await ledger.recover(now=START, everything=True)
        theirs = await claim_one(ledger, owner="there")
        for attempt in (
            ledger.begin(mine, now=START),
            ledger.move(mine, Event.RELEASE, now=START),
            ledger.move(mine, Event.HOLD, now=START, reason="odd"),
        ):
            with pytest.raises(StaleClaim):
                await attempt
        assert await reader.get(theirs.id) == theirs

    async def test_an_upload_does_not_begin_under_a_lease_that_ran_out(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await make_ready(ledger)
        claimed = await claim_one(ledger)
        with pytest.raises(StaleClaim):
            await ledger.begin(claimed, now=after(60))
        await ledger.renew(owner="here", lease=LEASE, now=after(59))
        begun = await ledger.begin(claimed, now=after(60))
        assert begun.state is State.UPLOADING
        found = await reader.get(begun.id)
        assert found is not None
        assert found.lease_until == after(119)  # what was renewed is not undone by an older snapshot

    async def test_release_gives_back_what_was_not_begun(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        for content in ("a", "b", "c"):
            await make_ready(ledger, content)
        first, *_ = await ledger.claim(owner="here", lease=LEASE, limit=2, now=START)
        await claim_one(ledger, owner="there")
        await ledger.begin(first, now=START)
        assert await ledger.release(owner="here", now=after(1)) == 1
        counts = await reader.counts()
        assert (counts[State.READY], counts[State.CLAIMED], counts[State.UPLOADING]) == (1, 1, 1)

    @pytest.mark.parametrize("everything", [False, True])
    async def test_what_a_dead_owner_left_is_released_or_lost(
        self, ledger: SqlLedger, reader: SqlLedgerReader, everything: bool
    ) -> None:
        uploading = await start_upload(ledger, "begun")
        await make_ready(ledger, "claimed")
        await claim_one(ledger)
        await accept_one(ledger, "reserved")
        await ledger.take_received(owner="here", lease=LEASE, limit=1, now=START)
        early = await ledger.recover(now=after(59), everything=False)
        assert (early.released, early.lost) == (0, 0)
        now = after(1) if everything else after(60)
        recovered = await ledger.recover(now=now, everything=everything)
        assert (recovered.released, recovered.lost) == (1, 1)
        lost = await reader.get(uploading.id)
        assert lost is not None
        assert lost.state is State.UNCONFIRMED
        assert lost.reason is not None
        assert (lost.owner, lost.attempts) == (None, 1)
        (attempt,) = await reader.attempts(uploading.id)
        assert (attempt.outcome, attempt.finished_at) == ("orphaned", now)
        assert len(await ledger.take_received(owner="new", lease=LEASE, limit=9, now=now)) == 1
        with pytest.raises(StaleClaim):
            step = Step(event=Event.CONFIRM)
            await ledger.finish(uploading, step, Uploaded(image_id="late"), now=now)
