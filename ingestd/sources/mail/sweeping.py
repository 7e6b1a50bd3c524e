"""What nobody will ask for any more: messages whose receipts have settled, and which a crash or an outage
kept from being filed. They are looked for at the start, once a day, and after each filing that failed.
"""

import asyncio

from ingestd.interfaces import MailBook, Observer, SourceUnavailable
from ingestd.sources.mail.filing import Filing

EVERY_S = 86_400.0
AGAIN_S = 300.0
"""After a sweep in which a filing failed."""

BATCH = 100
FAILURES_BORNE = 5
"""In one sweep: a server that is down need not be asked for each message."""


class Sweeping:
    def __init__(self, source: str, book: MailBook, filing: Filing, observer: Observer) -> None:
        self._source = source
        self._book = book
        self._filing = filing
        self._observer = observer
        self._wake = asyncio.Event()
        self._beginning = asyncio.Event()
        self.has_swept = False
        """At least once since the start."""

    def begin(self) -> None:
        """The server was reached: now the first sweep makes sense."""
        self._beginning.set()

    def soon(self) -> None:
        """There is something to be filed again."""
        self._wake.set()

    async def run(self) -> None:
        """For ever."""
        await self._beginning.wait()
        while True:
            complete = await self._sweep()
            self.has_swept = True
            await self._pause(EVERY_S if complete else AGAIN_S)

    async def file(self, arrival: str) -> None:
        """Now, or else with one of the next sweeps."""
        if not await self._file(arrival):
            self.soon()

    async def _pause(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
                await asyncio.sleep(AGAIN_S)
        except TimeoutError:
            return

    async def _sweep(self) -> bool:
        failures, last = 0, ""
        while unfiled := await self._book.unfiled(self._source, limit=BATCH, after=last):
            for mailed in unfiled:
                last = mailed.arrival
                failures += not await self._file(last)
                if failures == FAILURES_BORNE:
                    return False
        return failures == 0

    async def _file(self, arrival: str) -> bool:
        try:
            await self._filing.settle(arrival)
        except SourceUnavailable as error:
            self._observer.note(
                "message.unfiled", level="warning", source=self._source, arrival=arrival, reason=str(error)
            )
            return False
        return True
