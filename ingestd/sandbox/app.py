"""The sandbox as an aiohttp application, and a server for it.

Every answer passes through one middleware: it carries a correlation ID, errors speak Concur's `<Error>`,
and the journal has it.
"""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from ingestd.sandbox import answers, checks, control, files, images, index, oauth
from ingestd.sandbox.answers import CORRELATION_HEADER, CutAnswer, NoAnswer, Refused
from ingestd.sandbox.journal import Exchange, now
from ingestd.sandbox.state import EXCHANGE, SANDBOX, Sandbox

_OWN_PATHS = ("/_sandbox/", "/favicon.ico")
_API_PATHS = ("/api/",)
_LOOPBACK, _OTHER_LOOPBACK = "127.0.0.1", "127.0.0.2"
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
    files.add_routes(app.router)
    oauth.add_routes(app.router)
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

    Port 0 takes a free one. Another free port, on 127.0.0.1 also as 127.0.0.2, has the files of image URLs
    only, for the switch `url_origin`. Raises OSError when the port can't be had.
    """
    app = create_app(state)
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=_GRACE_SECONDS,
        read_bufsize=_READ_BUFFER_BYTES,
        auto_decompress=False,  # a coded body is refused, so nobody may unpack it while it is thrown away
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        await _serve_files(runner, app[SANDBOX], host)
        ready(_base(host, bound))
        await (stop or asyncio.Event()).wait()
    finally:
        app[SANDBOX].file_bases, app[SANDBOX].file_ports = {}, frozenset()
        await runner.cleanup()


async def _serve_files(runner: web.AppRunner, sandbox: Sandbox, host: str) -> None:
    """The other origins; where no second port or address can be had, the switch does nothing."""
    bases: dict[str, str] = {}
    with suppress(OSError):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, 0), family=family)
        await web.SockSite(runner, listening).start()
        bases["port"] = _base(host, listening.getsockname()[1])
        if host == _LOOPBACK:
            other = socket.create_server((_OTHER_LOOPBACK, 0))
            await web.SockSite(runner, other).start()
            bases["host"] = _base(_OTHER_LOOPBACK, other.getsockname()[1])
    sandbox.file_bases = bases
    sandbox.file_ports = frozenset(address[1] for address in runner.addresses[1:])


def _base(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@web.middleware
async def _exchange(request: web.Request, handler: Handler) -> web.StreamResponse:
    sandbox, for_files = request.app[SANDBOX], _came_for_files(request)
    if not for_files and (request.path == "/" or request.path.startswith(_OWN_PATHS)):
        return await handler(request)
    started, tallies = time.monotonic(), sandbox.tallies()
    exchange = request[EXCHANGE] = Exchange(
        method=request.method,
        path=request.path,
        correlation_id=_correlation_id(request),
        at=now(),
        account=checks.sender(request),
        leak="Authorization" in request.headers and (for_files or not request.path.startswith(_API_PATHS)),
        content_type=request.headers.get("Content-Type"),
        content_length=request.headers.get("Content-Length"),
    )
    try:
        response = await _answered(request, handler if not for_files or _is_file(request) else _nothing_here)
        response.headers[CORRELATION_HEADER] = exchange.correlation_id
        exchange.status = None if isinstance(response, (NoAnswer, CutAnswer)) else response.status
        return response
    finally:
        exchange.seconds = time.monotonic() - started
        exchange.under_way.close()
        sandbox.journal.add(exchange)
        for tally in tallies:
            tally.add(exchange.outcome)


def _came_for_files(request: web.Request) -> bool:
    """By a port that has files only: asked of the socket, because a Host header says what it likes."""
    ports = request.app[SANDBOX].file_ports
    return request.transport is not None and request.transport.get_extra_info("sockname")[1] in ports


def _is_file(request: web.Request) -> bool:
    return request.path.startswith(files.PREFIX)


async def _nothing_here(_: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


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
    await request.app[SANDBOX].sleep(request.app[SANDBOX].latency_seconds, request)
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
