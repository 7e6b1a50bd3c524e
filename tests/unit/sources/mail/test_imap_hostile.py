"""A scripted server that does what Dovecot never does: garbage, floods, lies, silence in drops."""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ingestd.settings import MailboxSettings
from ingestd.sources.mail.imap import ImapLoginRefused, ImapLost, ImapRefused, ImapSecret, ImapSession

SECRET = ImapSecret("login", "my-password")
NOTICED_SECONDS = 60.0

Talk = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
Script = dict[str, bytes | Talk]
"""By command: what is answered, "TAG" standing for the tag."""

POLITE: Script = {
    "CAPABILITY": b"* CAPABILITY IMAP4rev1 IDLE UIDPLUS MOVE AUTH=XOAUTH2 AUTH=PLAIN\r\nTAG OK done\r\n",
    "LOGIN": b"TAG OK welcome\r\n",
    "LIST": b'* LIST () "/" ""\r\nTAG OK done\r\n',
    "SELECT": b"* 1 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 7] valid\r\nTAG OK done\r\n",
    "LOGOUT": b"* BYE\r\nTAG OK\r\n",
}


@asynccontextmanager
async def scripted(
    greeting: bytes | Talk = b"* OK ready\r\n", **script: Any
) -> AsyncIterator[MailboxSettings]:
    tasks: set[asyncio.Task[None]] = set()
    words = POLITE | {key.replace("_", " "): value for key, value in script.items()}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _say(greeting, b"", writer)
            while line := await reader.readline():
                if line == b"DONE\r\n":
                    continue
                tag, command, *rest = line.split()
                name = command.decode()
                name = f"UID {rest[0].decode()}" if name == "UID" else name
                await _say(words.get(name, b"TAG BAD what?\r\n"), tag, writer)
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=2**20)
    try:
        yield MailboxSettings(
            name="m",
            host="127.0.0.1",
            port=server.sockets[0].getsockname()[1],
            security="none",
            user="u",
            deadline=timedelta(seconds=1),
        )
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.all_tasks() == {asyncio.current_task()}


async def _say(answer: bytes | Talk, tag: bytes, writer: asyncio.StreamWriter) -> None:
    if isinstance(answer, bytes):
        writer.write(answer.replace(b"TAG", tag))
        await writer.drain()
    else:
        await answer(tag, writer)


@asynccontextmanager
async def session(settings: MailboxSettings) -> AsyncIterator[ImapSession]:
    imap = await ImapSession.open(settings, SECRET)
    try:
        await imap.select("INBOX")
        yield imap
    finally:
        await imap.close()


def endless(piece: bytes, first: bytes = b"") -> Talk:
    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(piece)
            await writer.drain()

    return talk


def drops(first: bytes, drop: bytes) -> Talk:
    async def talk(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        while True:
            writer.write(drop)
            await asyncio.sleep(0.05)

    return talk


async def test_100000_uids_are_found_in_one_answer() -> None:
    uids = list(range(1, 200_000, 2))
    line = b"* SEARCH " + b" ".join(b"%d" % uid for uid in uids) + b"\r\nTAG OK done\r\n"
    async with scripted(UID_SEARCH=line) as settings, session(settings) as imap:
        assert await imap.search() == uids


async def test_what_a_server_promises_too_much_of_is_given_up_before_it_is_sent() -> None:
    ten_gigabytes = b"* 1 FETCH (UID 1 BODY[] {10000000000}\r\nxxxx"
    async with scripted(UID_FETCH=ten_gigabytes) as settings, session(settings) as imap:
        with pytest.raises(ImapLost, match="announces 10,000,000,000 bytes"):
            await imap.fetch(1, size=1000)


@pytest.mark.parametrize(
    ("first", "piece", "match"),
    [
        (b"", b"x" * 65536, "line without an end"),
        (b"", b"* 1 FETCH (FLAGS ())\r\n" * 1000, "without an end|far more than"),
        (
            b"* 1 FETCH (UID 1 BODY[] {900000}\r\n",
            b"* 1 FETCH (BODY[] {5}\r\nabcde)\r\n" * 1000,
            "without an end|far more than",
        ),
        (b"", b"* 1 EXISTS\r\n" * 1000, "without an end|far more than"),
        (b"", b"\0\xff\r\n\xfe" * 1000, "no answer"),
        (b"", b"+\r\n" * 1000, "without an end|far more than"),
    ],
    ids=["line", "fetches", "literals", "exists", "garbage", "continuations"],
)
async def test_a_flood_is_ended_in_bounded_memory(first: bytes, piece: bytes, match: str) -> None:
    async with scripted(UID_FETCH=endless(piece, first)) as settings, session(settings) as imap:
        before, most = _resident_bytes(), 0
        fetching = asyncio.create_task(imap.fetch(1, size=1000))
        async with asyncio.timeout(NOTICED_SECONDS):
            while not fetching.done():
                most = max(most, _resident_bytes())
                await asyncio.sleep(0)
        with pytest.raises(ImapLost, match=match):
            await fetching
        assert most - before < 150_000_000


def _resident_bytes() -> int:
    """proc_pid_statm(5), second field."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_more_bytes_than_the_outline_said_by_far_are_refused() -> None:
    body = b"* 1 FETCH (UID 1 BODY[] {3000000}\r\n" + b"x" * 3_000_000 + b")\r\nTAG OK done\r\n"
    async with scripted(UID_FETCH=body) as settings:
        async with session(settings) as imap:
            with pytest.raises(ImapLost, match="announces 3,000,000 bytes"):
                await imap.fetch(1, size=1000)
        async with session(settings) as imap:
            assert await imap.fetch(1, size=2_900_000) == b"x" * 3_000_000


async def test_a_server_that_sends_in_drops_is_given_up() -> None:
    """Each drop ends its silence, so that silence alone would never end the wait."""
    drip = drops(b"* 1 FETCH (UID 1 BODY[] {1000}\r\n", b"x")
    async with scripted(UID_FETCH=drip) as settings, session(settings) as imap:
        async with asyncio.timeout(NOTICED_SECONDS):
            with pytest.raises(ImapLost, match="silent, or almost, for 1 s when asked for UID FETCH"):
                await imap.fetch(1, size=1000)


async def test_a_slow_server_that_keeps_sending_may_take_longer_than_the_deadline() -> None:
    async def slow(tag: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* 1 FETCH (UID 1 BODY[] {120000}\r\n")
        for _ in range(12):
            writer.write(b"x" * 10_000)
            await asyncio.sleep(0.2)
        writer.write(b")\r\n" + tag + b" OK done\r\n")

    async with scripted(UID_FETCH=slow) as settings, session(settings) as imap:
        assert await imap.fetch(1, size=120_000) == b"x" * 120_000


@pytest.mark.parametrize(
    ("greeting", "match"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "is no IMAP server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no IMAP server"),
        (b"* BYE too many connections\r\n", "wants no connection now: too many connections"),
        (b"", "said nothing for 1 s"),
        (b"* OK " + b"x" * 20_000_000, "far more than was asked"),
    ],
    ids=["ssh", "http", "bye", "silence", "endless"],
)
async def test_what_is_no_imap_server_is_named(greeting: bytes, match: str) -> None:
    async with scripted(greeting) as settings, asyncio.timeout(NOTICED_SECONDS):
        with pytest.raises(ImapLost, match=match):
            await ImapSession.open(settings, SECRET)


async def test_bye_during_idle_is_a_lost_connection_with_the_servers_reason() -> None:
    bye = b"+ idling\r\n* BYE shutting down for maintenance\r\n"
    async with scripted(IDLE=bye) as settings, session(settings) as imap:
        async with asyncio.timeout(NOTICED_SECONDS):
            with pytest.raises(ImapLost, match="ends the connection: shutting down for maintenance"):
                await imap.idle(timedelta(hours=1))


@pytest.mark.parametrize("answer", [b"TAG NO not now\r\n", b"TAG BAD what\r\n"])
async def test_a_refused_idle_is_no_hang_and_the_session_goes_on(answer: bytes) -> None:
    async with scripted(IDLE=answer, NOOP=b"TAG OK\r\n") as settings, session(settings) as imap:
        async with asyncio.timeout(NOTICED_SECONDS):
            with pytest.raises(ImapRefused, match="refuses IDLE"):
                await imap.idle(timedelta(hours=1))
            await imap.noop()


async def test_an_idle_that_never_begins_and_a_done_that_is_never_answered_are_noticed() -> None:
    for answer in (b"", b"+ idling\r\n"):
        async with scripted(IDLE=answer) as settings, session(settings) as imap:
            async with asyncio.timeout(NOTICED_SECONDS):
                with pytest.raises(ImapLost, match="silent, or almost, for 1 s when asked for IDLE"):
                    await imap.idle(timedelta(seconds=0.1))


async def test_keepalives_in_idle_are_no_news() -> None:
    alive = b"+ idling\r\n* OK Still here\r\n* OK Still here\r\n"
    async with scripted(IDLE=alive) as settings, session(settings) as imap:
        with pytest.raises(ImapLost, match="silent"):  # after 0.5 s, at DONE, which this script does not know
            await imap.idle(timedelta(seconds=0.5))


@pytest.mark.parametrize(
    "answer",
    [
        b"* 1 FETCH (UID 1 BODY[] (\r\nTAG OK\r\n",
        b'* 1 FETCH (UID 1 FLAGS ("unfinished))\r\nTAG OK\r\n',
        b"* 1 FETCH\r\nTAG OK\r\n",
        b"* 1 FETCH (UID one RFC822.SIZE 1 FLAGS ())\r\nTAG OK\r\n",
        b"* 1 FETCH (UID 1 RFC822.SIZE 1 FLAGS \\Seen)\r\nTAG OK\r\n",
        b"OTHER OK\r\n",
        b"TAG MAYBE\r\n",
    ],
)
async def test_an_answer_that_can_not_be_understood_ends_the_session(answer: bytes) -> None:
    async with scripted(UID_FETCH=answer) as settings, session(settings) as imap:
        with pytest.raises(ImapLost):
            await imap.outlines([1])
        with pytest.raises(ImapLost):
            await imap.noop()


async def test_a_body_that_the_server_does_not_give_is_a_refusal_not_a_gone_message() -> None:
    nothing = b"* 1 FETCH (UID 1 BODY[] NIL)\r\nTAG OK\r\n"
    async with scripted(UID_FETCH=nothing) as settings, session(settings) as imap:
        with pytest.raises(ImapRefused, match="does not give the bytes of message 1"):
            await imap.fetch(1, size=10)


async def test_a_message_expunged_meanwhile_is_gone() -> None:
    no = b"TAG NO [EXPUNGEISSUED] Some messages were already expunged.\r\n"
    async with scripted(UID_FETCH=no, UID_MOVE=no) as settings, session(settings) as imap:
        assert await imap.fetch(1, size=10) is None


async def test_a_password_that_the_server_repeats_is_told_to_nobody() -> None:
    echo = b"TAG NO bad credentials my-password for u\r\n"
    async with scripted(LOGIN=echo) as settings:
        with pytest.raises(ImapLoginRefused, match="bad credentials … for u"):
            await ImapSession.open(settings, SECRET)


async def test_a_server_in_trouble_at_the_login_does_not_put_the_password_in_doubt() -> None:
    async with scripted(LOGIN=b"TAG NO [UNAVAILABLE] try later\r\n") as settings:
        with pytest.raises(ImapLost, match=r"lets u in later: .*try later"):
            await ImapSession.open(settings, SECRET)


TROUBLES = [
    # Dovecot: connections of one user and address, its authentication service, its back end
    "[LIMIT] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
    "Maximum number of connections from user+IP exceeded (mail_max_userip_connections)",
    "[UNAVAILABLE] Temporary authentication failure. [mail:2026-11-21 10:00:00]",
    "[INUSE] Too many invalid commands.",
    "[SERVERBUG] Internal error occurred. Refer to server log for more information.",
    # Gmail has (Failure) behind all it refuses
    "[ALERT] Too many simultaneous connections. (Failure)",
    "[ALERT] Account exceeded command or bandwidth limits. (Failure)",
    "[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)",
    "[UNAVAILABLE] Temporary System Problem. Try again later (Failure)",
    # Exchange
    "Server Unavailable. 15",
    "Request is throttled. Suggested Backoff Time: 92415 milliseconds",
    # Yahoo
    "[LIMIT] LOGIN Rate limit hit.",
    "[UNAVAILABLE] LOGIN Server error - Please try again later",
    # a proxy of Mailu, others
    "Authentication rate limit from one source exceeded",
    "Too many connections",
    "Too many concurrent sessions for this user",
    "Connection limit reached",
    "Server busy, please retry later",
]
REFUSALS = [
    "[AUTHENTICATIONFAILED] Authentication failed.",
    "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    "[AUTHENTICATIONFAILED] Temporarily blocked after too many logins",
    "[ALERT] Application-specific password required: https://support.google.com/accounts (Failure)",
    "[WEBALERT https://accounts.google.com/] Web login required.",
    "[ALERT] Please log in via your web browser: https://support.google.com/mail (Failure)",
    "[EXPIRED] The password has expired, try again with another",
    "LOGIN failed.",
    "AUTHENTICATE failed.",
    "Login failed.",
    "Login failed: authentication failure",
    "LOGIN failed. Account is blocked. Login to your account via a web browser to verify your identity.",
    "Your account is temporarily locked",
    "Too many failed logins, try again later",
    "Too many login failures",
]


@pytest.mark.parametrize("said", TROUBLES)
async def test_what_passes_by_itself_does_not_put_the_password_in_doubt(said: str) -> None:
    async with scripted(LOGIN=b"TAG NO " + said.encode() + b"\r\n") as settings:
        with pytest.raises(ImapLost, match="lets u in later: "):
            await ImapSession.open(settings, SECRET)


@pytest.mark.parametrize("said", REFUSALS)
async def test_a_login_that_a_person_has_to_mend_is_refused(said: str) -> None:
    async with scripted(LOGIN=b"TAG NO " + said.encode() + b"\r\n") as settings:
        with pytest.raises(ImapLoginRefused, match="refuses the password of u: "):
            await ImapSession.open(settings, SECRET)


async def test_a_goodbye_for_an_answer_to_the_login_is_a_lost_connection() -> None:
    """Courier, when its authentication daemon does not answer."""
    bye = b"* BYE Temporary problem, please try again later\r\n"
    async with scripted(LOGIN=bye) as settings:
        with pytest.raises(ImapLost, match="ends the connection: Temporary problem"):
            await ImapSession.open(settings, SECRET)


async def test_a_server_without_xoauth2_is_named() -> None:
    plain = b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK\r\n"
    async with scripted(CAPABILITY=plain) as settings:
        with pytest.raises(ImapLoginRefused, match="offers no login by XOAUTH2, only by PLAIN"):
            await ImapSession.open(settings, ImapSecret("xoauth2", "token"))


async def test_a_mailbox_without_uidvalidity_is_refused() -> None:
    async with scripted(SELECT=b"* 1 EXISTS\r\nTAG OK\r\n") as settings:
        imap = await ImapSession.open(settings, SECRET)
        with pytest.raises(ImapRefused, match="no UIDVALIDITY"):
            await imap.select("INBOX")
        await imap.close()


async def test_a_server_that_moves_without_telling_where_is_believed() -> None:
    moved = b"* 1 EXPUNGE\r\nTAG OK done\r\n"
    async with scripted(UID_MOVE=moved) as settings, session(settings) as imap:
        assert await imap.move(1, "Elsewhere") is None


async def test_a_server_that_sends_garbage_for_tls_ends_in_a_sentence() -> None:
    async with scripted(b"garbage" * 100) as settings:
        with pytest.raises(ImapLost, match=r"does not speak TLS as expected.*993"):
            await ImapSession.open(replace(settings, security="tls"), SECRET)


async def test_a_flood_between_two_commands_is_ended_too() -> None:
    async def chatter(tag: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(tag + b" OK\r\n")
        await endless(b"* OK hear me\r\n" * 1000)(tag, writer)

    async with scripted(NOOP=chatter) as settings, session(settings) as imap:
        await imap.noop()
        async with asyncio.timeout(NOTICED_SECONDS):
            while imap.alive:
                await asyncio.sleep(0.1)
        with pytest.raises(ImapLost, match="answers without an end"):
            await imap.noop()
