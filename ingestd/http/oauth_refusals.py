"""What a no of an OAuth 2.0 server means: later, or not until a person acts; always as a sentence.

RFC 6749 section 5.2 names a handful of errors; SAP Concur adds numbers of its own (`concur_codes`). No secret
ever gets into a text, whatever the server repeats.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from ingestd.domain.errors import IngestdError
from ingestd.http.concur_codes import CODES, MAINTENANCE, MOVED
from ingestd.http.oauth_answer import number_of, text_of
from ingestd.http.retry_after import retry_after
from ingestd.http.session import Answer
from ingestd.http.tokens import holds, redact
from ingestd.settings import OAuthSettings

MAINTENANCE_PAUSE = timedelta(minutes=5)
"""SAP Concur, HTTP status codes: wait five minutes while a service is under maintenance."""
_SAID_CHARACTERS = 300


class OAuthUnavailable(IngestdError):
    """No access token can be had now; it may be tried again later. `wait`: the pause the server asks for."""

    def __init__(self, message: str, *, wait: timedelta | None = None) -> None:
        super().__init__(message)
        self.wait = wait


class OAuthRefused(OAuthUnavailable):
    """The OAuth server says no until a person acts.

    `code` is its error code (RFC 6749 section 5.2), or SAP Concur's number as text.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class LivesElsewhere(OAuthRefused):
    """The login belongs to another data centre. `geolocation` is what the server says, unproved."""

    def __init__(self, message: str, geolocation: str | None) -> None:
        super().__init__(message, str(MOVED))
        self.geolocation = geolocation


def refusal(
    answer: Answer,
    told: Mapping[str, object] | None,
    settings: OAuthSettings,
    host: str,
    secrets: Sequence[str],
) -> OAuthUnavailable:
    """`told`: the JSON object of the answer, None when it is none. `secrets`: what was sent."""
    if told is None:
        return _no_oauth_answer(answer, host)
    returned = [s for s in (text_of(told, name) for name in ("access_token", "refresh_token")) if s]
    said = _said(told.get("error_description"), [*secrets, *returned])
    number = number_of(told, "code") if settings.concur is not None else None
    if number is not None:
        said += _correlation(answer, secrets)
        return _numbered(number, answer, settings, host, said, _geolocation(told, [*secrets, *returned]))
    given = text_of(told, "error", longest=100) or ""
    code = redact(_ALIASES.get(given, given), secrets)
    if not code:
        return _no_oauth_answer(answer, host)
    if code in _PASSING or _is_passing(answer):
        return OAuthUnavailable(f"{host} gives no access token now ({code}){said}", wait=_asked_wait(answer))
    advice = _ADVICE.get(code, "look the code up at the provider, and check the oauth table")
    return OAuthRefused(f"{host} refuses the client {settings.client_id} ({code}): {advice}{said}", code)


def _numbered(
    number: int,
    answer: Answer,
    settings: OAuthSettings,
    host: str,
    said: str,
    geolocation: str | None,
) -> OAuthUnavailable:
    """An answer of SAP Concur with one of its numbers, which say more than the HTTP status."""
    assert settings.concur is not None
    if number == MAINTENANCE:
        wait = max(_asked_wait(answer) or timedelta(), MAINTENANCE_PAUSE)
        return OAuthUnavailable(
            f"{host} gives no access token now (code {number}): the company is under maintenance{said}",
            wait=wait,
        )
    if _is_passing(answer):
        return OAuthUnavailable(
            f"{host} gives no access token now (HTTP {answer.status}, code {number}){said}",
            wait=_asked_wait(answer),
        )
    advice = CODES.get(number, "look the code up in SAP Concur's documentation of authentication")
    advice = advice.format(login=settings.concur.command, client=settings.client_id)
    message = f"{host} refuses the client {settings.client_id} (code {number}): {advice}{said}"
    if number == MOVED:
        return LivesElsewhere(message, geolocation)
    return OAuthRefused(message, str(number))


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


def _geolocation(told: Mapping[str, object], secrets: Sequence[str]) -> str | None:
    given = text_of(told, "geolocation", longest=300)
    return None if given is None or holds(given, secrets) else given


def _is_passing(answer: Answer) -> bool:
    return answer.status == 429 or answer.status >= 500


def _asked_wait(answer: Answer) -> timedelta | None:
    return retry_after(answer.headers, datetime.now(UTC))


def _no_oauth_answer(answer: Answer, host: str) -> OAuthUnavailable:
    """Empty, or the HTML of something on the way."""
    if _is_passing(answer):
        return OAuthUnavailable(
            f"{host} gives no access token now (HTTP {answer.status})", wait=_asked_wait(answer)
        )
    if 300 <= answer.status < 400:
        return OAuthRefused(
            f"{host} points elsewhere (HTTP {answer.status}); write the new address: token_url"
        )
    return OAuthUnavailable(
        f"{host} does not answer like an OAuth server (HTTP {answer.status}); check token_url"
    )


def _said(description: object, secrets: Sequence[str]) -> str:
    """The first line of what the server says; what follows are trace numbers."""
    if not isinstance(description, str) or not description.strip():
        return ""
    return f" ({_plain(description.strip().splitlines()[0], secrets)})"


def _correlation(answer: Answer, secrets: Sequence[str]) -> str:
    """What SAP Concur's support asks for."""
    given = answer.headers.get("Concur-Correlationid", "").strip()
    return f" (correlation ID {_plain(given, secrets)})" if given else ""


def _plain(text: str, secrets: Sequence[str]) -> str:
    shown = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in redact(text, secrets))
    return shown[:_SAID_CHARACTERS]
