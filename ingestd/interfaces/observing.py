"""What every room is told: the time; and whom it tells: observers, and people by way of a herald."""

from collections.abc import Callable
from typing import Literal, Protocol

from ingestd.domain.document import Instant

Clock = Callable[[], Instant]

Level = Literal["debug", "info", "warning", "error"]


class Herald(Protocol):
    """Tells the people who look after this machine."""

    async def tell(self, subject: str, text: str) -> None:
        """One plain message. Raises SourceUnavailable when it may be tried again, Undeliverable when not."""
        ...


class Observer(Protocol):
    """Hears what happens: `noun.verb` with fields. Logs, metrics and the progress display implement it."""

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None: ...
