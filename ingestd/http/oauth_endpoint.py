"""One question to an OAuth 2.0 server (RFC 6749 section 3.2) and its answer, as a value or a sentence.

A form goes out by POST, without redirects; what comes back is bounded JSON. No secret and no token ever gets
into a text, whatever the server repeats.
"""

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlencode, urlsplit, urlunsplit

from ingestd.domain.errors import IngestdError
from ingestd.http.session import Answer, AnswerLost, NotSent, Request, Session
from ingestd.http.tokens import LONGEST_SECRET_BYTES, read_secret, redact
from ingestd.settings import OAuthSettings

SILENCE = timedelta(seconds=20)
UNTOLD_LIFETIME = timedelta(minutes=5)
"""Of an access token whose answer has no expires_in, which RFC 6749 section 5.1 allows."""
LONGEST_LIFETIME = timedelta(days=1)
_SAID_CHARACTERS = 300


class OAuthUnavailable(IngestdError):
    """No access token can be had now; it may be tried again later."""


class OAuthRefused(OAuthUnavailable):
    """The OAuth server says no until a person acts. `code` is its error code (RFC 6749 section 5.2)."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a token endpoint gave. `refresh_token` None: the one that was used stays."""

    access_token: str = field(repr=False)
    lifetime: timedelta
    refresh_token: str | None = field(default=None, repr=False)


async def ask_for_token(settings: OAuthSettings, form: Mapping[str, str]) -> Granted:
    """A grant's answer. `form` has the grant_type and what belongs to it; the client is added here.

    Raises OAuthUnavailable, OAuthRefused, SecretUnavailable.
    """
    return _granted(await ask(settings, settings.token_url, form), settings.token_url)


async def ask(settings: OAuthSettings, url: str, form: Mapping[str, str]) -> Mapping[str, object]:
    """The JSON object of a good answer. Raises OAuthUnavailable, OAuthRefused, SecretUnavailable."""
    known = {name: value for name, value in form.items() if value}
    known["client_id"] = settings.client_id
    if settings.client_secret is not None:
        known["client_secret"] = read_secret(settings.client_secret)
    secrets = [known[name] for name in _SECRET_FIELDS if name in known]
    answer = await _exchanged(url, urlencode(known).encode("ascii"))
    told = _json_object(answer.body)
    if answer.status == 200 and told is not None and "error" not in told:
        return told
    raise _refusal(answer, told or {}, settings, host_of(url), secrets)


def host_of(url: str) -> str:
    return urlsplit(url).netloc


def text_of(told: Mapping[str, object], name: str, *, longest: int = LONGEST_SECRET_BYTES) -> str | None:
    """A value of visible ASCII that may stand in a header or a form; None when there is none."""
    value = told.get(name)
    fine = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    return value if isinstance(value, str) and fine and 0 < len(value) <= longest else None


def seconds_of(told: Mapping[str, object], name: str) -> float | None:
    """A number, or text that is one (older Microsoft endpoints); None for nonsense."""
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 20:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


_SECRET_FIELDS = ("client_secret", "refresh_token", "device_code", "code", "code_verifier")


async def _exchanged(url: str, content: bytes) -> Answer:
    """A connection for this one question: hours lie between two of them."""
    parts = urlsplit(url)
    session = Session(urlunsplit((parts.scheme, parts.netloc, "", "", "")), connections=1)
    request = Request(
        method="POST",
        url=url,
        headers={"Accept": "application/json"},
        content=content,
        content_type="application/x-www-form-urlencoded",
        silence=SILENCE,
    )
    try:
        result = await session.exchange(request)
    finally:
        await session.aclose()
    match result:
        case Answer():
            return result
        case NotSent(connected=False):
            raise OAuthUnavailable(f"{result.reason} It is asked for access tokens; check its URL.")
        case NotSent() | AnswerLost():
            raise OAuthUnavailable(f"{parts.netloc} gave no access token: {result.reason}")


def _json_object(body: bytes) -> dict[str, object] | None:
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _granted(told: Mapping[str, object], url: str) -> Granted:
    access = text_of(told, "access_token")
    kind = told.get("token_type", "Bearer")
    if access is None or not isinstance(kind, str) or kind.lower() != "bearer":
        raise OAuthUnavailable(f"{host_of(url)} answered without a usable access token; check token_url")
    seconds = seconds_of(told, "expires_in")
    lifetime = UNTOLD_LIFETIME if seconds is None else timedelta(seconds=min(seconds, 1e6))
    return Granted(
        access_token=access,
        lifetime=min(lifetime, LONGEST_LIFETIME),
        refresh_token=text_of(told, "refresh_token"),
    )


# --- what a refusal means ----------------------------------------------------------------------------------

_PASSING = frozenset({"temporarily_unavailable", "server_error", "internal_failure", "rate_limit_exceeded"})

_ADVICE = {
    "invalid_grant": "the login is not good any more (revoked, expired, used elsewhere, or the password was "
    "changed); log in again with ingestd login",
    "invalid_client": "the server does not know this client, or its secret is wrong or has expired; check "
    "client_id and client_secret_file",
    "unauthorized_client": "this client may not ask in this way; allow it where the client is registered, or "
    "check grant, tenant and client_id",
    "unsupported_grant_type": "the server does not know this grant; check grant and token_url",
    "invalid_scope": "the server does not give this scope to this client; check scope, and what the client "
    "is allowed",
    "invalid_request": "the server does not understand the question; check token_url, client_id, scope, and "
    "whether the client needs a client_secret_file",
    "access_denied": "the person, or an administrator, said no; begin again, or have the client allowed",
    "consent_required": "an administrator has to allow this client first; then log in again",
    "interaction_required": "the server wants the person to log in again; use ingestd login",
    "expired_token": "the code was not entered in time; begin again",
}
_ALIASES = {"authorization_declined": "access_denied", "code_expired": "expired_token"}


def _refusal(
    answer: Answer,
    told: Mapping[str, object],
    settings: OAuthSettings,
    host: str,
    secrets: list[str],
) -> OAuthUnavailable:
    given = text_of(told, "error", longest=100)
    code = _ALIASES.get(given or "", given or "")
    if not code:
        return _no_oauth_answer(answer, host)
    secrets = secrets + [s for s in (text_of(told, n) for n in ("access_token", "refresh_token")) if s]
    said = _said(told.get("error_description"), secrets)
    if code in _PASSING or answer.status >= 500:
        return OAuthUnavailable(f"{host} gives no access token now ({code}){said}")
    advice = _ADVICE.get(code, "look the code up at the provider, and check the [mailboxes.oauth] table")
    return OAuthRefused(f"{host} refuses the client {settings.client_id} ({code}): {advice}{said}", code)


def _no_oauth_answer(answer: Answer, host: str) -> OAuthUnavailable:
    if answer.status == 429 or answer.status >= 500:
        return OAuthUnavailable(f"{host} gives no access token now (HTTP {answer.status})")
    if 300 <= answer.status < 400:
        return OAuthRefused(
            f"{host} points elsewhere (HTTP {answer.status}); write the new address: token_url"
        )
    return OAuthUnavailable(
        f"{host} does not answer like an OAuth server (HTTP {answer.status}); check token_url"
    )


def _said(description: object, secrets: list[str]) -> str:
    """The first line of what the server says; what follows are trace numbers."""
    if not isinstance(description, str) or not description.strip():
        return ""
    line = redact(description.strip().splitlines()[0], secrets)
    shown = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in line)
    return f" ({shown[:_SAID_CHARACTERS]})"
