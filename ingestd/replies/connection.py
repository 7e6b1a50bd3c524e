"""One connection to the mail server: greeted, secured, logged in, or a sentence that says why not.

The only place that knows the exceptions of aiosmtplib. A connection serves one answer and is then closed;
every wait has a deadline of ours, and no secret gets into a sentence.
"""

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

import aiosmtplib

from ingestd.http.tokens import SecretUnavailable, read_password, redact
from ingestd.interfaces import SourceUnavailable
from ingestd.replies.presentable import one_line
from ingestd.settings import SmtpSettings

_EXCHANGES = 4
"""A whole conversation may take this many times the longest silence: a server that trickles is left."""
_QUIT_SECONDS = 2.0
_SAID = 300
_LOGINS = ("plain", "login", "cram-md5")
"""The connection is encrypted, or to loopback. CRAM-MD5 makes servers keep the password itself: the last."""
_SHORTEST_REDACTED = 6
_UNKNOWN_SELF = "[127.0.0.1]"


class Refused(Exception):
    """The server said no for good (5xx) to one step of handing over a message.

    `code` is the reply code (RFC 5321 section 4.2), `status` the enhanced one (RFC 3463) or empty, `said` the
    server's words made presentable.
    """

    def __init__(self, step: Literal["MAIL", "RCPT", "DATA"], code: int, text: str) -> None:
        self.step, self.code = step, code
        found = re.match(r"\s*(5\.\d{1,3}\.\d{1,3})\b", text)
        self.status = found[1] if found else ""
        self.said = f"{code} {one_line(text, most=_SAID)}".strip()
        super().__init__(self.said)

    @property
    def is_about_recipient(self) -> bool:
        """RFC 3463: X.1.1 to X.1.6 and X.1.10 are the destination's address, X.2.* its mailbox."""
        return re.fullmatch(r"5\.(1\.([1-6]|10)|2\.\d+)", self.status) is not None


class Connection:
    """A connection that is ready to take a message."""

    def __init__(self, client: aiosmtplib.SMTP) -> None:
        self._client = client

    @property
    def takes_utf8(self) -> bool:
        return self._client.supports_extension("smtputf8")

    async def hand_over(self, sender: str, recipient: str, message: bytes, *, utf8: bool) -> None:
        """The whole transaction. An empty `sender` is the null one. Raises Refused, and aiosmtplib's own."""
        await self.announce(sender, recipient, size=len(message), utf8=utf8)
        try:
            await self._client.data(message)
        except aiosmtplib.SMTPDataError as error:
            raise _refused("DATA", error) from error

    async def announce(self, sender: str, recipient: str, *, size: int, utf8: bool) -> None:
        """Sender and recipient only: nothing is sent yet."""
        options = [f"SIZE={size}"] if self._client.supports_extension("size") else []  # RFC 1870
        options += ["SMTPUTF8", "BODY=8BITMIME"] if utf8 else []  # RFC 6531 section 3.4
        encoding = "utf-8" if utf8 else "ascii"
        try:
            await self._client.mail(sender, options=options, encoding=encoding)
        except aiosmtplib.SMTPSenderRefused as error:
            raise _refused("MAIL", error) from error
        try:
            await self._client.rcpt(recipient, encoding=encoding)
        except aiosmtplib.SMTPRecipientRefused as error:
            raise _refused("RCPT", error) from error


@asynccontextmanager
async def connected(settings: SmtpSettings) -> AsyncIterator[Connection]:
    """Raises SourceUnavailable, from within its block too, for all that may be better another time."""
    place = f"{settings.host}:{settings.port}"
    try:
        async with asyncio.timeout(settings.timeout.total_seconds() * _EXCHANGES) as deadline:
            client = await _client(settings)
            try:
                await client.connect()
                await _introduce(client)
                if settings.security == "starttls":
                    await client.starttls()
                if settings.user is not None:
                    await _log_in(client, settings, settings.user)
                yield Connection(client)
                deadline.reschedule(None)  # all is done: what comes now can't undo it
                with suppress(aiosmtplib.SMTPException):
                    await client.quit(timeout=min(_QUIT_SECONDS, settings.timeout.total_seconds()))
            finally:
                _drop(client)
    except (aiosmtplib.SMTPException, OSError) as error:  # TimeoutError is an OSError
        raise SourceUnavailable(_sentence(error, place, settings)) from error


async def _client(settings: SmtpSettings) -> aiosmtplib.SMTP:
    context = None if settings.security == "none" else await asyncio.to_thread(_tls_context, settings)
    return aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        timeout=settings.timeout.total_seconds(),
        use_tls=settings.security == "tls",
        start_tls=False,  # done by hand, after we have introduced ourselves
        tls_context=context,
        local_hostname=_UNKNOWN_SELF,  # else it asks the DNS for our name, without a deadline
    )


def _tls_context(settings: SmtpSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        detail = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise SourceUnavailable(
            f"The CA file {settings.ca_file} can't be used: {detail}. Check ca_file in [smtp]."
        ) from error


async def _introduce(client: aiosmtplib.SMTP) -> None:
    """EHLO with the name of this machine if it has a full one, else its address (RFC 5321 section 4.1.4)."""
    name = socket.gethostname()
    if not re.fullmatch(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", name):
        own = str(client.get_transport_info("sockname")[0])
        name = f"[IPv6:{own}]" if ":" in own else f"[{own}]"
    client.local_hostname = name
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        if not client.is_connected:
            raise
        await client.helo()


async def _log_in(client: aiosmtplib.SMTP, settings: SmtpSettings, user: str) -> None:
    """One attempt: several wrong ones in a row lock accounts."""
    if settings.password is None:
        raise SourceUnavailable("[smtp] names a user but no password_file; add it, or remove the user.")
    try:
        password = read_password(settings.password)
    except SecretUnavailable as error:
        raise SourceUnavailable(f"The password of [smtp]: {error}.") from error
    if client.is_ehlo_or_helo_needed:  # after STARTTLS all is new (RFC 3207 section 4.2)
        await client.ehlo()
    offered = [login for login in _LOGINS if login in client.server_auth_methods]
    if not offered:
        raise SourceUnavailable(
            f"The mail server {settings.host}:{settings.port} offers no login by password. Check port and "
            "security in [smtp], or remove user if it wants none."
        )
    methods = {"plain": client.auth_plain, "login": client.auth_login, "cram-md5": client.auth_crammd5}
    try:
        await methods[offered[0]](user, password)
    except aiosmtplib.SMTPAuthenticationError as error:
        said = f"{error.code} {_without(password, user, error.message)}".strip()
        what = "does not let" if error.code >= 500 else "can't now let"
        raise SourceUnavailable(
            f"The mail server {settings.host}:{settings.port} {what} {user} log in: {said}. "
            f"Check user and password_file in [smtp]."
        ) from None


def _without(password: str, user: str, text: str) -> str:
    """What the server said, should it repeat what we sent. Nothing if the secret is too short to be found."""
    if len(password) < _SHORTEST_REDACTED:
        return ""
    forms = [
        password,
        *(base64.b64encode(raw).decode() for raw in (password.encode(), f"\0{user}\0{password}".encode())),
    ]
    return one_line(redact(text, forms), most=_SAID)


def _drop(client: aiosmtplib.SMTP) -> None:
    """At once: an orderly end of TLS would wait for a server that may be silent."""
    transport = client.transport
    client.close()
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def _refused(step: Literal["MAIL", "RCPT", "DATA"], error: aiosmtplib.SMTPResponseException) -> Exception:
    """Refused for a 5xx. 530 wants a login (RFC 4954 section 6): not the message's fault."""
    if 500 <= error.code < 600 and error.code != 530:
        return Refused(step, error.code, error.message)
    return aiosmtplib.SMTPResponseException(error.code, error.message)


def _sentence(error: Exception, place: str, settings: SmtpSettings) -> str:
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) and isinstance(cause, Exception):
        causes.append(cause)
    for found in reversed(causes):
        match found:
            case ssl.SSLCertVerificationError():
                return (
                    f"The certificate of the mail server {place} was not accepted: {found.verify_message}. "
                    "Check host and ca_file in [smtp] and the clock of this machine."
                )
            case ssl.SSLError():
                return (
                    f"No TLS connection to the mail server {place}: {found.reason or found}. Check port and "
                    'security in [smtp]: 465 is "tls", 587 is "starttls".'
                )
            case socket.gaierror():
                return f"The name {settings.host} can't be resolved. Check host in [smtp] and the DNS."
    return _plain_sentence(error, place, settings)


def _plain_sentence(error: Exception, place: str, settings: SmtpSettings) -> str:
    match error:
        case aiosmtplib.SMTPResponseException():
            said = one_line(error.message, most=_SAID)
            return f"The mail server {place} does not take it now: {error.code} {said}"
        case TimeoutError():
            return f"The mail server {place} did not answer within {settings.timeout.total_seconds():g} s."
        case aiosmtplib.SMTPServerDisconnected():
            return f"The mail server {place} closed the connection."
        case aiosmtplib.SMTPConnectError():
            number = error.__cause__.errno if isinstance(error.__cause__, OSError) else None
            why = os.strerror(number) if number else "it closed the connection, or none was made"
            return f"No connection to the mail server {place}: {why}. Check host and port in [smtp]."
        case _:
            return f"The mail server {place} could not be used: {one_line(str(error), most=_SAID)}"
