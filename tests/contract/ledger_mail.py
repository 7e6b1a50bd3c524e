"""What the ledger knows of messages: where they are, what came of them, who was answered."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from ingestd.domain.document import Document, Instant, Origin, OriginKind
from ingestd.domain.errors import UnknownArrival
from ingestd.domain.mail import Filed, MessageOrigin, MessagePlace
from ingestd.domain.receipt import Receipt, new_id
from ingestd.domain.states import SETTLED, Event, State
from ingestd.interfaces import MailBook, MailedReceipt, NewArrival, NewReceipt, Refusal
from ingestd.ledger import SqlLedger, SqlLedgerReader, SqlMailBook, open_ledger
from tests.contract.ledger_making import (
    LEASE,
    START,
    accept_one,
    after,
    bring_to,
    document,
    due,
    expired,
    new_receipt,
    prepare,
    spool_path,
    upload,
)

ACCOUNT = "receipts@example.com@imap.example.com:993"
INBOX = MessagePlace(account=ACCOUNT, mailbox="INBOX", uidvalidity=7, uid=1)


def at(uid: int, mailbox: str = "INBOX", *, uidvalidity: int = 7) -> MessagePlace:
    return replace(INBOX, mailbox=mailbox, uidvalidity=uidvalidity, uid=uid)


def message(
    *receipts: NewReceipt,
    uid: int = 1,
    message_id: str = "<1@example.com>",
    sender: str = "ann@example.com",
    source: str = "mail",
    ignored: Sequence[Refusal] = (),
    containers: Sequence[Document] = (),
) -> NewArrival:
    mail = MessageOrigin(
        place=at(uid),
        message_id=message_id,
        raw_sha256=document("message.eml", f"raw {uid}").sha256,
        subject="Fwd: hotel\udcff",
        answer_to="Ann@example.com",
        references=("<0@example.com>", message_id),
    )
    facts = {"from": sender, "address": "receipts@example.com", "subject": "Fwd: hotel"}
    origin = Origin(
        kind=OriginKind.MAIL, source=source, path="Fwd: hotel", sender=sender, facts=facts, mail=mail
    )
    return NewArrival(
        id=new_id(START),
        origin=origin,
        receipts=receipts,
        ignored=tuple(ignored),
        containers=tuple(containers),
    )


async def bring(ledger: SqlLedger, arrival: NewArrival, *, now: Instant = START) -> str:
    await ledger.accept(arrival, now=now)
    return arrival.id


class Mail:
    @pytest.fixture
    def book(self, ledger: SqlLedger, reader: SqlLedgerReader) -> MailBook:
        return SqlMailBook(ledger, reader)

    async def test_all_that_is_known_of_a_message_comes_back_wherever_its_origin_is_read(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        new = message(new_receipt(hold="Who is this?"))
        await ledger.accept(new, now=START)
        (report,) = await due(ledger)
        assert report.origin == new.origin
        mailed = await book.mailed(new.id)
        assert mailed is not None and mailed.origin == new.origin
        found = await reader.arrived(new.id)
        assert found is not None and (found.origin, found.received_at) == (new.origin, START)
        await ledger.move(found.receipts[0], Event.REQUEUE, now=START)
        (work,) = await ledger.take_received(owner="here", lease=LEASE, limit=9, now=START)
        assert work.origin == new.origin

    async def test_what_came_in_another_way_is_no_message(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        receipt = await accept_one(ledger)
        assert await book.mailed(receipt.arrival) is None
        assert await book.mailed("nothing") is None
        found = await reader.arrived(receipt.arrival)
        assert found is not None and found.origin.mail is None
        for change in (
            book.moved(receipt.arrival, place=None, filed=Filed.UPLOADED, now=START),
            book.answered(receipt.arrival, address="ann@example.com", now=START),
        ):
            with pytest.raises(UnknownArrival):
                await change

    async def test_uids_are_known_by_their_first_and_their_present_place(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        first = await bring(ledger, message(new_receipt(), uid=5))
        second = await bring(ledger, message(uid=6))
        await book.moved(first, place=at(5, "Done"), filed=Filed.UPLOADED, now=START)
        await book.moved(second, place=None, filed=Filed.REJECTED, now=START)
        assert await book.arrived(ACCOUNT, "INBOX", 7, {4, 5, 6, 7}) == {5: first, 6: second}
        assert await book.arrived(ACCOUNT, "Done", 7, [5, 6]) == {5: first}
        for place in ((ACCOUNT, "INBOX", 8), (ACCOUNT, "inbox", 7), ("other", "INBOX", 7)):
            assert await book.arrived(*place, [5, 6]) == {}
        assert await book.arrived(ACCOUNT, "INBOX", 7, []) == {}

    async def test_a_uid_that_was_given_out_twice_is_the_newest_message(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        newest = {}
        for uid in (5, 6):  # accepted in the order of their IDs, and in the other one
            arrivals = sorted((message(uid=uid) for _ in range(3)), key=lambda one: one.id, reverse=uid == 6)
            newest[uid] = max([await bring(ledger, arrival) for arrival in arrivals])
        assert await book.arrived(ACCOUNT, "INBOX", 7, [5, 6]) == newest

    async def test_ten_thousand_uids_are_asked_for_at_once(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        ids = {
            uid: await bring(ledger, message(uid=uid)) for uid in (1, 499, 500, 501, 9_999, 10_000, 2**32 - 1)
        }
        uids = [*range(1, 10_001), 2**32 - 1]
        assert await book.arrived(ACCOUNT, "INBOX", 7, uids) == ids

    async def test_a_message_tells_what_came_of_it_in_its_own_order(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        known = await upload(ledger, "known")
        second, seen, third = (document(f"{name}.pdf", name) for name in ("second", "known", "third"))
        logo = Refusal(filename="logo.png", reason="It is a logo.")
        new = message(new_receipt(second), new_receipt(seen), new_receipt(third, seen), ignored=[logo])
        accepted = await ledger.accept(new, now=after(3))
        mailed = await book.mailed(new.id)
        assert mailed is not None
        made, repeated, merged = accepted.receipts
        assert repeated.id == known.id
        assert mailed.receipts == (
            MailedReceipt(receipt=made, documents=(second,), repeat=False),
            MailedReceipt(receipt=known, documents=(seen,), repeat=True),
            MailedReceipt(receipt=merged, documents=(third, seen), repeat=False),
        )
        assert (mailed.ignored, mailed.received_at, mailed.arrival) == ((logo,), after(3), new.id)
        assert (mailed.place, mailed.filed, mailed.answered) == (at(1), Filed.NOWHERE, False)
        found = await reader.arrived(new.id[:23])
        assert found is not None
        assert [receipt.id for receipt in found.receipts] == [made.id, known.id, merged.id]
        assert found.ignored == (logo,)

    async def test_a_repeat_that_is_tried_again_is_told_as_the_messages_own(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        rejected = await bring_to(ledger, State.REJECTED)
        again = message(new_receipt())
        await ledger.accept(again, now=START)
        mailed = await book.mailed(again.id)
        assert mailed is not None
        ((one,),) = (mailed.receipts,)
        assert (one.receipt.id, one.receipt.state, one.repeat) == (rejected.id, State.RECEIVED, False)

    async def test_where_a_message_is_and_whether_it_was_answered_is_remembered(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        arrival = await bring(ledger, message(uid=5))
        await book.moved(arrival, place=at(9, "Done"), filed=Filed.UPLOADED, now=after(1))
        await book.answered(arrival, address="Ann@Example.com", now=after(2))
        mailed = await book.mailed(arrival)
        assert mailed is not None and mailed.origin.mail is not None
        assert (mailed.place, mailed.filed) == (at(9, "Done"), Filed.UPLOADED)
        assert mailed.origin.mail.place == at(5), "where it was found stays known"
        assert (mailed.answered, mailed.answered_at, mailed.moved_at) == (True, after(2), after(1))
        await book.moved(arrival, place=None, filed=Filed.REJECTED, now=after(3))
        mailed = await book.mailed(arrival)
        assert mailed is not None and (mailed.place, mailed.filed) == (None, Filed.REJECTED)

    async def test_an_answer_that_was_given_up_is_done_and_counts_for_no_cap(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        given_up, *others = [await bring(ledger, message(uid=uid)) for uid in range(4)]
        await book.answered(given_up, address=None, now=after(9))
        mailed = await book.mailed(given_up)
        assert mailed is not None and (mailed.answered, mailed.answered_to) == (True, None)
        for second, arrival in enumerate(others):
            await book.answered(arrival, address="ANN@example.com", now=after(second))
        assert await book.count_answers("ann@EXAMPLE.com", since=after(1)) == 2
        assert await book.count_answers("bob@example.com", since=START) == 0

    async def test_messages_are_counted_by_source_sender_and_time(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        for second in range(5):
            await bring(ledger, message(uid=second, sender="Ann@example.com"), now=after(second))
        await bring(ledger, message(sender="bob@example.com"), now=after(9))
        await bring(ledger, message(source="other"), now=after(9))
        assert await book.count_from("mail", "ann@example.com", since=after(2)) == 3
        assert await book.count_from("mail", "ANN@example.com", since=START) == 5
        assert await book.count_from("other", "ann@example.com", since=START) == 1

    async def test_a_document_counts_where_it_came_beside_others_also_when_its_bytes_are_gone(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        logo = document("logo.png", "logo")
        for n in range(3):
            other = document(f"{n}.pdf", f"{n}")
            await bring(ledger, message(new_receipt(logo), new_receipt(other), uid=n))
        await bring(ledger, message(new_receipt(logo), uid=8))
        await bring(ledger, message(new_receipt(logo), new_receipt(logo, slot="report/R1"), uid=9))
        await bring(ledger, message(new_receipt(logo, document(content="x")), uid=10))
        await bring(ledger, message(new_receipt(logo, document(content="x")), source="other"))
        assert await book.companions_of(logo.sha256, source="mail") == 4
        for receipt in await reader.find():
            await ledger.move(receipt, Event.DROP, now=START)
        await ledger.purged(await expired(ledger, after(9)), now=after(10))
        assert await ledger.known([logo.sha256]) == frozenset()
        assert await book.companions_of(logo.sha256, source="mail") == 4
        assert await book.companions_of(document().sha256, source="mail") == 0

    async def test_what_came_of_a_message_of_the_same_bytes_is_known_also_when_it_is_gone(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        raw, archive = document("message.eml", "raw 1"), document("all.zip", "zip")
        logo, bill, text = document("logo.png", "logo"), document("bill.pdf", "bill"), raw
        first = message(new_receipt(logo, bill), containers=[raw, archive])
        await bring(ledger, first)
        await bring(ledger, message(new_receipt(bill), containers=[raw], source="other"))
        await bring(ledger, message(containers=[document("message.eml", "raw 2")], uid=2))
        await bring(ledger, message(new_receipt(text), message_id="", containers=[raw]))
        of_first = frozenset({logo.sha256, bill.sha256, archive.sha256})
        assert await book.taken_from("<1@example.com>", raw.sha256) == of_first
        assert await book.taken_from("", raw.sha256) == frozenset({raw.sha256}), "its text"
        empty = document("message.eml", "raw 2").sha256
        assert await book.taken_from("<1@example.com>", empty) == frozenset()
        assert await book.taken_from("<1@example.com>", document(content="other").sha256) is None
        assert await book.taken_from("<2@example.com>", raw.sha256) is None
        for receipt in await reader.find():
            await ledger.move(receipt, Event.DROP, now=START)
        await ledger.purged(await expired(ledger, after(9)), now=after(10))
        assert await ledger.known([logo.sha256, raw.sha256]) == frozenset()
        assert await book.taken_from("<1@example.com>", raw.sha256) == of_first

    async def test_a_message_is_found_by_its_id_with_or_without_brackets_newest_first(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        arrivals = [await bring(ledger, message(uid=uid)) for uid in (1, 2)]
        bare = await bring(ledger, message(message_id="bare@example.com", uid=3))
        await bring(ledger, message(message_id="", uid=4))
        for written in ("<1@example.com>", "1@example.com", " <1@example.com>\n"):
            found = await book.find_message(written)
            assert [mailed.arrival for mailed in found] == sorted(arrivals, reverse=True)
        (found_bare,) = await book.find_message("<bare@example.com>")
        assert found_bare.arrival == bare
        assert await book.find_message("1@EXAMPLE.com") == []
        assert await book.find_message("<>") == []

    async def test_addresses_and_message_ids_of_any_length_and_kind_are_taken(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        """Incompressible, so that no engine makes it fit its index."""
        text = "".join(chr(0xDC80 + n * 37 % 128) + chr(0x4E00 + n * 7919 % 20000) for n in range(5000))
        arrival = await bring(ledger, message(message_id=f"<{text}>", sender=text))
        await book.answered(arrival, address=text, now=START)
        assert [mailed.arrival for mailed in await book.find_message(text)] == [arrival]
        assert await book.count_from("mail", text, since=START) == 1
        assert await book.count_answers(text, since=START) == 1
        mailed = await book.mailed(arrival)
        assert mailed is not None and mailed.origin.mail is not None
        assert mailed.origin.mail.references[-1] == f"<{text}>"

    async def test_the_message_itself_is_kept_as_long_as_what_came_of_it(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        raw = document("message.eml", "raw")
        arrival = message(new_receipt(), new_receipt(raw), containers=[raw])
        receipts = (await ledger.accept(arrival, now=START)).receipts
        for receipt in receipts:
            assert raw.sha256 not in await expired(ledger, after(9))
            await ledger.move(receipt, Event.DROP, now=START)
        gone = await expired(ledger, after(9))
        assert set(gone) == {raw.sha256, document().sha256}
        await ledger.purged(gone, now=after(10))
        assert await ledger.known(gone) == frozenset()
        assert await expired(ledger, after(9)) == []

    async def test_a_message_that_was_committed_before_adds_nothing(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        arrival = message(new_receipt(document(content="a")), new_receipt(document(content="b")))
        first = await ledger.accept(arrival, now=START)
        again = await ledger.accept(arrival, now=after(5))
        assert again.known and again.receipts == first.receipts
        assert await book.count_from("mail", "ann@example.com", since=START) == 1
        assert await book.companions_of(document(content="a").sha256, source="mail") == 1


class Unfiled:
    @pytest.fixture
    def book(self, ledger: SqlLedger, reader: SqlLedgerReader) -> MailBook:
        return SqlMailBook(ledger, reader)

    @pytest.mark.parametrize("state", sorted(State))
    async def test_a_message_is_to_be_filed_once_its_receipt_is_settled(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook, state: State
    ) -> None:
        """Also when the receipt was another arrival's first; a repeat that is tried again waits, too."""
        receipt = await bring_to(ledger, state)
        arrival = message(new_receipt())
        (met,) = (await ledger.accept(arrival, now=START)).receipts
        assert met.id == receipt.id or state is State.DROPPED
        found = [mailed.arrival for mailed in await book.unfiled("mail", limit=9)]
        assert found == ([arrival.id] if met.state in SETTLED else [])

    async def test_one_receipt_that_waits_keeps_the_message(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        arrival = message(*(new_receipt(document(content=f"{n}")) for n in range(3)))
        receipts = (await ledger.accept(arrival, now=START)).receipts
        await prepare(ledger, receipts[0])
        for receipt in receipts[1:]:
            await ledger.move(receipt, Event.REJECT, now=START, reason="blank")
        assert await book.unfiled("mail", limit=9) == []
        ready = await reader.get(receipts[0].id)
        assert isinstance(ready, Receipt)
        await ledger.move(ready, Event.DROP, now=START)
        (mailed,) = await book.unfiled("mail", limit=9)
        assert [one.receipt.state for one in mailed.receipts] == [
            State.DROPPED,
            State.REJECTED,
            State.REJECTED,
        ]

    async def test_what_was_filed_or_belongs_to_another_mailbox_is_not_told_again(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        nothing, gone, filed = [await bring(ledger, message(uid=uid)) for uid in range(3)]
        other = await bring(ledger, message(source="other"))
        await book.moved(filed, place=at(1, "Done"), filed=Filed.REJECTED, now=START)
        await book.moved(gone, place=None, filed=Filed.NOWHERE, now=START)
        told = await book.unfiled("mail", limit=9)
        assert {mailed.arrival: mailed.place for mailed in told} == {nothing: at(0), gone: None}
        assert [mailed.arrival for mailed in await book.unfiled("other", limit=9)] == [other]

    async def test_unfiled_messages_are_told_oldest_first_page_by_page(
        self, ledger: SqlLedger, reader: SqlLedgerReader, book: MailBook
    ) -> None:
        ids = sorted([await bring(ledger, message(uid=uid)) for uid in range(7)])
        found: list[str] = []
        while page := await book.unfiled("mail", limit=3, after=found[-1] if found else ""):
            assert len(page) <= 3
            found += [mailed.arrival for mailed in page]
        assert found == ids


class Leases:
    async def test_one_of_two_nodes_holds_a_mailbox_until_it_gives_it_up(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        here = SqlMailBook(ledger, reader)
        node = open_ledger(url, migrate=False, spool_path=spool_path)
        there = SqlMailBook(node, reader)
        assert await here.hold_mailbox("a", owner="here", until=after(60), now=START)
        assert not await there.hold_mailbox("a", owner="there", until=after(60), now=START)
        assert await there.hold_mailbox("b", owner="there", until=after(60), now=START)
        assert await here.hold_mailbox("a", owner="here", until=after(90), now=after(50)), "prolonged"
        assert not await there.hold_mailbox("a", owner="there", until=after(150), now=after(89))
        assert not await there.hold_mailbox("a", owner="there", until=START, now=after(70)), "not its own"
        assert not await there.hold_mailbox("a", owner="there", until=after(150), now=after(89))
        assert not await here.hold_mailbox("a", owner="here", until=after(70), now=after(70)), "given up"
        assert await there.hold_mailbox("a", owner="there", until=after(150), now=after(71))
        await node.aclose()

    async def test_a_lease_that_ran_out_is_anybodys(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        book = SqlMailBook(ledger, reader)
        assert await book.hold_mailbox("a", owner="here", until=after(60), now=START)
        assert not await book.hold_mailbox("a", owner="there", until=after(99), now=after(59))
        assert await book.hold_mailbox("a", owner="there", until=after(99), now=after(60))
        assert not await book.hold_mailbox("a", owner="here", until=after(99), now=after(60))

    async def test_one_of_two_nodes_answers_a_message_and_the_record_ends_its_lease(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        here = SqlMailBook(ledger, reader)
        node = open_ledger(url, migrate=False, spool_path=spool_path)
        there = SqlMailBook(node, reader)
        first, second = [await bring(ledger, message(uid=uid)) for uid in (1, 2)]
        assert await here.hold_answer(first, owner="here", until=after(60), now=START)
        assert not await there.hold_answer(first, owner="there", until=after(60), now=START)
        assert await there.hold_answer(second, owner="there", until=after(60), now=START)
        assert await there.hold_mailbox(first, owner="there", until=after(60), now=START), "no mailbox"
        await here.answered(first, address="ann@example.com", now=after(1))
        assert await there.hold_answer(first, owner="there", until=after(90), now=after(2))
        mailed = await there.mailed(first)
        assert mailed is not None and mailed.answered, "whoever has the lease sees what was done before"
        assert not await there.hold_answer(first, owner="there", until=after(3), now=after(3)), "given up"
        assert not await here.hold_answer(second, owner="here", until=after(90), now=after(59))
        assert await here.hold_answer(second, owner="here", until=after(90), now=after(60)), "ran out"
        await node.aclose()

    async def test_nodes_that_want_a_mailbox_at_once_never_get_it_both(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        nodes = [open_ledger(url, migrate=False, spool_path=spool_path) for _ in range(4)]
        books = {f"node {n}": SqlMailBook(node, reader) for n, node in enumerate(nodes)}
        for round_ in range(10):
            for now in (START, after(60)):  # nobody's, then one that ran out
                until = Instant(now + 60_000_000)
                wanted = [
                    book.hold_mailbox(f"box {round_}", owner=owner, until=until, now=now)
                    for owner, book in books.items()
                ]
                assert sorted(await asyncio.gather(*wanted)) == [False, False, False, True]
        await asyncio.gather(*(node.aclose() for node in nodes))
