"""A request body that knows how much of it was handed to the operating system.

The count decides whether a lost connection may be retried, so it errs on one side only: bytes that may have
left are counted, and a request whose count is below its size can't have arrived whole.
"""

import asyncio
from datetime import timedelta

from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

SLICE_BYTES = 64 * 1024
"""Handed over at once. The next slice waits until the kernel has taken this one."""


class CountedBody(Payload):
    """Bytes for one attempt, sent with Content-Length. `handed_over` is in bytes.

    The whole body counts as handed over only when its last slice was given to a transport that had taken all
    slices before. asyncio goes on flushing a transport that a half-closing server made it close, so what sits
    in the transport's buffer must count as sent.
    """

    def __init__(self, content: bytes, content_type: str, *, stall: timedelta) -> None:
        """`stall`: how long a peer may take no byte at all before write() raises TimeoutError."""
        super().__init__(content, content_type=content_type)
        self._size = len(content)
        self._content = content
        self._stall_seconds = stall.total_seconds()
        self.handed_over = 0

    @property
    def whole(self) -> bool:
        return self.handed_over == len(self._content)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._content.decode(encoding, errors)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if content_length not in (None, len(self._content)):
            raise ValueError("a counted body is sent whole or not at all")
        await self.write(writer)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Raises ConnectionError as soon as the connection is known to be gone."""
        assert isinstance(writer, StreamWriter)
        view = memoryview(self._content)
        for start in range(0, len(view), SLICE_BYTES):
            # One turn of the loop, so that it reads what the server said meanwhile. A connection closed while
            # it lay idle is found closed before the first byte leaves, and an early answer (413, then RST)
            # is read before a failing send() throws it away.
            await asyncio.sleep(0)
            await self._hand_over(view[start : start + SLICE_BYTES], writer)
            async with asyncio.timeout(self._stall_seconds):
                await writer.drain()

    async def _hand_over(self, piece: memoryview, writer: StreamWriter) -> None:
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection was closed before the body was sent")
        # Pause at the first byte the kernel does not take: the next slice then waits until this one left.
        transport.set_write_buffer_limits(high=1)
        await writer.write(piece, drain=False)
        self.handed_over += len(piece)
