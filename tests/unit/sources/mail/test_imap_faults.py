"""A real Dovecot that dies, freezes or is cut off: each session notices in time and leaves nothing behind."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest

from ingestd.sources.mail.imap import ImapLost, ImapRefused, ImapSecret, ImapSession
from tests.mail.dovecot import PASSWORD, Dovecot

SECRET = ImapSecret("login", PASSWORD)
DEADLINE = timedelta(seconds=0.5)
NOTICED_SECONDS = 10.0
"""Far more than the deadline, for a busy machine; a hang lasts for ever."""
RAW = b"From: a@b.example\r\nMessage-ID: <1@tests>\r\n\r\nhello\r\n"
LARGE = b"From: a@b.example\r\n\r\n" + b"0123456789abcde\r\n" * 1_500_000
"""24 MB: more than the buffers of two sockets hold."""

Action = Callable[[ImapSession], Awaitable[Any]]


@pytest.fixture
def frail(tmp_path: Path) -> Iterator[Dovecot]:
    """One that may be killed."""
    with Dovecot(tmp_path) as server:
        yield server


@pytest.fixture(autouse=True)
async def nothing_left() -> AsyncIterator[None]:
    """No task, timer, socket or transport outlives its session. (Warnings are errors in these tests.)"""
    yield
    await asyncio.sleep(0)
    gc.collect()
    loop = asyncio.get_running_loop()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    # asyncio has no public way to ask for what it still waits for.
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]
    selector = loop._selector  # type: ignore[attr-defined]  # the same
    assert len(selector.get_map()) == 1, "only the loop's own wake-up pipe is left"


@asynccontextmanager
async def session(dovecot: Dovecot, user: str, **changes: Any) -> AsyncIterator[ImapSession]:
    imap = await ImapSession.open(dovecot.settings(user, **({"deadline": DEADLINE} | changes)), SECRET)
    try:
        await imap.select("INBOX")
        yield imap
    finally:
        async with asyncio.timeout(NOTICED_SECONDS):
            await imap.close()


async def lost(action: Awaitable[Any], match: str) -> None:
    async with asyncio.timeout(NOTICED_SECONDS):
        with pytest.raises(ImapLost, match=match):
            await action


# --- kill -9 --------------------------------------------------------------------------------------------


async def test_a_server_killed_during_idle_is_noticed_at_once(frail: Dovecot, user: str) -> None:
    async with session(frail, user) as imap:
        waiting = asyncio.create_task(imap.idle(timedelta(hours=1)))
        await asyncio.sleep(0.1)
        frail.kill9()
        await lost(waiting, "closed the connection")
        await lost(imap.noop(), "closed the connection")


async def test_a_server_killed_while_it_sends_a_message_is_noticed_at_once(frail: Dovecot, user: str) -> None:
    frail.fill([LARGE], user)
    async with session(frail, user, deadline=timedelta(hours=1)) as imap:
        fetching = asyncio.create_task(imap.fetch(1, size=len(LARGE)))
        while imap._server.wire._received_bytes < 1_000_000:
            await asyncio.sleep(0)
        frail.kill9()
        await lost(fetching, "closed the connection")


async def test_after_a_kill_a_new_session_finds_everything_as_it_was(frail: Dovecot, user: str) -> None:
    uid = frail.append(RAW, user)
    async with session(frail, user) as imap:
        frail.kill9()
        await lost(imap.fetch(uid, size=len(RAW)), "closed the connection")
    frail.start()
    async with session(frail, user) as imap:
        assert await imap.fetch(uid, size=len(RAW)) == RAW


# --- SIGSTOP --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        (lambda imap: imap.select("INBOX"), "SELECT"),
        (lambda imap: imap.search("ALL"), "UID SEARCH"),
        (lambda imap: imap.outlines([1]), "UID FETCH"),
        (lambda imap: imap.fetch(1, size=100), "UID FETCH"),
        (lambda imap: imap.add_flags([1], ["\\Seen"]), "UID STORE"),
        (lambda imap: imap.delete(1), "UID STORE"),
        (lambda imap: imap.move(1, "INBOX"), "UID MOVE"),
        (lambda imap: imap.mailboxes(), "LIST"),
        (lambda imap: imap.noop(), "NOOP"),
        (lambda imap: imap.idle(timedelta(hours=1)), "IDLE"),
    ],
    ids=["select", "search", "outlines", "fetch", "store", "delete", "move", "list", "noop", "idle"],
)
async def test_a_frozen_server_is_noticed_within_the_deadline(
    frail: Dovecot, user: str, action: Action, asked: str
) -> None:
    frail.append(RAW, user)
    async with session(frail, user) as imap:
        with frail.paused():
            await lost(action(imap), f"silent, or almost, for 0.5 s when asked for {asked}")
            await lost(imap.noop(), "silent")
        await asyncio.sleep(0.05)
        await lost(imap.noop(), "silent")


async def test_a_server_that_freezes_during_idle_is_noticed_when_idle_is_renewed(
    frail: Dovecot, user: str
) -> None:
    async with session(frail, user) as imap:
        waiting = asyncio.create_task(imap.idle(timedelta(seconds=0.3)))
        await asyncio.sleep(0.1)
        with frail.paused():
            await lost(waiting, "silent, or almost, for 0.5 s when asked for IDLE")


async def test_a_server_that_freezes_before_its_greeting_is_noticed(frail: Dovecot, user: str) -> None:
    with frail.paused():
        await lost(
            ImapSession.open(frail.settings(user, deadline=DEADLINE), SECRET), "said nothing for 0.5 s"
        )


async def test_after_a_freeze_the_login_works_again(frail: Dovecot, user: str) -> None:
    with frail.paused():
        await lost(ImapSession.open(frail.settings(user, deadline=DEADLINE), SECRET), "said nothing")
    async with asyncio.timeout(NOTICED_SECONDS):
        # The parts of Dovecot find each other again after a moment; until then it says [SERVERBUG].
        while not await _can_select(frail, user):
            await asyncio.sleep(0.05)


async def _can_select(dovecot: Dovecot, user: str) -> bool:
    try:
        async with session(dovecot, user, deadline=timedelta(seconds=5)) as imap:
            await imap.noop()
    except ImapRefused:
        return False
    return True


# --- the line is cut, or goes dead ----------------------------------------------------------------------


@pytest.mark.parametrize("security", ["tls", "none"])
async def test_a_connection_cut_in_a_literal_is_lost_and_gives_no_half_message(
    dovecot: Dovecot, user: str, security: str
) -> None:
    dovecot.fill([LARGE], user)
    target = dovecot.port if security == "tls" else dovecot.plain_port
    async with (
        Proxy(target).cut_after(3_000_000) as proxy,
        session(dovecot, user, security=security, port=proxy.port) as imap,
    ):
        await lost(imap.fetch(1, size=len(LARGE)), "closed the connection")


async def test_a_line_that_goes_dead_in_a_literal_is_noticed_within_the_deadline(
    dovecot: Dovecot, user: str
) -> None:
    dovecot.fill([LARGE], user)
    async with (
        Proxy(dovecot.plain_port).silent_after(3_000_000) as proxy,
        session(dovecot, user, security="none", port=proxy.port) as imap,
    ):
        await lost(imap.fetch(1, size=len(LARGE)), "silent, or almost, for 0.5 s when asked for UID FETCH")


async def test_a_line_that_is_cut_at_any_byte_of_a_short_talk_is_noticed(dovecot: Dovecot, user: str) -> None:
    uid = dovecot.append(RAW, user)
    for position in range(1, 3000, 97):
        async with Proxy(dovecot.plain_port).cut_after(position) as proxy:
            await _talk_until_lost(dovecot.settings(user, security="none", port=proxy.port), uid)


async def _talk_until_lost(settings: Any, uid: int) -> None:
    async with asyncio.timeout(NOTICED_SECONDS):
        with pytest.raises(ImapLost):
            imap = await ImapSession.open(settings, SECRET)
            try:
                while True:
                    await imap.select("INBOX")
                    assert await imap.fetch(uid, size=len(RAW)) == RAW
                    await imap.idle(timedelta(seconds=0.001))
            finally:
                await imap.close()


# --- cancelled ------------------------------------------------------------------------------------------


async def test_a_cancelled_call_ends_the_session_for_good(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        waiting = asyncio.create_task(imap.idle(timedelta(hours=1)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await lost(imap.noop(), "IDLE was interrupted")


async def test_abort_ends_the_session_without_a_word(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        imap.abort()
        await lost(imap.noop(), "given up")
        imap.abort()


async def test_a_second_call_at_the_same_time_is_a_mistake_that_is_told(dovecot: Dovecot, user: str) -> None:
    async with session(dovecot, user) as imap:
        waiting = asyncio.create_task(imap.idle(timedelta(seconds=0.2)))
        await asyncio.sleep(0.05)
        with pytest.raises(RuntimeError, match="while another command is under way"):
            await imap.noop()
        assert not await waiting


async def test_closing_takes_little_time_even_when_the_server_is_frozen(frail: Dovecot, user: str) -> None:
    async with session(frail, user) as imap:
        with frail.paused():
            async with asyncio.timeout(NOTICED_SECONDS):
                await imap.close()
        await imap.close()


class Proxy:
    """A TCP line to a local port that breaks after so many bytes from the server."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._limit = 0
        self._then = ""
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def cut_after(self, limit: int) -> Self:
        self._limit, self._then = limit, "cut"
        return self

    def silent_after(self, limit: int) -> Self:
        self._limit, self._then = limit, "silent"
        return self

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, there]
        up = asyncio.get_running_loop().create_task(self._pass_on(reader, there))
        self._tasks.add(up)
        passed = 0
        while data := await there_reader.read(65536):
            piece = data[: self._limit - passed]
            writer.write(piece)
            passed += len(piece)
            if passed == self._limit:
                await self._break(writer)
        writer.transport.abort()

    async def _break(self, writer: asyncio.StreamWriter) -> None:
        await writer.drain()
        while writer.transport.get_write_buffer_size():
            await asyncio.sleep(0.001)
        if self._then == "cut":
            self.cut()
        await asyncio.Event().wait()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.transport.abort()
