"""The connection over which messages are marked and filed, while the other one reads or idles.

It is opened when it is needed and closed when it was not for a minute: two connections for each mailbox at
most (Gmail allows 15 for an account, Microsoft 365 about 20).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ingestd.interfaces import Observer, SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.connecting import Connector, MailboxSession
from ingestd.sources.mail.imap import Gone, ImapLost, ImapRefused, Selected
from ingestd.sources.mail.waiting import MOST_IN_HAND

KEYWORD = "$Ingestd"
"""The mark of a message that the ledger has."""
UPLOADED_KEYWORD = "$IngestdUploaded"
REJECTED_KEYWORD = "$IngestdRejected"
SEEN = "\\Seen"

LINGER_S = 60.0

T = TypeVar("T")
Work = Callable[[MailboxSession, Selected], Awaitable[T]]


def keeps_keywords(selected: Selected) -> bool:
    """Whether the mark can be a keyword of our own: any, or this one, which somebody made before."""
    return selected.keywords or KEYWORD.casefold() in {flag.casefold() for flag in selected.flags}


class SecondConnection:
    """One piece of work after the other. Whatever is wrong with the server raises SourceUnavailable."""

    def __init__(self, settings: MailboxSettings, connector: Connector, observer: Observer) -> None:
        self._settings = settings
        self._connector = connector
        self._observer = observer
        self._turn = asyncio.Lock()
        self._session: MailboxSession | None = None
        self._selected: tuple[str, Selected] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._batch = _Batch()
        self._told_no_keywords = False

    async def run(self, mailbox: str, work: Work[T], *, uidvalidity: int | None = None) -> T:
        """`work` with the mailbox selected. It is done again, once, when an old connection turns out lost.

        Raises Gone when the mailbox is another one than that of `uidvalidity`, and what `work` raises.
        """
        async with self._turn:
            return await self._run(mailbox, work, uidvalidity)

    async def mark(self, mailbox: str, uidvalidity: int, uid: int) -> bool:
        """That the ledger has it. Many at once share a command. A message that is gone is passed over.

        True: it had the mark, so that somebody else made it.
        """
        batch = self._batch
        batch.uids.setdefault((mailbox, uidvalidity), set()).add(uid)
        async with self._turn:
            if not batch.is_closed:
                batch.is_closed, self._batch = True, _Batch()
                batch.failure = await self._mark(batch)
        if batch.failure is not None:
            raise batch.failure
        return (mailbox, uidvalidity, uid) in batch.marked

    async def close(self) -> None:
        async with self._turn:
            if self._closing is not None:
                self._closing.cancel()
            await self._close()

    # --- below

    async def _mark(self, batch: "_Batch") -> SourceUnavailable | None:
        for place, uids in batch.uids.items():
            mailbox, uidvalidity = place
            begun: list[set[int]] = []

            async def work(
                session: MailboxSession,
                selected: Selected,
                uids: set[int] = uids,
                begun: list[set[int]] = begun,
            ) -> None:
                begun.append(await self._marked(session, selected, uids))
                await self._set_mark(session, selected, uids)

            try:
                await self._run(mailbox, work, uidvalidity)
            except Gone:
                continue
            except SourceUnavailable as error:
                return error
            # What a second try finds marked may have been marked by the first.
            batch.marked.update((*place, uid) for uid in begun[0])
        return None

    async def _marked(self, session: MailboxSession, selected: Selected, uids: set[int]) -> set[int]:
        """Those of them that have the mark, as far as that can be said."""
        # More at once were not taken just now: they were found without their marks.
        if len(uids) > MOST_IN_HAND or not keeps_keywords(selected):
            return set()
        try:
            found = await session.search("UID", ",".join(map(str, sorted(uids))), "KEYWORD", KEYWORD)
        except ImapRefused:
            return set()
        return uids.intersection(found)

    async def _set_mark(self, session: MailboxSession, selected: Selected, uids: set[int]) -> None:
        if keeps_keywords(selected):
            try:
                return await session.add_flags(uids, [KEYWORD])
            except ImapRefused as refused:
                self._tell_no_keywords(str(refused))
        else:
            self._tell_no_keywords(f"{self._settings.mailbox} takes no keywords")
        return await session.add_flags(uids, [SEEN])

    def _tell_no_keywords(self, reason: str) -> None:
        if not self._told_no_keywords:
            self._told_no_keywords = True
            self._observer.note("mailbox.no_keywords", source=self._settings.name, reason=reason)

    async def _run(self, mailbox: str, work: Work[T], uidvalidity: int | None) -> T:
        if self._closing is not None:
            self._closing.cancel()
        is_old = self._session is not None and self._session.alive
        try:
            try:
                return await self._attempt(mailbox, work, uidvalidity)
            except ImapLost as error:
                if not is_old:
                    self._connector.failed(error)
                    raise
            # It was lost while nobody used it, most likely: that says nothing about the server of now.
            try:
                return await self._attempt(mailbox, work, uidvalidity)
            except ImapLost as error:
                self._connector.failed(error)
                raise
        finally:
            self._closing = asyncio.create_task(self._close_unused(), name=f"close {self._settings.name}")

    async def _attempt(self, mailbox: str, work: Work[T], uidvalidity: int | None) -> T:
        if self._session is None or not self._session.alive:
            self._session = self._selected = None
            self._session = await self._connector.open()
        try:
            selected = await self._select(self._session, mailbox, uidvalidity)
            self._connector.worked()
            if uidvalidity not in (None, selected.uidvalidity):
                raise Gone(f"{mailbox} was replaced: its UIDVALIDITY is {selected.uidvalidity} now")
            return await work(self._session, selected)
        except ImapLost:
            self._selected = None
            raise

    async def _select(self, session: MailboxSession, mailbox: str, uidvalidity: int | None) -> Selected:
        """As it was selected before, unless that is another one than is asked for.

        Cyrus ends no session whose mailbox was deleted; only SELECT finds the one that has its name now.
        """
        if self._selected is not None:
            name, selected = self._selected
            if name == mailbox and uidvalidity in (None, selected.uidvalidity):
                return selected
        self._selected = None
        self._selected = (mailbox, await session.select(mailbox))
        return self._selected[1]

    async def _close_unused(self) -> None:
        await asyncio.sleep(LINGER_S)
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        session, self._session, self._selected = self._session, None, None
        if session is not None:
            await session.close()


class _Batch:
    """Messages to be marked with the next turn, by (mailbox, UIDVALIDITY)."""

    def __init__(self) -> None:
        self.uids: dict[tuple[str, int], set[int]] = {}
        self.marked: set[tuple[str, int, int]] = set()
        self.is_closed = False
        self.failure: SourceUnavailable | None = None
