"""Who is told how a receipt ended, and when."""

import asyncio

from ingestd.domain.document import Origin, OriginKind
from ingestd.domain.outcome import (
    Uploaded,
)
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State
from ingestd.interfaces import Report
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
)
from tests.contract.ledger_making import (
    START,
    after,
    bring_to,
    document,
    due,
    new_arrival,
    new_receipt,
    start_upload,
    upload,
)


class FeedbackDue:
    async def test_a_settled_receipt_is_reported_once(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await upload(ledger, now=after(3))
        (feedback,) = await ledger.feedback_due(limit=9, now=after(3))
        assert feedback.failures == 0
        assert feedback.report == Report(
            origin=Origin(kind=OriginKind.FILE, source="scanner", path="lunch.pdf"),
            arrival=receipt.arrival,
            receipt=receipt.id,
            documents=(document(),),
            state=State.UPLOADED,
            destined="concur:receipt",
            image_id="IMG1",
            reason=None,
            at=after(3),
            repeat=False,
            place=None,
        )
        await ledger.feedback_done(feedback, place="uploaded/lunch.pdf", now=after(4))
        assert await due(ledger, after(99)) == []

    async def test_a_report_that_did_not_get_through_is_due_later(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await upload(ledger)
        (feedback,) = await ledger.feedback_due(limit=9, now=START)
        await ledger.feedback_deferred(feedback, due_at=after(30))
        assert await due(ledger, after(29)) == []
        (later,) = await ledger.feedback_due(limit=9, now=after(30))
        assert later.failures == 1

    async def test_a_source_that_is_being_told_something_is_left_out(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await upload(ledger)
        (feedback,) = await ledger.feedback_due(limit=9, now=START, but_not={"another"})
        own = feedback.report.origin.source
        assert await ledger.feedback_due(limit=9, now=START, but_not={own, "another"}) == []

    async def test_a_report_overtaken_by_events_does_not_count_but_its_place_does(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await bring_to(ledger, State.UNCONFIRMED)
        (old,) = await ledger.feedback_due(limit=9, now=START)
        await ledger.move(receipt, Event.CONFIRM, now=after(1), image_id="IMG9")
        await ledger.feedback_done(old, place="rejected/lunch.pdf", now=after(2))
        await ledger.feedback_deferred(old, due_at=after(500))
        (report,) = await due(ledger, after(2))
        assert (report.state, report.place) == (State.UPLOADED, "rejected/lunch.pdf")

    async def test_nobody_is_told_of_a_submission(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        arrival = new_arrival(new_receipt(), kind=OriginKind.SUBMISSION)
        receipt = (await ledger.accept(arrival, now=START)).receipts[0]
        await ledger.move(receipt, Event.REJECT, now=START, reason="blank")
        assert await due(ledger) == []

    async def test_a_repeat_that_comes_with_the_end_of_the_first_is_told_too(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploading = await start_upload(ledger)
        repeat = new_arrival(new_receipt(document("copy.pdf")), path="copy.pdf")
        await asyncio.gather(
            ledger.accept(repeat, now=START),
            ledger.finish(uploading, Step(event=Event.CONFIRM), Uploaded(image_id="IMG1"), now=START),
        )
        told = {(r.origin.path, r.documents[0].filename, r.repeat) for r in await due(ledger)}
        assert told == {("lunch.pdf", "lunch.pdf", False), ("copy.pdf", "copy.pdf", True)}
