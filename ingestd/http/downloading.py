"""What lies behind a short-lived URL that an API handed out: fetched from a host that may have it, no other.

Nothing of ours goes along: no Authorization, no cookie, no proxy of the environment. The URL itself is as
good as a password while it lives, so it stands in no text.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import BinaryIO

import aiohttp
from yarl import URL

from ingestd.http.session import (
    CANNOT_CONNECT,
    CONNECT_TIMEOUT,
    OWN_HEADERS,
    RESOLVE_AND_CONNECT_TIMEOUT,
    is_loopback,
    no_connection,
)

MOST_BYTES = 100_000_000
"""A report comes as one PDF with all its receipts, so it may be longer than anything that was uploaded."""
LONGEST = timedelta(minutes=15)
"""Of one download: no URL lives longer (Concur Image v1, "Get an image URL")."""
MOST_REDIRECTS = 2
_CHUNK_BYTES = 256 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset({401, 403, 404, 410})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_URL = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """`mime_type` as the server declares it; application/octet-stream when it declares none."""

    mime_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFetched:
    """`status` None: no answer. `passing`: it may be better with another try. What came is not the file."""

    reason: str
    status: int | None = None
    passing: bool = False


class Downloads:
    """GETs of files. For one event loop; connections are not kept: each host is asked once in a while."""

    def __init__(self, *, base: str, domains: Collection[str], silence: timedelta) -> None:
        """Allowed are https:// hosts in `domains`, and that of `base`, the API's own URL.

        http:// is good from loopback to loopback only. `silence`: how long the peer may send nothing.
        """
        own = URL(base)
        self._own_host = own.host or ""
        self._loopback = is_loopback(self._own_host)
        self._domains = tuple(domains)
        self._silence = silence
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str, into: BinaryIO) -> Fetched | NotFetched:
        """Writes the body to `into`. Raises OSError when that can't be written, nothing for the network."""
        for _ in range(1 + MOST_REDIRECTS):
            place = _parsed(url)
            if place is None or not self._is_allowed(place):
                return NotFetched(reason=_not_allowed(place))
            try:
                response = await self._opened().get(place, allow_redirects=False, timeout=self._deadlines())
            except CANNOT_CONNECT as error:
                return NotFetched(reason=no_connection(error, place).reason, passing=True)
            except (aiohttp.ClientError, OSError) as error:
                return NotFetched(reason=_broken(error, place), passing=True)
            async with response:
                if response.status not in _REDIRECTS:
                    return await self._taken(response, into)
                url = _target_of(response)
        return NotFetched(reason="The URL leads from one place to the next, and to no image.")

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _is_allowed(self, url: URL) -> bool:
        """The URL came from a server: it must not lead us into the network we stand in."""
        host = (url.host or "").rstrip(".").lower()
        if url.user or url.password or not host:
            return False
        if is_loopback(host):
            return self._loopback and url.scheme in ("http", "https")
        own = host == self._own_host.lower()
        return url.scheme == "https" and (own or any(_is_within(host, domain) for domain in self._domains))

    async def _taken(self, response: aiohttp.ClientResponse, into: BinaryIO) -> Fetched | NotFetched:
        refused = _refused(response)
        if refused is not None:
            return refused
        size = 0
        while True:
            try:
                chunk = await response.content.read(_CHUNK_BYTES)
            except (aiohttp.ClientError, OSError) as error:
                return NotFetched(reason=_broken(error, response.url), status=response.status, passing=True)
            if not chunk:
                break
            size += len(chunk)
            if size > MOST_BYTES:
                return _too_long(response)
            await asyncio.to_thread(_write_all, into, chunk)
        if size == 0:
            return NotFetched(reason="The image's URL gave no bytes.", status=response.status)
        return Fetched(mime_type=response.content_type.lower(), size=size)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                headers=OWN_HEADERS,
                auto_decompress=False,  # what was not asked for may be a bomb
                requote_redirect_url=False,
            )
        return self._session

    def _deadlines(self) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(
            total=LONGEST.total_seconds(),
            connect=RESOLVE_AND_CONNECT_TIMEOUT.total_seconds(),
            sock_connect=CONNECT_TIMEOUT.total_seconds(),
            sock_read=self._silence.total_seconds(),
        )


def _parsed(url: str) -> URL | None:
    """None: nothing that may be sent as it stands. A signature covers every character of it."""
    if not url.isascii() or not url.isprintable() or " " in url or len(url) > _LONGEST_URL:
        return None
    try:
        place = URL(url, encoded=True)
        _ = place.port, place.host
    except ValueError:
        return None
    return place if place.scheme in ("http", "https") and place.host else None


def _write_all(into: BinaryIO, chunk: bytes) -> None:
    """An unbuffered file takes less than it is given when the disk is all but full."""
    left = memoryview(chunk)
    while left:
        left = left[into.write(left) :]


def _is_within(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


def _not_allowed(url: URL | None) -> str:
    if url is None:
        return "What should be the image's URL is none."
    return f"The image's URL leads to {url.scheme}://{url.host}, which is no host of this API."


def _target_of(response: aiohttp.ClientResponse) -> str:
    try:
        return str(response.url.join(URL(response.headers.get("Location", ""), encoded=True)))
    except ValueError:
        return ""


def _refused(response: aiohttp.ClientResponse) -> NotFetched | None:
    status = response.status
    if status in _GONE:
        reason = f"The image's URL is not good any more (its host answered {status})."
        return NotFetched(reason=reason, status=status)
    if status != 200:  # 206 is a part, and 204 nothing
        reason = f"The host of the image's URL answered {status}."
        return NotFetched(reason=reason, status=status, passing=status in _BUSY)
    if response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
        return NotFetched(reason="The image came in an encoding nobody asked for.", status=status)
    if response.content_type in ("text/html", "application/xhtml+xml"):
        return NotFetched(reason="The image's URL showed a web page, no image.", status=status)
    if (response.content_length or 0) > MOST_BYTES:
        return _too_long(response)
    return None


def _too_long(response: aiohttp.ClientResponse) -> NotFetched:
    return NotFetched(reason=f"The image is longer than {MOST_BYTES:,} bytes.", status=response.status)


def _broken(error: Exception, url: URL) -> str:
    slow = isinstance(error, TimeoutError)
    return f"The download from {url.host} {'took too long' if slow else 'broke off'}."
