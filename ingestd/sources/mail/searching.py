"""Which messages of the mailbox the ledger does not have yet.

The ledger knows; the mark on a message only spares questions. So a message that a person read (\\Seen),
copied back or moved in with a mark is found like any other: the whole mailbox is compared with the ledger at
the start, once a day and whenever something was put off; in between what has no mark, and what is new by its
UID. Where messages stay (after = "leave" or "flag") a mark is believed: or a new ledger would upload them all
again.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ingestd.interfaces import MailBook, Observer
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.connecting import MailboxSession
from ingestd.sources.mail.fetching import Fetcher
from ingestd.sources.mail.identity import is_another
from ingestd.sources.mail.imap import ImapRefused, Selected
from ingestd.sources.mail.second_connection import KEYWORD, keeps_keywords

WHOLE_EVERY_S = 86_400.0
ASKED_AT_ONCE = 500
"""UIDs in one question to the ledger."""
RECOGNISED = 100
"""So many of the newest known messages are recognised whenever the whole mailbox is compared: UIDs that are
given out twice are the newest ones, and a person may have read, or marked, their messages meanwhile."""


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
        self._compare_all = self._is_whole = True
        self._compared_up_to = 0
        self._whole_at_s = 0.0
        self._last = 0
        self._looked_at: set[int] = set()
        self._trusts = False
        """That the known UIDs are the messages they were."""
        self._others: dict[int, str] = {}
        """UIDs of messages that are other ones than those of these arrivals."""

    def use(self, selected: Selected) -> bool:
        """To be called whenever the mailbox was selected. True: its UIDs are others than before."""
        self._looked_at.clear()  # a server that was restored in between has ended the connection
        if selected.uidvalidity == self._uidvalidity:
            return False
        was, self._uidvalidity = self._uidvalidity, selected.uidvalidity
        self.distrust()
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
        self._compare_all = True

    def distrust(self) -> None:
        """A known UID was another message: with the next search, those that may be are recognised, too."""
        self._compare_all, self._trusts = True, False

    async def search(self, session: MailboxSession, selected: Selected, *, in_hand: Collection[int]) -> Found:
        if time.monotonic() >= self._whole_at_s:
            self.distrust()
        if self._compare_all:
            self._begin_anew()
        trusts, self._trusts = self._trusts, True
        try:
            return await self._compare(session, selected, in_hand, trusts=trusts)
        except BaseException:
            self._trusts &= trusts
            raise

    def done(self) -> None:
        """All that the last search found is in hand, or in good order."""
        if self._is_whole:
            self._is_whole = False
            self._whole_at_s = time.monotonic() + WHOLE_EVERY_S
        self._compared_up_to = max(self._compared_up_to, self._last)

    # --- below

    def _begin_anew(self) -> None:
        self._compare_all, self._is_whole = False, True
        self._looked_at.clear()
        self._compared_up_to = 0
        if not self._trusts:
            self._others.clear()

    async def _compare(
        self, session: MailboxSession, selected: Selected, in_hand: Collection[int], *, trusts: bool
    ) -> Found:
        marks = await self._unmarked(session, selected)
        without_mark = set(marks or ())
        if marks is None:
            # Where \\Seen is the mark, people take it away, too: such a message is recognised, no more.
            without_mark.update(await session.search("UNDELETED", "UNSEEN"))
        candidates = set(without_mark)
        if marks is None or self._settings.after not in {"leave", "flag"}:
            candidates.update(await self._above(session))
        elif not trusts:
            await self._tell_foreign(session)
        self._last = max(candidates, default=0)
        self._looked_at &= without_mark  # the next one at a UID begins without a mark
        known = await self._known(candidates.difference(in_hand))
        lost = {uid: known[uid] for uid in sorted(set(marks or ()) & known.keys() - self._looked_at)}
        suspects = self._suspects(known, without_mark, trusts=trusts)
        self._others.update({uid: known[uid] for uid in await self._replaced(session, suspects)})
        self._looked_at.update(suspects)
        # Remembered until it is taken: its fetch may fail, and then it is looked for again.
        replaced = {uid for uid in known if self._others.get(uid) == known[uid]}
        new = candidates.difference(known, in_hand) | replaced
        return Found(sorted(new), {uid: lost[uid] for uid in lost.keys() - replaced})

    def _suspects(
        self, known: Mapping[int, str], without_mark: Collection[int], *, trusts: bool
    ) -> dict[int, str]:
        """Those of the known that may be other messages by now."""
        newest = [] if trusts else sorted(known)[-RECOGNISED:]
        uids = known.keys() & {*without_mark, *newest} - self._looked_at
        return {uid: known[uid] for uid in sorted(uids)}

    async def _tell_foreign(self, session: MailboxSession) -> None:
        """Marked messages stay where they are; those that the ledger does not know are told of, at least."""
        marked = await session.search("UNDELETED", "KEYWORD", KEYWORD)
        foreign = set(marked).difference(await self._known(marked))
        if foreign:
            self._observer.note(
                "mailbox.foreign_marks",
                level="warning",
                source=self._settings.name,
                messages=len(foreign),
                reason=f"They bear the mark {KEYWORD}, but this ledger does not know them: another ingestd "
                "took them, or an older ledger did. They are left alone; without the mark they are taken.",
            )

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

    async def _known(self, uids: Collection[int]) -> dict[int, str]:
        known: dict[int, str] = {}
        ordered = sorted(uids)
        assert self._uidvalidity is not None
        for at in range(0, len(ordered), ASKED_AT_ONCE):
            part = ordered[at : at + ASKED_AT_ONCE]
            known |= await self._book.arrived(self._account, self._settings.mailbox, self._uidvalidity, part)
        return known

    async def _replaced(self, session: MailboxSession, known: Mapping[int, str]) -> set[int]:
        """UIDs that the ledger knows and that are other messages now."""
        return {uid for uid, arrival in known.items() if await self._is_another(session, uid, arrival)}

    async def _is_another(self, session: MailboxSession, uid: int, arrival: str) -> bool:
        mailed = await self._book.mailed(arrival)
        return mailed is not None and await is_another(session, uid, mailed, self._fetcher.raw)
