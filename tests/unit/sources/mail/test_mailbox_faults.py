"""The mailbox source when servers, networks, processes and people do their worst: nothing lost or doubled."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.clock import process_clock
from ingestd.domain.document import Instant
from ingestd.domain.errors import LedgerUnavailable, StorageExhausted
from ingestd.domain.mail import Filed
from ingestd.domain.states import State
from ingestd.http.tokens import SecretUnavailable
from ingestd.interfaces import Arrival, SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail import connecting, lease
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.dns_keys import DnsKeys
from ingestd.sources.mail.imap import ImapSecret
from ingestd.sources.mail.judging import Doorkeeper
from ingestd.sources.mail.mailbox import MailboxSource
from ingestd.spool import Spool
from tests.mail.dovecot import Dovecot
from tests.unit.sources.conftest import Notes
from tests.unit.sources.mail.mailboxes import office, own, soon
from tests.unit.sources.mail.office import Book, Crash, Office, Opener, message, until
from tests.unit.sources.mail.test_imap_faults import Proxy
from tests.unit.sources.mail.test_imap_hostile import scripted

__all__ = ["office", "own", "soon"]

KEYWORD = "$Ingestd"
Own = Callable[..., Office]


async def crashing(office: Office, source: MailboxSource) -> None:
    """A run that ends with a crash; what it had in memory is gone."""
    with pytest.raises(Crash):
        await office.run(source)


async def crash(arrival: object) -> None:
    raise Crash


async def settled(office: Office, expected: int, source: MailboxSource) -> None:
    """Runs the daemon's way until so many messages are filed as uploaded."""
    running = asyncio.create_task(office.run(source, once=False))
    try:
        await until(
            lambda: (
                running.done()
                or sum(e.mailed.filed is Filed.UPLOADED for e in office.book.entries.values()) == expected
            )
        )
        if running.done():
            running.result()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


# --- the server dies, freezes, cuts ---------------------------------------------------------------------


async def test_a_server_killed_again_and_again_loses_and_doubles_nothing(own: Own) -> None:
    office = own()
    raws = [message(number) for number in range(40)]
    office.dovecot.fill(raws, office.user)
    seed = time.time_ns()
    print(f"seed {seed}")
    chance = random.Random(seed)
    killing = asyncio.create_task(_kill_often(office.dovecot, chance, times=12))
    try:
        await settled(office, 40, office.source(deadline=timedelta(seconds=2)))
        await killing
    finally:
        killing.cancel()
    office.judge(raws)


async def _kill_often(dovecot: Dovecot, chance: random.Random, *, times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        dovecot.kill9()
        await asyncio.sleep(chance.uniform(0.0, 0.1))
        await asyncio.to_thread(dovecot.start)


async def test_a_server_killed_during_idle_is_reached_again_by_itself(own: Own) -> None:
    office = own()
    source = office.source()
    running = asyncio.create_task(office.run(source, once=False))
    try:
        await until(lambda: source.status.scans > 0)
        await asyncio.sleep(0.2)
        office.dovecot.kill9()
        await until(lambda: source.status.trouble is not None)
        assert "INBOX of ann at localhost can't be read: " in (source.status.trouble or "")
        assert source.status.troubled_since is not None
        await asyncio.to_thread(office.dovecot.start)
        await until(lambda: source.status.trouble is None)
        office.dovecot.deliver(message(1), office.user)
        await until(lambda: len(office.uploaded) == 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert office.notes.named("source.unavailable")
    assert office.notes.named("source.recovered")


async def test_a_frozen_server_is_noticed_and_used_again_when_it_thaws(own: Own) -> None:
    office = own()
    raws = [message(number) for number in range(8)]
    office.dovecot.fill(raws, office.user)
    source = office.source(deadline=timedelta(seconds=0.5))
    running = asyncio.create_task(settled(office, 8, source))
    try:
        await until(lambda: len(office.arrivals) > 2)
        with office.dovecot.paused():
            await until(lambda: "silent" in (source.status.trouble or ""))
        await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    office.judge(raws)


async def test_a_line_cut_at_any_point_loses_and_doubles_nothing(office: Office) -> None:
    raws = [message(number, body=bytes([65 + number]) * 50_000) for number in range(6)]
    office.dovecot.fill(raws, office.user)
    for limit in (1_500, 20_000, 75_000, 130_000):
        async with Proxy(office.dovecot.plain_port).cut_after(limit) as proxy:
            source = office.source(security="none", port=proxy.port, deadline=timedelta(seconds=2))
            await _run_until_trouble(office, source)
    # Reached through another port it is another account: its messages come again, as repeats.
    await office.run(office.source())
    office.judge(raws)


async def _run_until_trouble(office: Office, source: MailboxSource) -> None:
    running = asyncio.create_task(office.run(source, once=False))
    await until(lambda: source.status.trouble is not None)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_connection_cut_while_idling_is_noticed(office: Office) -> None:
    async with Proxy(office.dovecot.plain_port).cut_after(10_000_000) as proxy:
        source = office.source(security="none", port=proxy.port)
        running = asyncio.create_task(office.run(source, once=False))
        try:
            await until(lambda: source.status.scans > 0)
            await asyncio.sleep(0.1)
            proxy.cut()
            office.dovecot.deliver(message(1), office.user)
            await until(lambda: len(office.uploaded) == 1)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("method", ["outlines", "fetch"])
async def test_a_message_that_breaks_the_connection_every_time_does_not_stop_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    raws = [message(number) for number in range(30)]
    office.dovecot.fill([*raws[:12], message(66), *raws[12:]], office.user)
    (poison,) = [each.uid for each in office.dovecot.messages(office.user) if b"<66@tests>" in each.raw]
    real = getattr(MailboxSession, method)

    async def breaking(session: MailboxSession, uids: Any, **options: Any) -> Any:
        if poison == uids or (isinstance(uids, list) and poison in uids):
            session.abort()
        return await real(session, uids, **options)

    monkeypatch.setattr(MailboxSession, method, breaking)
    await office.run(office.source())
    assert office.stored() == ["<66@tests>"]
    assert len(office.uploaded) == 30


async def test_a_server_that_ends_idle_sessions_in_good_order_is_no_trouble(tmp_path: Path) -> None:
    searches, notes = 0, Notes()

    async def search(tag: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal searches
        searches += 1
        writer.write(b"* SEARCH\r\n" + tag + b" OK\r\n")

    bye = b"+ idling\r\n* BYE Connection is closed. 13\r\n"
    async with scripted(UID_SEARCH=search, IDLE=bye) as settings:
        running = asyncio.create_task(_read(settings, tmp_path, notes))
        await until(lambda: searches > 5)
        assert notes.named("source.unavailable") == notes.named("source.recovered") == []
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def test_a_goodbye_after_which_nobody_is_let_in_is_told(tmp_path: Path) -> None:
    logins, notes = 0, Notes()

    async def login(tag: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal logins
        logins += 1
        writer.write(tag + (b" OK\r\n" if logins == 1 else b" NO [UNAVAILABLE] later\r\n"))

    bye = b"+ idling\r\n* BYE Connection is closed. 13\r\n"
    nothing = b"* SEARCH\r\nTAG OK\r\n"
    async with scripted(UID_SEARCH=nothing, IDLE=bye, LOGIN=login) as settings:
        running = asyncio.create_task(_read(settings, tmp_path, notes))
        await until(lambda: logins > 2)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    (note,) = notes.named("source.unavailable")
    assert str(note["reason"]).endswith("lets u in later: [UNAVAILABLE] later.")


async def test_another_reason_for_a_lost_mailbox_is_told_too(office: Office) -> None:
    async with Proxy(office.dovecot.plain_port).cut_after(10_000_000) as proxy:
        source = office.source(security="none", port=proxy.port)
        running = asyncio.create_task(office.run(source, once=False))
        try:
            await until(lambda: source.status.scans > 0)
            office.secret = "revoked"
            proxy.cut()
            await until(lambda: "refuses the password" in (source.status.trouble or ""))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    reasons = [str(note["reason"]) for note in office.notes.named("source.unavailable")]
    assert "closed the connection" in reasons[0]
    assert "refuses the password" in reasons[-1]


# --- the login ------------------------------------------------------------------------------------------


async def test_a_refused_login_is_not_tried_again_until_the_password_changes(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connecting.SECRET_LOOK_S, "login", 0.1)
    refused = "wrong"
    office.secret = refused
    office.dovecot.append(message(1), office.user)
    source = office.source()
    opened: list[str] = []
    real = MailboxSession.open

    async def counting(settings: MailboxSettings, secret: ImapSecret) -> MailboxSession:
        opened.append(secret.value)
        return await real(settings, secret)

    monkeypatch.setattr(MailboxSession, "open", counting)
    running = asyncio.create_task(office.run(source))
    await until(lambda: source.status.trouble is not None)
    assert "refuses the password of" in (source.status.trouble or "")
    assert refused not in (source.status.trouble or "")
    tried = office.logins
    await asyncio.sleep(0.5)
    assert office.logins > tried, "the password is looked at"
    assert opened == [refused]
    assert len(office.notes.named("source.unavailable")) == 1
    office.secret = "secret"
    await running
    assert office.uploaded == ["<1@tests>"]


async def test_an_expired_token_is_replaced_by_the_next_one(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connecting.SECRET_LOOK_S, "xoauth2", 0.1)
    office.dovecot.append(message(1), office.user)
    tokens = [office.dovecot.token(office.user, lifetime=timedelta(hours=-1))]
    source = office.source()

    async def credentials() -> ImapSecret:
        return ImapSecret("xoauth2", tokens[-1])

    source._connector._credentials = credentials
    running = asyncio.create_task(office.run(source))
    await until(lambda: source.status.trouble is not None)
    assert "refuses the OAuth token of" in (source.status.trouble or "")
    tokens.append(office.dovecot.token(office.user))
    await running
    assert office.uploaded == ["<1@tests>"]


async def test_a_secret_that_cannot_be_had_is_trouble_and_no_end(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    source = office.source()
    good = source._connector._credentials
    missing = [SecretUnavailable("file x does not exist"), SecretUnavailable("file x does not exist")]

    async def credentials() -> Any:
        if missing:
            raise missing.pop()
        return await good()

    source._connector._credentials = credentials
    await office.run(source)
    (note,) = office.notes.named("source.unavailable")
    assert "can't be had: file x does not exist" in str(note["reason"])
    assert office.uploaded == ["<1@tests>"]


async def test_a_mailbox_that_is_not_there_is_said_and_waited_for(office: Office) -> None:
    source = office.source(mailbox="Receipts")
    running = asyncio.create_task(office.run(source))
    await until(lambda: source.status.trouble is not None)
    assert "Receipts of" in (source.status.trouble or "")
    office.dovecot.append(message(1), office.user, "Receipts")
    await running
    assert office.uploaded == ["<1@tests>"]


# --- crashes --------------------------------------------------------------------------------------------


async def test_a_crash_before_the_commit_leaves_the_message_for_the_next_start(office: Office) -> None:
    raws = [message(1)]
    office.dovecot.fill(raws, office.user)
    office.before_commit = crash
    await crashing(office, office.source())
    office.before_commit = _none
    await office.run(office.source())
    office.judge(raws)


async def test_a_crash_between_commit_and_mark_makes_no_second_arrival(office: Office) -> None:
    raws = [message(number) for number in range(3)]
    office.dovecot.fill(raws, office.user)
    office.after_commit = crash
    await crashing(office, office.source())
    office.after_commit = _none
    committed = len(office.book.entries)
    assert committed
    await office.run(office.source(after="leave"))
    assert len(office.book.entries) == 3
    assert all(KEYWORD in each.flags for each in office.dovecot.messages(office.user))


async def _none(arrival: object) -> None:
    return


async def _crash_at(office: Office, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """The book's method crashes instead of recording."""

    async def crash_instead(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(office.book, method, crash_instead)
        await crashing(office, office.source())


async def test_a_crash_between_move_and_record_is_found_out(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [message(1)]
    office.dovecot.fill(raws, office.user)
    await _crash_at(office, monkeypatch, "moved")
    assert office.uploaded == ["<1@tests>"]
    await office.run(office.source())
    office.judge(raws)
    (entry,) = office.book.entries.values()
    assert entry.mailed.filed is Filed.UPLOADED
    assert entry.mailed.place is not None
    assert entry.mailed.place.mailbox == "Ingestd/Uploaded"
    assert len(office.postman.sent) == 1


async def test_a_crash_between_answer_and_record_sends_the_same_answer_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [message(1)]
    office.dovecot.fill(raws, office.user)
    await _crash_at(office, monkeypatch, "answered")
    await office.run(office.source())
    office.judge(raws)
    assert len({answer.mailed.arrival for answer in office.postman.sent}) == 1


async def test_an_answer_that_could_not_be_recorded_is_not_sent_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.dovecot.append(message(1), office.user)
    record, refusals = office.book.answered, 3

    async def full(arrival: str, *, address: str | None, now: Instant) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise StorageExhausted("the disk is full")
        await record(arrival, address=address, now=now)

    monkeypatch.setattr(office.book, "answered", full)
    await office.run(office.source(after="leave"))
    assert len(office.failures) == 3
    assert len(office.postman.sent) == 1
    (entry,) = office.book.entries.values()
    assert entry.mailed.answered and entry.mailed.filed is Filed.UPLOADED


async def test_a_crash_between_copy_and_removal_leaves_one_message(own: Own) -> None:
    office = own(without=("MOVE",))
    uid = office.dovecot.append(message(1), office.user)
    office.after_commit = crash
    await crashing(office, office.source())
    office.after_commit = _none
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        assert client.uid("COPY", str(uid), '"Ingestd/Uploaded"')[0] == "OK"
    office.book.decide(next(iter(office.book.receipts)), State.UPLOADED)
    await office.run(office.source())
    office.judge([message(1)])


# --- servers with other minds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "without",
    [("MOVE",), ("MOVE", "UIDPLUS"), ("IDLE",), ("KEYWORDS",), ("NAMESPACE", "SASL-IR")],
    ids=" ".join,
)
async def test_servers_that_lack_abilities_will_do(own: Own, without: tuple[str, ...]) -> None:
    office = own(without=without)
    raws = [message(number) for number in range(3)]
    office.dovecot.fill(raws, office.user)
    await office.run(office.source())
    await office.run(office.source())
    assert len(office.arrivals) == 3
    assert office.uploaded == sorted(f"<{number}@tests>" for number in range(3))
    assert set(office.book.uploads.values()) == {1}
    left = office.dovecot.messages(office.user)
    assert all(r"\Deleted" in each.flags for each in left)


async def test_without_keywords_a_message_that_a_person_read_is_not_missed(own: Own) -> None:
    office = own(without=("KEYWORDS",))
    office.dovecot.append(message(1), office.user, flags=r"(\Seen)")
    source = office.source(after="leave")
    await office.run(source)
    office.dovecot.append(message(2), office.user, flags=r"(\Seen)")
    office.dovecot.append(message(3), office.user)
    await office.run(source)
    await office.run(office.source(after="leave"))
    assert len(office.arrivals) == 3
    assert all(r"\Seen" in each.flags for each in office.dovecot.messages(office.user))


async def test_without_idle_mail_is_found_by_asking(own: Own) -> None:
    office = own(without=("IDLE",))
    source = office.source(poll=timedelta(seconds=0.5))
    running = asyncio.create_task(office.run(source, once=False))
    try:
        await until(lambda: source.status.scans > 0)
        office.dovecot.deliver(message(1), office.user)
        await until(lambda: len(office.uploaded) == 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_without_keywords_a_lost_connection_leaves_no_message_behind(
    own: Own, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = own(without=("KEYWORDS",))
    raws = [message(number) for number in range(10)]
    office.dovecot.fill(raws, office.user)
    fetched: list[int] = []
    real = MailboxSession.fetch

    async def breaking(session: MailboxSession, uid: int, *, size: int) -> bytes | None:
        fetched.append(uid)
        if len(fetched) == 5:
            session.abort()
        return await real(session, uid, size=size)

    monkeypatch.setattr(MailboxSession, "fetch", breaking)
    await office.run(office.source())
    office.judge(raws)


# --- mailboxes and people -------------------------------------------------------------------------------


async def test_after_a_changed_uidvalidity_messages_come_again_as_repeats(office: Office) -> None:
    raws = [message(number) for number in range(3)]
    office.dovecot.fill(raws, office.user)
    await office.run(office.source(after="leave"))
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        client.uid("STORE", "1:*", "-FLAGS", f"({KEYWORD})")
    office.dovecot.change_uidvalidity(office.user)
    await office.run(office.source())
    assert len(office.arrivals) == 6
    office.judge(raws)


async def test_after_a_changed_uidvalidity_nobody_is_answered_again(office: Office) -> None:
    raws = [message(0), message(1, name="bad.jpg"), message(2, sender="eve@example.net")]
    office.dovecot.fill(raws, office.user)
    await office.run(office.source(after="leave", strangers="reject"))
    assert len(office.postman.sent) == 2
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        client.uid("STORE", "1:*", "-FLAGS", f"({KEYWORD})")
    office.dovecot.change_uidvalidity(office.user)
    await office.run(office.source(after="leave", strangers="reject"))
    assert len(office.arrivals) == 6
    # What was rejected is tried again, and ends anew.
    assert [answer.mailed.origin.path for answer in office.postman.sent[2:]] == ["Receipt 1"]


async def test_a_uidvalidity_changed_under_way_leaves_no_message_behind(office: Office) -> None:
    raws = [message(number) for number in range(6)]
    office.dovecot.fill(raws, office.user)

    async def change(arrival: Arrival) -> None:
        office.after_commit = _none
        await asyncio.to_thread(office.dovecot.change_uidvalidity, office.user)

    office.after_commit = change
    await office.run(office.source(deadline=timedelta(seconds=2)))
    await office.run(office.source())
    office.judge(raws)


async def test_a_uid_given_out_again_after_a_restored_backup_is_another_message(office: Office) -> None:
    office.dovecot.append(message(1), office.user)
    await office.run(office.source())
    uid = office.dovecot.append(message(2), office.user)
    (entry,) = office.book.entries.values()
    mail = entry.mailed.origin.mail
    assert mail is not None
    replaced = replace(mail, place=replace(mail.place, uid=uid))
    entry.mailed = replace(entry.mailed, origin=replace(entry.mailed.origin, mail=replaced))
    await office.run(office.source())
    assert office.uploaded == ["<1@tests>", "<2@tests>"]


@pytest.mark.parametrize(("name", "uploads"), [("good.jpg", 1), ("bad.jpg", 0)])
async def test_a_message_moved_back_by_a_person_is_taken_again(
    office: Office, name: str, uploads: int
) -> None:
    office.dovecot.append(message(1, name=name), office.user)
    source = office.source()
    await office.run(source)
    target = "Ingestd/Uploaded" if uploads else "Ingestd/Rejected"
    _move_back(office, target)
    await office.run(source)
    assert len(office.arrivals) == 2
    assert sum(office.book.uploads.values()) == uploads
    assert office.stored(target) == ["<1@tests>"]
    assert office.stored() == []
    _move_back(office, target)
    await office.run(office.source())
    assert len(office.arrivals) == 3
    assert office.stored() == []


def _move_back(office: Office, mailbox: str) -> None:
    with office.dovecot.client(office.user) as client:
        client.select(f'"{mailbox}"')
        assert client.uid("MOVE", "1:*", "INBOX")[0] == "OK"


async def test_a_message_that_a_person_deleted_meanwhile_is_no_trouble(office: Office) -> None:
    office.dovecot.append(message(1), office.user)

    async def delete(arrival: Arrival) -> None:
        with office.dovecot.client(office.user) as client:
            client.select("INBOX")
            client.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
            client.expunge()

    office.after_commit = delete
    await office.run(office.source())
    (entry,) = office.book.entries.values()
    assert (entry.mailed.filed, entry.mailed.place) == (Filed.UPLOADED, None)
    assert set(office.book.uploads.values()) == {1}
    assert len(office.notes.named("message.missing")) == 1
    assert len(office.postman.sent) == 1


@pytest.mark.parametrize("together", [True, False])
async def test_two_messages_with_the_same_message_id_are_both_filed(
    own: Own, monkeypatch: pytest.MonkeyPatch, together: bool
) -> None:
    office = own(without=("MOVE",))
    record, recording = office.book.moved, asyncio.Event()

    async def slowly(*args: Any, **options: Any) -> None:
        recording.set()
        await asyncio.sleep(0.2)
        await record(*args, **options)

    async def second_waits(arrival: Arrival) -> None:
        if len(office.book.entries) == 2:
            await recording.wait()

    monkeypatch.setattr(office.book, "moved", slowly)
    office.after_commit = second_waits
    office.dovecot.append(message(1, body=b"one"), office.user)
    if not together:
        await office.run(office.source())
    office.dovecot.append(message(1, body=b"two"), office.user)
    await office.run(office.source())
    assert office.uploaded == ["<1@tests>", "<1@tests>"]
    places = {entry.mailed.place for entry in office.book.entries.values()}
    assert len(places) == 2


async def test_a_message_without_message_id_is_filed_like_any_other(office: Office) -> None:
    raw = message(1).replace(b"Message-ID: <1@tests>\r\n", b"")
    office.dovecot.append(raw, office.user)
    await office.run(office.source())
    await office.run(office.source())
    assert len(office.dovecot.messages(office.user, "Ingestd/Uploaded")) == 1
    assert len(office.arrivals) == 1


# --- several nodes --------------------------------------------------------------------------------------


async def test_of_two_nodes_one_reads_and_the_other_takes_over(office: Office) -> None:
    raws = [message(number) for number in range(10)]
    first, second = office.source(owner="first"), office.source(owner="second")
    reading = asyncio.create_task(office.run(first, once=False))
    await until(lambda: first.status.scans > 0)
    waiting = asyncio.create_task(office.run(second, once=False))
    try:
        await until(lambda: second.status.trouble is not None)
        assert "Another ingestd reads INBOX of" in (second.status.trouble or "")
        for raw in raws[:5]:
            office.dovecot.deliver(raw, office.user)
        await until(lambda: len(office.uploaded) == 5)
        assert second.status.scans == 0
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        for raw in raws[5:]:
            office.dovecot.deliver(raw, office.user)
        await until(lambda: len(office.uploaded) == 10)
    finally:
        for task in (reading, waiting):
            task.cancel()
        await asyncio.gather(reading, waiting, return_exceptions=True)
    office.judge(raws)


async def test_a_lease_lost_to_another_node_ends_the_reading(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.1)
    source = office.source()
    running = asyncio.create_task(office.run(source, once=False))
    try:
        await until(lambda: source.status.scans > 0)
        (name,) = office.book.leases
        now = office.book.clock()
        office.book.leases[name] = ("another", Instant(now + 3_000_000))
        await until(lambda: "Another ingestd" in (source.status.trouble or ""))
        office.dovecot.deliver(message(1), office.user)
        await asyncio.sleep(0.5)
        assert not office.arrivals
        await until(lambda: len(office.uploaded) == 1)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_broken_ledger_ends_the_source_even_while_it_idles(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED_EVERY_S", 0.2)
    source = office.source()
    running = asyncio.create_task(office.run(source, once=False))
    await until(lambda: source.status.scans > 0)

    async def broken(*_: Any, **__: Any) -> bool:
        raise LedgerUnavailable

    monkeypatch.setattr(office.book, "hold_mailbox", broken)
    with pytest.raises(LedgerUnavailable):
        await running


async def test_a_message_without_message_id_keeps_its_place_while_its_answer_waits(office: Office) -> None:
    raw = message(1).replace(b"Message-ID: <1@tests>\r\n", b"")
    office.dovecot.append(raw, office.user)
    office.postman.failing = SourceUnavailable("the mail server is away")
    running = asyncio.create_task(office.run(office.source()))
    await until(lambda: len(office.failures) > 1)
    office.postman.failing = None
    await running
    (entry,) = office.book.entries.values()
    assert entry.mailed.place is not None
    assert entry.mailed.place.mailbox == "Ingestd/Uploaded"


# --- the settings change, servers are odd ----------------------------------------------------------------


async def test_an_older_account_of_the_same_mailbox_costs_the_new_one_no_message(office: Office) -> None:
    """Both may count from UID 1 under UIDVALIDITY 1, as Gmail does."""
    office.dovecot.append(message(1, name="held.jpg"), office.user)
    await office.run(office.source(name="receipts", after="delete"))
    (entry,) = office.book.entries.values()
    office.user = f"{office.user}-new"
    uid = office.dovecot.append(message(2), office.user)
    with office.dovecot.client(office.user) as client:
        client.select("INBOX")
        uidvalidity = client.response("UIDVALIDITY")[1][0]
    assert entry.mailed.place is not None and isinstance(uidvalidity, bytes)
    place = replace(entry.mailed.place, uidvalidity=int(uidvalidity), uid=uid)
    entry.mailed = replace(entry.mailed, place=place)
    office.book.decide(entry.keys[0], State.UPLOADED)
    source = office.source(name="receipts", after="delete")
    await office.report(source, office.arrivals[0], entry.keys[0])
    assert office.stored() == ["<2@tests>"]
    assert entry.mailed.filed is Filed.UPLOADED
    await office.run(source)
    assert len(office.arrivals) == 2


async def test_a_uid_given_out_again_is_taken_although_its_first_fetch_fails(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.dovecot.append(message(1), office.user)
    source = office.source()
    running = asyncio.create_task(office.run(source, once=False))
    try:
        await until(lambda: len(office.uploaded) == 1)
        await until(lambda: source.status.scans > 1)
        (entry,) = office.book.entries.values()
        mail = entry.mailed.origin.mail
        assert mail is not None
        reused = replace(mail, place=replace(mail.place, uid=mail.place.uid + 1))
        entry.mailed = replace(entry.mailed, origin=replace(entry.mailed.origin, mail=reused))
        fetch = MailboxSession.fetch
        lost: list[int] = []

        async def fails_once(self: MailboxSession, uid: int, *, size: int) -> bytes | None:
            if len(lost) < 2:  # the first one asks whether it is another message
                lost.append(uid)
                if len(lost) == 2:
                    self.abort()
            return await fetch(self, uid, size=size)

        monkeypatch.setattr(MailboxSession, "fetch", fails_once)
        assert office.dovecot.append(message(2), office.user) == reused.place.uid
        await until(lambda: len(office.uploaded) == 2)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert office.uploaded == ["<1@tests>", "<2@tests>"]


async def test_a_server_that_tells_of_news_at_once_is_not_searched_without_end(tmp_path: Path) -> None:
    searches = 0

    async def search(tag: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal searches
        searches += 1
        writer.write(b"* SEARCH\r\n" + tag + b" OK\r\n")

    talkative = b"+ idling\r\n* 1 EXISTS\r\nTAG OK\r\n"
    async with scripted(UID_SEARCH=search, IDLE=talkative) as settings:
        running = asyncio.create_task(_read(settings, tmp_path))
        await asyncio.sleep(2.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert 2 <= searches < 16, "without pauses there would be more than 35"


async def test_a_server_that_lets_in_and_gives_nothing_is_not_hammered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "FIRST_S", 0.02)
    monkeypatch.setattr(connecting, "LONGEST_S", 300.0)
    logins = 0

    async def login(tag: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal logins
        logins += 1
        writer.write(tag + b" OK\r\n")

    found = b"* SEARCH %b\r\nTAG OK\r\n" % b" ".join(b"%d" % uid for uid in range(1, 500))
    away = b"TAG NO [SERVERBUG] the storage is away\r\n"
    async with scripted(LOGIN=login, UID_SEARCH=found, UID_FETCH=away) as settings:
        running = asyncio.create_task(_read(settings, tmp_path))
        await asyncio.sleep(3.0)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    assert 2 <= logins < 20, "without longer and longer pauses there would be a hundred"


@pytest.mark.parametrize("has_outline", [False, True])
async def test_a_message_that_is_listed_and_never_given_is_told(tmp_path: Path, has_outline: bool) -> None:
    outline = b'* 1 FETCH (UID 1 RFC822.SIZE 40 FLAGS () BODY[HEADER.FIELDS (FROM)]<0> "From: a@b")\r\n'
    script = {
        "UID SEARCH": b"* SEARCH 1\r\nTAG OK\r\n",
        "UID FETCH": (outline if has_outline else b"") + b"TAG OK\r\n",
        "IDLE": b"+ idling\r\n* 1 EXISTS\r\nTAG OK\r\n",
    }
    notes = Notes()
    async with scripted(**script) as settings:
        running = asyncio.create_task(_read(settings, tmp_path, notes))
        try:
            await until(lambda: bool(notes.named("message.postponed")))
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
    (note,) = notes.named("message.postponed")
    assert "the server lists it, but does not give it" in str(note)


async def test_a_message_larger_than_its_server_estimates_is_taken(tmp_path: Path) -> None:
    raw = b"From: ann@example.com\r\nSubject: x\r\n\r\n" + b"A" * 10_900_000
    size = b"UID 1 RFC822.SIZE 8000000 FLAGS ()"
    outline = b'* 1 FETCH (%b BODY[HEADER.FIELDS (FROM)]<0> "From: ann@example.com")\r\n' % size
    whole = b"* 1 FETCH (UID 1 BODY[] {%d}\r\n%b)\r\n" % (len(raw), raw)
    asked = 0

    async def fetch(tag: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write((outline if asked % 2 else whole) + tag + b" OK\r\n")

    search = b"* SEARCH 1\r\nTAG OK\r\n"
    async with scripted(UID_SEARCH=search, UID_FETCH=fetch, UID_STORE=b"TAG OK\r\n") as settings:
        arrivals = await _read(settings, tmp_path)
    (arrival,) = arrivals
    assert arrival.containers[0].size == len(raw)


async def _read(settings: MailboxSettings, directory: Path, notes: Notes | None = None) -> list[Arrival]:
    """What comes of a scripted server until something does."""
    spool, arrivals = Spool(directory / "spool", min_free_bytes=0), []
    settings = replace(settings, allow=("*",), require="none", after="leave")

    async def credentials() -> ImapSecret:
        return ImapSecret("login", "secret")

    opener, clock = Opener(spool), process_clock()
    source = MailboxSource(
        settings,
        credentials=credentials,
        spool=spool,
        opener=opener,
        book=Book(),
        doorkeeper=Doorkeeper(settings, ()),
        keys=DnsKeys(),
        correspondent=None,
        most_answers_per_hour=0,
        owner="node",
        clock=clock,
        observer=notes or Notes(),
    )
    try:
        async with aclosing(source.arrivals(once=False)) as handed:
            async for arrival in handed:
                arrivals.append(arrival)
                break
    finally:
        await source.aclose()
    return arrivals
