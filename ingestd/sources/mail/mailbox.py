"""The mailbox source: messages forwarded to an inbox become arrivals (interfaces.Source).

Connect, search, hand over, idle; whatever goes wrong is waited out and shown in `status`. Two connections at
most: this one reads, and never changes a message; a second one marks and files (second_connection).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ingestd.domain.errors import StorageExhausted
from ingestd.interfaces import (
    Arrival,
    Clock,
    Correspondent,
    MailBook,
    MailOpener,
    Observer,
    Report,
    SourceStatus,
    SourceUnavailable,
)
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.answering import Answering
from ingestd.sources.mail.authenticity import Keys, Prover
from ingestd.sources.mail.connecting import Connector, Credentials, MailboxSession
from ingestd.sources.mail.fetching import Fetcher
from ingestd.sources.mail.filing import Filing
from ingestd.sources.mail.flood import FloodGate
from ingestd.sources.mail.imap import ImapRefused, ImapSecret, Selected
from ingestd.sources.mail.judging import Doorkeeper
from ingestd.sources.mail.lease import WAITING_LOOK_S, Lease
from ingestd.sources.mail.marking import Marking
from ingestd.sources.mail.searching import Searching
from ingestd.sources.mail.second_connection import SecondConnection
from ingestd.sources.mail.sharing import Sharing
from ingestd.sources.mail.sweeping import Sweeping
from ingestd.sources.mail.taking import Taking
from ingestd.sources.mail.telling import Telling
from ingestd.sources.mail.waiting import RETRY_S, Hand, PutOff, Why
from ingestd.spool import Spool

STORAGE_LOOK_S = 10.0
"""A full disk is looked at again after this."""

COALESCE_S = 0.05
"""News of one moment are looked at together."""

LONGEST_COALESCE_S = 5.0
"""Some servers tell of news whenever they are asked to; the pause doubles while there are none."""

ONCE_LOOK_S = 0.2


@dataclass(slots=True)
class _Open:
    session: MailboxSession
    selected: Selected


class MailboxSource:
    """Reads one mailbox. `arrivals` may run once at a time; `report` and `tidy` work without it too.

    `credentials` is asked before each login, `refused` told what the server did not take. `owner` names this
    node. `correspondent` None: nobody is answered. At most `waiting.MOST_IN_HAND` arrivals are out at a time;
    the next waits until one of them is acknowledged or given back. Call `aclose` at the end.
    """

    def __init__(
        self,
        settings: MailboxSettings,
        *,
        credentials: Credentials,
        refused: Callable[[ImapSecret], None] = lambda secret: None,
        spool: Spool,
        opener: MailOpener,
        book: MailBook,
        doorkeeper: Doorkeeper,
        keys: Keys,
        correspondent: Correspondent | None,
        most_answers_per_hour: int,
        owner: str,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self.settings = settings
        account = account_of(settings)
        self._telling = Telling(settings, clock, observer)
        self._put_off = PutOff()
        self._hand = Hand()
        self._connector = Connector(settings, credentials, refused)
        self._lease = Lease(book, f"{account}/{settings.mailbox}", owner, clock)
        self._second = SecondConnection(settings, self._connector, observer)
        self._answering = Answering(
            settings.name,
            book=book,
            correspondent=correspondent if settings.reply else None,
            most_per_hour=most_answers_per_hour,
            owner=owner,
            clock=clock,
            observer=observer,
        )
        fetcher = Fetcher(
            settings,
            spool=spool,
            opener=opener,
            book=book,
            doorkeeper=doorkeeper,
            prover=Prover(settings, keys, opener),
        )
        self._searching = Searching(settings, account, book=book, fetcher=fetcher, observer=observer)
        self._filing = Filing(
            settings,
            account,
            book=book,
            connection=self._second,
            answering=self._answering,
            raw=fetcher.raw,
            on_another=self._searching.distrust,
            clock=clock,
            observer=observer,
        )
        self._sweeping = Sweeping(settings.name, book, self._filing, observer)
        self._flood = FloodGate(settings, book, self._hand, clock)
        self._sharing = Sharing(settings.name, self._telling.shown, observer)
        self._taking = Taking(
            settings,
            account,
            fetcher=fetcher,
            flood=self._flood,
            hand=self._hand,
            put_off=self._put_off,
            sharing=self._sharing,
            clock=clock,
            observer=observer,
        )
        self._marking = Marking(
            settings,
            connection=self._second,
            sharing=self._sharing,
            sweeping=self._sweeping,
            ended=self._ended,
            observer=observer,
        )
        self._open: _Open | None = None
        self._has_scanned = False
        self._scans = 0
        self._woken_in_vain = 0
        self._handed_over_before_idle = 0
        self._keeping: list[asyncio.Task[None]] = []
        self._broken: BaseException | None = None

    def __repr__(self) -> str:
        return f"<MailboxSource {self.name} {account_of(self.settings)} {self.status}>"

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def status(self) -> SourceStatus:
        return SourceStatus(
            scans=self._scans,
            settling=len(self._hand) + self._put_off.count(Why.LATER),
            trouble=self._telling.sentence,
            troubled_since=self._telling.since,
        )

    async def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        """Messages that the ledger does not have, oldest first. See interfaces.Source.

        `once`: messages above the flood limit, and those passed over, don't keep it from ending; `status`
        names them.
        """
        self._begin()
        try:
            while True:
                opened = await self._ready()
                if opened is None:
                    continue
                before = self._taking.handed_over
                self._has_scanned = False
                async with aclosing(self._hand_over(opened)) as handed:
                    async for arrival in handed:
                        yield arrival
                if once and self._is_done(before):
                    return
                await self._rest(once=once)
        finally:
            await self._end()

    async def report(self, report: Report) -> str | None:
        """File the message, and answer it, once all its receipts have settled. The mailbox it is in then."""
        return await self._filing.settle(report.arrival)

    async def tidy(self) -> None:
        """Nothing is removed: messages that were filed belong to the people who read the mailbox."""

    async def aclose(self) -> None:
        """Ends what is still being filed, and the second connection. Reports may still come afterwards."""
        await self._marking.aclose()
        await self._second.close()

    # --- the loop

    async def _ready(self) -> _Open | None:
        """The mailbox, open and ours to read. None after a while in which it was not."""
        self._raise_if_broken()
        try:
            await self._while_sound(self._connector.pause())
            if not await self._is_ours():
                await self._while_sound(asyncio.sleep(WAITING_LOOK_S))
                return None
            if self._open is None or not self._open.session.alive:
                self._open = None
                self._open = await self._connect()
        except SourceUnavailable as error:
            await self._lose(error)
            return None
        except StorageExhausted as error:
            await self._wait_for_room(error)
            return None
        return self._open

    async def _is_ours(self) -> bool:
        if self._lease.held or await self._lease.take():
            self._telling.ours()
            return True
        await self._let_go()
        self._telling.read_by_another()
        return False

    async def _connect(self) -> _Open:
        session = await self._connector.open()
        try:
            await self._ensure_targets(session)
            selected = await session.select(self.settings.mailbox)
        except BaseException as error:
            await session.close()
            if isinstance(error, SourceUnavailable):
                self._connector.failed(error)
            raise
        if self._searching.use(selected):
            self._put_off.clear()
        return _Open(session, selected)

    async def _ensure_targets(self, session: MailboxSession) -> None:
        if self.settings.after != "move":
            return
        try:
            for mailbox in (self.settings.uploaded, self.settings.rejected):
                await session.ensure(mailbox)
        except ImapRefused as refused:
            # Receipts need no such mailbox; what can't be filed is tried again.
            self._telling.targets(refused)
        else:
            self._telling.targets(None)

    async def _hand_over(self, opened: _Open) -> AsyncGenerator[Arrival, None]:
        session, selected = opened.session, opened.selected
        try:
            in_hand = self._hand.uids(selected.uidvalidity)
            found = await self._searching.search(session, selected, in_hand=in_hand)
            self._reached()
            await self._marking.mark_again(selected, found)
            self._flood.new_round()
            taken = self._taking.take(session, selected, found.new, self._marking.committed)
            async with aclosing(taken) as arrivals:
                async for arrival in arrivals:
                    self._connector.worked()
                    yield arrival
            self._connector.worked()
            self._searching.done()
            self._telling.room()
            self._has_scanned = True
        except StorageExhausted as error:
            await self._wait_for_room(error)
        except SourceUnavailable as error:
            self._connector.failed(error)
            await self._lose(error)
        self._show_waiting()

    def _is_done(self, handed_over_before: int) -> bool:
        """A whole search that found nothing to hand over, with nothing in hand, in doubt or to be filed."""
        return (
            self._has_scanned
            and self._taking.handed_over == handed_over_before
            and self.status.settling == 0
            and not self._marking.files
            and self._sweeping.has_swept
        )

    async def _rest(self, *, once: bool) -> None:
        """Until there may be something new, or something that was put off is due."""
        if self._open is not None and self._has_scanned:
            due_s = self._put_off.next_due_s
            longest_s = min(self.settings.idle, self.settings.poll).total_seconds()
            longest_s = min(longest_s, longest_s if due_s is None else due_s)
            if once:
                await asyncio.sleep(min(ONCE_LOOK_S, longest_s))
            else:
                await self._idle(
                    self._open.session, min(longest_s, RETRY_S) if len(self._hand) else longest_s
                )
        if self._put_off.take_due():
            self._searching.compare_all()

    async def _idle(self, session: MailboxSession, longest_s: float) -> None:
        before, self._handed_over_before_idle = self._handed_over_before_idle, self._taking.handed_over
        try:
            has_news = await session.idle(timedelta(seconds=longest_s))
        except SourceUnavailable as error:
            self._connector.failed(error)
            if session.dismissed and self._broken is None:
                # Some end idle sessions every few minutes: trouble it is when no new one can be had.
                await session.close()
            else:
                await self._lose(error)
        else:
            is_in_vain = has_news and self._taking.handed_over == before
            self._woken_in_vain = self._woken_in_vain + 1 if is_in_vain else 0
            pause_s = COALESCE_S * 2 ** min(self._woken_in_vain, 20)
            await asyncio.sleep(min(LONGEST_COALESCE_S, pause_s))

    # --- beginning and end

    def _begin(self) -> None:
        keeping = (self._lease.keep(self._abort), self._sweeping.run())
        self._keeping = [asyncio.create_task(each, name=f"{self.name} upkeep") for each in keeping]
        for task in self._keeping:
            task.add_done_callback(self._ended)

    async def _end(self) -> None:
        await _cancelled(self._keeping)
        await self._let_go()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Broken machinery is told now, not when the next message comes."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = error
            self._abort()

    def _abort(self) -> None:
        if self._open is not None:
            self._open.session.abort()

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    async def _while_sound(self, waiting: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(waiting)
        try:
            await asyncio.wait([task, *self._keeping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _cancelled([task])
        self._raise_if_broken()

    async def _let_go(self) -> None:
        """Of the mailbox: another node may reach it when this one does not."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.session.close()
        await self._lease.give_up()

    # --- what becomes of it

    def _reached(self) -> None:
        self._scans += 1
        self._connector.reached()
        self._sweeping.begin()
        self._telling.reached()

    async def _lose(self, error: SourceUnavailable) -> None:
        if self._broken is not None:
            return
        self._telling.lost(error)
        await self._let_go()

    async def _wait_for_room(self, error: StorageExhausted) -> None:
        self._telling.no_room(error)
        await self._while_sound(asyncio.sleep(STORAGE_LOOK_S))

    def _show_waiting(self) -> None:
        failing = self._put_off.count(Why.LATER) + self._put_off.count(Why.PASSED_OVER)
        self._telling.waiting(
            flooded=self._flood.sentence(self._put_off.flooded()),
            shared=self._sharing.sentence,
            failing=self._taking.failure if failing else None,
        )


def account_of(settings: MailboxSettings) -> str:
    """The login at the host, as MessagePlace has it."""
    return f"{settings.user}@{settings.host}:{settings.port}"


async def _cancelled(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
