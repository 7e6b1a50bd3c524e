"""How a message leaves: a way has a name, and either hands a message over or says why not."""

from typing import Protocol

from ingestd.alerts.digest import Message
from ingestd.alerts.wording import as_mail, subject
from ingestd.domain.document import Instant
from ingestd.interfaces import Herald


class Way(Protocol):
    @property
    def name(self) -> str:
        """Names it in logs and on disk; no secret."""
        ...

    async def send(self, message: Message, at: Instant) -> None:
        """Raises SourceUnavailable when it may be tried again, Undeliverable when it is refused."""
        ...

    async def aclose(self) -> None: ...


class MailWay:
    """One address: of several, one that fails must not make the others get the message twice."""

    def __init__(self, herald: Herald, *, to: str, host: str) -> None:
        self._herald = herald
        self._host = host
        self.name = f"mail to {to}"

    async def send(self, message: Message, at: Instant) -> None:
        await self._herald.tell(subject(message, self._host), as_mail(message, self._host, at))

    async def aclose(self) -> None:
        """Nothing is kept open between two messages."""
