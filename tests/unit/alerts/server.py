"""A real web server that keeps what was posted to it, and answers as it is told to."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Hook:
    """`answers`: the status of each request in turn, then 200. 0: no answer at all."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    posted: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.paths.append(request.raw_path)
        self.headers.append(dict(request.headers))
        self.posted.append(json.loads(await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        if status == 0:
            await asyncio.sleep(30)
        headers = {"Location": f"{self.url}/elsewhere"} if 300 <= status < 400 else {}
        return web.Response(status=status or 200, text="ok", headers=headers)


@asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    here = Hook()
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", here.take)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    here.url = f"http://{host}:{port}"
    try:
        yield here
    finally:
        await runner.cleanup()
