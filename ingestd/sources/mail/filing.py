"""Filing: a message whose receipts have all settled goes where people look for it, and is answered.

It may be called at any time and any number of times: whatever a crash, another node or a person did before is
found out first. The last thing that is recorded is that it was filed, once no answer is owed any more; so a
message that was not filed to the end is always found again.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import replace
from typing import assert_never
from weakref import WeakValueDictionary

from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import Filed, MessagePlace
from ingestd.domain.states import SETTLED, State
from ingestd.interfaces import Clock, MailBook, Mailed, Observer, SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.answering import Answering
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.imap import Gone, ImapRefused, Selected
from ingestd.sources.mail.imap_names import quoted
from ingestd.sources.mail.second_connection import (
    KEYWORD,
    REJECTED_KEYWORD,
    SEEN,
    UPLOADED_KEYWORD,
    SecondConnection,
    keeps_keywords,
)

FLAGGED = "\\Flagged"

_SEARCHABLE_ID = re.compile(r"[!-~]{1,900}")


class _OnlyCopies(Exception):
    """The server has no MOVE: copying and removing are two steps, and a crash may have come in between."""


class Filing:
    """Files the messages of one mailbox, and has them answered."""

    def __init__(
        self,
        settings: MailboxSettings,
        account: str,
        *,
        book: MailBook,
        connection: SecondConnection,
        answering: Answering,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._account = account
        self._book = book
        self._connection = connection
        self._answering = answering
        self._clock = clock
        self._observer = observer
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def settle(self, arrival: str) -> str | None:
        """The mailbox where the message is now, None when it left. Does nothing while a receipt waits.

        Raises SourceUnavailable; then all that could be done is done and recorded.
        """
        mailed = await self._book.mailed(arrival)
        if mailed is None:
            return None
        # Copies are recognised by the Message-ID: those who share one are filed one after the other.
        async with self._turns.setdefault(searchable_id(mailed) or arrival, asyncio.Lock()):
            try:
                return await self._settle(arrival)
            except StorageExhausted as error:
                raise SourceUnavailable(str(error)) from error

    async def _settle(self, arrival: str) -> str | None:
        mailed = await self._book.mailed(arrival)
        if mailed is None:
            return None
        wanted = wanted_filing(mailed)
        if wanted is Filed.NOWHERE:
            return mailed.place.mailbox if mailed.place else None
        if mailed.filed is not wanted:
            mailed = await self._file(mailed, wanted)
        if self._answering.owes(mailed):
            await self._answering.answer(mailed)
        if mailed.filed is not wanted:
            await self._book.moved(arrival, place=mailed.place, filed=wanted, now=self._clock())
            self._observer.note(
                "message.filed", source=self._settings.name, arrival=arrival, filed=str(wanted)
            )
        return mailed.place.mailbox if mailed.place else None

    async def _file(self, mailed: Mailed, wanted: Filed) -> Mailed:
        """As it is afterwards; with an answer still owed, its place is recorded first."""
        place = await self._put(mailed, mailed.place, wanted) if mailed.place is not None else None
        if mailed.place is not None and place is None and self._settings.after != "delete":
            self._observer.note("message.missing", source=self._settings.name, arrival=mailed.arrival)
        if place != mailed.place and self._answering.owes(mailed):
            await self._book.moved(mailed.arrival, place=place, filed=mailed.filed, now=self._clock())
        return replace(mailed, place=place)

    async def _put(self, mailed: Mailed, place: MessagePlace, wanted: Filed) -> MessagePlace | None:
        if place.account != self._account:
            # The settings name another login since: its UIDs, and often its UIDVALIDITY, look the same.
            return place
        match self._settings.after:
            case "leave":
                return place
            case "move":
                return await self._move(mailed, place, self._target(wanted))
            case "flag":
                return await self._flag(place, wanted)
            case "delete":
                if wanted is Filed.REJECTED:
                    return place
                await self._delete(place)
                return None
            case never:
                assert_never(never)

    # --- move

    def _target(self, wanted: Filed) -> str:
        return self._settings.uploaded if wanted is Filed.UPLOADED else self._settings.rejected

    async def _move(self, mailed: Mailed, place: MessagePlace, target: str) -> MessagePlace | None:
        """Where it is now; None: a person took it away."""
        if place.mailbox == target:
            return place

        try:
            try:
                return await self._move_at_once(place, target)
            except _OnlyCopies:
                # A copy made before a crash is there already: then only the original is left to be removed.
                copy = await self._find(mailed, target)
                if copy is None:
                    return await self._move_at_once(place, target, by_copy=True)
                await self._delete(place)
                return copy
        except Gone:
            return await self._find(mailed, target)
        except ImapRefused as refused:
            # The mailbox that the settings name has to be there; another one may have been renamed.
            if refused.code == "NONEXISTENT" and place.mailbox != self._settings.mailbox:
                return await self._find(mailed, target)
            raise

    async def _move_at_once(self, place: MessagePlace, target: str, *, by_copy: bool = False) -> MessagePlace:
        async def work(session: MailboxSession, selected: Selected) -> MessagePlace:
            if "MOVE" not in session.capabilities and not by_copy:
                raise _OnlyCopies
            moved = await session.move(place.uid, target)
            if moved is None:
                raise Gone("the server does not say where it is now")
            return replace(place, mailbox=target, uidvalidity=moved.uidvalidity, uid=moved.uid)

        return await self._connection.run(place.mailbox, work, uidvalidity=place.uidvalidity)

    async def _find(self, mailed: Mailed, target: str) -> MessagePlace | None:
        """By its Message-ID in the target, among those that are not the place of another message."""
        message_id = searchable_id(mailed)
        if not message_id or mailed.place is None:
            return None
        place = mailed.place

        async def work(session: MailboxSession, selected: Selected) -> MessagePlace | None:
            uids = await session.search("UNDELETED", "HEADER", "Message-ID", quoted(message_id))
            known = await self._book.arrived(place.account, target, selected.uidvalidity, uids)
            ours = [uid for uid in uids if known.get(uid, mailed.arrival) == mailed.arrival]
            if not ours:
                return None
            return replace(place, mailbox=target, uidvalidity=selected.uidvalidity, uid=ours[-1])

        try:
            return await self._connection.run(target, work)
        except ImapRefused as refused:
            if refused.code in {"NONEXISTENT", "TRYCREATE"}:
                return None
            raise

    # --- flag, delete

    async def _flag(self, place: MessagePlace, wanted: Filed) -> MessagePlace | None:
        """Keywords for programs; for people \\Flagged, as every mail program shows it, and \\Seen."""
        uploaded = wanted is Filed.UPLOADED

        async def work(session: MailboxSession, selected: Selected) -> MessagePlace | None:
            if await session.flags_of(place.uid) is None:
                return None
            own, other = UPLOADED_KEYWORD, REJECTED_KEYWORD
            add, remove = ([SEEN], [FLAGGED]) if uploaded else ([FLAGGED], [])
            if keeps_keywords(selected):
                add += [KEYWORD, own if uploaded else other]
                remove += [other if uploaded else own]
            await session.add_flags([place.uid], add)
            if remove:
                await session.remove_flags([place.uid], remove)
            return place

        try:
            return await self._connection.run(place.mailbox, work, uidvalidity=place.uidvalidity)
        except Gone:
            return None

    async def _delete(self, place: MessagePlace) -> None:
        async def work(session: MailboxSession, selected: Selected) -> None:
            await session.delete(place.uid)

        with suppress(Gone):
            await self._connection.run(place.mailbox, work, uidvalidity=place.uidvalidity)


def wanted_filing(mailed: Mailed) -> Filed:
    """NOWHERE while a receipt waits; UPLOADED when there are some and all of them are, repeats included."""
    states = {each.receipt.state for each in mailed.receipts}
    if not states <= SETTLED:
        return Filed.NOWHERE
    return Filed.UPLOADED if states == {State.UPLOADED} else Filed.REJECTED


def searchable_id(mailed: Mailed) -> str:
    """Its Message-ID as a server can be asked for it; empty when it can't be."""
    message_id = mailed.origin.mail.message_id if mailed.origin.mail is not None else ""
    return message_id if _SEARCHABLE_ID.fullmatch(message_id) else ""
