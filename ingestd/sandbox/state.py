"""Everything one sandbox knows, and the keys under which a request finds it."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from ingestd.sandbox.journal import Exchange, Journal
from ingestd.sandbox.plan import Plan
from ingestd.sandbox.store import KEPT_BYTES, Images


class Sandbox:
    """`images`: what it holds · `plan`: the faults · `journal`: what was asked.

    `now` is the wall clock (seconds since 1970) that the life of URLs is measured by. Close it when you made
    it.
    """

    def __init__(self, directory: Path | None = None, *, kept_bytes: int = KEPT_BYTES) -> None:
        """`directory`: where the bytes of the images lie until the end (see store.Images).

        `kept_bytes`: how many of them; 0 keeps only hashes, for a sink that never touches the disk.
        """
        self.images = Images(directory, kept_bytes=kept_bytes)
        self.journal = Journal()
        self.plan = Plan()
        self.closing = asyncio.Event()
        self.url_key = os.urandom(32)
        self.now: Callable[[], float] = time.time

    def reset(self) -> None:
        """As after the start."""
        self.images.reset()
        self.journal.reset()
        self.plan = Plan()

    def close(self) -> None:
        self.images.close()

    async def sleep(self, seconds: float | None, request: web.Request) -> None:
        """Wait; ends early when the client has left or the sandbox closes. None: only then."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while request.transport is not None and not self.closing.is_set():
            rest = _LOOK_SECONDS if end is None else min(_LOOK_SECONDS, end - loop.time())
            if rest <= 0:
                return
            await asyncio.sleep(rest)


_LOOK_SECONDS = 0.05

SANDBOX = web.AppKey("SANDBOX", Sandbox)
EXCHANGE = web.RequestKey("EXCHANGE", Exchange)
