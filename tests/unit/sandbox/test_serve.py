import ast
import asyncio
import contextlib
import sys
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import ingestd.sandbox
from ingestd.sandbox import create_app, serve
from ingestd.sandbox.state import SANDBOX
from tests.unit.sandbox.client import API, jpeg

GOOD = {"Authorization": "Bearer x", "Content-Type": "image/jpeg"}


async def test_it_needs_no_configuration_and_ends_when_told() -> None:
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(ready=listening.set_result, stop=stop))
    base = await listening
    assert base.startswith("http://127.0.0.1:")
    async with aiohttp.ClientSession() as session, session.get(base) as response:
        assert response.status == 200
    stop.set()
    await asyncio.wait_for(server, 10)
    with pytest.raises(aiohttp.ClientConnectorError):
        async with aiohttp.ClientSession() as session, session.get(base):
            pass


async def test_it_ends_though_a_client_waits_for_an_answer_that_never_comes() -> None:
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(ready=listening.set_result, stop=stop))
    base = await listening
    async with aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(session.post(f"{base}{API}/report/timeout", data=jpeg(), headers=GOOD))
        while True:
            async with session.get(f"{base}/_sandbox/images") as response:
                if (await response.json())["images"]:
                    break
        stop.set()
        await asyncio.wait_for(server, 10)
        with pytest.raises(aiohttp.ClientConnectionError):
            await waiting


async def test_the_application_ends_at_once_however_patient_its_server_is() -> None:
    app = create_app()
    runner = web.AppRunner(app, shutdown_timeout=60)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{API}/report/timeout"
    async with aiohttp.ClientSession() as session:
        waiting = asyncio.create_task(session.post(url, data=jpeg(), headers=GOOD))
        while not len(app[SANDBOX].images):
            await asyncio.sleep(0.01)
        await asyncio.wait_for(runner.cleanup(), 10)
        with pytest.raises(aiohttp.ClientConnectionError):
            await waiting


async def test_cancelling_it_ends_it_too() -> None:
    listening = asyncio.get_running_loop().create_future()
    server = asyncio.create_task(serve(ready=listening.set_result))
    await listening
    server.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(server, 10)
    assert server.cancelled()


async def test_a_port_in_use_is_an_oserror() -> None:
    blocker = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
    port = blocker.sockets[0].getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        await serve(port=port, ready=lambda _: pytest.fail("it can't be ready"))
    blocker.close()
    await blocker.wait_closed()


async def test_the_application_also_runs_under_another_server() -> None:
    app = create_app()
    async with TestClient(TestServer(app)) as client:
        answer = await client.post(f"{API}/receipt", data=jpeg(), headers=GOOD)
        assert answer.status == 201
        assert len(app[SANDBOX].images) == 1
    with pytest.raises(ValueError, match="closed file"):
        app[SANDBOX].images._file.fileno()


def test_the_judge_shares_no_code_with_the_accused() -> None:
    allowed = {"PIL", "aiohttp", "defusedxml", "pypdf", "yarl"} | sys.stdlib_module_names
    for module in Path(ingestd.sandbox.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            for name in names:
                assert name.startswith("ingestd.sandbox") or name.partition(".")[0] in allowed, (module, name)
