"""A raw TCP server for each way a peer can behave, and readers that see exactly what was sent."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Behaviour = Callable[["Peer", Reader, Writer], Awaitable[None]]


@dataclass
class Seen:
    """One request as it came over the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


@dataclass
class Peer:
    behaviour: Behaviour
    url: str = ""
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def read_head(self, reader: Reader) -> Seen:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.rstrip("\r\n").split("\r\n")
        pairs = [tuple(f.split(": ", 1)) for f in fields]
        request = Seen(line, [(k, v) for k, v in pairs])
        self.seen.append(request)
        return request

    async def read_request(self, reader: Reader) -> Seen:
        request = await self.read_head(reader)
        request.body = await reader.readexactly(int(request.header("content-length") or 0))
        return request


@asynccontextmanager
async def peer(behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A server on a free port of 127.0.0.1 that treats each connection by `behaviour`."""
    here = Peer(behaviour)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: Reader, writer: Writer) -> None:
        here.connections += 1
        try:
            await behaviour(here, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def connected(reader: Reader, writer: Writer) -> None:
        task = asyncio.create_task(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=2**24)
    port = server.sockets[0].getsockname()[1]
    here.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield here
    finally:
        here.release.set()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answer(
    status: str = "201 Created",
    body: bytes = b"",
    *,
    content_type: str = "application/xml",
    headers: tuple[str, ...] = (),
    length: int | None = None,
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def always(raw: bytes) -> Behaviour:
    """Reads each request whole and answers `raw`, for as long as the connection lives."""

    async def behave(here: Peer, reader: Reader, writer: Writer) -> None:
        while not reader.at_eof():
            await here.read_request(reader)
            writer.write(raw)
            await writer.drain()

    return behave


def reset(writer: Writer) -> None:
    """Close with RST instead of FIN: what was sent and not read is lost."""
    plain: socket.socket = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def stop_reading(writer: Writer) -> None:
    """What arrives stays in the kernel's buffers, until they are full."""
    _both_ways(writer).pause_reading()


def resume_reading(writer: Writer) -> None:
    _both_ways(writer).resume_reading()


def _both_ways(writer: Writer) -> asyncio.ReadTransport:
    transport = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    return transport
