"""Filing: a message whose receipts have all settled goes where people look for it, and is answered.

It may be called at any time and any number of times: whatever a crash, another node or a person did before is
found out first, and no message is touched before it was recognised. The last thing that is recorded is that
it was filed, once no answer is owed any more; so one that was not filed to the end is always found again.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import assert_never
from weakref import WeakValueDictionary

from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import Filed, MessagePlace
from ingestd.domain.states import State
from ingestd.interfaces import Clock, MailBook, Mailed, Observer, SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.answering import Answering
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.identity import Raw, has_its_bytes, is_another, searchable_id
from ingestd.sources.mail.imap import Gone, ImapLost, ImapRefused, Selected
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


class _PerhapsCopied(Exception):
    """A move may have ended between copying and removing: then the target has the message already."""


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
        raw: Raw,
        on_another: Callable[[], None],
        clock: Clock,
        observer: Observer,
    ) -> None:
        """`on_another` is told when a UID turned out to be another message, which nobody took yet."""
        self._settings = settings
        self._account = account
        self._book = book
        self._connection = connection
        self._answering = answering
        self._raw = raw
        self._on_another = on_another
        self._clock = clock
        self._observer = observer
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._since = clock()
        self._unanswered: set[str] = set()
        """Arrivals whose last move got no answer."""

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
            self._unanswered.discard(arrival)
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
                return await self._flag(mailed, place, wanted)
            case "delete":
                if wanted is Filed.REJECTED:
                    return place
                await self._delete(mailed, place)
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
                return await self._move_at_once(mailed, place, target)
            except _PerhapsCopied:
                return await self._move_after_a_look(mailed, place, target)
        except Gone:
            return await self._find(mailed, target)
        except ImapRefused as refused:
            # The mailbox that the settings name has to be there; another one may have been renamed.
            if refused.code == "NONEXISTENT" and place.mailbox != self._settings.mailbox:
                return await self._find(mailed, target)
            raise

    async def _move_at_once(
        self, mailed: Mailed, place: MessagePlace, target: str, *, looked: bool = False
    ) -> MessagePlace:
        """`looked`: there is no copy of it in the target. Raises _PerhapsCopied when that is not known."""

        async def work(session: MailboxSession, selected: Selected) -> MessagePlace:
            await self._recognise(session, place, mailed)
            if mailed.arrival in self._unanswered or not (looked or self._moves_once(mailed, session)):
                raise _PerhapsCopied
            try:
                moved = await session.move(place.uid, target)
            except (ImapLost, asyncio.CancelledError):
                self._unanswered.add(mailed.arrival)
                raise
            if moved is None:
                raise Gone("the server does not say where it is now")
            return replace(place, mailbox=target, uidvalidity=moved.uidvalidity, uid=moved.uid)

        return await self._connection.run(place.mailbox, work, uidvalidity=place.uidvalidity)

    def _moves_once(self, mailed: Mailed, session: MailboxSession) -> bool:
        """Whether nobody can have begun to move it before, as far as this process knows.

        RFC 6851 wants MOVE to be one step; Dovecot, killed in it, leaves the copy and the original.
        """
        return "MOVE" in session.capabilities and mailed.received_at >= self._since

    async def _move_after_a_look(self, mailed: Mailed, place: MessagePlace, target: str) -> MessagePlace:
        copy = await self._find(mailed, target, same_bytes=True)
        if copy is not None:
            await self._delete(mailed, place)
            return copy
        self._unanswered.discard(mailed.arrival)
        try:
            return await self._move_at_once(mailed, place, target, looked=True)
        except _PerhapsCopied:
            raise SourceUnavailable(
                f"the connection was lost while a message was moved to {target}"
            ) from None

    async def _find(self, mailed: Mailed, target: str, *, same_bytes: bool = False) -> MessagePlace | None:
        """By its Message-ID in the target, among those that are not the place of another message.

        `same_bytes`: whoever wrote another message could give it the same Message-ID; before the original is
        removed the copy is compared with what was taken.
        """
        message_id = searchable_id(mailed)
        if not message_id or mailed.place is None:
            return None
        place = mailed.place

        async def work(session: MailboxSession, selected: Selected) -> MessagePlace | None:
            uids = await session.search("UNDELETED", "HEADER", "Message-ID", quoted(message_id))
            known = await self._book.arrived(place.account, target, selected.uidvalidity, uids)
            ours = [uid for uid in uids if known.get(uid, mailed.arrival) == mailed.arrival]
            if same_bytes:
                ours = [uid for uid in ours if await has_its_bytes(session, uid, mailed, self._raw)]
            if not ours:
                return None
            return replace(place, mailbox=target, uidvalidity=selected.uidvalidity, uid=ours[-1])

        try:
            return await self._connection.run(target, work)
        except ImapRefused as refused:
            if refused.code in {"NONEXISTENT", "TRYCREATE"}:
                return None
            raise

    async def _recognise(self, session: MailboxSession, place: MessagePlace, mailed: Mailed) -> None:
        """Raises Gone when another message has its UID now: that one stays untouched, and is to be taken."""
        if not await is_another(session, place.uid, mailed, self._raw):
            return
        self._observer.note(
            "message.replaced",
            level="warning",
            source=self._settings.name,
            arrival=mailed.arrival,
            mailbox=place.mailbox,
            uid=place.uid,
        )
        self._on_another()
        raise Gone(f"UID {place.uid} is another message now")

    # --- flag, delete

    async def _flag(self, mailed: Mailed, place: MessagePlace, wanted: Filed) -> MessagePlace | None:
        """Keywords for programs; for people \\Flagged, as every mail program shows it, and \\Seen."""
        uploaded = wanted is Filed.UPLOADED

        async def work(session: MailboxSession, selected: Selected) -> MessagePlace | None:
            await self._recognise(session, place, mailed)
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

    async def _delete(self, mailed: Mailed, place: MessagePlace) -> None:
        async def work(session: MailboxSession, selected: Selected) -> None:
            await self._recognise(session, place, mailed)
            await session.delete(place.uid)

        with suppress(Gone):
            await self._connection.run(place.mailbox, work, uidvalidity=place.uidvalidity)


def wanted_filing(mailed: Mailed) -> Filed:
    """NOWHERE while a receipt waits; UPLOADED when there are some and all of them are, repeats included."""
    states = {each.receipt.state for each in mailed.receipts}
    if not all(each.receipt.settled for each in mailed.receipts):
        return Filed.NOWHERE
    return Filed.UPLOADED if states == {State.UPLOADED} else Filed.REJECTED
