"""The connection that marks and files, against a scripted server: what it remembers may be true no more."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ingestd.interfaces import SourceUnavailable
from ingestd.sources.mail.connecting import Connector, MailboxSession
from ingestd.sources.mail.imap import Gone, ImapSecret, Selected
from ingestd.sources.mail.second_connection import SecondConnection
from tests.unit.sources.conftest import Notes
from tests.unit.sources.mail.test_imap_hostile import scripted


def selects(*uidvalidities: int) -> Any:
    """One after the other; the last one for ever."""
    left: Iterator[int] = iter(uidvalidities)
    now = 0

    async def select(tag: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal now
        now = next(left, now)
        writer.write(b"* 1 EXISTS\r\n* OK [UIDVALIDITY %d] valid\r\n%b OK\r\n" % (now, tag))

    return select


@asynccontextmanager
async def connection(**script: Any) -> AsyncIterator[SecondConnection]:
    async with scripted(**script) as settings:

        async def credentials() -> ImapSecret:
            return ImapSecret("login", "secret")

        second = SecondConnection(settings, Connector(settings, credentials), Notes())
        try:
            yield second
        finally:
            await second.close()


async def uidvalidity_of(session: MailboxSession, selected: Selected) -> int:
    return selected.uidvalidity


async def test_a_mailbox_made_anew_while_it_was_selected_is_selected_again() -> None:
    """Cyrus says nothing to those who have it selected."""
    async with connection(SELECT=selects(7, 8)) as second:
        assert await second.run("INBOX", uidvalidity_of, uidvalidity=7) == 7
        assert await second.run("INBOX", uidvalidity_of, uidvalidity=8) == 8
        assert await second.run("INBOX", uidvalidity_of) == 8


async def test_a_uidvalidity_of_the_past_is_gone_and_costs_one_question() -> None:
    async with connection(SELECT=selects(7, 7, 9)) as second:
        assert await second.run("INBOX", uidvalidity_of, uidvalidity=7) == 7
        with pytest.raises(Gone, match="its UIDVALIDITY is 7 now"):
            await second.run("INBOX", uidvalidity_of, uidvalidity=6)
        assert await second.run("INBOX", uidvalidity_of, uidvalidity=7) == 7


async def test_work_on_a_connection_that_was_lost_meanwhile_is_done_on_another_one_at_once() -> None:
    async def noop(tag: bytes, writer: asyncio.StreamWriter) -> None:
        noops.append(tag)
        if len(noops) == 1:
            writer.transport.abort()
        else:
            writer.write(tag + b" OK\r\n")

    async def work(session: MailboxSession, selected: Selected) -> int:
        await session.noop()
        return selected.uidvalidity

    noops: list[bytes] = []
    async with connection(SELECT=selects(7), NOOP=noop) as second:
        await second.run("INBOX", uidvalidity_of)
        assert await second.run("INBOX", work) == 7
    assert len(noops) == 2


async def test_work_that_loses_a_fresh_connection_is_not_done_again() -> None:
    async def noop(tag: bytes, writer: asyncio.StreamWriter) -> None:
        noops.append(tag)
        writer.transport.abort()

    async def work(session: MailboxSession, selected: Selected) -> None:
        await session.noop()

    noops: list[bytes] = []
    async with connection(SELECT=selects(7), NOOP=noop) as second:
        with pytest.raises(SourceUnavailable):
            await second.run("INBOX", work)
    assert len(noops) == 1
