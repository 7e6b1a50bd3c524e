"""One session for each base URL, and not one too many."""

import asyncio

import pytest

from ingestd.domain.errors import ConfigurationError
from ingestd.http.session import Answer, Request
from ingestd.http.sessions import MOST_BASES, Sessions
from tests.unit.http.peers import Peer, Reader, Writer, always, answer, peer


async def test_calls_to_one_base_share_its_connections() -> None:
    sessions = Sessions(connections=2)
    async with peer(always(answer())) as here:
        for _ in range(3):
            async with sessions.to(here.url) as session:
                await session.exchange(Request(method="GET", url=f"{here.url}/x", headers={}))
        await sessions.aclose()
    assert (here.connections, len(here.seen)) == (1, 3)


async def test_a_base_unfit_for_a_token_is_refused_and_not_kept() -> None:
    sessions = Sessions(connections=1)
    for _ in range(2):
        with pytest.raises(ConfigurationError):
            async with sessions.to("http://us2.api.concursolutions.com"):
                raise AssertionError("a token would have gone there")


async def test_old_bases_are_closed_and_those_in_use_are_not() -> None:
    async def slow(here: Peer, reader: Reader, writer: Writer) -> None:
        await here.read_request(reader)
        await here.release.wait()
        writer.write(answer())
        await writer.drain()

    sessions = Sessions(connections=1)
    async with peer(slow) as here:

        async def call() -> object:
            async with sessions.to(here.url) as session:
                return await session.exchange(Request(method="GET", url=f"{here.url}/x", headers={}))

        task = asyncio.create_task(call())
        while not here.seen:
            await asyncio.sleep(0.01)
        for number in range(2 * MOST_BASES):
            async with sessions.to(f"https://dc{number}.example"):
                assert len(sessions._kept) <= MOST_BASES + 1
        here.release.set()
        assert isinstance(await task, Answer)
    await sessions.aclose()
    await sessions.aclose()
