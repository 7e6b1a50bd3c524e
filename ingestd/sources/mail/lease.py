"""One reader for each mailbox, whatever number of nodes share the ledger: a lease there, prolonged in time.

A node that can't reach the mail server gives it up, so that another may try.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.retry import later
from ingestd.interfaces import Clock, MailBook

LASTS = timedelta(seconds=90)
RENEWED_EVERY_S = 30.0
WAITING_LOOK_S = 10.0
"""How often it is asked whether the other reader is gone."""


class Lease:
    """`name`: the account and the mailbox, the same on every node."""

    def __init__(self, book: MailBook, name: str, owner: str, clock: Clock) -> None:
        self._book = book
        self._name = name
        self._owner = owner
        self._clock = clock
        self._until: Instant | None = None

    @property
    def held(self) -> bool:
        return self._until is not None and self._clock() < self._until

    async def take(self) -> bool:
        """Also prolongs. False: another has it. Raises StorageExhausted, and what a broken ledger does."""
        now = self._clock()
        until = later(now, LASTS)
        taken = await self._book.hold_mailbox(self._name, owner=self._owner, until=until, now=now)
        self._until = until if taken else None
        return taken

    async def keep(self, lost: Callable[[], None]) -> None:
        """Prolongs it for ever; calls `lost` whenever another has got it, or it could not be prolonged."""
        while True:
            await asyncio.sleep(RENEWED_EVERY_S)
            if self._until is None:
                continue
            try:
                kept = await self.take()
            except StorageExhausted:
                kept = self.held
            if not kept:
                self._until = None
                lost()

    async def give_up(self) -> None:
        if self._until is None:
            return
        self._until = None
        now = self._clock()
        try:
            await self._book.hold_mailbox(self._name, owner=self._owner, until=now, now=now)
        except StorageExhausted:
            return  # it runs out by itself
