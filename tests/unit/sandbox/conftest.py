import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from ingestd.sandbox import Sandbox, serve
from tests.unit.sandbox.client import Client


@pytest.fixture
async def state() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
async def client(state: Sandbox) -> AsyncIterator[Client]:
    """A client of a sandbox that really listens."""
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(ready=listening.set_result, stop=stop, state=state))
    base = await asyncio.wait_for(listening, 10)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield Client(base, session)
    stop.set()
    await asyncio.wait_for(server, 10)
