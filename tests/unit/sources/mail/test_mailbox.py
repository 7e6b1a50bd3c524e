"""The mailbox source over a real Dovecot: what arrives, what is marked, filed, answered and left alone."""

import asyncio
import re
from datetime import timedelta
from pathlib import Path

import pytest

from ingestd.domain.document import InvalidDocument
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import Filed
from ingestd.domain.states import State
from ingestd.interfaces import Arrival, SourceUnavailable, Undeliverable
from ingestd.settings import Flood
from ingestd.sources.mail import taking
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.mailbox import MailboxSource
from ingestd.spool import Spool
from tests.unit.sources.mail.mailboxes import office, soon
from tests.unit.sources.mail.office import ANN, Office, message, refusals, until

__all__ = ["office", "soon"]

KEYWORD = "$Ingestd"


# --- the way of a message -------------------------------------------------------------------------------


async def test_messages_are_taken_once_and_filed_when_their_receipts_are_uploaded(office: Office) -> None:
    raws = [message(number) for number in range(5)]
    office.dovecot.fill(raws, office.user)
    source = office.source()
    await office.run(source)
    office.judge(raws)
    await office.run(office.source())
    office.judge(raws)
    assert source.status.trouble is None
    assert source.status.settling == 0


async def test_a_message_delivered_while_idling_arrives_by_itself(office: Office) -> None:
    running = asyncio.create_task(office.run(office.source(poll=timedelta(minutes=5)), once=False))
    try:
        await asyncio.sleep(0.5)
        raws = [message(1), message(2)]
        for raw in raws:
            office.dovecot.deliver(raw, office.user)
            await asyncio.sleep(1)
        await until(lambda: len(office.uploaded) == 2)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert sorted(office.book.uploads.values()) == [1, 1]


async def test_an_arrival_tells_who_sent_it_and_where_it_was_found(office: Office) -> None:
    uid = office.dovecot.append(message(7, subject="Taxi to the fair"), office.user)
    await office.run(office.source())
    (arrival,) = office.arrivals
    assert arrival.origin.path == "Taxi to the fair"
    assert arrival.origin.sender == ANN
    assert arrival.origin.facts["from"] == ANN
    assert arrival.origin.mail is not None
    assert arrival.origin.mail.place.uid == uid
    assert arrival.origin.mail.place.account == f"{office.user}@localhost:{office.dovecot.port}"
    assert arrival.origin.mail.references == ("<7@tests>",)
    assert [each.filename for each in arrival.containers] == ["Taxi to the fair.eml"]


async def test_nothing_is_marked_before_it_is_committed(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    flags: list[frozenset[str]] = []

    async def look(arrival: object) -> None:
        flags.extend(each.flags for each in office.dovecot.messages(office.user))

    office.before_commit = look
    await office.run(office.source())
    assert flags == [frozenset()]


async def test_a_message_whose_receipt_waits_stays_marked_in_the_mailbox(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    office.finishes = False
    await office.run(office.source())
    assert [each.flags for each in office.dovecot.messages(office.user)] == [frozenset({KEYWORD})]


async def test_a_rejected_receipt_files_the_whole_message_as_rejected(office: Office) -> None:
    office.dovecot.append(message(1, name="good.jpg,bad.jpg"), office.user)
    await office.run(office.source())
    assert (office.uploaded, office.rejected) == ([], ["<1@tests>"])


async def test_a_receipt_uploaded_later_moves_its_message(office: Office) -> None:
    office.dovecot.append(message(1, name="held.jpg"), office.user)
    await office.run(office.source())
    assert office.rejected == ["<1@tests>"]
    (arrival,) = office.arrivals
    key = arrival.spooled[0].sha256
    office.book.decide(key, State.UPLOADED)
    source = office.source()
    assert await office.report(source, arrival, key) == "Ingestd/Uploaded"
    assert (office.uploaded, office.rejected) == (["<1@tests>"], [])
    assert len(office.postman.sent) == 1
    await source.aclose()


async def test_messages_that_a_person_read_or_that_have_strange_flags_are_taken(office: Office) -> None:
    for number, flags in enumerate([r"(\Seen)", r"(\Flagged \Answered)", "($Forwarded)"]):
        office.dovecot.append(message(number), office.user, flags=flags)
    await office.run(office.source())
    assert len(office.uploaded) == 3


async def test_a_message_marked_as_deleted_is_left_alone(office: Office) -> None:
    office.dovecot.append(message(1), office.user, flags=r"(\Deleted)")
    await office.run(office.source())
    assert office.stored() == ["<1@tests>"]
    assert not office.arrivals


async def test_mailboxes_with_names_of_any_script_are_found_and_made(office: Office) -> None:
    source = office.source(mailbox="Eingänge/日本", uploaded="Erledigt/Über & aus", rejected="Zurück")
    with office.dovecot.client(office.user) as client:
        client.create('"Eing&AOQ-nge/&ZeVnLA-"')
        client.append('"Eing&AOQ-nge/&ZeVnLA-"', "", "", message(1))
    await office.run(source)
    assert office.stored("Erledigt/&ANw-ber &- aus") == ["<1@tests>"]


# --- after ----------------------------------------------------------------------------------------------


async def test_with_flag_messages_stay_and_show_how_they_ended(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    office.dovecot.append(message(2, name="bad.jpg"), office.user)
    await office.run(office.source(after="flag"))
    first, second = office.dovecot.messages(office.user)
    assert first.flags == {KEYWORD, "$IngestdUploaded", r"\Seen"}
    assert second.flags == {KEYWORD, "$IngestdRejected", r"\Flagged"}


async def test_with_delete_only_what_was_uploaded_goes(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    office.dovecot.append(message(2, name="bad.jpg"), office.user)
    await office.run(office.source(after="delete"))
    assert office.stored() == ["<2@tests>"]
    ended = {entry.mailed.origin.path: entry.mailed for entry in office.book.entries.values()}
    assert (ended["Receipt 1"].filed, ended["Receipt 1"].place) == (Filed.UPLOADED, None)
    assert ended["Receipt 2"].filed is Filed.REJECTED
    assert ended["Receipt 2"].place is not None


async def test_with_leave_nothing_but_the_mark_is_made(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    await office.run(office.source(after="leave"))
    await office.run(office.source(after="leave"))
    assert [each.flags for each in office.dovecot.messages(office.user)] == [frozenset({KEYWORD})]
    assert len(office.arrivals) == 1


# --- what may not be a receipt --------------------------------------------------------------------------


async def test_a_message_too_large_is_not_fetched_but_its_sender_is_told(office: Office) -> None:
    office.dovecot.append(message(1, body=b"x" * 200_000), office.user)
    await office.run(office.source(max_size=100_000))
    (arrival,) = office.arrivals
    assert arrival.spooled == ()
    assert arrival.containers[0].size < 1000
    assert refusals(arrival) == [
        "Receipt 1: The message has 0.2 MB; more than 0.1 MB are not taken. "
        "Send its receipts in several messages."
    ]
    assert office.rejected == ["<1@tests>"]
    assert [answer.to for answer in office.postman.sent] == [ANN]


async def test_a_message_that_cannot_be_opened_is_filed_as_rejected_and_its_sender_told(
    office: Office,
) -> None:
    broken = InvalidDocument(reason="Its parts have no end.", fix="Send it again.")
    office.opener.trouble = lambda raw: broken if b"--bound" in raw else None
    office.dovecot.append(message(1), office.user)
    await office.run(office.source())
    assert refusals(office.arrivals[0]) == ["Receipt 1: Its parts have no end. Send it again."]
    assert office.rejected == ["<1@tests>"]
    assert [answer.to for answer in office.postman.sent] == [ANN]


async def test_a_stranger_is_held_and_never_answered(office: Office) -> None:
    office.dovecot.append(message(1, sender="eve@evil.example"), office.user)
    await office.run(office.source())
    (arrival,) = office.arrivals
    assert arrival.hold is not None
    assert "eve@evil.example may not send here" in arrival.hold
    assert not office.postman.sent


async def test_a_stranger_may_be_rejected_with_nothing_taken(office: Office) -> None:
    office.dovecot.append(message(1, sender="eve@evil.example"), office.user)
    await office.run(office.source(strangers="reject"))
    (arrival,) = office.arrivals
    assert arrival.spooled == ()
    assert "may not send here" in arrival.refused[0].reason
    assert office.rejected == ["<1@tests>"]
    assert not office.postman.sent


async def test_a_picture_seen_beside_many_receipts_is_part_of_a_signature(office: Office) -> None:
    source = office.source()
    for number in range(2):
        office.dovecot.append(message(number, name="good.jpg,logo.png,logo2.png"), office.user)
        await office.run(source)
    office.dovecot.append(message(2, name="good.jpg,logo.png"), office.user)
    office.dovecot.append(message(3, name="logo.png,logo2.png"), office.user)
    await office.run(source)
    with_receipt, alone = office.arrivals[2:]
    assert [each.filename for each in with_receipt.spooled] == ["good.jpg"]
    assert refusals(with_receipt) == [
        "logo.png: The same picture came in many messages: it is part of a signature."
    ]
    assert [each.filename for each in alone.spooled] == ["logo.png", "logo2.png"]


# --- limits ---------------------------------------------------------------------------------------------


async def test_above_the_flood_limit_messages_stay_untouched_and_others_go_on(office: Office) -> None:
    flood = Flood(messages=3, within=timedelta(hours=1))
    for number in range(6):
        office.dovecot.append(message(number), office.user)
    office.dovecot.append(message(9, sender="bob@example.com"), office.user)
    source = office.source(flood=flood)
    await office.run(source)
    assert office.uploaded == ["<0@tests>", "<1@tests>", "<2@tests>", "<9@tests>"]
    assert [each.flags for each in office.dovecot.messages(office.user)] == [frozenset()] * 3
    assert source.status.trouble is not None
    assert "3 messages of one sender within 1 hour" in source.status.trouble
    assert f"3 of {ANN}" in source.status.trouble
    await office.run(office.source(flood=flood, name="receipts"))
    assert len(office.uploaded) == 4


async def test_a_flood_is_taken_when_its_time_has_passed(office: Office) -> None:
    raws = [message(number) for number in range(4)]
    office.dovecot.fill(raws, office.user)
    source = office.source(flood=Flood(messages=2, within=timedelta(seconds=2)))
    running = asyncio.create_task(office.run(source, once=False))
    try:
        await until(lambda: len(office.uploaded) == 4)
        await until(lambda: source.status.trouble is None)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    office.judge(raws)


async def test_no_more_than_sixteen_are_in_hand(office: Office) -> None:
    raws = [message(number) for number in range(30)]
    office.dovecot.fill(raws, office.user)
    go = asyncio.Event()

    async def wait(arrival: object) -> None:
        await go.wait()

    office.before_commit = wait
    source = office.source()
    running = asyncio.create_task(office.run(source))
    await until(lambda: len(office.arrivals) == 16)
    await asyncio.sleep(0.3)
    assert len(office.arrivals) == 16
    go.set()
    await running
    office.judge(raws)


async def test_a_full_disk_pauses_the_mailbox_and_touches_nothing(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = MailboxSession.fetch
    fetched: list[int] = []

    async def counted(self: MailboxSession, uid: int, *, size: int) -> bytes | None:
        fetched.append(uid)
        return await fetch(self, uid, size=size)

    monkeypatch.setattr(MailboxSession, "fetch", counted)
    raws = [message(number) for number in range(3)]
    office.dovecot.fill(raws, office.user)
    room = office.spool
    office.spool = Spool(tmp_path / "spool", min_free_bytes=1 << 62)
    source = office.source()
    running = asyncio.create_task(office.run(source))
    await until(lambda: source.status.trouble is not None)
    assert re.search(r"waits: only \d+ MB are free", source.status.trouble or "")
    assert [each.flags for each in office.dovecot.messages(office.user)] == [frozenset()] * 3
    assert not fetched, "it would be fetched again and again"
    office.spool._min_free_bytes = room._min_free_bytes
    await running
    office.judge(raws)
    assert source.status.trouble is None


async def test_a_full_disk_in_the_opener_pauses_the_mailbox_too(office: Office) -> None:
    raws = [message(number) for number in range(6)]
    office.dovecot.fill(raws, office.user)
    full = [StorageExhausted("full"), StorageExhausted("full")]
    office.opener.trouble = lambda raw: full.pop() if full else None
    await office.run(office.source())
    office.judge(raws)


# --- bad messages ---------------------------------------------------------------------------------------


async def test_a_poisonous_message_does_not_stop_the_others(office: Office) -> None:
    raws = [message(number) for number in range(5)]
    office.dovecot.fill([*raws[:2], message(66, subject="poison"), *raws[2:]], office.user)
    office.opener.trouble = lambda raw: ValueError("surprise") if b"poison" in raw else None
    source = office.source()
    await office.run(source)
    assert office.stored() == ["<66@tests>"]
    assert len(office.uploaded) == 5
    assert "failed 3 times and is passed over for 1 h: ValueError: surprise" in (source.status.trouble or "")
    assert source.status.settling == 0


async def test_what_is_given_back_is_handed_over_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "RETRY_S", 1.0)
    raws = [message(number) for number in range(3)]
    office.dovecot.fill(raws, office.user)
    refused: list[str] = []
    take = office._take

    async def sometimes(source: MailboxSource, arrival: Arrival) -> None:
        if len(refused) < 2:
            refused.append(arrival.id)
            await arrival.give_back()
        else:
            await take(source, arrival)

    office._take = sometimes  # type: ignore[method-assign]  # the taker of this test
    await office.run(office.source())
    office.judge(raws)
    assert len(office.arrivals) == 5


# --- answers --------------------------------------------------------------------------------------------


async def test_each_message_is_answered_once(office: Office) -> None:
    office.dovecot.append(message(1, name="a.jpg,b.jpg,bad.jpg"), office.user)
    source = office.source()
    await office.run(source)
    (arrival,) = office.arrivals
    for document in arrival.spooled:
        await office.report(source, arrival, document.sha256)
    await source.aclose()
    (answer,) = office.postman.sent
    assert answer.to == ANN
    assert [each.receipt.state for each in answer.mailed.receipts] == ["uploaded", "uploaded", "rejected"]


async def test_without_reply_and_for_lists_nobody_is_answered(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    await office.run(office.source(reply=False))
    office.dovecot.append(message(2, extra="List-Id: <x.example>\r\n"), office.user)
    await office.run(office.source())
    assert not office.postman.sent
    assert len(office.uploaded) == 2


async def test_answers_to_one_address_are_capped(office: Office) -> None:
    office.dovecot.fill([message(number) for number in range(6)], office.user)
    await office.run(office.source(most_answers_per_hour=4))
    assert len(office.postman.sent) == 4
    assert len(office.notes.named("answer.given_up")) == 2
    assert len(office.uploaded) == 6


async def test_an_answer_that_cannot_be_sent_is_tried_again_and_the_message_filed_at_once(
    office: Office,
) -> None:
    office.dovecot.append(message(1), office.user)
    office.postman.failing = SourceUnavailable("the mail server is away")
    running = asyncio.create_task(office.run(office.source()))
    await until(lambda: len(office.failures) > 2)
    assert office.uploaded == ["<1@tests>"]
    office.postman.failing = None
    await running
    assert len(office.postman.sent) == 1


async def test_an_answer_owed_for_a_message_without_receipts_survives_a_crash(office: Office) -> None:
    office.dovecot.append(message(1, body=b"x" * 200_000), office.user)
    office.postman.failing = SourceUnavailable("the mail server is away")
    await office.run(office.source(max_size=100_000))
    assert office.rejected == ["<1@tests>"]
    office.postman.failing = None
    await office.run(office.source(max_size=100_000))
    assert len(office.postman.sent) == 1
    await office.run(office.source(max_size=100_000))
    assert len(office.postman.sent) == 1
    assert office.rejected == ["<1@tests>"]


@pytest.mark.parametrize("error", [Undeliverable("550 no such user"), KeyError("template")])
async def test_an_answer_refused_for_good_is_given_up_with_a_note(office: Office, error: Exception) -> None:
    office.dovecot.append(message(1), office.user)
    office.postman.failing = error
    await office.run(office.source())
    office.postman.failing = None
    await office.run(office.source())
    assert not office.postman.sent
    assert len(office.notes.named("answer.given_up")) == 1
    assert office.uploaded == ["<1@tests>"]
