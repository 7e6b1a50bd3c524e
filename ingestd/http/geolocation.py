"""Which data centre a login of SAP Concur lives in: what the server tells, proved before a token goes there.

The server names a base URL (`geolocation`) in answers and errors. It is believed within the family of the
configured host only: over TLS, below the suffix of that family's APIs (SAP Concur: Base URIs).
"""

import re
from urllib.parse import SplitResult, urlsplit

from ingestd.http.session import is_loopback
from ingestd.settings import ConcurLogin, OAuthSettings

TOKEN_PATH = "/oauth2/v0/token"  # noqa: S105 - an address
"""SAP Concur: Authentication v2."""
FAMILIES = {"concursolutions.com": "api.concursolutions.com", "concurcdc.cn": "api.concurcdc.cn"}
"""By the domain of the configured host, the domain whose hosts are its APIs.

The hosts beside it (www., eu1., implementation.) are the legacy ones, which take no OAuth 2.0 tokens.
"""
_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_PORTS = {"https": 443, "http": 80}


class NotBelieved(Exception):
    """This geolocation names no host that a token may be sent to; the message says what it names."""


def base_of(geolocation: str, login: ConcurLogin) -> str:
    """The base URL of API calls, `https://HOST`: one path too many and a slash at the end are passed over.

    It is `login.api_url` itself, with its path, when that host is named. Raises NotBelieved.
    """
    told = _split(geolocation)
    if told is None:
        raise NotBelieved("what is no URL of a host")
    scheme, host, port = told
    configured = _split(login.api_url)
    if told == configured:
        return login.api_url
    if not _is_believed(scheme, host, port, configured, login):
        raise NotBelieved(f"{scheme}://{host}:{port}")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + ("" if port == _PORTS[scheme] else f":{port}")


def standing(home: str | None, settings: OAuthSettings) -> str | None:
    """A kept base URL, if it would be believed today; else None: the configured one."""
    if home is None or settings.concur is None:
        return None
    try:
        base = base_of(home, settings.concur)
    except NotBelieved:
        return None
    return None if base == settings.concur.api_url else base


def token_url_at(home: str | None, settings: OAuthSettings) -> str:
    """Where tokens are asked for; `home` None: where it is configured."""
    if home is None or settings.concur is None:
        return settings.token_url
    below = settings.token_url.removeprefix(settings.concur.api_url)
    return home + (below if below != settings.token_url else TOKEN_PATH)


def _is_believed(
    scheme: str, host: str, port: int, configured: tuple[str, str, int] | None, login: ConcurLogin
) -> bool:
    if is_loopback(host):
        return configured is not None and is_loopback(configured[1])
    if scheme != "https":
        return False
    if any(_is_below(host, allowed.lower()) for allowed in login.allowed_hosts):
        return True
    family = next((f for f in FAMILIES if configured is not None and _is_below(configured[1], f)), None)
    return family is not None and port == 443 and host.endswith("." + FAMILIES[family])


def _is_below(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


def _split(text: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of a URL that has no more than a path beside them."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return None
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return None
    host = url.hostname or ""
    fits = _HOST.fullmatch(host) or (":" in host and is_loopback(host))
    if url.scheme not in _PORTS or not fits or _has_more(url):
        return None
    return url.scheme, host, _PORTS[url.scheme] if port is None else port


def _has_more(url: SplitResult) -> bool:
    return "@" in url.netloc or bool(url.query or url.fragment)
