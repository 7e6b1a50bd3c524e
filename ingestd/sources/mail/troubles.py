"""What is wrong with a mailbox just now, as `status` shows it: the gravest first, each with its own end."""

from enum import IntEnum

from ingestd.domain.document import Instant
from ingestd.interfaces import Clock


class Kind(IntEnum):
    """The gravest has the lowest number."""

    SERVER = 1
    LEASE = 2
    STORAGE = 3
    TARGETS = 4
    MESSAGES = 5
    FLOOD = 6
    SHARED = 7


class Troubles:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sentences: dict[Kind, str] = {}
        self._since: Instant | None = None

    @property
    def sentence(self) -> str | None:
        return self._sentences[min(self._sentences)] if self._sentences else None

    @property
    def since(self) -> Instant | None:
        return self._since

    def has(self, kind: Kind) -> bool:
        return kind in self._sentences

    def set(self, kind: Kind, sentence: str | None) -> bool:
        """None: it is over. Returns whether that is news."""
        if self._sentences.get(kind) == sentence:
            return False
        if sentence is None:
            del self._sentences[kind]
        else:
            self._sentences[kind] = sentence
        if not self._sentences:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        return True
