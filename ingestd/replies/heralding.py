"""Tells people something by mail (interfaces.Herald): one plain message, marked as automatic (RFC 3834)."""

import textwrap
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, make_msgid

from ingestd.domain.document import MICROSECONDS
from ingestd.domain.errors import ConfigurationError
from ingestd.interfaces import Clock
from ingestd.replies.composing import InvalidAddress, address, own_address, wants_utf8
from ingestd.replies.presentable import one_line
from ingestd.replies.sending import Postman
from ingestd.settings import SmtpSettings

LONGEST_SUBJECT = 200
_LINE = 76


class SmtpHerald:
    """Mails one address. Raises ConfigurationError when it, or the sender, is no address."""

    def __init__(self, settings: SmtpSettings, *, to: str, clock: Clock, own_name: str = "ingestd") -> None:
        problems = []
        try:
            self._sender = own_address(settings.sender, name=own_name)
        except InvalidAddress as error:
            problems.append(f"smtp.sender: {error}; write it like receipts@example.com")
        try:
            self._to = address(to)
        except InvalidAddress as error:
            problems.append(f"alerts.mail: {error}; write it like it@example.com")
        if problems:
            raise ConfigurationError(problems)
        self._clock = clock
        self._postman = Postman(settings, self._sender)

    async def tell(self, subject: str, text: str) -> None:
        """Each call is a message of its own; its lines are folded.

        Raises SourceUnavailable when it may be tried again, Undeliverable when the server refuses it.
        """
        utf8 = wants_utf8(self._to, self._sender)
        message = self._composed(subject, text, utf8=utf8).as_bytes()
        await self._postman.deliver(self._to.addr_spec, message, utf8=utf8)

    def _composed(self, subject: str, text: str, *, utf8: bool) -> EmailMessage:
        message = EmailMessage(policy=SMTPUTF8 if utf8 else SMTP)
        message["From"] = self._sender
        message["To"] = self._to
        message["Subject"] = one_line(subject, most=LONGEST_SUBJECT)
        message["Date"] = format_datetime(datetime.fromtimestamp(self._clock() // MICROSECONDS, UTC))
        message["Message-ID"] = make_msgid("ingestd", domain=self._sender.domain)
        # RFC 3834 section 5: no answer to anything. Exchange looks at X-Auto-Response-Suppress.
        message["Auto-Submitted"] = "auto-generated"
        message["X-Auto-Response-Suppress"] = "All"
        message.set_content(_folded(text), cte="quoted-printable")
        return message


def _folded(text: str) -> str:
    """Long lines broken between words, what follows indented as far as the line it belongs to."""
    folded: list[str] = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        folded += textwrap.wrap(
            line,
            _LINE,
            subsequent_indent=indent + "  " if indent else "",
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(folded) + "\n"
