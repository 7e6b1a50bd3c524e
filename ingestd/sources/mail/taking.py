"""Messages one after the other: what has to wait is put off, the rest is fetched, understood and handed over.

One is fetched while those before it are understood. One message that fails never stops the others; broken
machinery, a full disk and a lost connection do.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress

from ingestd.domain.errors import LedgerUnavailable, StorageExhausted
from ingestd.domain.mail import MessagePlace
from ingestd.interfaces import Arrival, Clock, Observer, SourceUnavailable
from ingestd.offload.errors import OffloadBroken
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.authenticity import CannotSayNow
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.doubts import Doubts
from ingestd.sources.mail.fetching import Fetched, Fetcher, Understood
from ingestd.sources.mail.flood import FloodGate, counted_sender
from ingestd.sources.mail.imap import ImapRefused, Outline, Selected
from ingestd.sources.mail.sharing import Sharing
from ingestd.sources.mail.waiting import (
    FAILURES_IN_A_ROW,
    PASSED_OVER_S,
    RETRY_S,
    Hand,
    PutOff,
    Why,
)

BATCH = 100
"""Outlines that are asked for at once, where nothing is wrong."""

UNDERSTOOD_AT_ONCE = 4

OnCommit = Callable[[Fetched, str, bool], Awaitable[None]]
"""Told the message, the ID of its arrival, and whether nothing but refusals came of it."""

_Preparing = deque[tuple[Fetched, asyncio.Task[Understood]]]


class Taking:
    """Of one mailbox, within one UIDVALIDITY at a time."""

    def __init__(
        self,
        settings: MailboxSettings,
        account: str,
        *,
        fetcher: Fetcher,
        flood: FloodGate,
        hand: Hand,
        put_off: PutOff,
        sharing: Sharing,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._account = account
        self._fetcher = fetcher
        self._flood = flood
        self._hand = hand
        self._put_off = put_off
        self._sharing = sharing
        self._doubts = Doubts()
        self._clock = clock
        self._observer = observer
        self.failure: str | None = None
        """The last message that could not be taken, and why: a sentence."""
        self.handed_over = 0
        self._batch = BATCH

    async def take(
        self, session: MailboxSession, selected: Selected, uids: Sequence[int], on_commit: OnCommit
    ) -> AsyncGenerator[Arrival, None]:
        """Raises SourceUnavailable, StorageExhausted, and what broken machinery does."""
        preparing: _Preparing = deque()
        lost: SourceUnavailable | None = None
        try:
            try:
                async with aclosing(self._outlines(session, selected, uids)) as outlines:
                    async for outline in outlines:
                        while preparing and not self._is_open_for(outline, preparing):
                            if arrival := await self._next(preparing, on_commit):
                                yield arrival
                        if fetched := await self._fetch_when_there_is_room(session, selected, outline):
                            task = asyncio.create_task(self._fetcher.understand(fetched))
                            preparing.append((fetched, task))
            except SourceUnavailable as error:
                lost = error
            while preparing:
                if arrival := await self._next(preparing, on_commit):
                    yield arrival
        finally:
            await self._drop(preparing)
        if lost is not None:
            raise lost

    # --- below

    async def _outlines(
        self, session: MailboxSession, selected: Selected, uids: Sequence[int]
    ) -> AsyncGenerator[Outline, None]:
        """Of those that need not wait. Smaller batches after one that failed: one message may be to blame."""
        start = 0
        while start < len(uids):
            batch = [uid for uid in uids[start : start + self._batch] if not self._put_off.waits(uid)]
            start += self._batch
            outlines = await self._outlines_of(session, selected, batch) if batch else []
            for uid in set(batch).difference(outline.uid for outline in outlines):
                self._withheld(self._place(selected, uid))
            for outline in outlines:
                if not await self._has_to_wait(outline):
                    yield outline
        self._batch = BATCH

    async def _outlines_of(
        self, session: MailboxSession, selected: Selected, batch: Sequence[int]
    ) -> Sequence[Outline]:
        try:
            return await session.outlines(batch)
        except SourceUnavailable as error:
            if len(batch) == 1:
                self._failed(self._place(selected, batch[0]), "", str(error), put_off=False)
            self._batch = max(1, self._batch // 10)
            raise

    def _place(self, selected: Selected, uid: int) -> MessagePlace:
        return MessagePlace(
            account=self._account,
            mailbox=self._settings.mailbox,
            uidvalidity=selected.uidvalidity,
            uid=uid,
        )

    async def _has_to_wait(self, outline: Outline) -> bool:
        if not await self._flood.stops(outline):
            return False
        self._put_off.put_off(outline.uid, Why.FLOODED, self._flood.look_again_s, counted_sender(outline))
        return True

    def _is_open_for(self, outline: Outline, preparing: _Preparing) -> bool:
        """What is ready goes first: it may be what fills the hand."""
        return (
            len(preparing) < UNDERSTOOD_AT_ONCE
            and not preparing[0][1].done()
            and self._hand.has_room(outline.size)
        )

    async def _fetch_when_there_is_room(
        self, session: MailboxSession, selected: Selected, outline: Outline
    ) -> Fetched | None:
        """In hand from now on. None: it is gone, or failed and is looked at again later."""
        place = self._place(selected, outline.uid)
        sender = counted_sender(outline)
        while not self._hand.has_room(outline.size):
            await self._hand.change()
        self._hand.take(_key(place), outline.size, sender)
        fetched: Fetched | None = None
        try:
            fetched = self._doubts.fetched(place, outline)
            if fetched is None:
                fetched = await self._fetcher.fetch(session, outline, place, sender)
            if fetched is None:
                self._withheld(place, sender)
        except ImapRefused as error:
            self._failed(place, sender, str(error))
        except SourceUnavailable as error:
            # A server may break down over a message, every time.
            self._failed(place, sender, str(error), put_off=False)
            raise
        finally:
            if fetched is None:
                self._hand.release(_key(place))
        return fetched

    async def _next(self, preparing: _Preparing, on_commit: OnCommit) -> Arrival | None:
        """The first of them. None: it is looked at again later."""
        fetched, task = preparing[0]
        understood: Understood | None = None
        try:
            understood = await task
        except CannotSayNow as error:
            self._tell(fetched.place, fetched.sender, f"waits: {error}")
            self._put_off.put_off(fetched.place.uid, Why.LATER, self._doubts.again_s(fetched))
        except (StorageExhausted, OffloadBroken, LedgerUnavailable):
            raise
        except Exception as error:
            # Whatever it is about this message: it is counted, put off, and in the end passed over.
            self._failed(fetched.place, fetched.sender, f"{type(error).__name__}: {error}")
        if understood is None:
            preparing.popleft()
            self._hand.release(_key(fetched.place))
            return None
        preparing.popleft()
        self.handed_over += 1
        if understood.foreign:
            self._sharing.held(fetched.place.uid)
        return self._arrival(understood, on_commit)

    def _arrival(self, understood: Understood, on_commit: OnCommit) -> Arrival:
        place = understood.fetched.place

        async def committed(arrival: str, nothing_came_of_it: bool) -> None:
            try:
                await on_commit(understood.fetched, arrival, nothing_came_of_it)
            finally:
                self._put_off.done(place.uid)
                self._doubts.settled(place)
                self._hand.release(_key(place))

        async def give_back(*, anew: bool = False) -> None:
            self._put_off.put_off(place.uid, Why.LATER, RETRY_S)
            self._hand.release(_key(place))

        return understood.arrival(
            source=self._settings, clock=self._clock, on_commit=committed, give_back=give_back
        )

    def _failed(self, place: MessagePlace, sender: str, reason: str, *, put_off: bool = True) -> None:
        if self._put_off.failed(place.uid):
            hours = f"{PASSED_OVER_S / 3600:g} h"
            self._tell(
                place, sender, f"failed {FAILURES_IN_A_ROW} times and is passed over for {hours}: {reason}"
            )
        elif put_off:
            self._put_off.put_off(place.uid, Why.LATER, RETRY_S)
            self._tell(place, sender, f"can't be taken now: {reason}")

    def _withheld(self, place: MessagePlace, sender: str = "") -> None:
        """Expunged meanwhile, most likely; told when it is listed, and not given, again and again."""
        self._failed(place, sender, "the server lists it, but does not give it", put_off=False)
        if not self._put_off.waits(place.uid):
            self._put_off.put_off(place.uid, Why.LATER, RETRY_S)

    def _tell(self, place: MessagePlace, sender: str, what: str) -> None:
        self.failure = f"Message {place.uid} of {sender or 'nobody'} {what}"
        self._observer.note(
            "message.postponed",
            level="warning",
            source=self._settings.name,
            uid=place.uid,
            uidvalidity=place.uidvalidity,
            reason=what,
        )

    async def _drop(self, preparing: _Preparing) -> None:
        """Those not handed over are found again."""
        for fetched, task in preparing:
            task.cancel()
            self._hand.release(_key(fetched.place))
        for _, task in preparing:
            with suppress(asyncio.CancelledError, Exception):
                await task


def _key(place: MessagePlace) -> tuple[int, int]:
    return place.uidvalidity, place.uid
