"""A message once more, from the spool: opened and judged like the first time, and handed over as an arrival
of its own. The person who replays it vouches for its sender; who may send, and where it goes, is what the
configuration says now.
"""

import asyncio
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingestd.assembly import new_offload
from ingestd.cli.deciding import actor
from ingestd.cli.rendering import local_moment
from ingestd.cli.session import both_sides
from ingestd.destinations.concur import ConcurImageV1
from ingestd.domain.document import MICROSECONDS, Document, Instant, OriginKind
from ingestd.domain.errors import ConfigurationError, IngestdError
from ingestd.domain.mail import MESSAGE_TYPE, Letter, MessageOrigin
from ingestd.domain.receipt import Receipt
from ingestd.interfaces import Arrival, Destination, Mailed, NewArrival, Refusal
from ingestd.ledger import SqlLedger, SqlLedgerReader, SqlMailBook
from ingestd.normalizer.mail_opening import LimitedMailOpener
from ingestd.normalizer.normalizing import PreparingNormalizer
from ingestd.offload.pool import Offload
from ingestd.pipeline.merging import Merging
from ingestd.settings import MailboxSettings, Settings
from ingestd.sources.mail.authenticity import Proof, Prover
from ingestd.sources.mail.fetching import Fetched, Fetcher
from ingestd.sources.mail.imap import Outline
from ingestd.sources.mail.judging import Doorkeeper
from ingestd.spool import Spool
from ingestd.storage import ledger_clock, open_spool

_BLANK_LINE = re.compile(rb"(?:\A|\n)\r?\n")
"""Behind the header (RFC 5322 section 2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What came of it: receipts, each with whether it is a repeat, and what was left out."""

    receipts: Sequence[tuple[Receipt, bool]]
    ignored: Sequence[Refusal]


def replay_message(settings: Settings, message: str, *, again: bool) -> Replayed:
    """`message`: a Message-ID, or the ID of an arrival. `again`: upload what is a repeat, too.

    Raises ConfigurationError when there is no such message, and what broken machinery does.
    """
    with new_offload(settings) as offload:
        return asyncio.run(_replay(settings, message, offload, again=again))


async def _replay(settings: Settings, message: str, offload: Offload, *, again: bool) -> Replayed:
    spool = open_spool(settings)
    async with both_sides(settings) as (ledger, reader):
        assert isinstance(ledger, SqlLedger) and isinstance(reader, SqlLedgerReader)
        book = SqlMailBook(ledger, reader)
        mailed, mail = await _found(book, message)
        mailbox = _mailbox_of(mailed, settings)
        document = await asyncio.to_thread(_from_spool, spool, mailed, mail, settings)
        again_made = _Again(settings, mailbox, spool, offload, book)
        new = await again_made.arrival(mail, document, again=again)
        accepted = await ledger.accept(new, now=ledger_clock(settings)())
    receipts = [(receipt, receipt.id in accepted.repeats) for receipt in accepted.receipts]
    return Replayed(receipts=receipts, ignored=new.ignored)


class _Again:
    """Makes the arrival."""

    def __init__(
        self,
        settings: Settings,
        mailbox: MailboxSettings,
        spool: Spool,
        offload: Offload,
        book: SqlMailBook,
    ) -> None:
        opener = LimitedMailOpener(offload, spool)
        self._settings = settings
        self._mailbox = mailbox
        self._normalizer = PreparingNormalizer(offload, spool, settings.preparation)
        self._fetcher = Fetcher(
            mailbox,
            spool=spool,
            opener=opener,
            book=book,
            doorkeeper=Doorkeeper(mailbox, settings.people),
            prover=_Vouched(),
        )

    async def arrival(self, mail: MessageOrigin, message: Document, *, again: bool) -> NewArrival:
        outline = Outline(uid=mail.place.uid, size=message.size, flags=frozenset(), sender="")
        understood = await self._fetcher.understand(Fetched(outline, mail.place, "", message, None))
        made = understood.arrival(
            source=self._mailbox,
            clock=ledger_clock(self._settings),
            on_commit=_nobody_waits,
            give_back=_gives_back,
        )
        documents, containers, refused = await self._unpacked(made)
        receipts = self._merging().receipts(made, documents)
        # A submission: the message itself was filed and answered the first time.
        origin = replace(made.origin, kind=OriginKind.SUBMISSION, source="submit", sender=actor(), mail=None)
        return NewArrival(
            id=made.id,
            origin=origin,
            receipts=tuple(replace(receipt, again=True) for receipt in receipts) if again else receipts,
            ignored=tuple(refused),
            containers=tuple(containers),
        )

    async def _unpacked(self, made: Arrival) -> tuple[list[Document], list[Document], list[Refusal]]:
        """Documents, what they were in, and what is none: archives give way to their members."""
        documents, containers, refused = [], list(made.containers), list(made.refused)
        for document in made.spooled:
            unpacked = await self._normalizer.unpack(document, document.arrived_as or made.origin.path)
            if unpacked is None:
                documents.append(document)
            else:
                containers.append(document)
                documents += unpacked.documents
                refused += unpacked.refused
        return documents, containers, refused

    def _merging(self) -> Merging:
        destinations: dict[str, Destination] = {
            name: ConcurImageV1(target, connections=1) for name, target in self._settings.targets.items()
        }
        return Merging(self._settings.routes, destinations)


class _Vouched(Prover):
    """The person at the command line says that the sender is genuine."""

    def __init__(self) -> None:
        """Needs nothing that a Prover has."""

    async def prove(self, letter: Letter, message: Document) -> Proof:
        return Proof(True, "A person replays it.")


async def _found(book: SqlMailBook, message: str) -> tuple[Mailed, MessageOrigin]:
    """The newest of those with this Message-ID, which strangers choose: they must be the same message."""
    one = await book.mailed(message)
    found = [one] if one is not None else list(await book.find_message(message))
    known = [(mailed, mailed.origin.mail) for mailed in found if mailed.origin.mail is not None]
    if not known:
        raise ConfigurationError(
            [f"{message}: no message with this Message-ID came in; it stands in the message's source"]
        )
    if len({mail.raw_sha256 for _, mail in known}) > 1:
        several = [f"{mailed.arrival} of {local_moment(mailed.received_at)}" for mailed, _ in known[:10]]
        raise ConfigurationError(
            [
                f"{message}: several messages have this Message-ID; name one by the ID of its arrival: "
                f"{', '.join(several)}"
            ]
        )
    return known[0]


def _from_spool(spool: Spool, mailed: Mailed, mail: MessageOrigin, settings: Settings) -> Document:
    """Written once more, so that no upkeep takes it for old. Raises IngestdError when it is not all there."""
    if not spool.path(mail.raw_sha256).exists():
        raise IngestdError(_gone(mailed, settings))
    raw = spool.read(mail.raw_sha256)
    if not mailed.receipts and is_mere_header(raw):
        raise IngestdError(_never_whole(mailed))
    spooled = spool.write(io.BytesIO(raw))
    return Document(
        path=spooled.path,
        filename="message.eml",
        size=spooled.size,
        sha256=spooled.sha256,
        declared_type=MESSAGE_TYPE,
    )


def is_mere_header(raw: bytes) -> bool:
    """What is fetched of a message beyond `max_size`; nothing can come of it."""
    blank = _BLANK_LINE.search(raw)
    return blank is None or not raw[blank.end() :].strip()


def _never_whole(mailed: Mailed) -> str:
    told = " ".join(refusal.reason for refusal in mailed.ignored[:1])
    return (
        f"of {mailed.origin.path!r} only the header is in the spool, so there is nothing to replay. When it "
        f"came: {told or 'nothing was said.'} If it was too large, raise max_size of the mailbox "
        f"{mailed.origin.source!r} and copy the message into it again"
    )


def _gone(mailed: Mailed, settings: Settings) -> str:
    settled = max([each.receipt.updated_at for each in mailed.receipts], default=mailed.received_at)
    keep = settings.storage.keep
    since = Instant(settled + round(keep.total_seconds() * MICROSECONDS))
    return (
        f"the original of {mailed.origin.path!r} is not kept any more, since about {local_moment(since)}: "
        f"storage.keep is {keep.total_seconds() / 86400:g} days after its receipts were settled; copy the "
        "message into the mailbox again"
    )


def _mailbox_of(mailed: Mailed, settings: Settings) -> MailboxSettings:
    for mailbox in settings.mailboxes:
        if mailbox.name == mailed.origin.source:
            return mailbox
    raise ConfigurationError(
        [
            f"the message came by the mailbox {mailed.origin.source!r}, which is not in [[mailboxes]] any "
            "more; add it, so that it is known who may send"
        ]
    )


async def _nobody_waits(arrival: str, nothing_came_of_it: bool) -> None:
    """No mailbox waits for the commit."""


async def _gives_back(*, anew: bool = False) -> None:
    """It stays in the spool."""
