"""The mail side of a place: a mailbox on a real Dovecot, an SMTP server that keeps what it gets, and senders.

Mail is delivered by LMTP, as a mail server would; what became of it is asked of the mailbox by an independent
client, and of the SMTP server.
"""

import email
import email.policy
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import make_msgid

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.acceptance.place import Place
from tests.mail.dovecot import PASSWORD, Dovecot, Stored

OWN = "receipts@example.com"

MAILBOX = """
[[mailboxes]]
name = "{name}"
host = "{host}"
port = {port}
{security}
user = "{user}"
addresses = ["{own}"]
{login}
allow = ["*@example.com"]
require = "none"
reply = true
poll = "{poll}"
deadline = "5s"
{more}
"""

SMTP_SERVER = """
[smtp]
host = "127.0.0.1"
port = {smtp_port}
security = "none"
sender = "{own}"
most_per_hour = 1000
"""

ROUTES = """
[[routes]]
source = "receipts"
subject = "*[report {report}]*"
send = "concur:report/{report}"
[[routes]]
source = "receipts"
address = "receipts+{entry}@*"
send = "concur:expenseentry/{entry}"
"""


BY_PASSWORD = 'password_file = "imap-password"'


class Keeper:
    """The handler of the SMTP server: keeps every message with its envelope."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[str, list[str], EmailMessage]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- aiosmtpd's
        content = envelope.content
        assert isinstance(content, bytes)
        message = email.message_from_bytes(content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        with self._lock:
            self._kept.append((envelope.mail_from or "", list(envelope.rcpt_tos), message))
        return "250 kept"

    @property
    def kept(self) -> list[tuple[str, list[str], EmailMessage]]:
        """Envelope sender, envelope recipients and message, in the order they came."""
        with self._lock:
            return list(self._kept)

    def text(self, number: int = 0) -> str:
        part = self.kept[number][2].get_body(("plain",))
        assert part is not None
        return str(part.get_content())


@contextmanager
def smtp_server() -> Iterator[tuple[int, Keeper]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    keeper = Keeper()
    controller = Controller(keeper, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield port, keeper
    finally:
        controller.stop()


class Letterbox:
    """A mailbox that `place` reads; further keyword arguments as in `mailbox_table`."""

    def __init__(
        self,
        place: Place,
        dovecot: Dovecot,
        user: str,
        smtp_port: int,
        *,
        mailbox: str = "",
        plain_port: int | None = None,
        login: str = BY_PASSWORD,
        poll: str = "5s",
    ) -> None:
        self.dovecot = dovecot
        self.user = user
        secret = place.directory / "imap-password"
        secret.write_text(PASSWORD)
        secret.chmod(0o600)
        configuration = place.config.read_text()
        first_route = configuration.index("[[routes]]")
        place.config.write_text(
            configuration[:first_route]
            + ROUTES
            + configuration[first_route:]
            + mailbox_table(
                "receipts", dovecot, user, more=mailbox, plain_port=plain_port, login=login, poll=poll
            )
            + SMTP_SERVER.format(own=OWN, smtp_port=smtp_port)
        )

    def receive(self, raw: bytes, *, sender: str = "ann@example.com") -> None:
        self.dovecot.deliver(raw, self.user, sender=sender)

    def inbox(self) -> list[Stored]:
        return self.dovecot.messages(self.user)

    def filed(self, name: str) -> list[Stored]:
        """What is in Ingestd/Uploaded or Ingestd/Rejected."""
        mailbox = f"Ingestd/{name}"
        return (
            self.dovecot.messages(self.user, mailbox) if mailbox in self.dovecot.mailboxes(self.user) else []
        )


def mailbox_table(
    name: str,
    dovecot: Dovecot,
    user: str,
    *,
    more: str = "",
    plain_port: int | None = None,
    login: str = BY_PASSWORD,
    poll: str = "5s",
) -> str:
    """The table of one mailbox. `login`: its keys for that; `more`: keys, and then tables, at the end.

    `plain_port`: where to connect instead of Dovecot's port for TLS, and without it.
    """
    over_tls = f'ca_file = "{dovecot.ca_file}"'
    return MAILBOX.format(
        name=name,
        host=dovecot.host,
        port=dovecot.port if plain_port is None else plain_port,
        security=over_tls if plain_port is None else 'security = "none"',
        user=user,
        own=OWN,
        login=login,
        poll=poll,
        more=more,
    )


def letter(
    *attachments: tuple[str, bytes],
    sender: str = "Ann Archer <ann@example.com>",
    to: str = OWN,
    subject: str = "Taxi",
    text: str = "Here is my receipt.",
    html: str | None = None,
    **headers: str,
) -> bytes:
    """As a mail program writes it; attachments are application/octet-stream, as many send them."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, to, subject
    message["Date"] = "Thu, 19 Nov 2026 10:00:00 +0100"
    message["Message-ID"] = make_msgid(domain="example.com")
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(text)
    if html is not None:
        message.add_alternative(html, subtype="html")
    for name, content in attachments:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes(policy=email.policy.SMTP)
