"""The line to a target, which can break: nobody listens, or somebody takes everything and never answers."""

import asyncio
import threading
from collections.abc import Coroutine
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

_CHUNK_BYTES = 65_536
_LONGEST_CALL_SECONDS = 30


class Line:
    """A TCP relay with a URL of its own. `swallowed`: connections on which something came into the void."""

    def __init__(self, url: str) -> None:
        """`url`: where it leads to."""
        parts = urlsplit(url)
        assert parts.hostname is not None and parts.port is not None
        self._to = parts.hostname, parts.port
        self._swallows = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")
        self._thread.start()
        self.swallowed = 0
        self._port = 0
        self.mend()
        self.url = f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """Connections are cut, and new ones refused."""
        self._call(self._close())

    def swallow(self) -> None:
        """Connections are cut; new ones are taken, read to their end, and never answered."""
        self._call(self._close())
        self._swallows, self.swallowed = True, 0
        self._call(self._listen())

    def mend(self) -> None:
        """It leads to the target again."""
        self._call(self._close())
        self._swallows = False
        self._call(self._listen())

    def end(self) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, doing: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(_LONGEST_CALL_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, backlog=512)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await (self._into_the_void(reader) if self._swallows else self._relay(reader, writer))
        except (OSError, asyncio.CancelledError):
            pass  # a cut line: the other end sees it, and nobody here has to
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _into_the_void(self, reader: asyncio.StreamReader) -> None:
        came = await reader.read(_CHUNK_BYTES)
        self.swallowed += bool(came)
        while came:
            came = await reader.read(_CHUNK_BYTES)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        ways = [
            asyncio.ensure_future(_pour(reader, there_writer)),
            asyncio.ensure_future(_pour(there_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            there_writer.transport.abort()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    await writer.drain()
