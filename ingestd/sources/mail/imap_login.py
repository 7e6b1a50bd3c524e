"""Getting in: connection, TLS (RFC 8314: implicit, the host name checked), greeting and login.

Each way in which that fails ends as one sentence that says what to look at.
"""

import asyncio
import base64
import re
import socket
import ssl
from dataclasses import dataclass, field
from typing import Literal, assert_never

from ingestd.settings import MailboxSettings
from ingestd.sources.mail.imap_answers import response_code
from ingestd.sources.mail.imap_errors import ImapLoginRefused, ImapLost
from ingestd.sources.mail.imap_names import quoted
from ingestd.sources.mail.imap_wire import Conversation, Request, Wire


@dataclass(frozen=True, slots=True)
class ImapSecret:
    """A password (`login`) or an OAuth 2.0 access token (`xoauth2`)."""

    kind: Literal["login", "xoauth2"]
    value: str = field(repr=False)


async def connected(settings: MailboxSettings) -> Wire:
    """A connection whose greeting came. Raises ImapLost."""
    peer = f"{settings.host}:{settings.port}"
    seconds = settings.deadline.total_seconds()
    loop = asyncio.get_running_loop()
    wire = Wire(loop, peer, seconds)
    tls = _tls(settings)
    try:
        async with asyncio.timeout(seconds):
            await loop.create_connection(
                lambda: wire,
                settings.host,
                settings.port,
                ssl=tls,
            )
            await wire.greeted.wait()
    except TimeoutError:
        wire.abort("silent")
        raise ImapLost(_silent(settings)) from None
    except OSError as error:
        wire.abort("not connected")
        raise ImapLost(_no_connection(error, settings)) from None
    except BaseException:
        wire.abort("not connected")
        raise
    if wire.broken is not None:
        raise ImapLost(wire.broken)
    return wire


def login_request(
    wire: Wire, capabilities: frozenset[str], settings: MailboxSettings, secret: ImapSecret
) -> Request:
    """The command that logs in. Raises ImapLoginRefused when the server offers none that would do."""
    match secret.kind:
        case "xoauth2":
            return _xoauth2(wire, capabilities, settings, secret)
        case "login":
            return _password(wire, capabilities, settings, secret)
        case never:
            assert_never(never)


def judge_login(request: Request, settings: MailboxSettings, secret: ImapSecret) -> None:
    """Raises what the answer to the login means, unless it is yes."""
    if request.result == "OK":
        return
    said = _without_secret(request.text, secret) or "without a reason"
    peer = f"{settings.host}:{settings.port}"
    # A server in trouble, or one that has too many connections just now, says nothing about the login.
    if _is_passing(said):
        raise ImapLost(f"{peer} lets {settings.user} in later: {said}")
    what = "the password" if secret.kind == "login" else "the OAuth token"
    raise ImapLoginRefused(f"{peer} refuses {what} of {settings.user}: {said}")


_PASSING = frozenset(
    {"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN", "OVERQUOTA", "TEMPFAIL", "THROTTLED"}
)
_FINAL = frozenset({"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED", "PRIVACYREQUIRED"})
_PASSING_WORDS = re.compile(
    r"\btoo many\b.*\b(connections|logins|sessions|users)\b"
    r"|\b(connections?|logins?|sessions?|rate) limit|\bmaximum (number of )?(connections|logins|sessions)\b"
    r"|\blimits? (was |is )?(exceeded|reached|hit)\b|\bexceeded .*\blimits?\b|\bthrottl"
    r"|\b(try|retry)\b.*\b(again|later)\b|\btemporar(y|ily)\b|\b(busy|overloaded|unavailable|maintenance)\b",
    re.IGNORECASE,
)
_LOCKED_WORDS = re.compile(
    r"\b(invalid|incorrect|wrong|bad)\b|\b(failed|failure|failures|attempts) to log ?in\b"
    r"|\b(failed|bad) (logins?|attempts?)|\b(login|authentication) (failures|attempts)\b"
    r"|\b(locked|blocked|disabled|suspended|restricted)\b",
    re.IGNORECASE,
)
"""A person has to act, and whoever tries again soon makes it worse."""


def _is_passing(said: str) -> bool:
    """By the response code (RFC 9051 section 7.1) if it says anything about that, else by the words."""
    code = response_code(said)[0]
    if code in _PASSING or code in _FINAL:
        return code in _PASSING
    return _PASSING_WORDS.search(said) is not None and _LOCKED_WORDS.search(said) is None


def _xoauth2(
    wire: Wire, capabilities: frozenset[str], settings: MailboxSettings, secret: ImapSecret
) -> Request:
    """https://developers.google.com/workspace/gmail/imap/xoauth2-protocol; Microsoft has the same."""
    _offered("XOAUTH2", capabilities, settings)
    return _sasl(wire, capabilities, "XOAUTH2", f"user={settings.user}\1auth=Bearer {secret.value}\1\1")


def _password(
    wire: Wire, capabilities: frozenset[str], settings: MailboxSettings, secret: ImapSecret
) -> Request:
    """LOGIN, or SASL PLAIN (RFC 4616) where LOGIN is not allowed or can't carry the characters."""
    if "LOGINDISABLED" not in capabilities and (settings.user + secret.value).isascii():
        return Request("LOGIN", wire.new_tag(), quoted(settings.user), quoted(secret.value))
    _offered("PLAIN", capabilities, settings)
    return _sasl(wire, capabilities, "PLAIN", f"\0{settings.user}\0{secret.value}")


def _offered(mechanism: str, capabilities: frozenset[str], settings: MailboxSettings) -> None:
    if f"AUTH={mechanism}" not in capabilities:
        offered = sorted(name[5:] for name in capabilities if name.startswith("AUTH="))
        others = f"only by {', '.join(offered)}" if offered else "nor any other"
        raise ImapLoginRefused(f"{settings.host}:{settings.port} offers no login by {mechanism}, {others}")


def _sasl(wire: Wire, capabilities: frozenset[str], mechanism: str, message: str) -> Request:
    """With the message in the command where that is allowed (SASL-IR, RFC 4959): one exchange less."""
    coded = base64.b64encode(message.encode())
    if "SASL-IR" in capabilities:
        return Conversation("AUTHENTICATE", wire.new_tag(), mechanism, coded.decode(), parts=())
    return Conversation("AUTHENTICATE", wire.new_tag(), mechanism, parts=(coded,))


def _tls(settings: MailboxSettings) -> ssl.SSLContext | None:
    match settings.security:
        case "none":
            return None
        case "tls":
            pass
        case never:
            assert_never(never)
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (ssl.SSLError, OSError) as error:
        raise ImapLost(f"ca_file {settings.ca_file} can't be used: {error.strerror or error}") from None


def _silent(settings: MailboxSettings) -> str:
    hint = "" if settings.security == "tls" else "; perhaps it expects TLS on this port"
    seconds = settings.deadline.total_seconds()
    return f"{settings.host}:{settings.port} said nothing for {seconds:g} s after the connection{hint}"


def _no_connection(error: OSError, settings: MailboxSettings) -> str:
    peer = f"{settings.host}:{settings.port}"
    match error:
        case ssl.SSLCertVerificationError():
            return f"the certificate of {peer} is not trusted: {error.verify_message}{_advice(error)}"
        case ssl.SSLError():
            why = error.reason or error.strerror
            return f"{peer} does not speak TLS as expected ({why}); is it the port for TLS, usually 993?"
        case socket.gaierror():
            return f"the host name {settings.host} is not known to DNS ({error.strerror})"
        case ConnectionRefusedError():
            return f"nothing listens on {peer}"
        case _:
            return f"no connection to {peer}: {error.strerror or str(error) or type(error).__name__}"


def _advice(error: ssl.SSLCertVerificationError) -> str:
    """By OpenSSL's X509_V_ERR_ codes."""
    match error.verify_code:
        case 18 | 19 | 20 | 21:
            return "; if a company's own authority signed it, set ca_file"
        case 62 | 64:
            return "; set host to a name that the certificate holds"
        case _:
            return ""


def _without_secret(text: str, secret: ImapSecret) -> str:
    """Servers have been seen to repeat what they were sent."""
    return text.replace(secret.value, "…") if secret.value else text
