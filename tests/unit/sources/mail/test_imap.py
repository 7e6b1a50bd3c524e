"""ImapSession against a real Dovecot: what it finds, fetches, flags, moves and waits for."""

import asyncio
import socket
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.sources.mail.imap import (
    Gone,
    ImapLoginRefused,
    ImapLost,
    ImapRefused,
    ImapSecret,
    ImapSession,
)
from tests.mail.dovecot import PASSWORD, Dovecot

PASSWORD_SECRET = ImapSecret("login", PASSWORD)
SOON = timedelta(seconds=20)
"""No test waits for so long unless something is wrong."""


def message(number: int = 0, *, sender: str = "Ann <Ann@Example.com>", body: bytes = b"hello\r\n") -> bytes:
    return b"From: %s\r\nMessage-ID: <%d@tests>\r\nSubject: hi\r\n\r\n%s" % (sender.encode(), number, body)


@asynccontextmanager
async def session(dovecot: Dovecot, user: str, **changes: Any) -> AsyncIterator[ImapSession]:
    opened = await ImapSession.open(dovecot.settings(user, **changes), PASSWORD_SECRET)
    try:
        yield opened
    finally:
        await opened.close()


# --- finding and fetching -------------------------------------------------------------------------------


async def test_a_message_is_found_outlined_and_fetched_without_touching_its_flags(
    dovecot: Dovecot, user: str
) -> None:
    raw = message(1)
    uid = dovecot.append(raw, user)
    async with session(dovecot, user) as imap:
        selected = await imap.select("INBOX")
        assert (selected.exists, selected.uidnext, selected.keywords) == (1, uid + 1, True)
        assert await imap.search("UNDELETED", "UNKEYWORD", "$Ingestd") == [uid]
        (outline,) = await imap.outlines([uid])
        assert (outline.uid, outline.size, outline.sender) == (uid, len(raw), "ann@example.com")
        assert outline.flags <= {"\\Recent"}
        assert await imap.fetch(uid, size=outline.size) == raw
    assert [stored.flags for stored in dovecot.messages(user)] == [frozenset()]


async def test_a_message_that_is_gone_is_none_and_the_session_goes_on(dovecot: Dovecot, user: str) -> None:
    uid = dovecot.append(message(), user)
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        assert await imap.fetch(uid + 7, size=100) is None
        assert await imap.flags_of(uid + 7) is None
        assert await imap.outlines([uid, uid + 7]) == await imap.outlines([uid])
        assert await imap.outlines([]) == []
        assert await imap.search("DELETED") == []


async def test_an_empty_message_and_one_with_every_byte_are_fetched_as_they_are(
    dovecot: Dovecot, user: str
) -> None:
    raw = message(body=bytes(set(range(1, 256)) - {10, 13}) + b"\r\n{99}\r\n* BYE\r\nA1 OK\r\n)\r\n")
    uid = dovecot.append(raw, user)
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        assert await imap.fetch(uid, size=len(raw)) == raw


async def test_names_and_senders_with_unbalanced_quotes_and_parentheses_confuse_nobody(
    dovecot: Dovecot, user: str
) -> None:
    raws = [
        b'From: "((( {5} <a@b.example>\r\n\r\n',
        b"From: )))\r\n\r\n",
        b'From: "x" <c@d.example>\r\nContent-Disposition: attachment; filename="(((.pdf\r\n\r\n',
    ]
    uids = [dovecot.append(raw, user) for raw in raws]
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        outlines = await imap.outlines(uids)
        assert [outline.sender for outline in outlines] == ["a@b.example", "", "c@d.example"]
        assert [await imap.fetch(uid, size=200) for uid in uids] == raws


async def test_three_thousand_messages_are_outlined_in_batches(dovecot: Dovecot, user: str) -> None:
    dovecot.fill([message(number) for number in range(3000)], user)
    async with session(dovecot, user) as imap:
        assert (await imap.select("INBOX")).exists == 3000
        uids = await imap.search("ALL")
        assert len(uids) == 3000
        outlines = await imap.outlines(uids)
        assert [outline.uid for outline in outlines] == uids
        assert {outline.sender for outline in outlines} == {"ann@example.com"}


async def test_three_thousand_fetch_lines_in_one_answer_do_no_harm(dovecot: Dovecot, user: str) -> None:
    """Another program flags all messages: the server tells of each, in its next answer."""
    dovecot.fill([message(number) for number in range(3000)], user)
    async with session(dovecot, user, security="none") as imap:
        await imap.select("INBOX")
        with dovecot.client(user) as other:
            other.select("INBOX")
            other.store("1:*", "+FLAGS", "(\\Flagged)")
        began = time.process_time()
        await imap.noop()
        assert await imap.fetch(1, size=200) == message(0)
        # Quadratic in the lines, as the library is, this takes more than a second.
        assert time.process_time() - began < 0.7


async def test_a_message_of_21_megabytes_is_in_memory_once(dovecot: Dovecot, user: str) -> None:
    body = (b"x" * 76 + b"\r\n") * 280_000
    dovecot.fill([message(body=body)], user)
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        (outline,) = await imap.outlines(await imap.search())
        tracemalloc.start()
        try:
            raw = await imap.fetch(outline.uid, size=outline.size)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert raw == message(body=body)
    assert peak_bytes < 1.5 * len(body)


async def test_condstore_gives_each_outline_its_modseq(dovecot: Dovecot, user: str) -> None:
    uid = dovecot.append(message(), user)
    async with session(dovecot, user) as imap:
        selected = await imap.select("INBOX")
        (outline,) = await imap.outlines([uid])
        assert selected.highestmodseq is not None
        assert outline.modseq is not None


# --- flagging, moving, deleting -------------------------------------------------------------------------


async def test_a_keyword_is_set_and_removed_and_others_see_it(dovecot: Dovecot, user: str) -> None:
    uids = [dovecot.append(message(number), user) for number in range(2)]
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        await imap.add_flags(uids, ["$Ingestd", "\\Seen"])
        assert [stored.flags for stored in dovecot.messages(user)] == [{"$Ingestd", "\\Seen"}] * 2
        await imap.remove_flags([uids[0]], ["$Ingestd"])
        assert await imap.search("UNKEYWORD", "$Ingestd") == [uids[0]]
        flags = await imap.flags_of(uids[0])
        assert flags is not None
        assert "\\Seen" in flags


async def test_a_moved_message_is_where_the_server_says(dovecot: Dovecot, user: str) -> None:
    raw = message(5)
    uid = dovecot.append(raw, user)
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        place = await imap.move(uid, "Ingestd/Uploaded")
        assert place is not None
        there = await imap.select("Ingestd/Uploaded")
        assert there.uidvalidity == place.uidvalidity
        assert await imap.fetch(place.uid, size=len(raw)) == raw
    assert dovecot.messages(user) == []


@pytest.mark.parametrize("without", [("MOVE",), ("MOVE", "UIDPLUS"), ("UIDPLUS",)])
async def test_a_server_that_can_less_moves_nothing_that_others_marked(
    tmp_path: Path, user: str, without: tuple[str, ...]
) -> None:
    with Dovecot(tmp_path, without=without) as poor:
        kept, moved = (poor.append(message(number), user) for number in range(2))
        with poor.client(user) as other:
            other.select("INBOX")
            other.uid("STORE", str(kept), "+FLAGS", "(\\Deleted)")
        async with session(poor, user) as imap:
            await imap.select("INBOX")
            await imap.move(moved, "Ingestd/Uploaded")
            with pytest.raises(Gone):
                await imap.move(moved + 50, "Ingestd/Uploaded")
            assert await imap.search("UNDELETED") == []
        left = {stored.uid: stored.flags for stored in poor.messages(user)}
        assert "\\Deleted" in left.pop(kept)
        stays = "UIDPLUS" in without and "MOVE" in without
        assert left == ({moved: {"\\Deleted"}} if stays else {})
        assert len(poor.messages(user, "Ingestd/Uploaded")) == 1


async def test_moving_what_is_gone_says_so(dovecot: Dovecot, user: str) -> None:
    uid = dovecot.append(message(), user)
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        await imap.move(uid, "Ingestd/Rejected")
        with pytest.raises(Gone, match=f"message {uid}"):
            await imap.move(uid, "Ingestd/Rejected")
        await imap.noop()


async def test_delete_removes_one_message_and_no_other(dovecot: Dovecot, user: str) -> None:
    kept, removed = (dovecot.append(message(number), user) for number in range(2))
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        await imap.add_flags([kept], ["\\Deleted"])
        await imap.delete(removed)
    assert [stored.uid for stored in dovecot.messages(user)] == [kept]


async def test_a_server_that_refuses_keywords_says_so_when_it_is_selected(tmp_path: Path, user: str) -> None:
    with Dovecot(tmp_path, without=("KEYWORDS",)) as strict:
        uid = strict.append(message(), user)
        async with session(strict, user) as imap:
            selected = await imap.select("INBOX")
            assert not selected.keywords
            assert "\\Seen" in selected.flags
            await imap.add_flags([uid], ["\\Seen"])
        assert [stored.flags for stored in strict.messages(user)] == [{"\\Seen"}]


async def test_a_changed_uidvalidity_is_seen(dovecot: Dovecot, user: str) -> None:
    dovecot.append(message(), user)
    async with session(dovecot, user) as imap:
        before = await imap.select("INBOX")
    dovecot.change_uidvalidity(user)
    async with session(dovecot, user) as imap:
        after = await imap.select("INBOX")
    assert after.uidvalidity != before.uidvalidity
    assert after.exists == 1


# --- mailboxes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ['Be"lege', "Zwei Wörter & mehr", "back\\slash", "(un[bal{3}", "100%", "台北/Receipts"]
)
async def test_mailboxes_with_any_name_are_made_filled_and_found(
    dovecot: Dovecot, user: str, name: str
) -> None:
    uid = dovecot.append(message(3), user)
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        await imap.ensure(name)
        await imap.ensure(name)
        assert name in await imap.mailboxes()
        place = await imap.move(uid, name)
        assert place is not None
        assert await imap.find(name, "<3@tests>") == [place.uid]


async def test_a_name_with_a_wildcard_is_made_although_another_fits_it(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        await imap.ensure("Receipts")
        await imap.ensure("R*")
        assert "R*" in await imap.mailboxes()


async def test_a_server_that_wants_everything_below_inbox_gets_it_there(tmp_path: Path, user: str) -> None:
    with Dovecot(tmp_path, separator=".", prefix="INBOX.") as dotted:
        uid = dotted.append(message(4), user)
        async with session(dotted, user) as imap:
            await imap.select("INBOX")
            place = await imap.move(uid, "Ingestd/Uploaded")
            assert place is not None
            assert "INBOX.Ingestd.Uploaded" in await imap.mailboxes()
            assert (await imap.select("INBOX.Ingestd.Uploaded")).uidvalidity == place.uidvalidity
        assert len(dotted.messages(user, "INBOX.Ingestd.Uploaded")) == 1


async def test_what_ensure_makes_is_subscribed(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        await imap.ensure("Ingestd/Rejected")
    with dovecot.client(user) as other:
        _, lines = other.lsub()
    assert any(b"Ingestd/Rejected" in line for line in lines if isinstance(line, bytes))


async def test_find_comes_back_to_the_mailbox_and_to_its_news(dovecot: Dovecot, user: str) -> None:
    uid = dovecot.append(message(1), user)
    dovecot.append(message(2), user, "Other")
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        await imap.search()
        dovecot.append(message(3), user)
        assert len(await imap.find("Other", "<2@tests>")) == 1
        assert await imap.find("Other", "<1@tests>") == []
        assert await imap.find("No such mailbox", "<1@tests>") == []
        assert await imap.find("Other", "") == []
        assert await imap.idle(SOON), "the message that came meanwhile is news"
        assert len(await imap.search()) == 2
        await imap.add_flags([uid], ["\\Seen"])


async def test_a_mailbox_that_does_not_exist_is_refused_in_the_words_of_the_server(
    dovecot: Dovecot, user: str
) -> None:
    async with session(dovecot, user) as imap:
        with pytest.raises(ImapRefused, match=r"refuses SELECT: .*doesn't exist"):
            await imap.select("Nowhere")
        await imap.select("INBOX")


async def test_line_endings_in_any_argument_are_refused_before_anything_is_sent(
    dovecot: Dovecot, user: str
) -> None:
    evil = "x\r\nA1 DELETE INBOX"
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: imap.select(evil),
            lambda: imap.search("SUBJECT", evil),
            lambda: imap.move(1, evil),
            lambda: imap.find(evil, "<1@tests>"),
            lambda: imap.find("INBOX", evil),
            lambda: imap.ensure(evil),
            lambda: imap.add_flags([1], [evil]),
        ]
        for call in calls:
            with pytest.raises(ValueError, match=r"CR, LF|no flag|not allowed"):
                await call()
        await imap.noop()
    with pytest.raises(ValueError, match="CR, LF"):
        await ImapSession.open(dovecot.settings(user), ImapSecret("login", evil))


# --- waiting --------------------------------------------------------------------------------------------


async def test_idle_wakes_when_a_message_comes(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        waiting = asyncio.create_task(imap.idle(SOON))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await asyncio.to_thread(dovecot.deliver, message(), user)
        assert await waiting
        assert len(await imap.search()) == 1


async def test_idle_ends_when_time_is_up_and_can_be_called_again(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        for _ in range(3):
            assert not await imap.idle(timedelta(seconds=0.05))
        await imap.noop()


async def test_what_the_server_told_between_search_and_idle_is_not_slept_through(
    dovecot: Dovecot, user: str
) -> None:
    async with session(dovecot, user) as imap:
        await imap.select("INBOX")
        await imap.search()
        await asyncio.to_thread(dovecot.deliver, message(), user)
        await imap.noop()  # told here, and not again in IDLE
        assert await imap.idle(SOON)
        await imap.search()
        assert not await imap.idle(timedelta(seconds=0.05))


async def test_1500_messages_that_leave_during_idle_do_no_harm(dovecot: Dovecot, user: str) -> None:
    dovecot.fill([message(number) for number in range(1500)], user)
    async with session(dovecot, user) as imap:
        assert (await imap.select("INBOX")).exists == 1500
        waiting = asyncio.create_task(imap.idle(SOON))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(_empty, dovecot, user)
        assert await waiting
        await imap.noop()
        assert await imap.search() == []


async def test_a_server_without_idle_is_asked_for_news(tmp_path: Path, user: str) -> None:
    with Dovecot(tmp_path, without=("IDLE",)) as mute:
        async with session(mute, user) as imap:
            await imap.select("INBOX")
            assert not await imap.idle(timedelta(seconds=0.1))
            mute.deliver(message(), user)
            assert await imap.idle(SOON)


def _empty(dovecot: Dovecot, user: str) -> None:
    with dovecot.client(user) as other:
        other.select("INBOX")
        other.store("1:*", "+FLAGS.SILENT", "(\\Deleted)")
        other.expunge()


# --- questions of the doctor ----------------------------------------------------------------------------


async def test_quota_and_clock_of_the_server_are_told(tmp_path: Path, user: str) -> None:
    with Dovecot(tmp_path, quota_kilobytes=2048) as small:
        small.append(message(body=b"x" * 4096), user)
        async with session(small, user) as imap:
            selected = await imap.select("INBOX")
            quota = await imap.quota()
            assert quota is not None
            used, limit = quota
            assert 4 <= used < 100
            assert limit == 2048
            clock = await imap.server_time()
            assert clock is not None
            assert abs(datetime.now(UTC) - clock) < timedelta(minutes=1)
            assert not any("Clock" in name for name in await imap.mailboxes())
            assert (await imap.select("INBOX")).uidvalidity == selected.uidvalidity


async def test_a_server_without_quota_gives_none(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        assert await imap.quota() is None


# --- getting in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("without", [(), ("SASL-IR",)])
async def test_an_access_token_lets_in(tmp_path: Path, user: str, without: tuple[str, ...]) -> None:
    with Dovecot(tmp_path, without=without) as server:
        imap = await ImapSession.open(server.settings(user), ImapSecret("xoauth2", server.token(user)))
        assert "IDLE" in imap.capabilities
        await imap.close()


async def test_a_bad_token_is_refused_at_once_and_a_new_login_works(dovecot: Dovecot, user: str) -> None:
    expired = dovecot.token(user, lifetime=timedelta(seconds=-60))
    async with asyncio.timeout(5):
        for token in (expired, "nonsense"):
            with pytest.raises(ImapLoginRefused, match="refuses the OAuth token of") as refused:
                await ImapSession.open(dovecot.settings(user), ImapSecret("xoauth2", token))
            assert token not in str(refused.value)
    async with session(dovecot, user) as imap:
        await imap.noop()


async def test_a_wrong_password_is_refused_and_named_nowhere(dovecot: Dovecot, user: str) -> None:
    secret = ImapSecret("login", "wrong-password")
    with pytest.raises(ImapLoginRefused, match="refuses the password of") as refused:
        await ImapSession.open(dovecot.settings(user), secret)
    assert "wrong-password" not in str(refused.value) + repr(secret) + repr(refused.value)


@pytest.mark.parametrize("password", ['quo"te', "back\\slash", "ümläut"])
async def test_passwords_with_any_letters_reach_the_server_as_they_are(
    tmp_path: Path, user: str, password: str
) -> None:
    with Dovecot(tmp_path, password=password) as server:
        imap = await ImapSession.open(server.settings(user), ImapSecret("login", password))
        await imap.close()


async def test_a_certificate_of_an_unknown_authority_is_named(dovecot: Dovecot, user: str) -> None:
    with pytest.raises(ImapLost, match=r"certificate of localhost:.* is not trusted.*set ca_file"):
        await ImapSession.open(dovecot.settings(user, ca_file=None), PASSWORD_SECRET)


async def test_a_certificate_for_another_name_is_named(tmp_path: Path, user: str) -> None:
    refused = pytest.raises(ImapLost, match=r"not trusted.*Hostname mismatch.*set host")
    with Dovecot(tmp_path, names=("imap.example.com",)) as other, refused:
        await ImapSession.open(other.settings(user), PASSWORD_SECRET)


async def test_a_plain_server_on_the_tls_port_is_named(dovecot: Dovecot, user: str) -> None:
    with pytest.raises(ImapLost, match=r"does not speak TLS as expected.*993"):
        await ImapSession.open(dovecot.settings(user, port=dovecot.plain_port), PASSWORD_SECRET)


async def test_a_tls_server_asked_in_plain_is_named_within_the_deadline(dovecot: Dovecot, user: str) -> None:
    settings = dovecot.settings(user, security="none", port=dovecot.port, deadline=timedelta(seconds=0.3))
    with pytest.raises(ImapLost, match=r"said nothing for 0.3 s.*expects TLS"):
        await ImapSession.open(settings, PASSWORD_SECRET)


async def test_a_missing_authority_a_closed_port_and_an_unknown_host_are_named(
    dovecot: Dovecot, user: str, tmp_path: Path
) -> None:
    with pytest.raises(ImapLost, match=r"ca_file .*absent.pem can't be used: No such file"):
        await ImapSession.open(dovecot.settings(user, ca_file=tmp_path / "absent.pem"), PASSWORD_SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    with pytest.raises(ImapLost, match=f"nothing listens on 127.0.0.1:{closed}"):
        await ImapSession.open(dovecot.settings(user, host="127.0.0.1", port=closed), PASSWORD_SECRET)
    with pytest.raises(ImapLost, match=r"host name no\.such\.invalid is not known"):
        await ImapSession.open(dovecot.settings(user, host="no.such.invalid"), PASSWORD_SECRET)
