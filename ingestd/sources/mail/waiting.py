"""Messages that are not looked at for a while: flooded, given back, in doubt, or poisonous. All in memory:
after a restart each gets its chance again.

And those in hand: handed over, neither committed nor given back. Both have bounds with a name.
"""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto

MOST_REMEMBERED = 50_000
"""Beyond these a message is simply looked at again with the next search."""

MOST_IN_HAND = 16
MOST_BYTES_IN_HAND = 200_000_000

FAILURES_IN_A_ROW = 3
PASSED_OVER_S = 3600.0
RETRY_S = 30.0
"""A message that was given back, failed or is in doubt is looked at again after this."""


class Why(Enum):
    FLOODED = auto()
    LATER = auto()
    PASSED_OVER = auto()


@dataclass(slots=True)
class _PutOff:
    why: Why
    due_s: float
    sender: str


class PutOff:
    """By UID, within one UIDVALIDITY."""

    def __init__(self) -> None:
        self._waiting: dict[int, _PutOff] = {}
        self._failures: dict[int, int] = {}

    def clear(self) -> None:
        self._waiting.clear()
        self._failures.clear()

    def put_off(self, uid: int, why: Why, seconds: float, sender: str = "") -> None:
        if uid in self._waiting or len(self._waiting) < MOST_REMEMBERED:
            self._waiting[uid] = _PutOff(why, time.monotonic() + seconds, sender)

    def failed(self, uid: int) -> bool:
        """Counts a failure. True: it was the last that is borne, and the message is passed over for long."""
        if len(self._failures) >= MOST_REMEMBERED:
            self._failures.clear()
        self._failures[uid] = self._failures.get(uid, 0) + 1
        if self._failures[uid] < FAILURES_IN_A_ROW:
            return False
        del self._failures[uid]
        self.put_off(uid, Why.PASSED_OVER, PASSED_OVER_S)
        return True

    def done(self, uid: int) -> None:
        self._waiting.pop(uid, None)
        self._failures.pop(uid, None)

    def waits(self, uid: int) -> bool:
        entry = self._waiting.get(uid)
        return entry is not None and time.monotonic() < entry.due_s

    def count(self, why: Why) -> int:
        return sum(entry.why is why for entry in self._waiting.values())

    def flooded(self) -> Counter[str]:
        """How many wait, by sender."""
        return Counter(entry.sender for entry in self._waiting.values() if entry.why is Why.FLOODED)

    def take_due(self) -> bool:
        """Whether the time of any has come; those are forgotten, as a search finds them again."""
        now = time.monotonic()
        due = [uid for uid, entry in self._waiting.items() if entry.due_s <= now]
        for uid in due:
            del self._waiting[uid]
        return bool(due)

    @property
    def next_due_s(self) -> float | None:
        """Seconds from now."""
        dues = (entry.due_s for entry in self._waiting.values())
        first = min(dues, default=None)
        return None if first is None else max(0.0, first - time.monotonic())


class Hand:
    """Messages in hand by (UIDVALIDITY, UID), with their sizes in bytes and their senders."""

    def __init__(self) -> None:
        self._held: dict[tuple[int, int], tuple[int, str]] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._held)

    def uids(self, uidvalidity: int) -> set[int]:
        return {uid for validity, uid in self._held if validity == uidvalidity}

    def has_room(self, size: int) -> bool:
        """One that alone is larger than all the room goes alone."""
        held = sum(size for size, _ in self._held.values())
        return not held or (len(self._held) < MOST_IN_HAND and held + size <= MOST_BYTES_IN_HAND)

    def take(self, place: tuple[int, int], size: int, sender: str) -> None:
        self._held[place] = (size, sender)

    def release(self, place: tuple[int, int]) -> None:
        self._held.pop(place, None)
        self._changed.set()

    async def change(self) -> None:
        """Until something leaves the hand."""
        self._changed.clear()
        await self._changed.wait()

    def of_sender(self, sender: str) -> int:
        return sum(sender == each for _, each in self._held.values())
