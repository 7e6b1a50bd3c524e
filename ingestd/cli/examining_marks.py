"""Messages that bear the mark $Ingestd and that the ledger does not know: somebody else took them.

They are found while the mailbox is examined, as the caller, and compared with the ledger as its owner.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingestd.cli.finding import Finding
from ingestd.cli.session import both_sides
from ingestd.ledger import SqlLedger, SqlLedgerReader, SqlMailBook
from ingestd.settings import MailboxSettings, Settings
from ingestd.sources.mail.mailbox import account_of
from ingestd.sources.mail.searching import ASKED_AT_ONCE
from ingestd.sources.mail.second_connection import KEYWORD
from ingestd.storage import ledger_exists

NAMED = 10
"""So many are named."""


@dataclass(frozen=True, slots=True)
class Marked:
    """The marked messages of one mailbox, by their UIDs within a UIDVALIDITY."""

    mailbox: MailboxSettings
    uidvalidity: int
    uids: Sequence[int]


async def foreign_marks(settings: Settings, marked: Sequence[Marked]) -> list[Finding]:
    """A warning for each mailbox that has any. Raises what the ledger does."""
    if not ledger_exists(settings):
        return [_finding(each, each.uids) for each in marked]
    async with both_sides(settings) as (ledger, reader):
        assert isinstance(ledger, SqlLedger) and isinstance(reader, SqlLedgerReader)
        book = SqlMailBook(ledger, reader)
        unknown = [(each, await _unknown(book, each)) for each in marked]
    return [_finding(each, uids) for each, uids in unknown if uids]


async def _unknown(book: SqlMailBook, marked: Marked) -> list[int]:
    account, mailbox = account_of(marked.mailbox), marked.mailbox.mailbox
    unknown: list[int] = []
    for uids in _batches(marked.uids):
        known = await book.arrived(account, mailbox, marked.uidvalidity, uids)
        unknown += [uid for uid in uids if uid not in known]
    return unknown


def _batches(uids: Sequence[int]) -> Iterator[Sequence[int]]:
    for at in range(0, len(uids), ASKED_AT_ONCE):
        yield uids[at : at + ASKED_AT_ONCE]


def _finding(marked: Marked, uids: Sequence[int]) -> Finding:
    named = ", ".join(map(str, uids[:NAMED])) + (" …" if len(uids) > NAMED else "")
    if marked.mailbox.after in {"leave", "flag"}:
        fix = "they are left alone: take the mark off those that are to be uploaded"
    else:
        fix = "they are held when they are read: retry those that are not uploaded yet, drop the others"
    return Finding(
        subject=f"mailbox {marked.mailbox.name}",
        what="marks",
        weight="warning",
        says=f"{len(uids)} message(s) bear the mark {KEYWORD}, but this ledger does not know them "
        f"(UID {named}): another ingestd took them, or this one did with a ledger that was lost",
        fix=fix,
    )
