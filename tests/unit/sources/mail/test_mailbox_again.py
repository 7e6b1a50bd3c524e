"""Messages that are seen again, UIDs that mean another message, and other ledgers at the same mailbox."""

import asyncio
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ingestd.domain.document import Document, Instant
from ingestd.domain.mail import Filed, Letter
from ingestd.domain.states import State
from ingestd.interfaces import Answer, Arrival, SourceUnavailable
from ingestd.sources.mail import answering, doubts
from ingestd.sources.mail.answering import Answering
from ingestd.sources.mail.authenticity import CannotSayNow, Proof, Prover
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.doubts import Doubts
from ingestd.sources.mail.fetching import Fetched
from ingestd.sources.mail.mailbox import MailboxSource
from tests.unit.sources.mail.mailboxes import office, own, soon
from tests.unit.sources.mail.office import Crash, Office, Postman, message, refusals, until

__all__ = ["office", "own", "soon"]

KEYWORD = "$Ingestd"
Own = Callable[..., Office]


def names(arrival: Arrival) -> list[str]:
    return [each.filename for each in arrival.spooled]


def put_back(office: Office, mailbox: str = "Ingestd/Uploaded") -> None:
    with office.dovecot.client(office.user) as client:
        client.select(f'"{mailbox}"')
        assert client.uid("MOVE", "1:*", "INBOX")[0] == "OK"


def flag(office: Office, uids: str, flags: str) -> None:
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        assert client.uid("STORE", uids, "+FLAGS", f"({flags})")[0] == "OK"


# --- judged as the first time -----------------------------------------------------------------------------


async def test_a_message_put_back_after_its_picture_became_a_logo_brings_the_same(office: Office) -> None:
    source = office.source()
    for number in range(3):
        office.dovecot.append(message(number, name="good.jpg,logo.png"), office.user)
        await office.run(source)
    first = [names(arrival) for arrival in office.arrivals]
    assert first == [["good.jpg", "logo.png"], ["good.jpg", "logo.png"], ["good.jpg"]]
    put_back(office)
    await office.run(source)
    again = sorted(office.arrivals[3:], key=lambda each: each.origin.path)
    assert [names(arrival) for arrival in again] == first
    assert [refusals(arrival) for arrival in again] == [refusals(each) for each in office.arrivals[:3]]
    assert set(office.book.uploads.values()) == {1}


async def test_the_same_holds_under_another_uidvalidity(office: Office) -> None:
    for number in range(3):
        office.dovecot.append(message(number, name="good.jpg,logo.png"), office.user)
        await office.run(office.source(after="leave"))
    flag(office, "1:*", "x")
    office.dovecot.change_uidvalidity(office.user)
    await office.run(office.source())
    assert sorted(map(names, office.arrivals[3:])) == sorted(map(names, office.arrivals[:3]))


async def test_a_message_taken_before_is_not_refused_when_its_sender_can_no_more_be_proved(
    office: Office,
) -> None:
    """Keys are changed, lists are; its receipts are uploaded, and it must not look as if they were not."""
    office.dovecot.append(message(1), office.user)
    await office.run(office.source())
    put_back(office)
    await office.run(office.source(strangers="reject", allow=("*@example.org",)))
    first, again = office.arrivals
    assert names(again) == names(first)
    assert again.hold is not None and again.hold.startswith("ann@example.com may not send here.")
    assert again.origin.mail is not None and again.origin.mail.answer_to is None
    assert office.uploaded == ["<1@tests>"]


async def test_a_message_refused_before_is_refused_again_and_taken_once_its_sender_is_listed(
    office: Office,
) -> None:
    office.dovecot.append(message(1), office.user)
    for _ in range(2):
        await office.run(office.source(strangers="reject", allow=("*@example.org",)))
        put_back(office, "Ingestd/Rejected")
    assert [names(arrival) for arrival in office.arrivals] == [[], []]
    await office.run(office.source(strangers="reject"))
    assert office.arrivals[2].hold is None
    assert office.uploaded == ["<1@tests>"]


# --- a UID that means another message ---------------------------------------------------------------------


async def restored(office: Office, source: MailboxSource) -> int:
    """A message is taken and waits; the server goes back to before it came, and another one gets its UID."""
    home = office.dovecot._home(office.user)
    backup = home.with_name("backup")
    office.dovecot.append(message(1), office.user)
    office.dovecot.stop()
    shutil.copytree(home, backup)
    office.dovecot.start()
    uid = office.dovecot.append(message(2), office.user)
    office.finishes = False
    await office.run(source)
    office.finishes = True
    office.dovecot.stop()
    shutil.rmtree(home)
    backup.rename(home)
    office.dovecot._belongs_to_nobody(home)
    office.dovecot.start()
    assert office.dovecot.append(message(3), office.user) == uid
    return uid


@pytest.mark.parametrize("after", ["move", "delete", "flag"])
@pytest.mark.parametrize("without", [(), ("MOVE",), ("MOVE", "UIDPLUS", "KEYWORDS")])
async def test_filing_touches_no_other_message_that_has_the_uid_now(
    own: Own, after: str, without: tuple[str, ...]
) -> None:
    office = own(without=without)
    source = office.source(after=after)
    uid = await restored(office, source)
    await _decide(office, source)
    before = {each.uid: each for each in office.dovecot.messages(office.user)}
    assert before[uid].flags == frozenset()
    assert b"Receipt 3" in before[uid].raw
    assert [note["uid"] for note in office.notes.named("message.replaced")] == [uid]
    await office.run(source)
    assert set(office.book.uploads.values()) == {1}
    assert len(office.book.uploads) == 3, "the other message is taken like any other"


async def _decide(office: Office, source: MailboxSource) -> None:
    for arrival in office.arrivals:
        (document,) = arrival.spooled
        office.book.decide(document.sha256, State.UPLOADED)
        await office.report(source, arrival, document.sha256)
    await source.aclose()


async def test_a_message_without_message_id_is_recognised_by_its_bytes(own: Own) -> None:
    office = own()
    source = office.source()
    no_id = message(1).replace(b"Message-ID: <1@tests>\r\n", b"")
    uid = office.dovecot.append(no_id, office.user)
    office.finishes = False
    await office.run(source)
    (entry,) = office.book.entries.values()
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        client.uid("STORE", str(uid), "+FLAGS", r"(\Deleted)")
        client.expunge()
    other = office.dovecot.append(no_id.replace(b"Receipt 1", b"Receipt 9"), office.user)
    assert entry.mailed.place is not None
    entry.mailed = replace(entry.mailed, place=replace(entry.mailed.place, uid=other))
    await _decide(office, source)
    assert [each.uid for each in office.dovecot.messages(office.user)] == [other]
    assert entry.mailed.filed is Filed.UPLOADED and entry.mailed.place is None


@pytest.mark.parametrize("flags", ["", r"\Seen"])
async def test_without_keywords_a_uid_given_out_again_is_found_whether_or_not_a_person_read_it(
    own: Own, flags: str
) -> None:
    office = own(without=("KEYWORDS",))
    uid = await restored(office, office.source())
    if flags:
        flag(office, str(uid), flags)
    await office.run(office.source())
    assert "<3@tests>" in office.uploaded


async def test_without_keywords_a_uid_given_out_again_is_found_while_it_runs(own: Own) -> None:
    office = own(without=("KEYWORDS",))
    source = office.source()
    await restored(office, source)
    office.dovecot.append(message(4), office.user)
    await office.run(source)
    assert {"<3@tests>", "<4@tests>"} <= set(office.uploaded)


async def test_without_keywords_what_a_person_marks_as_unread_stays_unread_and_is_not_taken_again(
    own: Own,
) -> None:
    office = own(without=("KEYWORDS",))
    uid = office.dovecot.append(message(1), office.user)
    await office.run(office.source(after="leave"))
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        client.uid("STORE", str(uid), "-FLAGS", r"(\Seen)")
    await office.run(office.source(after="leave"))
    assert len(office.arrivals) == 1
    assert office.dovecot.messages(office.user)[0].flags == frozenset()


async def test_a_marked_message_at_a_uid_given_out_again_is_found_too(own: Own) -> None:
    office = own()
    uid = await restored(office, office.source())
    flag(office, str(uid), KEYWORD)
    await office.run(office.source())
    assert "<3@tests>" in office.uploaded or "<3@tests>" in office.rejected


# --- two ledgers ------------------------------------------------------------------------------------------


async def test_a_message_that_another_ledger_took_is_held_and_told(office: Office, tmp_path: Path) -> None:
    other = Office(office.dovecot, office.user, tmp_path / "other")
    other.finishes = False
    office.dovecot.append(message(1), office.user)
    await other.run(other.source())
    office.dovecot.append(message(2), office.user)
    source = office.source()
    await office.run(source)
    foreign, ours = office.arrivals
    assert foreign.hold is not None and foreign.hold.startswith(f"It bears the mark {KEYWORD}")
    assert foreign.origin.mail is not None and foreign.origin.mail.answer_to is None
    assert ours.hold is None
    assert "another ingestd with a ledger of its own" in (source.status.trouble or "")
    assert len(office.notes.named("mailbox.shared")) == 1


async def test_a_message_that_another_ledger_takes_at_the_same_time_is_told(office: Office) -> None:
    office.dovecot.append(message(1), office.user)

    async def other(arrival: Arrival) -> None:
        await asyncio.to_thread(flag, office, "1:*", KEYWORD)

    office.after_commit = other
    source = office.source()
    await office.run(source)
    assert len(office.notes.named("mailbox.shared")) == 1
    assert "1 messages were taken by both" in (source.status.trouble or "")


async def test_one_ledger_alone_never_looks_like_two(office: Office) -> None:
    source = office.source()
    office.dovecot.fill([message(number) for number in range(30)], office.user)
    await office.run(source)
    put_back(office)
    await office.run(source)
    office.dovecot.append(message(40), office.user)

    async def crash(arrival: Arrival) -> None:
        raise Crash

    office.after_commit = crash
    with pytest.raises(Crash):
        await office.run(office.source())
    office.after_commit = office.before_commit
    last = office.source()
    await office.run(last)
    assert office.notes.named("mailbox.shared") == []
    assert source.status.trouble is None and last.status.trouble is None


@pytest.mark.parametrize("after", ["leave", "flag"])
async def test_where_messages_stay_foreign_marks_are_left_alone_and_told(office: Office, after: str) -> None:
    office.dovecot.fill([message(number) for number in range(3)], office.user)
    flag(office, "1:2", KEYWORD)
    await office.run(office.source(after=after))
    assert len(office.arrivals) == 1
    (note,) = office.notes.named("mailbox.foreign_marks")
    assert note["messages"] == 2
    await office.run(office.source(after=after))
    assert len(office.arrivals) == 1


# --- two nodes on one ledger ------------------------------------------------------------------------------


def answerer(office: Office, postman: Postman, owner: str) -> Answering:
    return Answering(
        "receipts",
        book=office.book,
        correspondent=postman,
        most_per_hour=9,
        owner=owner,
        clock=office.book.clock,
        observer=office.notes,
    )


async def unanswered(office: Office) -> Any:
    office.dovecot.append(message(1), office.user)
    office.finishes = False
    await office.run(office.source())
    (entry,) = office.book.entries.values()
    for key in entry.keys:
        office.book.decide(key, State.UPLOADED)
    return await office.book.mailed(entry.mailed.arrival)


async def test_of_two_nodes_that_want_to_answer_one_message_one_does(office: Office) -> None:
    mailed = await unanswered(office)

    class Slow(Postman):
        async def send(self, answer: Answer) -> None:
            await asyncio.sleep(0.2)
            await super().send(answer)

    postman = Slow()
    nodes = [answerer(office, postman, owner) for owner in ("one", "two")]
    ends = await asyncio.gather(*(node.answer(mailed) for node in nodes), return_exceptions=True)
    assert [type(end) for end in ends] == [type(None), SourceUnavailable]
    await nodes[1].answer(mailed)  # with what it read before the other one was done
    assert len(postman.sent) == 1
    (entry,) = office.book.entries.values()
    assert entry.answered_to == "ann@example.com"
    assert not office.notes.named("answer.given_up")
    assert not [name for name in office.book.leases if name.startswith("answer")]


async def test_after_a_crash_while_answering_another_node_waits_and_sends_the_same_answer(
    office: Office,
) -> None:
    """The one way in which somebody is told twice; both have the Message-ID of the arrival."""
    mailed = await unanswered(office)
    postman = Postman()

    class Dies(Postman):
        async def send(self, answer: Answer) -> None:
            await postman.send(answer)
            raise Crash

    class Died(Answering):
        """A process that is gone gives nothing back."""

        async def _give_up(self, *_: Any) -> None:
            raise Crash

    now = office.book.clock()
    office.book.clock = lambda: now
    first = Died(
        "receipts",
        book=office.book,
        correspondent=Dies(),
        most_per_hour=9,
        owner="one",
        clock=lambda: now,
        observer=office.notes,
    )
    with pytest.raises(Crash):
        await first.answer(mailed)
    second = answerer(office, postman, "two")
    second._clock = lambda: now
    with pytest.raises(SourceUnavailable, match="another ingestd is answering it"):
        await second.answer(mailed)
    second._clock = lambda: Instant(now + round(answering.LEASE.total_seconds() * 1e6))
    await second.answer(mailed)
    assert [answer.mailed.arrival for answer in postman.sent] == [mailed.arrival] * 2


async def test_an_answer_that_failed_is_free_for_any_node_at_once(office: Office) -> None:
    mailed = await unanswered(office)
    postman = Postman()
    postman.failing = SourceUnavailable("the mail server is away")
    with pytest.raises(SourceUnavailable, match="away"):
        await answerer(office, postman, "one").answer(mailed)
    postman.failing = None
    await answerer(office, postman, "two").answer(mailed)
    assert len(postman.sent) == 1


async def test_an_answer_that_takes_too_long_ends_within_its_lease(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answering.LEASE.total_seconds() > 2 * answering.SENT_WITHIN_S
    monkeypatch.setattr(answering, "SENT_WITHIN_S", 0.1)
    mailed = await unanswered(office)

    class Stuck(Postman):
        async def send(self, answer: Answer) -> None:
            await asyncio.sleep(60)

    with pytest.raises(SourceUnavailable, match="took longer"):
        await answerer(office, Stuck(), "one").answer(mailed)


# --- in doubt ---------------------------------------------------------------------------------------------


async def test_a_message_in_doubt_is_fetched_once_however_often_it_is_asked_about(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, fetched, asked = MailboxSession.fetch, list[int](), list[str]()

    async def counted(self: MailboxSession, uid: int, *, size: int) -> bytes | None:
        fetched.append(uid)
        return await fetch(self, uid, size=size)

    async def prove(self: Prover, letter: Letter, message: Document) -> Proof:
        asked.append(message.sha256)
        if len(asked) < 4:
            raise CannotSayNow("DNS does not answer.")
        return Proof(True, "")

    monkeypatch.setattr(MailboxSession, "fetch", counted)
    monkeypatch.setattr(Prover, "prove", prove)
    monkeypatch.setattr(doubts, "FIRST_S", 0.1)
    raw = message(1)
    office.dovecot.append(raw, office.user)
    await office.run(office.source())
    assert len(asked) == 4
    assert len(fetched) == 1
    office.judge([raw])


async def test_a_message_in_doubt_whose_bytes_left_the_spool_is_fetched_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def prove(self: Prover, letter: Letter, message: Document) -> Proof:
        nonlocal asked
        asked += 1
        if asked == 1:
            message.path.unlink()
            raise CannotSayNow("DNS does not answer.")
        return Proof(True, "")

    monkeypatch.setattr(Prover, "prove", prove)
    monkeypatch.setattr(doubts, "FIRST_S", 0.1)
    raw = message(1)
    office.dovecot.append(raw, office.user)
    await office.run(office.source())
    office.judge([raw])


async def test_the_pauses_of_a_doubt_grow_up_to_five_minutes_and_their_number_is_bounded(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Fetched] = []
    fetched_of = Doubts.again_s

    def again_s(self: Doubts, fetched: Fetched) -> float:
        asked.append(fetched)
        return fetched_of(self, fetched) / 1000

    async def prove(self: Prover, letter: Letter, message: Document) -> Proof:
        raise CannotSayNow("DNS does not answer.")

    monkeypatch.setattr(Doubts, "again_s", again_s)
    monkeypatch.setattr(Prover, "prove", prove)
    office.dovecot.append(message(1), office.user)
    running = asyncio.create_task(office.run(office.source(), once=False))
    await until(lambda: len(asked) >= 2)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    monkeypatch.undo()
    ours, fetched = Doubts(), asked[0]
    assert [ours.again_s(fetched) for _ in range(6)] == [30, 60, 120, 240, 300, 300]
    assert ours.fetched(fetched.place, fetched.outline) == fetched
    assert ours.fetched(fetched.place, replace(fetched.outline, size=1)) is None, "another message"
    monkeypatch.setattr(doubts, "MOST_REMEMBERED", 3)
    places = [replace(fetched.place, uid=uid) for uid in range(9)]
    for place in places:
        ours.again_s(replace(fetched, place=place))
    known = [uid for uid, place in enumerate(places) if ours.fetched(place, fetched.outline)]
    assert known == [6, 7, 8]
