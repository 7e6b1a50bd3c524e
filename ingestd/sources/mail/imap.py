"""ImapSession: one disposable connection to a mailbox. Whatever goes wrong with it ends it for good, and
another one is opened: after a time-out nobody can tell which answer belongs to which command.

Every wait for the server has a deadline of ours: silence, or less than 32 kB/s for longer than the setting.
"""

import re
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Self

from ingestd.settings import MailboxSettings
from ingestd.sources.mail import imap_answers
from ingestd.sources.mail.imap_answers import SENDER_BYTES, Moved, Outline, Selected, Value
from ingestd.sources.mail.imap_errors import Gone, ImapError, ImapLoginRefused, ImapLost, ImapRefused
from ingestd.sources.mail.imap_login import ImapSecret, connected, judge_login, login_request
from ingestd.sources.mail.imap_mailboxes import ImapMailboxes
from ingestd.sources.mail.imap_names import quoted
from ingestd.sources.mail.imap_server import ImapServer
from ingestd.sources.mail.imap_wire import Request

__all__ = [
    "Gone",
    "ImapError",
    "ImapLoginRefused",
    "ImapLost",
    "ImapRefused",
    "ImapSecret",
    "ImapSession",
    "Moved",
    "Outline",
    "Selected",
]

BATCH = 100
"""Messages asked for at once: servers limit the length of a command line."""
LONGEST_MESSAGE_ID = 900
"""Characters of a Message-ID that are searched for; RFC 5322 allows lines of 998."""


class ImapSession:
    """Every method raises ImapLost when the connection is, and ImapRefused when the server says no.

    After ImapLost, or a cancelled call, the session is dead: each call raises ImapLost. Calls are made one
    after the other. Mailboxes are named as in the settings, with "/" between levels. CR, LF and NUL in any
    argument raise ValueError, and nothing is sent.
    """

    def __init__(self, server: ImapServer, settings: MailboxSettings) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self._server = server
        self._settings = settings
        self._mailboxes = ImapMailboxes(server)
        self._selected: tuple[str, bool, Selected] | None = None

    @classmethod
    async def open(cls, settings: MailboxSettings, secret: ImapSecret) -> Self:
        """Connected and logged in. Raises ImapLost, or ImapLoginRefused."""
        session = cls(ImapServer(await connected(settings), settings.deadline), settings)
        try:
            await session._log_in(secret)
        except BaseException:
            await session._server.end("the login failed")
            raise
        return session

    def __repr__(self) -> str:
        return f"<ImapSession {self._settings.name} {self._server.wire.broken or self._server.wire.state}>"

    @property
    def alive(self) -> bool:
        """False: every call would raise ImapLost."""
        return self._server.alive

    @property
    def dismissed(self) -> bool:
        """The server said BYE (RFC 9051 section 7.1.5), so that it ended the session in good order."""
        return self._server.wire.dismissed

    async def select(self, mailbox: str, *, read_only: bool = False) -> Selected:
        """ImapRefused: it does not exist, may not be read, or has no lasting UIDs."""
        name = await self._mailboxes.name(mailbox)
        # A mailbox that can't be selected leaves none selected (RFC 9051 section 6.3.2).
        self._selected = None
        self._server.selected_now(selected=False)
        # RFC 7162 section 3.1.8: some servers count changes only for those who ask for it.
        condstore = ("(CONDSTORE)",) if "CONDSTORE" in self.capabilities else ()
        try:
            answers = await self._server.ask("EXAMINE" if read_only else "SELECT", name, *condstore)
        except ImapRefused as refused:
            # Cyrus 3.6 gives no code; those who ask have to know whether it is gone or closed to us.
            if refused.code or await self._mailboxes.exists(name):
                raise
            raise ImapRefused(str(refused), "NONEXISTENT") from None
        selected = self._server.understood(imap_answers.selected, answers)
        if selected is None:
            raise ImapRefused(f"{self._server.peer} gives {mailbox} no UIDVALIDITY: its UIDs do not last")
        self._server.selected_now(selected=True)
        self._server.wire.news = False
        self._selected = (mailbox, read_only, selected)
        return selected

    async def search(self, *criteria: str) -> list[int]:
        """UIDs, ascending. `criteria` as in RFC 9051 section 6.4.4, ASCII; none: all messages."""
        for text in criteria:
            if not text.isascii():
                raise ValueError("search criteria are ASCII")
        found = await self._search(criteria)
        if not found and await self._is_another_now():
            found = await self._search(criteria)
        return found

    async def outlines(self, uids: Collection[int]) -> list[Outline]:
        """In the order of UIDs; those that are gone are left out."""
        items = f"UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (FROM)]<0.{SENDER_BYTES}>"
        if self._selected and self._selected[2].highestmodseq is not None:
            items += " MODSEQ"
        found: dict[int, Outline] = {}
        for batch in _batches(uids):
            answers = await self._server.ask("UID", "FETCH", _uid_set(batch), f"({items})")
            outlines = self._server.understood(imap_answers.outlines, answers)
            found.update((outline.uid, outline) for outline in outlines if outline.uid in batch)
        return [found[uid] for uid in sorted(found)]

    async def fetch(self, uid: int, *, size: int) -> bytes | None:
        """The raw message, its flags untouched; None: it is gone. `size` as in its Outline.

        A server that sends far more than that is lost. Exchange estimates sizes (EnableExactRFC822Size), and
        may leave out what base64 adds, 37 %.
        """
        items = await self._items_of(uid, "BODY.PEEK[]", "BODY[]", payload=size + size // 2 + 1_000_000)
        if items is None:
            return None
        raw = items["BODY[]"]
        if not isinstance(raw, bytes):
            raise ImapRefused(f"{self._server.peer} does not give the bytes of message {uid}")
        return raw

    async def flags_of(self, uid: int) -> frozenset[str] | None:
        """None: it is gone."""
        items = await self._items_of(uid, "FLAGS", "FLAGS")
        return None if items is None else self._server.understood(imap_answers.flags, items)

    async def add_flags(self, uids: Collection[int], flags: Collection[str]) -> None:
        """UIDs that are gone are passed over, as the protocol has it."""
        await self._store("+FLAGS.SILENT", uids, flags)

    async def remove_flags(self, uids: Collection[int], flags: Collection[str]) -> None:
        await self._store("-FLAGS.SILENT", uids, flags)

    async def move(self, uid: int, mailbox: str) -> Moved | None:
        """Where it is now; None when the server does not tell. Makes the mailbox if need be. Raises Gone.

        Without MOVE (RFC 6851) it is copied and expunged by its UID; where the server can't do that either it
        stays, marked \\Deleted: a bare EXPUNGE would remove what others marked, too.
        """
        if "MOVE" in self.capabilities:
            return await self._move(uid, mailbox)
        if await self.flags_of(uid) is None:
            raise _gone(uid)
        copy = await self._into(mailbox, "COPY", uid)
        await self.delete(uid)
        return _place(copy)

    async def delete(self, uid: int) -> None:
        """Without UIDPLUS (RFC 4315) it stays, marked \\Deleted."""
        await self.add_flags([uid], ["\\Deleted"])
        if "UIDPLUS" in self.capabilities:
            await self._server.ask("UID", "EXPUNGE", str(uid))

    async def find(self, mailbox: str, message_id: str) -> list[int]:
        """UIDs of the messages with this Message-ID in another mailbox; none when there is no such mailbox.

        Then the mailbox is selected again that was before.
        """
        criterion = quoted(_searchable(message_id))
        if criterion == '""':
            return []
        async with self._elsewhere():
            try:
                await self.select(mailbox, read_only=True)
            except ImapRefused:
                return []
            return await self.search("HEADER", "Message-ID", criterion)

    async def ensure(self, mailbox: str) -> None:
        """Made and subscribed, unless it is there."""
        await self._mailboxes.ensure(mailbox)

    async def mailboxes(self) -> list[str]:
        """All that can be selected, by the server's names, which every method here takes, too."""
        return await self._mailboxes.names()

    async def idle(self, longest: timedelta) -> bool:
        """True: the mailbox has news, perhaps since before the call; False: time was up.

        What is new stays so until the next search(). Needs a selected mailbox. A server without IDLE is asked
        for news now and then.
        """
        if self._server.wire.news:
            return True
        if "IDLE" in self.capabilities:
            return await self._server.idle(longest)
        return await self._server.poll(longest)

    async def noop(self) -> None:
        await self._server.ask("NOOP")

    async def quota(self) -> tuple[int, int] | None:
        """Used and limit in units of 1,024 bytes; None: no limit, or the server does not say."""
        if "QUOTA" not in self.capabilities:
            return None
        answers = await self._server.ask("GETQUOTAROOT", "INBOX")
        return self._server.understood(imap_answers.storage_quota, answers)

    async def server_time(self) -> datetime | None:
        """The date that the server gives to a message which arrives now; None where that can't be tried.

        IMAP has no other way to ask. The message lies for a moment in a mailbox made for it.
        """
        name = await self._mailboxes.name(CLOCK)
        try:
            await self._mailboxes.make(name)
            try:
                await self._server.append(name, _PROBE)
                return await self._arrival_in(CLOCK)
            finally:
                if self._server.alive:
                    await self._server.ask("DELETE", name)
        except ImapRefused:
            return None

    async def close(self) -> None:
        """LOGOUT where the server is still there. Never raises; takes 2 s for it at most."""
        await self._server.log_out()

    def abort(self) -> None:
        """The end at once, without a word to the server."""
        self._server.abort("the session was given up")

    async def _log_in(self, secret: ImapSecret) -> None:
        await self._learn_capabilities()
        if not self._server.logged_in:
            request = login_request(self._server.wire, self.capabilities, self._settings, secret)
            await self._server.run(request)
            judge_login(request, self._settings, secret)
            self._server.logged_in_now()
            # Many servers offer MOVE, IDLE and the like only to those who are logged in.
            await self._learn_capabilities()

    async def _learn_capabilities(self) -> None:
        self.capabilities = imap_answers.capabilities(await self._server.ask("CAPABILITY"))
        self._mailboxes.knows_namespaces = "NAMESPACE" in self.capabilities

    async def _search(self, criteria: Sequence[str]) -> list[int]:
        self._server.wire.news = False
        answers = await self._server.ask("UID", "SEARCH", *(criteria or ("ALL",)))
        return self._server.understood(imap_answers.found_uids, answers)

    async def _is_another_now(self) -> bool:
        """Whether an empty mailbox has messages when it is selected anew.

        Some servers say BYE when a selected mailbox is deleted or renamed. Cyrus leaves it selected, empty
        for ever, and only SELECT finds the one that has its name now.
        """
        if self._server.wire.exists or self._selected is None:
            return False
        mailbox, read_only, before = self._selected
        try:
            again = await self.select(mailbox, read_only=read_only)
        except ImapRefused as refused:
            self._server.abort("the mailbox is gone")
            raise ImapLost(f"the mailbox is gone: {refused}") from None
        self._same(before, again)
        return again.exists > 0

    async def _items_of(
        self, uid: int, asked: str, item: str, *, payload: int = 0
    ) -> dict[str, Value] | None:
        """What FETCH tells about this message; None: it is gone.

        A server may tell about other messages, and only the flags of this one, at any time in between.
        """
        try:
            answers = await self._server.ask("UID", "FETCH", str(uid), f"(UID {asked})", payload=payload)
        except ImapRefused as refused:
            if refused.code == "EXPUNGEISSUED":  # RFC 9051 section 7.1
                return None
            raise
        told = self._server.understood(imap_answers.fetched, answers)
        return next((items for items in told if items.get("UID") == str(uid) and item in items), None)

    async def _store(self, action: str, uids: Collection[int], flags: Collection[str]) -> None:
        for flag in flags:
            if not _FLAG.fullmatch(flag):
                raise ValueError(f"{flag!r} is no flag")
        for batch in _batches(uids):
            await self._server.ask("UID", "STORE", _uid_set(batch), action, f"({' '.join(flags)})")

    async def _move(self, uid: int, mailbox: str) -> Moved | None:
        """A UID that is not there is no error to the server (RFC 9051 section 6.4.9)."""
        move = await self._into(mailbox, "MOVE", uid)
        place = _place(move)
        if place is None and not any(imap_answers.keyword(answer) in _LEFT for answer in move.answers):
            raise _gone(uid)
        return place

    async def _into(self, mailbox: str, verb: str, uid: int) -> Request:
        """MOVE or COPY, into a mailbox that is made if the server says that it would help."""
        name = await self._mailboxes.name(mailbox)
        try:
            return await self._server.request("UID", verb, str(uid), name)
        except ImapRefused as refused:
            if refused.code == "EXPUNGEISSUED":
                raise _gone(uid) from None
            if refused.code not in {"TRYCREATE", "NONEXISTENT"}:
                raise
        await self._mailboxes.create(name)
        return await self._server.request("UID", verb, str(uid), name)

    @asynccontextmanager
    async def _elsewhere(self) -> AsyncIterator[None]:
        """Comes back to the mailbox that is selected, and to what was not yet looked at there."""
        before, news = self._selected, self._server.wire.news
        exists = self._server.wire.exists
        try:
            yield
        finally:
            if before is not None and self._server.alive:
                again = await self.select(before[0], read_only=before[1])
                self._server.wire.news = news or again.exists > exists
                self._same(before[2], again)

    def _same(self, before: Selected, again: Selected) -> None:
        if before.uidvalidity != again.uidvalidity:
            self._server.abort("the mailbox was replaced")
            raise ImapLost(f"the mailbox was replaced meanwhile: UIDVALIDITY is now {again.uidvalidity}")

    async def _arrival_in(self, mailbox: str) -> datetime | None:
        """The date of the newest message."""
        async with self._elsewhere():
            await self.select(mailbox, read_only=True)
            answers = await self._server.ask("UID", "FETCH", "1:*", "(UID INTERNALDATE)")
        return self._server.understood(imap_answers.newest_date, answers)


CLOCK = "Ingestd/Clock"
"""A mailbox that exists while the server's clock is read."""

_PROBE = b"Subject: What time is it?\r\n\r\nThis message may be deleted.\r\n"
_FLAG = re.compile(r"\\?[A-Za-z0-9$_.-]{1,100}")
_LEFT = frozenset({"EXPUNGE", "VANISHED"})
_PRINTABLE_RUN = re.compile(r"[\x21-\x7e]+")


def _gone(uid: int) -> Gone:
    return Gone(f"message {uid} is not in the mailbox any more")


def _place(request: Request) -> Moved | None:
    """COPYUID stands in the last line after COPY, and before it after MOVE (RFC 6851 section 4.3)."""
    return imap_answers.copied(request.text, request.answers)


def _searchable(message_id: str) -> str:
    """The longest run of it that a quoted string can carry: a search finds parts of a field, too.

    Raises ValueError for CR, LF and NUL.
    """
    quoted(message_id)
    return max(_PRINTABLE_RUN.findall(message_id), key=len, default="")[:LONGEST_MESSAGE_ID]


def _batches(uids: Collection[int]) -> Iterator[list[int]]:
    ordered = sorted(set(uids))
    for at in range(0, len(ordered), BATCH):
        yield ordered[at : at + BATCH]


def _uid_set(uids: Sequence[int]) -> str:
    """The shortest form: "1:3,7"."""
    runs: list[list[int]] = []
    for uid in uids:
        if runs and runs[-1][1] == uid - 1:
            runs[-1][1] = uid
        else:
            runs.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in runs)
