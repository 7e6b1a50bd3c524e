"""Arrivals are recorded once, whole, and as they were given."""

from dataclasses import replace

import pytest

from ingestd.domain.states import Event, State
from ingestd.interfaces import Accepted, Refusal
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
    due,
    new_arrival,
    new_receipt,
)


class Accepting:
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

    @pytest.mark.parametrize("only_repeats", [True, False])
    async def test_an_archive_that_can_not_be_opened_when_it_comes_again_stands_for_what_it_held(
        self, ledger: SqlLedger, reader: SqlLedgerReader, only_repeats: bool
    ) -> None:
        old = await accept_one(ledger, "old")
        archive = document("batch.zip", "PK")
        held = [new_receipt(document("old.pdf", "old"))]
        held += [] if only_repeats else [new_receipt(document("new.pdf", "new"))]
        arrival = new_arrival(*held, containers=[archive])
        first = await ledger.accept(arrival, now=START)
        unopened = replace(arrival, receipts=(new_receipt(archive),), containers=())
        second = await ledger.accept(unopened, now=after(1))
        assert (second.known, second.unrecorded) == (True, frozenset())
        assert [r.id for r in second.receipts] == [old.id if only_repeats else first.receipts[1].id]
        assert (await reader.balance()).sightings == 1

    async def test_what_was_not_recorded_with_its_arrival_is_named(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        arrival = new_arrival(new_receipt(document(content="a"), document(content="b")))
        assert (await ledger.accept(arrival, now=START)).unrecorded == frozenset()
        written = document(content="written since")
        changed = replace(arrival, receipts=(new_receipt(document(content="a"), written),))
        again = await ledger.accept(changed, now=after(1))
        assert again.known and not again.receipts
        assert again.unrecorded == {written.sha256}

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
