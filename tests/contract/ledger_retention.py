"""Which bytes may go, and which somebody may still need."""

from ingestd.domain.outcome import (
    Uploaded,
)
from ingestd.domain.retry import Step
from ingestd.domain.states import Event
from ingestd.interfaces import Refusal
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
)
from tests.contract.ledger_making import (
    START,
    accept_one,
    after,
    claim_one,
    document,
    expired,
    image_of,
    new_arrival,
    new_receipt,
    prepare,
    upload,
)


class Retention:
    async def test_bytes_expire_when_all_their_receipts_are_done_with_them(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        sha256 = document().sha256
        uploaded = await upload(ledger)
        other = new_receipt(slot="report/R1")  # the same bytes for another slot
        second = (await ledger.accept(new_arrival(other), now=START)).receipts[0]
        assert await expired(ledger, after(100)) == []
        await ledger.move(second, Event.DROP, now=after(50))
        assert await expired(ledger, after(50)) == []
        assert await expired(ledger, after(51)) == [sha256]
        assert await ledger.known([sha256, "00"]) == {sha256}
        await ledger.purged([sha256], now=after(60))
        assert await expired(ledger, after(51)) == []
        assert await ledger.known([sha256, "00"]) == frozenset()
        assert await reader.get(uploaded.id) == uploaded

    async def test_bytes_of_a_sighting_and_of_an_image_expire_too(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        image = image_of("ab" * 32)
        await prepare(ledger, receipt, image)
        assert await ledger.known([image.sha256]) == {image.sha256}
        uploading = await ledger.begin(await claim_one(ledger), now=START)
        await ledger.finish(uploading, Step(event=Event.CONFIRM), Uploaded(image_id="1"), now=START)
        assert set(await expired(ledger, after(1))) == {image.sha256, receipt.sha256}
        await ledger.purged([image.sha256, receipt.sha256], now=after(2))
        await ledger.accept(new_arrival(new_receipt(document("copy.pdf"))), now=after(3))
        assert await ledger.known([receipt.sha256]) == {receipt.sha256}
        assert await expired(ledger, after(4)) == [document().sha256]

    async def test_what_can_not_go_yet_keeps_nothing_behind_it(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        done = []
        for number in range(9):
            new = new_receipt(document(content=f"{number}"), hold="?" if number % 3 else None)
            (receipt,) = (await ledger.accept(new_arrival(new), now=after(number))).receipts
            if number % 3 == 0:
                done.append(await ledger.move(receipt, Event.DROP, now=after(number)))
        some = await ledger.expired(before=after(100), after="", limit=2)
        assert (list(some.sha256s), some.last is None) == ([done[0].sha256], False)
        assert await expired(ledger, after(100)) == [receipt.sha256 for receipt in done]
        assert await expired(ledger, after(6)) == [receipt.sha256 for receipt in done[:2]]

    async def test_bytes_that_came_again_just_now_are_kept_though_their_receipt_is_done(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await upload(ledger)
        await ledger.purged([receipt.sha256], now=after(10))
        await ledger.accept(new_arrival(new_receipt(document("copy.pdf"))), now=after(20))
        assert await expired(ledger, after(20)) == []
        assert await expired(ledger, after(21)) == [receipt.sha256]

    async def test_an_archive_is_kept_as_long_as_anything_that_came_of_it(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("batch.zip", "PK")
        await upload(ledger, "seen")  # one member is a repeat of this one
        members = [document(content=content) for content in ("a", "b")]
        news = [new_receipt(member) for member in members]
        seen = new_receipt(document(content="seen"))
        arrival = new_arrival(*news, seen, containers=[archive])
        first, second, _ = (await ledger.accept(arrival, now=START)).receipts
        assert await ledger.known([archive.sha256]) == {archive.sha256}
        await ledger.move(first, Event.DROP, now=after(10))
        kept = {archive.sha256, second.sha256}
        assert kept.isdisjoint(await expired(ledger, after(100)))
        await ledger.move(second, Event.DROP, now=after(50))
        assert archive.sha256 not in await expired(ledger, after(50))
        gone = await expired(ledger, after(51))
        assert set(gone) == {archive.sha256, *(d.sha256 for d in members), seen.documents[0].sha256}
        assert len(gone) == 4
        await ledger.purged(gone, now=after(60))
        assert await expired(ledger, after(51)) == []
        assert await ledger.known([archive.sha256]) == frozenset()

    async def test_an_archive_waits_for_the_first_receipt_of_a_member_that_is_a_repeat(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("batch.zip", "PK")
        waiting = await accept_one(ledger)
        await ledger.accept(new_arrival(new_receipt(), containers=[archive]), now=START)
        assert await expired(ledger, after(9)) == []
        await ledger.move(waiting, Event.DROP, now=START)
        assert set(await expired(ledger, after(9))) == {archive.sha256, waiting.sha256}

    async def test_the_same_archive_and_the_same_bytes_elsewhere_keep_each_other(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("batch.zip", "PK")
        first = new_arrival(new_receipt(document(content="a")), containers=[archive])
        second = new_arrival(new_receipt(document(content="b")), containers=[archive])
        as_document = new_arrival(new_receipt(archive, slot="report/R1"))
        receipts = [
            (await ledger.accept(arrival, now=START)).receipts[0] for arrival in (first, second, as_document)
        ]
        for receipt in receipts:
            assert archive.sha256 not in await expired(ledger, after(9))
            await ledger.move(receipt, Event.DROP, now=START)
        assert archive.sha256 in await expired(ledger, after(9))

    async def test_an_archive_of_nothing_but_logos_expires_too(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("logos.zip", "PK")
        ignored = [Refusal(filename="logo.png", reason="a logo")]
        await ledger.accept(new_arrival(ignored=ignored, containers=[archive]), now=START)
        assert await expired(ledger, START) == []
        assert await expired(ledger, after(1)) == [archive.sha256]
