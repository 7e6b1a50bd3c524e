"""What images look like, and which look alike."""

import pytest

from ingestd.domain.likeness import NEAR_BITS
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    images,
)
from ingestd.ledger.images import _ALIKE
from tests.contract.ledger_making import (
    START,
    accept_one,
    after,
    bring_to,
    claim_one,
    document,
    fingerprint,
    image_of,
    new_arrival,
    new_receipt,
    prepare,
)


class Looks:
    async def test_lookalikes_are_near_and_nearest_first(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        ids = {}
        for bits in (30, 1, NEAR_BITS, NEAR_BITS + 1, 12, 0):
            receipt = await accept_one(ledger, f"{bits}", now=after(bits))
            await prepare(ledger, receipt, image_of(receipt.sha256, fingerprint=fingerprint(bits)))
            ids[bits] = receipt.id
        mine = await accept_one(ledger, "mine")
        image = image_of(mine.sha256, fingerprint=fingerprint(0))
        found = await reader.lookalikes(mine, image, since=START, limit=9)
        assert [r.id for r in found] == [ids[bits] for bits in (0, 1, 12, 30, NEAR_BITS)]
        assert found[0] == await reader.get(ids[0])
        assert list(await reader.lookalikes(mine, image, since=START, limit=2)) == list(found[:2])
        assert await reader.lookalikes(mine, image_of(mine.sha256), since=START, limit=9) == []

    async def test_equally_near_lookalikes_come_oldest_first(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipts = [await accept_one(ledger, f"{i}", now=after(i)) for i in range(4)]
        for receipt in reversed(receipts):
            await prepare(ledger, receipt, image_of(receipt.sha256, fingerprint=fingerprint(5)))
        image = image_of("ab" * 32, fingerprint=fingerprint(0))
        found = await reader.lookalikes(receipts[0], image, since=START, limit=2)
        assert [r.id for r in found] == [receipts[1].id, receipts[2].id]

    async def test_of_very_many_only_the_newest_are_looked_at(
        self, ledger: SqlLedger, reader: SqlLedgerReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(images, "NEWEST", 2)
        receipts = [await accept_one(ledger, f"{i}", now=after(i)) for i in range(4)]
        for receipt in receipts:
            await prepare(ledger, receipt, image_of(receipt.sha256, fingerprint=fingerprint(5)))
        image = image_of("ab" * 32, fingerprint=fingerprint(0))
        found = await reader.lookalikes(receipts[0], image, since=START, limit=9)
        assert [r.id for r in found] == [receipts[2].id, receipts[3].id]

    async def test_another_account_another_target_more_pages_and_long_ago_are_no_lookalikes(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        async def look(content: str, *, at: float = 0, pages: int = 2, **where: str | None) -> Receipt:
            new = new_receipt(document(content=content), **where)  # type: ignore[arg-type]  # strings all
            receipt = (await ledger.accept(new_arrival(new), now=after(at))).receipts[0]
            image = image_of(receipt.sha256, fingerprint=fingerprint(0), pages=pages)
            return await prepare(ledger, receipt, image, now=after(100))

        mine = await look("mine", account="ann")
        same = await look("same", account="ann", slot="report/R1")
        await look("bob's", account="bob")
        await look("nobody's")
        await look("longer", account="ann", pages=3)
        await look("elsewhere", account="ann", target="other")
        await look("old", account="ann", at=-1)
        image = image_of(mine.sha256, fingerprint=fingerprint(1))
        found = await reader.lookalikes(mine, image, since=START, limit=9)
        assert [r.id for r in found] == [same.id]
        nobodys = await look("nobody's second")
        found = await reader.lookalikes(nobodys, image, since=START, limit=9)
        assert [r.account for r in found] == [None]

    @pytest.mark.parametrize("state", list(State))
    async def test_only_what_is_uploaded_or_about_to_be_is_a_lookalike(
        self, ledger: SqlLedger, reader: SqlLedgerReader, state: State
    ) -> None:
        first = await bring_to(ledger, state, look=fingerprint(0))
        second = await accept_one(ledger, "second")
        image = image_of(second.sha256, fingerprint=fingerprint(1))
        found = await reader.lookalikes(second, image, since=START, limit=9)
        counts = (State.READY, State.CLAIMED, State.UPLOADING, State.UNCONFIRMED, State.UPLOADED)
        assert [r.id for r in found] == ([first.id] if state in counts else [])

    async def test_many_lookalikes_that_ended_otherwise_do_not_hide_one_that_did_not(
        self, ledger: SqlLedger, reader: SqlLedgerReader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ingestd.ledger.images._ALIKE", _ALIKE.execution_options(yield_per=3))
        for bits in range(20):
            receipt = await accept_one(ledger, f"{bits}", now=after(bits))
            ready = await prepare(
                ledger, receipt, image_of(receipt.sha256, fingerprint=fingerprint(bits % 10))
            )
            if bits not in (6, 15, 17):
                await ledger.move(ready, Event.DROP, now=START)
        image = image_of("ab" * 32, fingerprint=fingerprint(0))
        mine = await accept_one(ledger, "mine")
        found = await reader.lookalikes(mine, image, since=START, limit=2)
        assert [r.filename for r in found] == ["15.pdf", "6.pdf"]

    async def test_a_receipt_that_is_prepared_again_looks_as_it_does_now(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        mine = await accept_one(ledger, "mine")
        for bits, pages in ((0, 2), (100, 3)):
            image = image_of("ab" * 32, fingerprint=fingerprint(bits), pages=pages)
            await prepare(ledger, receipt, image)
            held = await ledger.move(await claim_one(ledger), Event.HOLD, now=START, reason="odd")
            receipt = await ledger.move(held, Event.REQUEUE, now=START)
        await prepare(ledger, receipt, image)

        async def alike(bits: int, pages: int) -> int:
            wanted = image_of("cd" * 32, fingerprint=fingerprint(bits), pages=pages)
            return len(await reader.lookalikes(mine, wanted, since=START, limit=9))

        assert await alike(0, 2) == 0
        assert await alike(100, 3) == 1

    async def test_what_is_no_fingerprint_changes_nothing(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        with pytest.raises(ValueError, match="fingerprint"):
            await prepare(ledger, receipt, image_of("ab" * 32, fingerprint="00"))
        assert await reader.get(receipt.id) == receipt

    async def test_looks_of_long_ago_are_forgotten_a_few_at_a_time(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        look = fingerprint(0)
        for number in range(6):
            receipt = await accept_one(ledger, f"{number}", now=after(number), account="ab"[number % 2])
            await prepare(ledger, receipt, image_of(receipt.sha256, fingerprint=look, pages=1 + number % 3))
        assert [await ledger.forget_looks(before=after(5), limit=3) for _ in range(3)] == [3, 2, 0]
        for account, pages, left in (("a", 1, 0), ("b", 3, 1)):
            new = await accept_one(ledger, f"new {account}", now=after(9), account=account)
            image = image_of(new.sha256, fingerprint=look, pages=pages)
            assert len(await reader.lookalikes(new, image, since=START, limit=9)) == left
