"""One question to an OAuth 2.0 server (RFC 6749 section 3.2) and its answer, as a value or a sentence.

A form goes out by POST, without redirects; what comes back is bounded JSON. No secret and no token ever gets
into a text, whatever the server repeats. SAP Concur may name another data centre: it is asked there once.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from urllib.parse import urlencode, urlsplit, urlunsplit

from ingestd.domain.document import Instant
from ingestd.http.geolocation import NotBelieved, base_of, token_url_at
from ingestd.http.oauth_answer import json_object, number_of, seconds_of, text_of
from ingestd.http.oauth_refusals import LivesElsewhere, OAuthRefused, OAuthUnavailable, refusal
from ingestd.http.session import Answer, AnswerLost, NotSent, Request, Session
from ingestd.http.tokens import holds, read_secret
from ingestd.settings import ConcurLogin, OAuthSettings

SILENCE = timedelta(seconds=20)
UNTOLD_LIFETIME = timedelta(minutes=5)
"""Of an access token whose answer has no expires_in, which RFC 6749 section 5.1 allows."""
LONGEST_LIFETIME = timedelta(days=1)
_FIRST_EPOCH_SECONDS = 1_000_000_000
"""Of September 2001: a smaller refresh_expires_in is a duration, as its name says, of 31 years at most."""
_LAST_EPOCH_SECONDS = 4_102_444_800
"""Of the year 2100; what is larger is no number of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a token endpoint gave. `refresh_token` None: the one that was used stays.

    `refresh_expires_at`: when that ends, None when it wasn't told. `home`: the base URL of the data centre
    that the login lives in, None for the configured one. `warning`: what was told and is not believed.
    """

    access_token: str = field(repr=False)
    lifetime: timedelta
    refresh_token: str | None = field(default=None, repr=False)
    refresh_expires_at: Instant | None = None
    home: str | None = None
    warning: str | None = None


async def ask_for_token(
    settings: OAuthSettings, form: Mapping[str, str], *, home: str | None = None
) -> Granted:
    """A grant's answer. `form` has the grant_type and what belongs to it; the client is added here.

    `home`: the data centre to ask, None for the configured one. Raises OAuthUnavailable, OAuthRefused,
    SecretUnavailable.
    """
    try:
        return await _asked_at(settings, form, home)
    except LivesElsewhere as moved:
        assert settings.concur is not None
        elsewhere = _proved(moved, settings.concur, home)
    try:
        return await _asked_at(settings, form, elsewhere)
    except LivesElsewhere as again:
        raise OAuthRefused(
            f"one data centre points to the other, and none takes the login: {again}"
        ) from None


async def ask(settings: OAuthSettings, url: str, form: Mapping[str, str]) -> Mapping[str, object]:
    """The JSON object of a good answer. Raises OAuthUnavailable, OAuthRefused, SecretUnavailable."""
    return await _told(settings, url, _completed(settings, form))


def host_of(url: str) -> str:
    return urlsplit(url).netloc


_SECRET_FIELDS = ("client_secret", "refresh_token", "device_code", "code", "code_verifier", "password")


def _completed(settings: OAuthSettings, form: Mapping[str, str]) -> dict[str, str]:
    known = {name: value for name, value in form.items() if value}
    known["client_id"] = settings.client_id
    if settings.client_secret is not None:
        known["client_secret"] = read_secret(settings.client_secret)
    return known


def _secrets_in(form: Mapping[str, str]) -> Sequence[str]:
    return [form[name] for name in _SECRET_FIELDS if name in form]


async def _told(settings: OAuthSettings, url: str, form: Mapping[str, str]) -> Mapping[str, object]:
    answer = await _exchanged(url, urlencode(form).encode("ascii"))
    told = json_object(answer.body)
    if answer.status == 200 and told is not None and "error" not in told:
        return told
    raise refusal(answer, told, settings, host_of(url), _secrets_in(form))


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


async def _asked_at(settings: OAuthSettings, form: Mapping[str, str], home: str | None) -> Granted:
    url, known = token_url_at(home, settings), _completed(settings, form)
    told = await _told(settings, url, known)
    access, refresh = text_of(told, "access_token"), text_of(told, "refresh_token")
    kind = told.get("token_type", "Bearer")
    if access is None or not isinstance(kind, str) or kind.lower() != "bearer":
        raise OAuthUnavailable(f"{host_of(url)} answered without a usable access token; check token_url")
    seconds = seconds_of(told, "expires_in")
    lifetime = UNTOLD_LIFETIME if seconds is None else timedelta(seconds=min(seconds, 1e6))
    granted = Granted(
        access_token=access, lifetime=min(lifetime, LONGEST_LIFETIME), refresh_token=refresh, home=home
    )
    if settings.concur is None:
        return granted
    secrets = [*_secrets_in(known), access, *([] if refresh is None else [refresh])]
    lives, warning = _lives_at(told, settings.concur, home, secrets)
    return replace(granted, refresh_expires_at=_end_of_refresh(told), home=lives, warning=warning)


def _end_of_refresh(told: Mapping[str, object]) -> Instant | None:
    """SAP Concur's refresh_expires_in is the end itself, in seconds since 1970."""
    seconds = number_of(told, "refresh_expires_in")
    if not seconds or seconds > _LAST_EPOCH_SECONDS:
        return None
    if seconds < _FIRST_EPOCH_SECONDS:
        seconds += int(time.time())
    return Instant(seconds * 1_000_000)


def _lives_at(
    told: Mapping[str, object], login: ConcurLogin, home: str | None, secrets: Sequence[str]
) -> tuple[str | None, str | None]:
    """The base URL, None for the configured one, and what is to be said when the answer is not believed."""
    geolocation = text_of(told, "geolocation", longest=300)
    if geolocation is None:
        return home, None
    try:
        base = base_of(geolocation, login)
    except NotBelieved as error:
        named = "what looks like a secret" if holds(geolocation, secrets) else str(error)
        return home, (
            f"the server says that the login lives at {named}, where no token is sent: it stays at "
            f"{home or login.api_url}; if that host is right, add it: allowed_hosts"
        )
    return (None if base == login.api_url else base), None


def _proved(moved: LivesElsewhere, login: ConcurLogin, home: str | None) -> str | None:
    """Where to ask now. Raises OAuthRefused when there is no such place."""
    if moved.geolocation is None:
        raise moved
    try:
        base = base_of(moved.geolocation, login)
    except NotBelieved as error:
        raise OAuthRefused(
            f"{moved}; it names {error}, where no token is sent; if that is right, add it: allowed_hosts",
            moved.code,
        ) from None
    if base == (home or login.api_url):
        raise OAuthRefused(f"{moved}; it names the one that was asked", moved.code)
    return None if base == login.api_url else base
