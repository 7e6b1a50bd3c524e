"""One session for each API host: sends a request once and says what became of it.

The only place that knows aiohttp's exceptions. A POST is never repeated here unless not a byte of it left
(RFC 9110 section 9.2.2: a client must not retry a non-idempotent request that may have been applied).
"""

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from ingestd import __version__
from ingestd.domain.errors import ConfigurationError
from ingestd.http.body import CountedBody

CONNECT_TIMEOUT = timedelta(seconds=10)
RESOLVE_AND_CONNECT_TIMEOUT = timedelta(seconds=30)
SLOWEST_UPLOAD = 32_000
"""Bytes per second; a slower upload is given up, so that it can't hold a worker for ever."""
ANSWER_BYTES = 64 * 1024
"""The longest body read from an answer; the API's answers are a few hundred bytes."""
REUSE_SECONDS = 2.0
"""A connection idle for longer is not used again.

Servers and load balancers close idle connections after 5 s or more; a request that crosses such a close is
lost in a way nobody can tell from "sent, answer lost". A fresh connection for each request would avoid even
that, but costs a TLS handshake each time.
"""
OWN_HEADERS: Mapping[str, str] = MappingProxyType(
    {"User-Agent": f"ingestd/{__version__}", "Accept-Encoding": "identity"}
)
UNSENT_BYTES = 32 * 1024
"""How much the kernel may hold that it has not transmitted (TCP_NOTSENT_LOWAT).

What the kernel took counts as sent. Left alone it takes 2.5 MB for a peer that reads nothing, and almost
every receipt whose connection breaks would be in doubt; so it is 0.2 MB.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`url` is complete and percent-encoded; it is sent as it stands.

    `silence`: how long the peer may take no byte of the body, and send none of the answer.

    With a `content` its `content_type` must be given; Content-Length is set from it, never chunked.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    content: bytes | None = field(default=None, repr=False)
    content_type: str = ""
    silence: timedelta = timedelta(seconds=60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A status line and headers came. `complete`: so did the whole body, within ANSWER_BYTES.

    `whole_sent`: all of the request was handed over before the answer was read to its end.
    """

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    complete: bool
    bytes_sent: int
    whole_sent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent:
    """The server can't have the whole request. `connected` is False when no connection could be made."""

    reason: str
    fix: str = ""
    connected: bool
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLost:
    """The whole request was handed over and no usable answer came: it may or may not have been obeyed."""

    reason: str
    bytes_sent: int


Exchange = Answer | NotSent | AnswerLost


class Session:
    """Requests to one host, at most `connections` at a time. Redirects are answers, cookies are dropped.

    Proxies of the environment are not used: they, and ~/.netrc that aiohttp reads with them, would decide
    where a token goes.
    """

    def __init__(self, url: str, *, connections: int) -> None:
        """Raises ConfigurationError when `url` is no https:// URL; http:// is good for loopback only."""
        self.url = base_url(url)
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def exchange(self, request: Request) -> Exchange:
        """Send it once and read the answer. Raises only what is a bug here."""
        if not request.url.startswith(self.url + "/"):
            raise ValueError(f"{request.url} is not below {self.url}")
        result, untouched = await self._attempt(request)
        if untouched:
            result, _ = await self._attempt(request)
        return result

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _attempt(self, request: Request) -> tuple[Exchange, bool]:
        """The result, and whether the connection was found closed before anything was sent."""
        body = None
        if request.content is not None:
            body = CountedBody(request.content, request.content_type, stall=request.silence)
        try:
            return await self._send(request, body), False
        except CANNOT_CONNECT as error:
            return no_connection(error, URL(request.url, encoded=True)), False
        except (aiohttp.ClientError, OSError) as error:
            lost = not isinstance(error, TimeoutError)
            return _broken(error, body), lost and body is not None and body.handed_over == 0

    async def _send(self, request: Request, body: CountedBody | None) -> Answer:
        response = await self._opened().request(
            request.method,
            URL(request.url, encoded=True),
            data=body,
            headers=request.headers,
            allow_redirects=False,
            timeout=_deadlines(request),
        )
        try:
            content, complete = await _read_bounded(response)
        finally:
            if response.content.at_eof() and (body is None or body.whole):
                response.release()
            else:
                response.close()
        return Answer(
            status=response.status,
            headers=response.headers,
            body=content,
            complete=complete,
            bytes_sent=body.handed_over if body else 0,
            whole_sent=body is None or body.whole,
        )

    def _opened(self) -> aiohttp.ClientSession:
        """Made on first use: a session belongs to the running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=REUSE_SECONDS, socket_factory=_socket
            )
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, headers=OWN_HEADERS
            )
        return self._session


CANNOT_CONNECT = (aiohttp.ClientConnectorError, aiohttp.ClientSSLError, aiohttp.ConnectionTimeoutError)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def base_url(text: str) -> str:
    """Without a slash at its end. Raises ConfigurationError for a URL that is unfit for a token."""
    try:
        url = URL(text)
        port = url.port
    except ValueError:
        raise ConfigurationError([f"{text!r} is not a URL; write https://HOST"]) from None
    if url.scheme not in ("http", "https") or not url.host or port is None:
        raise ConfigurationError([f"{text!r} is not a URL; write https://HOST"])
    if url.scheme == "http" and not is_loopback(url.host):
        raise ConfigurationError([f"{text!r} would send the token in the clear; write https://{url.host}"])
    if url.user or url.password or url.query_string or url.fragment:
        raise ConfigurationError([f"the url for {url.host} must be https://HOST[:PORT][/PATH] and no more"])
    return str(url).rstrip("/")


def _deadlines(request: Request) -> aiohttp.ClientTimeout:
    """Silence counts once the body is sent; `total` bounds a server that reads or answers drop by drop."""
    size = len(request.content or b"")
    total = RESOLVE_AND_CONNECT_TIMEOUT.total_seconds() + size / SLOWEST_UPLOAD
    total += 2 * request.silence.total_seconds()
    return aiohttp.ClientTimeout(
        total=total,
        connect=RESOLVE_AND_CONNECT_TIMEOUT.total_seconds(),
        sock_connect=CONNECT_TIMEOUT.total_seconds(),
        sock_read=request.silence.total_seconds(),
        ceil_threshold=60,
    )


async def _read_bounded(response: aiohttp.ClientResponse) -> tuple[bytes, bool]:
    """The body, and whether it is all there. A body that breaks off is an answer all the same."""
    content = bytearray()
    try:
        while len(content) <= ANSWER_BYTES:
            chunk = await response.content.read(ANSWER_BYTES + 1 - len(content))
            if not chunk:
                return bytes(content), True
            content += chunk
    except (aiohttp.ClientError, OSError):
        return bytes(content), False
    return bytes(content[:ANSWER_BYTES]), False


def no_connection(error: Exception, url: URL) -> NotSent:
    """What one of CANNOT_CONNECT means, in words for a person."""
    place = f"{url.host}:{url.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            detail = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
            return NotSent(
                reason=f"The certificate of {place} was not accepted: {detail}.",
                fix="Check the url setting, the clock and the CA certificates (package ca-certificates) of "
                "this machine, and whether a proxy opens TLS on the way.",
                connected=False,
            )
        case aiohttp.ClientConnectorDNSError():
            return NotSent(
                reason=f"The name {url.host} can't be resolved.",
                fix="Check the host in the url setting and the DNS of this machine.",
                connected=False,
            )
        case aiohttp.ClientSSLError():
            return NotSent(
                reason=f"No TLS connection to {place}: {error.strerror or error}.",
                fix="Check that the url setting names an https port.",
                connected=False,
            )
        case aiohttp.ClientConnectorError():
            why = error.os_error.strerror or str(error.os_error)
        case _:
            why = "no answer in time"
    return NotSent(
        reason=f"No connection to {place}: {why}.",
        fix="Check the url setting, and whether a firewall stands between.",
        connected=False,
    )


def _broken(error: Exception, body: CountedBody | None) -> NotSent | AnswerLost:
    match error:
        case TimeoutError():
            what = "the server was silent for too long"
        case aiohttp.ClientResponseError():
            what = "the answer was not HTTP"
        case _:
            what = "the connection was lost"
    if body is None or body.whole:
        sent = body.handed_over if body else 0
        return AnswerLost(reason=f"All was sent, then {what}.", bytes_sent=sent)
    sent = body.handed_over
    reason = f"Only {sent} of {body.size} bytes were sent, then {what}." if sent else f"{what.capitalize()}."
    return NotSent(reason=reason, connected=True, bytes_sent=sent)


def _socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """A non-blocking socket that keeps little unsent data in the kernel (see UNSENT_BYTES)."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    return made
