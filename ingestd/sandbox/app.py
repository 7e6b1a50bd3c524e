"""The sandbox as an aiohttp application, and a server for it.

Every answer passes through one middleware: it carries a correlation ID, errors speak Concur's `<Error>`,
and the journal has it.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from aiohttp.typedefs import Handler

from ingestd.sandbox import answers, checks, control, images, index
from ingestd.sandbox.answers import CORRELATION_HEADER, CutAnswer, NoAnswer, Refused
from ingestd.sandbox.journal import Exchange, now
from ingestd.sandbox.state import EXCHANGE, SANDBOX, Sandbox

_OWN_PATHS = ("/_sandbox/", "/favicon.ico")
_LONGEST_CORRELATION_ID = 64
_GRACE_SECONDS = 2.0
_READ_BUFFER_BYTES = 2**20


def create_app(state: Sandbox | None = None) -> web.Application:
    """An application over `state`; one of its own, closed at its end, when none is given."""
    app = web.Application(middlewares=[_exchange])
    app[SANDBOX] = state or Sandbox()
    if state is None:
        app.cleanup_ctx.append(_close_state)
    app.on_startup.append(_allow_waiting)
    app.on_shutdown.append(_stop_waiting)
    app.router.add_get("/", index.index)
    images.add_routes(app.router)
    control.add_routes(app.router)
    return app


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None],
    stop: asyncio.Event | None = None,
    state: Sandbox | None = None,
) -> None:
    """Serve until `stop` is set (None: until cancelled). Calls `ready` with the base URL once it listens.

    Port 0 takes a free one. Raises OSError when the port can't be had.
    """
    runner = web.AppRunner(
        create_app(state),
        access_log=None,
        shutdown_timeout=_GRACE_SECONDS,
        read_bufsize=_READ_BUFFER_BYTES,
        auto_decompress=False,  # a coded body is refused, so nobody may unpack it while it is thrown away
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        ready(f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}")
        await (stop or asyncio.Event()).wait()
    finally:
        await runner.cleanup()


@web.middleware
async def _exchange(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.path == "/" or request.path.startswith(_OWN_PATHS):
        return await handler(request)
    started = time.monotonic()
    exchange = request[EXCHANGE] = Exchange(
        method=request.method,
        path=request.path,
        correlation_id=_correlation_id(request),
        at=now(),
        account=checks.sender(request),
        content_type=request.headers.get("Content-Type"),
        content_length=request.headers.get("Content-Length"),
    )
    try:
        response = await _answered(request, handler)
        response.headers[CORRELATION_HEADER] = exchange.correlation_id
        exchange.status = None if isinstance(response, (NoAnswer, CutAnswer)) else response.status
        return response
    finally:
        exchange.seconds = time.monotonic() - started
        request.app[SANDBOX].journal.add(exchange)


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The answer, whatever was raised on the way, after the latency of the plan."""
    try:
        response = await handler(request)
    except Refused as refused:
        response = answers.error(request, refused.status, refused.message, refused.headers)
    except web.HTTPException as none_of_ours:
        # No route, or not with this method: aiohttp raises it, Concur would say it in XML.
        headers = {"Allow": none_of_ours.headers["Allow"]} if "Allow" in none_of_ours.headers else None
        response = answers.error(request, none_of_ours.status, none_of_ours.reason, headers)
    await request.app[SANDBOX].sleep(request.app[SANDBOX].plan.latency_seconds, request)
    return response


def _correlation_id(request: web.Request) -> str:
    """The client's own, when it sent one (Concur: Correlation ID), else a new UUID."""
    sent = request.headers.get(CORRELATION_HEADER, "")
    fits = sent.isascii() and sent.isprintable() and 0 < len(sent) <= _LONGEST_CORRELATION_ID
    return sent if fits else str(uuid.uuid4())


async def _close_state(app: web.Application) -> AsyncIterator[None]:
    yield
    app[SANDBOX].close()


async def _allow_waiting(app: web.Application) -> None:
    app[SANDBOX].closing.clear()


async def _stop_waiting(app: web.Application) -> None:
    app[SANDBOX].closing.set()
