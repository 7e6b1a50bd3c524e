"""The flood limit: messages of one sender above it stay in the mailbox, untouched and unseen, until the
window has passed. Others go on.

Counted is who a message says it is from: a forger can use up somebody's share for a while, but loses nobody's
mail by it.
"""

from collections.abc import Mapping
from datetime import timedelta

from ingestd.domain.retry import later
from ingestd.interfaces import Clock, MailBook
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.addresses import canonical_address, flood_key
from ingestd.sources.mail.imap import Outline
from ingestd.sources.mail.waiting import Hand

_NAMED = 3


def counted_sender(outline: Outline) -> str:
    """What messages of one sender are counted by, and what the ledger keeps as their sender."""
    return flood_key(canonical_address(outline.sender) or outline.sender)


class FloodGate:
    """One round is one search: the ledger is asked once for each sender, and what is handed over is added."""

    def __init__(self, settings: MailboxSettings, book: MailBook, hand: Hand, clock: Clock) -> None:
        self._source = settings.name
        self._limit = settings.flood
        self._book = book
        self._hand = hand
        self._clock = clock
        self._counts: dict[str, int] = {}

    @property
    def look_again_s(self) -> float:
        return min(300.0, max(1.0, self._limit.within.total_seconds() / 10))

    def sentence(self, waiting: Mapping[str, int]) -> str | None:
        """Who is stopped, with the numbers (sender to messages that wait); None: nobody is."""
        if not waiting:
            return None
        named = [f"{count} of {sender or 'nobody'}" for sender, count in list(waiting.items())[:_NAMED]]
        more = len(waiting) - len(named)
        others = f" and of {more} more senders" if more else ""
        limit = f"{self._limit.messages} messages of one sender within {_in_words(self._limit.within)}"
        return (
            f"Above the flood limit ({limit}), messages wait in the mailbox: {', '.join(named)}{others}. "
            "They are taken when the time has passed; raise flood if that is too slow."
        )

    def new_round(self) -> None:
        self._counts.clear()

    async def stops(self, outline: Outline) -> bool:
        """False counts the message."""
        sender = counted_sender(outline)
        count = self._counts.get(sender)
        if count is None:
            # In hand before the ledger is asked: what is committed in between is counted twice, never not.
            in_hand = self._hand.of_sender(sender)
            since = later(self._clock(), -self._limit.within)
            count = in_hand + await self._book.count_from(self._source, sender, since=since)
        stopped = count >= self._limit.messages
        self._counts[sender] = count if stopped else count + 1
        return stopped


def _in_words(time: timedelta) -> str:
    seconds = time.total_seconds()
    for name, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= length:
            return f"{seconds / length:g} {name}" if seconds != length else f"1 {name[:-1]}"
    return f"{seconds:g} seconds"
