"""Which messages of the mailbox the ledger does not have yet.

The ledger knows; the mark on a message only spares questions. So a message that a person read (\\Seen),
copied back or moved in with a mark is found like any other: the whole mailbox is compared with the ledger at
the start, once a day and whenever something was put off; in between what has no mark, and what is new by its
UID. Where messages stay (after = "leave" or "flag") a mark is believed: or a new ledger would upload them all
again.
"""

import hashlib
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ingestd.interfaces import MailBook, Observer
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.fetching import Fetcher
from ingestd.sources.mail.filing import searchable_id
from ingestd.sources.mail.imap import ImapRefused, Selected
from ingestd.sources.mail.imap_names import quoted
from ingestd.sources.mail.second_connection import KEYWORD, keeps_keywords

WHOLE_EVERY_S = 86_400.0
ASKED_AT_ONCE = 500
"""UIDs in one question to the ledger."""


@dataclass(frozen=True, slots=True)
class Found:
    """`new` UIDs, ascending; `unmarked`: messages that the ledger has, without their mark, by UID."""

    new: list[int] = field(default_factory=list)
    unmarked: Mapping[int, str] = field(default_factory=dict)


class Searching:
    """Remembers how far the mailbox was compared, within one UIDVALIDITY."""

    def __init__(
        self,
        settings: MailboxSettings,
        account: str,
        *,
        book: MailBook,
        fetcher: Fetcher,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._account = account
        self._book = book
        self._fetcher = fetcher
        self._observer = observer
        self._uidvalidity: int | None = None
        self._compared_up_to = 0
        self._whole_at_s = 0.0
        self._last = 0
        self._looked_at: set[int] = set()
        self._others: dict[int, str] = {}
        """UIDs of messages that are other ones than those of these arrivals."""

    def use(self, selected: Selected) -> bool:
        """To be called whenever the mailbox was selected. True: its UIDs are others than before."""
        if selected.uidvalidity == self._uidvalidity:
            return False
        was, self._uidvalidity = self._uidvalidity, selected.uidvalidity
        self.compare_all()
        if was is not None:
            self._observer.note(
                "mailbox.replaced",
                level="warning",
                source=self._settings.name,
                uidvalidity=selected.uidvalidity,
            )
        return True

    def compare_all(self) -> None:
        """With the next search."""
        self._looked_at.clear()
        self._others.clear()
        self._compared_up_to = 0
        self._whole_at_s = 0.0

    async def search(self, session: MailboxSession, selected: Selected, *, in_hand: Collection[int]) -> Found:
        if time.monotonic() >= self._whole_at_s:
            self.compare_all()
        marks = await self._unmarked(session, selected)
        unmarked = set(marks or ())
        candidates = set(unmarked)
        if marks is None or self._settings.after not in {"leave", "flag"}:
            candidates.update(await self._above(session))
        self._last = max(candidates, default=0)
        known = await self._known(candidates.difference(in_hand))
        lost = {uid: known[uid] for uid in sorted(unmarked & known.keys() - self._looked_at)}
        self._others.update({uid: lost[uid] for uid in await self._replaced(session, lost)})
        self._looked_at.update(lost)
        # Remembered until it is taken: its fetch may fail, and then it is looked for again.
        replaced = {uid for uid in known if self._others.get(uid) == known[uid]}
        new = candidates.difference(known, in_hand) | replaced
        return Found(sorted(new), {uid: lost[uid] for uid in lost.keys() - replaced})

    async def _unmarked(self, session: MailboxSession, selected: Selected) -> list[int] | None:
        """None where marks can't be searched for."""
        if not keeps_keywords(selected):
            return None
        try:
            return await session.search("UNDELETED", "UNKEYWORD", KEYWORD)
        except ImapRefused:
            return None

    async def _above(self, session: MailboxSession) -> list[int]:
        """New by their UIDs."""
        # "n:*" is never empty: it holds the last message even when that is before n (RFC 9051 section 9).
        first = self._compared_up_to + 1
        return [uid for uid in await session.search("UNDELETED", "UID", f"{first}:*") if uid >= first]

    def done(self) -> None:
        """All that the last search found is in hand, or in good order."""
        if self._compared_up_to == 0:
            self._whole_at_s = time.monotonic() + WHOLE_EVERY_S
        self._compared_up_to = max(self._compared_up_to, self._last)

    async def _known(self, uids: Collection[int]) -> dict[int, str]:
        known: dict[int, str] = {}
        ordered = sorted(uids)
        assert self._uidvalidity is not None
        for at in range(0, len(ordered), ASKED_AT_ONCE):
            part = ordered[at : at + ASKED_AT_ONCE]
            known |= await self._book.arrived(self._account, self._settings.mailbox, self._uidvalidity, part)
        return known

    async def _replaced(self, session: MailboxSession, known: Mapping[int, str]) -> set[int]:
        """UIDs that the ledger knows and that are other messages now.

        A server restored from a backup gives UIDs out again without changing UIDVALIDITY. Such a message has
        no mark, like one whose mark was lost; so each of those is looked at before it is marked again.
        """
        return {uid for uid, arrival in known.items() if not await self._is(session, uid, arrival)}

    async def _is(self, session: MailboxSession, uid: int, arrival: str) -> bool:
        mailed = await self._book.mailed(arrival)
        mail = mailed.origin.mail if mailed is not None else None
        if mailed is None or mail is None:
            return True
        message_id = searchable_id(mailed)
        if message_id:
            criteria = ("UID", str(uid), "HEADER", "Message-ID", quoted(message_id))
            if uid in await session.search(*criteria):
                return True
        for outline in await session.outlines([uid]):
            raw = await self._fetcher.raw(session, outline)
            return raw is None or hashlib.sha256(raw).hexdigest() == mail.raw_sha256
        return True
