"""The mailboxes of a login: how one is named on the wire, whether it is there, and how it comes to be there.

Settings name them with "/" between levels; servers have their own marks, and some want all below INBOX.
"""

from collections.abc import Sequence
from contextlib import suppress

from ingestd.sources.mail import imap_answers
from ingestd.sources.mail.imap_errors import ImapRefused
from ingestd.sources.mail.imap_names import Namespaces, encoded, quoted
from ingestd.sources.mail.imap_server import ImapServer


class ImapMailboxes:
    """`knows_namespaces`: the server has NAMESPACE (RFC 2342). All methods raise ImapLost, ImapRefused.

    A `name` is what name() gave: an argument of a command.
    """

    def __init__(self, server: ImapServer) -> None:
        self.knows_namespaces = False
        self._server = server
        self._namespaces: Namespaces | None = None
        self._present: set[str] = set()

    async def name(self, mailbox: str) -> str:
        """Raises ValueError, before anything is sent, for what can't be sent."""
        encoded(mailbox)
        if self._namespaces is None:
            self._namespaces = await self._learn_namespaces()
        return quoted(encoded(self._namespaces.resolve(mailbox)))

    async def names(self) -> list[str]:
        """All that can be selected, by the server's names."""
        return imap_answers.mailbox_names(await self._server.ask("LIST", '""', '"*"'))

    async def exists(self, name: str) -> bool:
        answers = await self._server.ask("LIST", '""', name)
        return _names_exactly(name, imap_answers.mailbox_names(answers))

    async def ensure(self, mailbox: str) -> None:
        """Made and subscribed, unless it is there."""
        name = await self.name(mailbox)
        if name not in self._present:
            if not await self.exists(name):
                await self.create(name)
            self._present.add(name)

    async def create(self, name: str) -> None:
        await self.make(name)
        # People see it in their mail program only when it is subscribed; nothing here depends on it.
        with suppress(ImapRefused):
            await self._server.ask("SUBSCRIBE", name)

    async def make(self, name: str) -> None:
        """Without subscribing to it."""
        try:
            await self._server.ask("CREATE", name)
        except ImapRefused as refused:
            # Somebody was faster; Cyrus 3.6 says so without a code.
            if refused.code != "ALREADYEXISTS" and not await self.exists(name):
                raise

    async def _learn_namespaces(self) -> Namespaces:
        if self.knows_namespaces:
            return self._server.understood(imap_answers.namespaces, await self._server.ask("NAMESPACE"))
        answers = await self._server.ask("LIST", '""', '""')
        return Namespaces("", self._server.understood(imap_answers.delimiter, answers))


def _names_exactly(name: str, listed: Sequence[str]) -> bool:
    """LIST takes a pattern: a name with * or % in it finds others."""
    return name in {quoted(encoded(other)) for other in listed}
