"""From a message in the mailbox to an arrival: its bytes into the spool, opened and judged. Nothing on the
server is changed (BODY.PEEK), and the same bytes give the same documents.

What can't be opened, or is too large to be fetched, is an arrival as well: one without receipts, so that it
is counted, filed and, where that is safe, answered.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from ingestd.domain.document import Document, InvalidDocument, Origin, OriginKind, display_name
from ingestd.domain.mail import MESSAGE_TYPE, Letter, MessageOrigin, MessagePlace
from ingestd.domain.receipt import new_id
from ingestd.interfaces import (
    Arrival,
    Clock,
    GiveBack,
    Leaf,
    MailBook,
    MailOpener,
    OpenedMessage,
    Refusal,
)
from ingestd.offload.errors import WorkerLost
from ingestd.settings import MEGABYTE, MailboxSettings
from ingestd.sources.mail.authenticity import UNASKED, Prover
from ingestd.sources.mail.connecting import HEADER_BYTES, MailboxSession
from ingestd.sources.mail.imap import Outline
from ingestd.sources.mail.judging import Doorkeeper, Verdict, as_hold, facts_of
from ingestd.sources.mail.second_connection import KEYWORD
from ingestd.sources.mail.sharing import FOREIGN_HOLD
from ingestd.spool import Spool

COMPANIONS = 2
"""An inline picture that came beside documents in so many other messages belongs to a signature."""

NO_SUBJECT = "(no subject)"

_SIGNATURE = Refusal(filename="", reason="The same picture came in many messages: it is part of a signature.")
_NOTHING = "There is nothing in it that could be a receipt. Attach the receipt, or forward it with its text."


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message, or only its header where `too_large` says why, durable in the spool."""

    outline: Outline
    place: MessagePlace
    sender: str
    document: Document
    too_large: str | None

    @property
    def is_marked(self) -> bool:
        """Some ledger took it."""
        return KEYWORD.casefold() in {flag.casefold() for flag in self.outline.flags}


@dataclass(frozen=True, slots=True)
class Understood:
    """What a message is. `leaves` and `refused` are final. `foreign`: only another ledger knows it."""

    fetched: Fetched
    letter: Letter
    verdict: Verdict
    leaves: tuple[Leaf, ...]
    refused: tuple[Refusal, ...]
    foreign: bool = False

    def arrival(
        self, *, source: MailboxSettings, clock: Clock, on_commit: "OnCommit", give_back: GiveBack
    ) -> Arrival:
        """`on_commit` is told the ID and whether nothing but refusals came of it."""
        arrival_id = new_id(clock())

        async def acknowledge() -> None:
            await on_commit(arrival_id, not self.leaves)

        return Arrival(
            id=arrival_id,
            origin=self._origin(source),
            payloads=(),
            acknowledge=acknowledge,
            give_back=give_back,
            refused=self.refused,
            spooled=tuple(leaf.document for leaf in self.leaves),
            containers=(replace(self.fetched.document, filename=display_name(f"{self._title}.eml")),),
            hold=self.verdict.hold,
            person=self.verdict.person,
            account=self.verdict.account,
        )

    @property
    def _title(self) -> str:
        return display_name(self.letter.subject) if self.letter.subject.strip() else NO_SUBJECT

    def _origin(self, settings: MailboxSettings) -> Origin:
        letter, message_id = self.letter, self.letter.message_id
        references = tuple(each for each in letter.references if each != message_id)
        mail = MessageOrigin(
            place=self.fetched.place,
            message_id=message_id,
            raw_sha256=self.fetched.document.sha256,
            subject=letter.subject,
            answer_to=self.verdict.answer_to,
            references=(*references, message_id) if message_id else references,
        )
        return Origin(
            kind=OriginKind.MAIL,
            source=settings.name,
            path=self._title,
            sender=self.fetched.sender,
            facts=facts_of(letter, settings),
            mail=mail,
        )


OnCommit = Callable[[str, bool], Awaitable[None]]


class Fetcher:
    """Fetches and understands the messages of one mailbox."""

    def __init__(
        self,
        settings: MailboxSettings,
        *,
        spool: Spool,
        opener: MailOpener,
        book: MailBook,
        doorkeeper: Doorkeeper,
        prover: Prover,
    ) -> None:
        self._settings = settings
        self._spool = spool
        self._opener = opener
        self._book = book
        self._doorkeeper = doorkeeper
        self._prover = prover

    async def fetch(
        self, session: MailboxSession, outline: Outline, place: MessagePlace, sender: str
    ) -> Fetched | None:
        """None: it is gone. Raises SourceUnavailable for the server, StorageExhausted for the spool."""
        # Before anything is fetched: on a full disk it would be fetched again every few seconds, for nothing.
        await asyncio.to_thread(self._spool.check_room)
        raw = await self.raw(session, outline)
        if raw is None:
            return None
        document = await asyncio.to_thread(self._write, raw)
        return Fetched(outline, place, sender, document, self._too_large(outline))

    async def raw(self, session: MailboxSession, outline: Outline) -> bytes | None:
        """What is fetched of this message; None: it is gone."""
        if self._too_large(outline):
            return await session.header(outline.uid)
        return await session.fetch(outline.uid, size=outline.size)

    async def understand(self, fetched: Fetched) -> Understood:
        """Raises CannotSayNow, StorageExhausted, OSError, and what broken machinery does."""
        if fetched.too_large is not None:
            return await self._by_header(fetched, fetched.document, fetched.too_large)
        opened = await self._open(fetched.document)
        if isinstance(opened, InvalidDocument):
            header = await asyncio.to_thread(self._header_of, fetched.document)
            return await self._by_header(fetched, header, str(opened))
        return await self._judged(fetched, opened)

    # --- opening

    async def _open(self, document: Document) -> OpenedMessage | InvalidDocument:
        try:
            return await self._opener.open_message(document)
        except WorkerLost:
            return InvalidDocument(
                reason="The message can't be opened: it took too long or too much memory.",
                fix="Send the receipt in a new message.",
            )

    async def _by_header(self, fetched: Fetched, header: Document, reason: str) -> Understood:
        """As far as its header tells; without that, nobody is known to have sent it, and nobody is told."""
        opened = await self._open(header)
        letter = opened.letter if isinstance(opened, OpenedMessage) else Letter()
        verdict = await self._judge(letter, fetched.document)
        return Understood(fetched, letter, verdict, (), (_refusal(letter, reason),))

    async def _judged(self, fetched: Fetched, opened: OpenedMessage) -> Understood:
        letter = opened.letter
        verdict = await self._judge(letter, fetched.document)
        # Put back by a person, or found again under another UIDVALIDITY: judged as the first time.
        before = await self._book.taken_from(letter.message_id, fetched.document.sha256)
        if verdict.reject is not None:
            if not before:
                return Understood(fetched, letter, verdict, (), (_refusal(letter, verdict.reject),))
            verdict = as_hold(verdict)
        foreign = fetched.is_marked and before is None and not await self._is_ours(letter)
        if foreign:
            verdict = replace(verdict, hold=_joined(FOREIGN_HOLD, verdict.hold), answer_to=None)
        leaves, signatures = await self._without_signatures(opened.leaves, before or frozenset())
        refused = (*opened.refused, *signatures)
        if not leaves and not refused:
            refused = (_refusal(letter, _NOTHING),)
        return Understood(fetched, letter, verdict, leaves, refused, foreign)

    async def _is_ours(self, letter: Letter) -> bool:
        """Some servers change a message's bytes when a person moves it."""
        return bool(letter.message_id and await self._book.find_message(letter.message_id))

    async def _judge(self, letter: Letter, message: Document) -> Verdict:
        if not self._doorkeeper.knows(letter):
            return self._doorkeeper.judge(letter, UNASKED)
        return self._doorkeeper.judge(letter, await self._prover.prove(letter, message))

    async def _without_signatures(
        self, leaves: Sequence[Leaf], taken: Collection[str]
    ) -> tuple[tuple[Leaf, ...], tuple[Refusal, ...]]:
        """Only beside something else: what stands alone is what was sent.

        `taken` when the same message came before is no signature now: what is merged into one receipt must
        be the same documents, or it would be uploaded again. (What was one then still is: `companions_of`.)
        """
        if len(leaves) < 2:
            return tuple(leaves), ()
        doubtful = [leaf for leaf in leaves if leaf.inline and leaf.document.sha256 not in taken]
        common = {leaf.document.sha256 for leaf in doubtful if await self._is_common(leaf)}
        left = tuple(leaf for leaf in leaves if leaf.document.sha256 not in common)
        if not left:
            return tuple(leaves), ()
        gone = (leaf for leaf in leaves if leaf.document.sha256 in common)
        return left, tuple(replace(_SIGNATURE, filename=leaf.document.filename) for leaf in gone)

    async def _is_common(self, leaf: Leaf) -> bool:
        seen = await self._book.companions_of(leaf.document.sha256, source=self._settings.name)
        return seen >= COMPANIONS

    # --- the spool

    def _write(self, raw: bytes) -> Document:
        spooled = self._spool.write(io.BytesIO(raw))
        return Document(
            path=spooled.path,
            filename="message.eml",
            size=spooled.size,
            sha256=spooled.sha256,
            declared_type=MESSAGE_TYPE,
        )

    def _header_of(self, message: Document) -> Document:
        with message.path.open("rb") as file:
            start = file.read(HEADER_BYTES)
        ends = (start.find(end) + len(end) for end in (b"\r\n\r\n", b"\n\n") if end in start)
        return self._write(start[: min(ends, default=len(start))])

    def _too_large(self, outline: Outline) -> str | None:
        if outline.size <= self._settings.max_size:
            return None
        most = _megabytes(self._settings.max_size)
        return (
            f"The message has {_megabytes(outline.size)} MB; more than {most} MB are not taken. "
            "Send its receipts in several messages."
        )


def _refusal(letter: Letter, reason: str) -> Refusal:
    name = display_name(letter.subject) if letter.subject.strip() else NO_SUBJECT
    return Refusal(filename=name, reason=reason)


def _joined(first: str, second: str | None) -> str:
    return f"{first} {second}" if second else first


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.3g}"
