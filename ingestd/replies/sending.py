"""Hands answers to the mail server (interfaces.Correspondent), and checks beforehand that it takes them.

The envelope has no sender, so that no bounce and no automatic answer comes back (RFC 3834 section 3.3); a
relay that refuses that gets the address of [smtp] instead.
"""

import asyncio
from collections.abc import Sequence
from email.headerregistry import Address
from pathlib import Path

from ingestd.domain.errors import ConfigurationError
from ingestd.interfaces import Answer, Clock, SourceUnavailable, Undeliverable
from ingestd.replies.composing import InvalidAddress, address, compose, own_address, wants_utf8
from ingestd.replies.connection import Refused, connected
from ingestd.replies.wording import Wording
from ingestd.settings import SmtpSettings

_CONNECTIONS = 4
_NOBODY = ""
"""The null sender, `<>`."""
_TOO_LARGE = 552
_PROBE_BYTES = 20_000


class SmtpCorrespondent:
    """One for all mailboxes. `templates`: a directory of the operator's own wording.

    Raises ConfigurationError when the sender is no address or a template can't be used.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        *,
        own_name: str = "ingestd",
        clock: Clock,
        templates: Path | None = None,
    ) -> None:
        try:
            self._sender = own_address(settings.sender, name=own_name)
        except InvalidAddress as error:
            raise ConfigurationError([f"smtp.sender: {error}; write it like receipts@example.com"]) from None
        self._settings = settings
        self._clock = clock
        self._words = Wording.load(templates)
        self._postman = Postman(settings, self._sender)

    async def send(self, answer: Answer) -> None:
        """Hand it to the mail server. Its Message-ID is the arrival's: sent twice, it is the same message.

        Raises SourceUnavailable when it may be tried again, Undeliverable when not.
        """
        try:
            recipient = address(answer.to)
        except InvalidAddress as error:
            raise Undeliverable(f"{error}.") from None
        message = await asyncio.to_thread(self._composed, answer)  # the longest take some tenths of a second
        utf8 = wants_utf8(recipient, self._sender)
        await self._postman.deliver(recipient.addr_spec, message, utf8=utf8)

    async def check(self) -> Sequence[str]:
        """What keeps answers from being sent, as sentences. No mail is sent: it ends before DATA."""
        recipient = self._sender.addr_spec
        utf8 = wants_utf8(self._sender)
        try:
            for sender in (_NOBODY, self._sender.addr_spec):
                async with connected(self._settings) as connection:
                    if utf8 and not connection.takes_utf8:
                        return (f"The mail server can't handle the sender {recipient} (no SMTPUTF8).",)
                    try:
                        await connection.announce(sender, recipient, size=_PROBE_BYTES, utf8=utf8)
                    except Refused as refused:
                        found = refused
                    else:
                        return ()
        except SourceUnavailable as error:
            return (str(error),)
        return (_sender_refused(self._settings, self._sender, found),) if _is_about_sender(found) else ()

    def _composed(self, answer: Answer) -> bytes:
        return compose(answer, sender=self._sender, words=self._words, at=self._clock()).as_bytes()


class Postman:
    """Hands messages over, with the null sender where the server takes it, else with our own."""

    def __init__(self, settings: SmtpSettings, sender: Address) -> None:
        self._settings = settings
        self._sender = sender
        self._connections = asyncio.Semaphore(_CONNECTIONS)
        self._wants_sender = False
        """The server has refused the null sender, and taken the other one."""

    async def deliver(self, recipient: str, message: bytes, *, utf8: bool) -> None:
        """To one address. Raises SourceUnavailable when it may be tried again, Undeliverable when not."""
        async with self._connections:
            await self._deliver(recipient, message, utf8=utf8)

    async def _deliver(self, recipient: str, message: bytes, *, utf8: bool) -> None:
        """A connection for each try: some servers close it after a refusal."""
        if not self._wants_sender:
            try:
                await self._hand_over(_NOBODY, recipient, message, utf8=utf8)
            except Refused as refused:
                # Refused at any step: Postfix waits until RCPT with it (smtpd_delay_reject).
                if refused.is_about_recipient:
                    raise _undeliverable(refused) from None
            else:
                return
        try:
            await self._hand_over(self._sender.addr_spec, recipient, message, utf8=utf8)
        except Refused as refused:
            if refused.step == "MAIL" and refused.code != _TOO_LARGE:
                raise SourceUnavailable(_sender_refused(self._settings, self._sender, refused)) from None
            raise _undeliverable(refused) from None
        self._wants_sender = True

    async def _hand_over(self, sender: str, recipient: str, message: bytes, *, utf8: bool) -> None:
        async with connected(self._settings) as connection:
            if utf8 and not connection.takes_utf8:
                raise Undeliverable(
                    "The mail server can't handle an address with letters beyond ASCII (no SMTPUTF8)."
                )
            await connection.hand_over(sender, recipient, message, utf8=utf8)


def _sender_refused(settings: SmtpSettings, sender: Address, refused: Refused) -> str:
    return (
        f"The mail server {settings.host}:{settings.port} takes no mail from "
        f"{sender.addr_spec}: {refused.said}. Check sender and user in [smtp]."
    )


def _undeliverable(refused: Refused) -> Undeliverable:
    what = "the answer" if refused.step == "DATA" else "the address"
    return Undeliverable(f"The mail server refuses {what}: {refused.said}.")


def _is_about_sender(refused: Refused) -> bool:
    """RFC 3463: X.1.7 and X.1.8 are the sender's address, X.7.* is policy. A bare 550 may be anything."""
    return refused.step == "MAIL" or refused.status in ("5.1.7", "5.1.8") or refused.status.startswith("5.7.")
