"""What every ledger must do, whatever engine it is on. The engines' test modules inherit LedgerContract."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.document import Document, Instant, Origin, OriginKind, ReceiptImage
from ingestd.domain.errors import (
    SLOT_TAKEN,
    IllegalTransition,
    LedgerTooNew,
    LedgerUnavailable,
    SlotTaken,
    StaleClaim,
)
from ingestd.domain.likeness import NEAR_BITS
from ingestd.domain.outcome import (
    Evidence,
    Outcome,
    Pending,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.receipt import Receipt, idempotency_key, new_id
from ingestd.domain.retry import RetryPolicy, Step, next_step
from ingestd.domain.routing import Destined, Slot
from ingestd.domain.states import Event, State
from ingestd.interfaces import Accepted, Feedback, NewArrival, NewReceipt, Refusal, Report
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    images,
    migrate,
    open_ledger,
    open_reader,
    verify_chain,
)
from ingestd.ledger.engine import open_engine
from ingestd.ledger.images import _ALIKE
from ingestd.ledger.schema import metadata

SPOOL = Path("/spool")
START = Instant(1_760_000_000_000_000)
SECOND = 1_000_000
LEASE = timedelta(seconds=60)
NO_ROUTE = "No route fits this file."


def spool_path(sha256: str) -> Path:
    return SPOOL / sha256


def after(seconds: float) -> Instant:
    return Instant(START + round(seconds * SECOND))


def document(name: str = "lunch.pdf", content: str = "lunch", arrived_as: str = "") -> Document:
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return Document(
        path=spool_path(sha256),
        filename=name,
        size=len(content),
        sha256=sha256,
        declared_type=None,
        arrived_as=arrived_as,
    )


def new_receipt(
    *documents: Document,
    target: str = "concur",
    slot: str = "receipt",
    account: str | None = None,
    again: bool = False,
    hold: str | None = None,
) -> NewReceipt:
    documents = documents or (document(),)
    key = idempotency_key([d.sha256 for d in documents], target=target, account=account, slot=slot)
    return NewReceipt(
        documents=documents, target=target, slot=slot, key=key, account=account, again=again, hold=hold
    )


def new_arrival(
    *receipts: NewReceipt,
    ignored: Sequence[Refusal] = (),
    kind: OriginKind = OriginKind.FILE,
    path: str = "lunch.pdf",
    containers: Sequence[Document] = (),
) -> NewArrival:
    origin = Origin(kind=kind, source="scanner", path=path)
    return NewArrival(
        id=new_id(START),
        origin=origin,
        receipts=receipts,
        ignored=tuple(ignored),
        containers=tuple(containers),
    )


def image_of(sha256: str, *, fingerprint: str | None = None, pages: int = 2) -> ReceiptImage:
    return ReceiptImage(
        path=spool_path(sha256),
        mime_type="application/pdf",
        size=5,
        pages=pages,
        sha256=sha256,
        fingerprint=fingerprint,
    )


def fingerprint(bits: int) -> str:
    """One that differs in so many bits from `fingerprint(0)`."""
    return f"{(1 << bits) - 1:064x}"


async def accept_one(
    ledger: SqlLedger, content: str = "lunch", *, now: Instant = START, account: str | None = None
) -> Receipt:
    new = new_receipt(document(f"{content}.pdf", content), account=account)
    return (await ledger.accept(new_arrival(new, path=f"{content}.pdf"), now=now)).receipts[0]


async def make_ready(ledger: SqlLedger, content: str = "lunch", *, account: str | None = None) -> Receipt:
    receipt = await accept_one(ledger, content, account=account)
    return await prepare(ledger, receipt)


async def prepare(
    ledger: SqlLedger,
    receipt: Receipt,
    image: ReceiptImage | None = None,
    *,
    one_image: bool = False,
    now: Instant = START,
) -> Receipt:
    """With an image of its own bytes, as one that is sent as it is."""
    image = image or image_of(receipt.sha256)
    return await ledger.prepare(receipt, image, one_image=one_image, now=now)


async def claim_one(ledger: SqlLedger, *, now: Instant = START, owner: str = "here") -> Receipt:
    (receipt,) = await ledger.claim(owner=owner, lease=LEASE, limit=1, now=now)
    return receipt


async def start_upload(ledger: SqlLedger, content: str = "lunch") -> Receipt:
    await make_ready(ledger, content)
    return await ledger.begin(await claim_one(ledger), now=START)


async def upload(ledger: SqlLedger, content: str = "lunch", *, now: Instant = START) -> Receipt:
    receipt = await start_upload(ledger, content)
    step = Step(event=Event.CONFIRM)
    return await ledger.finish(receipt, step, Uploaded(image_id="IMG1"), now=now)


async def fail(ledger: SqlLedger, ready: Receipt) -> Receipt:
    claimed = await ledger.claim(owner="here", lease=LEASE, limit=100, now=after(1))
    (mine,) = [receipt for receipt in claimed if receipt.id == ready.id]
    begun = await ledger.begin(mine, now=after(1))
    return await ledger.finish(
        begun, Step(event=Event.REFUSE), Refused(reason="No.", fix="Ask."), now=after(1)
    )


async def due(ledger: SqlLedger, now: Instant = START) -> list[Report]:
    return [feedback.report for feedback in await ledger.feedback_due(limit=100, now=now)]


async def settle_feedback(ledger: SqlLedger, place: str = "uploaded/lunch.pdf") -> list[Feedback]:
    told = list(await ledger.feedback_due(limit=100, now=after(10_000)))
    for feedback in told:
        await ledger.feedback_done(feedback, place=place, now=START)
    return told


class LedgerContract:
    """A subclass provides the fixture `url`: a place for a ledger that doesn't exist yet."""

    @pytest.fixture
    async def ledger(self, url: str) -> AsyncIterator[SqlLedger]:
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        yield ledger
        await ledger.aclose()

    @pytest.fixture
    async def reader(self, ledger: SqlLedger, url: str) -> AsyncIterator[SqlLedgerReader]:
        """At the end of each test the books close and every chain verifies."""
        reader = open_reader(url, spool_path=spool_path)
        yield reader
        balance = await reader.balance()
        assert balance.closed, balance
        for receipt in await reader.find():
            entries = await reader.history(receipt.id)
            assert verify_chain(entries)
            assert entries[-1].after is receipt.state
            assert entries[-1].version == receipt.version
        await reader.aclose()

    # --- accepting ---

    async def test_an_accepted_receipt_is_read_back_as_it_was_given(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        new = replace(new_receipt(account="ann"), person="Ann", fields={"note": "Grüße\n\0"})
        accepted = await ledger.accept(new_arrival(new), now=START)
        (receipt,) = accepted.receipts
        assert not accepted.known
        assert not accepted.repeats
        assert await reader.get(receipt.id) == receipt
        assert (receipt.state, receipt.version, receipt.attempts) == (State.RECEIVED, 1, 0)
        assert (receipt.person, receipt.account, receipt.fields) == ("Ann", "ann", {"note": "Grüße\n\0"})
        assert (receipt.filename, receipt.documents, receipt.received_at) == ("lunch.pdf", 1, START)

    async def test_a_path_that_is_no_utf8_comes_back_as_it_was(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        path = "K\udcfcche/\ufdd0\ufdd0dcfc\\x.pdf"
        hold = "What is \udcff?\0"
        await ledger.accept(new_arrival(new_receipt(hold=hold), path=path), now=START)
        (receipt,) = await reader.find()
        assert (receipt.path, receipt.reason) == (path, hold)
        assert [report.origin.path for report in await due(ledger)] == [path]

    async def test_an_arrival_handed_over_twice_is_recorded_once(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        old = await accept_one(ledger, "old")
        arrival = new_arrival(
            new_receipt(document(content="a"), document(content="b")),
            new_receipt(document(content="old")),
            new_receipt(document(content="c")),
            ignored=[Refusal(filename="logo.png", reason="a logo")],
        )
        first = await ledger.accept(arrival, now=START)
        second = await ledger.accept(arrival, now=after(1))
        assert [r.id for r in second.receipts] == [r.id for r in first.receipts]
        assert second.receipts[1].id == old.id
        assert first.repeats == second.repeats == {old.id}
        assert (first.known, second.known) == (False, True)
        balance = await reader.balance()
        assert (balance.payloads, balance.documents, balance.sightings, balance.ignored) == (6, 4, 1, 1)

    async def test_an_arrival_without_documents_is_counted_too(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        ignored = [Refusal(filename="logo.png", reason="a logo")]
        accepted = await ledger.accept(new_arrival(ignored=ignored), now=START)
        assert accepted == Accepted(receipts=())
        assert (await reader.balance()).payloads == 1

    async def test_a_receipt_that_needs_a_person_is_held_from_the_start(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        arrival = new_arrival(new_receipt(target="", slot="", hold=NO_ROUTE))
        (receipt,) = (await ledger.accept(arrival, now=START)).receipts
        assert (receipt.state, receipt.reason, receipt.version) == (State.HELD, NO_ROUTE, 2)
        assert [entry.event for entry in await reader.history(receipt.id)] == ["accept", "hold"]
        (report,) = await due(ledger)
        assert (report.state, report.reason, report.destined) == (State.HELD, NO_ROUTE, "")

    async def test_documents_and_archives_come_back_with_the_paths_they_had(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("batch.zip", "PK", "K\udcfcche/batch.zip")
        inner = document("inner.zip", "PK inner", "K\udcfcche/batch.zip/inner.zip")
        pages = tuple(document(f"{i}.pdf", f"page {i}", f"K\udcfcche/batch.zip/{i}.pdf") for i in (1, 2, 10))
        alone = document("alone.pdf", "alone")
        arrival = new_arrival(
            new_receipt(*pages),
            new_receipt(alone),
            ignored=[Refusal(filename="logo.png", reason="a logo")],
            containers=[archive, inner],
        )
        merged, single = (await ledger.accept(arrival, now=START)).receipts
        assert (merged.documents, merged.filename, merged.sha256) == (3, "1.pdf", pages[0].sha256)
        assert tuple(await reader.documents(merged.id)) == pages
        assert tuple(await reader.documents(single.id)) == (alone,)
        assert tuple(await reader.containers(single.id)) == (archive, inner)
        assert await reader.documents("0" * 36) == []
        works = await ledger.take_received(owner="here", lease=LEASE, limit=9, now=START)
        assert {work.documents for work in works} == {pages, (alone,)}
        await ledger.move(merged, Event.REJECT, now=START, reason="blank")
        (report,) = await due(ledger)
        assert report.documents == pages
        balance = await reader.balance()
        assert (balance.payloads, balance.documents, balance.ignored) == (5, 4, 1)

    async def test_the_payloads_a_source_counted_are_one_side_of_the_books(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        pages = [document(content=content) for content in "abc"]
        containers = [document("batch.zip", "PK")]
        arrival = replace(new_arrival(new_receipt(*pages), containers=containers), payloads=3)
        await ledger.accept(arrival, now=START)
        again = replace(new_arrival(new_receipt(*pages), containers=containers), payloads=3)
        await ledger.accept(again, now=START)
        balance = await reader.balance()
        assert (balance.payloads, balance.documents, balance.sightings) == (6, 3, 3)

    @pytest.mark.parametrize("merged", [True, False])
    async def test_an_arrival_of_which_a_part_was_acknowledged_before_a_crash_is_still_known(
        self, ledger: SqlLedger, reader: SqlLedgerReader, merged: bool
    ) -> None:
        pages = [document(f"{content}.pdf", content) for content in "abc"]
        news = [new_receipt(*pages)] if merged else [new_receipt(page) for page in pages]
        arrival = new_arrival(*news)
        first = await ledger.accept(arrival, now=START)
        left = [new_receipt(*pages[1:])] if merged else news[1:]
        second = await ledger.accept(replace(arrival, receipts=tuple(left)), now=after(1))
        assert second.known
        assert [r.id for r in second.receipts] == [r.id for r in first.receipts[-len(left) :]]
        assert (await reader.balance()).payloads == 3

    async def test_receipts_that_share_a_page_are_told_apart_when_they_come_again(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        cover, page = document("cover.pdf", "cover"), document("page.pdf", "page")
        arrival = new_arrival(new_receipt(page, cover), new_receipt(cover), new_receipt(cover, page))
        first = await ledger.accept(arrival, now=START)
        backwards = replace(arrival, receipts=arrival.receipts[::-1])
        again = await ledger.accept(backwards, now=after(1))
        assert [r.id for r in again.receipts] == [r.id for r in first.receipts[::-1]]

    async def test_what_was_merged_is_known_again_though_the_routes_now_say_separate(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        pages = [document(f"{content}.pdf", content) for content in "abc"]
        arrival = new_arrival(new_receipt(*pages))
        (receipt,) = (await ledger.accept(arrival, now=START)).receipts
        separate = tuple(new_receipt(page) for page in pages)
        second = await ledger.accept(replace(arrival, receipts=separate), now=after(1))
        assert [r.id for r in second.receipts] == [receipt.id] * 3

    async def test_a_document_that_was_not_recorded_with_its_arrival_has_no_entry(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        arrival = new_arrival(new_receipt(document(content="a")), new_receipt(document(content="b")))
        _, second = (await ledger.accept(arrival, now=START)).receipts
        later = (
            new_receipt(document(content="new")),
            new_receipt(document(content="b")),
            new_receipt(document(content="a"), document(content="new")),
        )
        again = await ledger.accept(replace(arrival, receipts=later), now=after(1))
        assert again.known
        assert [r.id for r in again.receipts] == [second.id]
        assert (await reader.balance()).payloads == 2

    # --- repeats ---

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

    # --- preparation ---

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

    # --- slots that take one image ---

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

    # --- near-duplicates ---

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

    # --- claims and leases ---

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

    # --- attempts ---

    @pytest.mark.parametrize(
        ("outcome", "state", "attempts", "reason"),
        [
            (Uploaded(image_id="IMG1"), State.UPLOADED, 1, None),
            (Refused(reason="No such entry.", fix="Check it."), State.FAILED, 1, "No such entry. Check it."),
            (Throttled(reason="Busy."), State.READY, 0, "Busy."),
            (Unavailable(reason="Down."), State.READY, 1, "Down."),
            (Unconfirmed(reason="No answer."), State.UNCONFIRMED, 1, "No answer."),
            (
                Pending(reference="job/1", ask_after=timedelta(minutes=1)),
                State.UNCONFIRMED,
                1,
                "The target took the image and has not said yet what it made of it.",
            ),
        ],
    )
    async def test_an_outcome_closes_the_attempt_and_moves_the_receipt(
        self,
        ledger: SqlLedger,
        reader: SqlLedgerReader,
        outcome: Outcome,
        state: State,
        attempts: int,
        reason: str | None,
    ) -> None:
        evidence = Evidence(status=418, correlation_id="C-1", error_id="E-1", message="teapot", bytes_sent=99)
        outcome = replace(outcome, evidence=evidence)
        uploading = await start_upload(ledger)
        step = next_step(outcome, RetryPolicy(), attempts=1, now=after(1), jitter=0.5)
        done = await ledger.finish(uploading, step, outcome, now=after(1))
        assert (done.state, done.attempts, done.reason, done.owner) == (state, attempts, reason, None)
        assert done.due_at == (step.due_at or after(1))
        assert done.image_id == ("IMG1" if state is State.UPLOADED else None)
        assert done.reference == ("job/1" if isinstance(outcome, Pending) else None)
        assert await reader.get(done.id) == done
        (attempt,) = await reader.attempts(done.id)
        assert (attempt.number, attempt.owner, attempt.started_at) == (1, "here", START)
        assert (attempt.outcome, attempt.finished_at) == (type(outcome).__name__.lower(), after(1))
        assert (attempt.status, attempt.correlation_id, attempt.error_id) == (418, "C-1", "E-1")
        assert (attempt.message, attempt.bytes_sent) == ("teapot", 99)

    async def test_attempts_are_numbered_even_when_they_are_not_spent(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await make_ready(ledger)
        step = Step(event=Event.DEFER, spent=False)
        for _ in range(3):
            uploading = await ledger.begin(await claim_one(ledger), now=START)
            await ledger.finish(uploading, step, Throttled(reason="Busy."), now=START)
        assert [attempt.number for attempt in await reader.attempts(receipt.id)] == [1, 2, 3]

    async def test_a_receipt_given_up_says_so(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        uploading = await start_upload(ledger)
        failed = await ledger.finish(
            uploading, Step(event=Event.EXHAUST), Unavailable(reason="Down."), now=START
        )
        assert failed.reason == "Down. Given up after 1 attempts; retry it when the cause is gone."

    async def test_an_open_attempt_is_only_closed_by_its_outcome(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploading = await start_upload(ledger)
        with pytest.raises(IllegalTransition):
            await ledger.move(uploading, Event.LOSE, now=START)
        ready = await make_ready(ledger, "other")
        for event in (Event.CLAIM, Event.BEGIN):
            with pytest.raises(IllegalTransition):
                await ledger.move(ready, event, now=START)

    # --- moves by hand ---

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

    async def test_only_unconfirmed_receipts_of_that_target_that_are_due_are_requeued(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploading = await start_upload(ledger)
        step = Step(event=Event.LOSE, due_at=after(10))
        await ledger.finish(uploading, step, Unconfirmed(reason="No answer."), now=START)
        assert await ledger.requeue_unconfirmed(target="concur", now=after(9)) == 0
        assert await ledger.requeue_unconfirmed(target="other", now=after(10)) == 0
        assert await ledger.requeue_unconfirmed(target="concur", now=after(10)) == 1
        found = await reader.get(uploading.id)
        assert found is not None
        assert (found.state, found.attempts) == (State.READY, 1)

    async def test_nothing_stays_due_later_than_the_clamp(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await accept_one(ledger)
        await prepare(ledger, receipt, now=after(9999))
        assert await ledger.clamp_due(latest=after(60)) == 1
        assert await ledger.clamp_due(latest=after(60)) == 0
        assert (await claim_one(ledger, now=after(60))).due_at == after(60)

    # --- feedback ---

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

    # --- retention ---

    async def test_bytes_expire_when_all_their_receipts_are_done_with_them(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        sha256 = document().sha256
        uploaded = await upload(ledger)
        other = new_receipt(slot="report/R1")  # the same bytes for another slot
        second = (await ledger.accept(new_arrival(other), now=START)).receipts[0]
        assert await ledger.expired(before=after(100), limit=9) == []
        await ledger.move(second, Event.DROP, now=after(50))
        assert await ledger.expired(before=after(50), limit=9) == []
        assert await ledger.expired(before=after(51), limit=9) == [sha256]
        assert await ledger.known([sha256, "00"]) == {sha256}
        await ledger.purged([sha256], now=after(60))
        assert await ledger.expired(before=after(51), limit=9) == []
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
        assert set(await ledger.expired(before=after(1), limit=9)) == {image.sha256, receipt.sha256}
        await ledger.purged([image.sha256, receipt.sha256], now=after(2))
        await ledger.accept(new_arrival(new_receipt(document("copy.pdf"))), now=after(3))
        assert await ledger.known([receipt.sha256]) == {receipt.sha256}
        assert await ledger.expired(before=after(4), limit=9) == [document().sha256]

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
        assert kept.isdisjoint(await ledger.expired(before=after(100), limit=9))
        await ledger.move(second, Event.DROP, now=after(50))
        assert archive.sha256 not in await ledger.expired(before=after(50), limit=9)
        gone = await ledger.expired(before=after(51), limit=9)
        assert set(gone) == {archive.sha256, *(d.sha256 for d in members), seen.documents[0].sha256}
        assert len(gone) == 4
        await ledger.purged(gone, now=after(60))
        assert await ledger.expired(before=after(51), limit=9) == []
        assert await ledger.known([archive.sha256]) == frozenset()

    async def test_an_archive_waits_for_the_first_receipt_of_a_member_that_is_a_repeat(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("batch.zip", "PK")
        waiting = await accept_one(ledger)
        await ledger.accept(new_arrival(new_receipt(), containers=[archive]), now=START)
        assert await ledger.expired(before=after(9), limit=9) == []
        await ledger.move(waiting, Event.DROP, now=START)
        assert set(await ledger.expired(before=after(9), limit=9)) == {archive.sha256, waiting.sha256}

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
            assert archive.sha256 not in await ledger.expired(before=after(9), limit=9)
            await ledger.move(receipt, Event.DROP, now=START)
        assert archive.sha256 in await ledger.expired(before=after(9), limit=9)

    async def test_an_archive_of_nothing_but_logos_expires_too(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        archive = document("logos.zip", "PK")
        ignored = [Refusal(filename="logo.png", reason="a logo")]
        await ledger.accept(new_arrival(ignored=ignored, containers=[archive]), now=START)
        assert await ledger.expired(before=START, limit=9) == []
        assert await ledger.expired(before=after(1), limit=9) == [archive.sha256]

    # --- reading ---

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

    # --- opening ---

    async def test_the_migrations_make_the_tables_the_program_uses(self, ledger: SqlLedger, url: str) -> None:
        assert differences(url) == []

    async def test_a_ledger_of_the_first_program_is_upgraded_with_all_that_is_in_it(self, url: str) -> None:
        from tests.contract.old_ledger import make_old_ledger

        held, uploaded = make_old_ledger(
            url,
            {"state": "received", "slot": "receipt", "waived": "No \ufdd0dcff route\nfits."},
            {"state": "uploaded", "slot": "receipt", "image_id": "IMG1"},
        )
        assert migrate(url) == "0002"
        assert differences(url) == []
        reader = open_reader(url, spool_path=spool_path)
        assert (await reader.balance()).closed
        found = await reader.get(held)
        assert found is not None
        assert (found.waived, found.state) == (("No \udcff route\nfits.",), State.RECEIVED)
        found = await reader.get(uploaded)
        assert found is not None
        assert found.image is not None
        assert (found.waived, found.image.steps, found.image.warnings) == ((), (), ())
        assert [d.arrived_as for d in await reader.documents(uploaded)] == [""]
        assert verify_chain(await reader.history(uploaded))
        await reader.aclose()

    async def test_every_waived_reason_is_upgraded_however_many_there_are(self, url: str) -> None:
        from tests.contract.old_ledger import make_old_ledger

        rows = [
            {"state": "held", "slot": "receipt", "waived": f"{i}" if i % 3 else None} for i in range(3500)
        ]
        ids = make_old_ledger(url, *rows)
        migrate(url)
        reader = open_reader(url, spool_path=spool_path)
        waived = {receipt.id: receipt.waived for receipt in await reader.find()}
        await reader.aclose()
        assert waived == {id_: (f"{i}",) if i % 3 else () for i, id_ in enumerate(ids)}

    async def test_slots_filled_by_the_first_program_stay_filled(self, url: str) -> None:
        from tests.contract.old_ledger import make_old_ledger

        _, first, _, report, ready, _ = make_old_ledger(
            url,
            {"state": "failed", "slot": "expenseentry/E1"},
            {"state": "uploaded", "slot": "expenseentry/E1"},
            {"state": "ready", "slot": "expenseentry/E1"},
            {"state": "failed", "slot": "report/R1"},
            {"state": "ready", "slot": "invoice/I1"},
            {"state": "uploaded", "slot": "report/R1"},
        )
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        for slot, holder in (("expenseentry/E1", first), ("invoice/I1", ready)):
            with pytest.raises(SlotTaken) as taken:
                await prepare(ledger, await accept_for(ledger, slot, slot), one_image=True)
            assert taken.value.receipt == holder
        await prepare(ledger, await accept_for(ledger, "new", "expenseentry/E2"), one_image=True)
        reader = open_reader(url, spool_path=spool_path)
        failed = await reader.get(report)
        await reader.aclose()
        assert failed is not None
        assert (await ledger.move(failed, Event.REQUEUE, now=START)).state is State.READY
        await ledger.aclose()

    async def test_migrating_again_changes_nothing(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        receipt = await accept_one(ledger)
        assert migrate(url) == "0002"
        assert await reader.get(receipt.id) == receipt

    async def test_the_ledger_of_a_newer_program_is_refused(self, ledger: SqlLedger, url: str) -> None:
        await ledger.aclose()
        engine = open_engine(url, writes=True)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        engine.dispose()
        for migrates in (False, True):
            with pytest.raises(LedgerTooNew):
                open_ledger(url, migrate=migrates, spool_path=spool_path)
        with pytest.raises(LedgerTooNew):
            open_reader(url, spool_path=spool_path)

    async def test_a_ledger_that_does_not_exist_is_named(self, url: str) -> None:
        with pytest.raises(LedgerUnavailable, match="ingestd run"):
            open_reader(url, spool_path=spool_path)
        with pytest.raises(LedgerUnavailable, match="ingestd run"):
            open_ledger(url, migrate=False, spool_path=spool_path)

    async def test_what_was_given_before_closing_is_still_done(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        accepts = [asyncio.create_task(accept_one(ledger, f"{i}")) for i in range(50)]
        await asyncio.sleep(0)
        await ledger.aclose()
        await asyncio.gather(*accepts)
        assert (await reader.counts())[State.RECEIVED] == 50
        with pytest.raises(LedgerUnavailable):
            await accept_one(ledger, "late")

    async def test_cancelled_callers_leave_whole_operations_behind(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        tasks = [asyncio.create_task(accept_one(ledger, f"{i}")) for i in range(60)]
        for count, task in enumerate(tasks):
            await asyncio.sleep(0)
            if count % 3:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [result for result in results if isinstance(result, Receipt)]
        assert len(kept) >= 20
        assert {r.id for r in kept} <= {r.id for r in await reader.find()}


def differences(url: str) -> list[object]:
    """Between the tables there are and those of the program."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_engine(url, writes=False)
    with engine.connect() as connection:
        options = {"compare_type": False}  # columns of foreign text are TEXT with a coding of ours
        context = MigrationContext.configure(connection, opts=options)
        found: list[object] = compare_metadata(context, metadata)
    engine.dispose()
    return found


async def accept_for(ledger: SqlLedger, content: str, slot: str, *, target: str = "concur") -> Receipt:
    """Another receipt for this slot."""
    new = new_receipt(document(f"{content}.pdf", content), slot=slot, target=target)
    return (await ledger.accept(new_arrival(new), now=START)).receipts[0]


async def bring_to(
    ledger: SqlLedger, state: State, *, slot: str = "receipt", look: str | None = None
) -> Receipt:
    """The lunch receipt in this state, by the way that leads through `ready` wherever there is one."""
    receipt = await accept_for(ledger, "lunch", slot)
    match state:
        case State.RECEIVED:
            return receipt
        case State.REJECTED:
            return await ledger.move(receipt, Event.REJECT, now=START, reason="blank")
    image = image_of(receipt.sha256, fingerprint=look)
    ready = await prepare(ledger, receipt, image, one_image=slot != "receipt")
    match state:
        case State.READY:
            return ready
        case State.DROPPED:
            return await ledger.move(ready, Event.DROP, now=START)
    claimed = await claim_one(ledger)
    match state:
        case State.CLAIMED:
            return claimed
        case State.HELD:
            return await ledger.move(claimed, Event.HOLD, now=START, reason="odd")
    uploading = await ledger.begin(claimed, now=START)
    step: Step
    outcome: Outcome
    match state:
        case State.UPLOADING:
            return uploading
        case State.UPLOADED:
            step, outcome = Step(event=Event.CONFIRM), Uploaded(image_id="IMG1")
        case State.UNCONFIRMED:
            step, outcome = Step(event=Event.LOSE), Unconfirmed(reason="No answer.")
        case State.FAILED:
            step, outcome = Step(event=Event.REFUSE), Refused(reason="No.", fix="")
    return await ledger.finish(uploading, step, outcome, now=START)
