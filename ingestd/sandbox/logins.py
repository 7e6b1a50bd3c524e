"""Who logged in at the token endpoint: refresh tokens alive and dead, authorization codes, and counts.

Secrets are kept as hashes only. Every table has an end: the oldest is forgotten, and a forgotten refresh
token is again one that nobody has seen, which is good once.
"""

import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from ingestd.sandbox.faults import OAUTH_ERRORS
from ingestd.sandbox.switches import Switches

CODE_SECONDS = 600
REQUEST_TOKEN_SECONDS = 86_400
"""The company request token is good for 24 hours, as often as one likes (Concur Authentication)."""

_MOST_LOGINS = 1000
_MOST_TOKENS = 100_000
_BAD = ("bad-", "expired-")


class TokenRefused(Exception):
    """The token endpoint answers with this code of faults.OAUTH_ERRORS."""

    def __init__(self, code: int) -> None:
        super().__init__(OAUTH_ERRORS[code][1])
        self.code = code


@dataclass(slots=True, kw_only=True, eq=False)
class Login:
    """One connection between a client and a user or company, however often it is refreshed."""

    account: str
    client_id: str
    grant: str
    scope: str
    given: int = 0
    refreshes: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    refresh_token: str | None = None
    last_at: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "account": self.account,
            "client_id": self.client_id,
            "grant": self.grant,
            "scope": self.scope,
            "given": self.given,
            "refreshes": self.refreshes,
            "refused": dict(sorted(self.refused.items())),
            "refresh_token": self.refresh_token,
            "last_at": datetime.fromtimestamp(self.last_at, UTC).isoformat(),
        }


@dataclass(slots=True)
class _Client:
    """What one client_id asked of the token endpoint."""

    requests: int = 0
    now: int = 0
    most_at_once: int = 0
    answers: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _RefreshToken:
    login: Login
    expires_at: float
    alive: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Code:
    client_id: str
    redirect_uri: str
    scope: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Renewed:
    """A refresh token that is good now, until a moment in seconds since 1970."""

    token: str
    expires_at: float


_V = TypeVar("_V")


class _Bounded(OrderedDict[str, _V], Generic[_V]):
    """Forgets the oldest beyond its size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: str, value: _V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._most:
            self.popitem(last=False)


class Logins:
    """Every call is short and synchronous: of two refreshes with one token, one comes first."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._clients: _Bounded[_Client] = _Bounded(_MOST_LOGINS)
        self._logins: _Bounded[Login] = _Bounded(_MOST_LOGINS)
        self._refresh: _Bounded[_RefreshToken] = _Bounded(_MOST_TOKENS)
        self._codes: _Bounded[_Code] = _Bounded(_MOST_LOGINS)
        self._request_tokens: _Bounded[float] = _Bounded(_MOST_LOGINS)
        self._revoked: _Bounded[None] = _Bounded(_MOST_TOKENS)

    @contextmanager
    def asking(self, client_id: str) -> Iterator[Counter[str]]:
        """While a request of this client is under way; count its answer in what is given."""
        client = self._clients.setdefault(client_id[:64], _Client())
        client.requests += 1
        client.now += 1
        client.most_at_once = max(client.most_at_once, client.now)
        try:
            yield client.answers
        finally:
            client.now -= 1

    def renew(
        self, token: str, client_id: str, scope: str | None, switches: Switches, now: float
    ) -> tuple[Login, Renewed]:
        """The grant refresh_token. A token that nobody has seen becomes a login of its own."""
        known = self._known(token, client_id, scope, switches, now)
        login = known.login
        if not known.alive or known.expires_at <= now or login.client_id != client_id:
            login.refused["108"] += 1
            raise TokenRefused(108)
        if scope is not None and not set(scope.split()) <= set(login.scope.split()):
            login.refused["54"] += 1
            raise TokenRefused(54)
        login.refreshes += 1
        if not switches.rotation:
            known.expires_at = now + switches.refresh_seconds
            return login, Renewed(token, known.expires_at)
        known.alive = switches.old_refresh_token == "lives"  # noqa: S105 - the value of a switch
        return login, self.new_refresh_token(login, switches, now)

    def log_in(self, client_id: str, who: str, grant: str, scope: str) -> Login:
        """The login of `who` with this client; a scope asked for again replaces the old one."""
        account = _fingerprint(f"{client_id}\0{grant}\0{who}")
        login = self._logins.get(account)
        if login is None:
            login = self._logins[account] = Login(
                account=account, client_id=client_id, grant=grant, scope=scope
            )
        login.scope = scope
        return login

    def new_refresh_token(self, login: Login, switches: Switches, now: float) -> Renewed:
        new = Renewed(f"sandbox-{secrets.token_urlsafe(33)}", now + switches.refresh_seconds)
        self._refresh[_hash(new.token)] = _RefreshToken(login, new.expires_at)
        return new

    def new_code(self, client_id: str, redirect_uri: str, scope: str, now: float) -> str:
        code = secrets.token_urlsafe(24)
        self._codes[_hash(code)] = _Code(
            client_id=client_id, redirect_uri=redirect_uri, scope=scope, expires_at=now + CODE_SECONDS
        )
        return code

    def redeem_code(self, code: str, client_id: str, redirect_uri: str, now: float) -> Login:
        """The grant authorization_code: once, within ten minutes, by whom and for where it was asked."""
        known = self._codes.pop(_hash(code), None)
        if known is None or known.expires_at <= now:
            raise TokenRefused(60)
        if (known.client_id, known.redirect_uri) != (client_id, redirect_uri):
            raise TokenRefused(60)
        return self.log_in(client_id, _hash(code), "authorization_code", known.scope)

    def check_password(self, password: str, *, request_token: bool, now: float) -> None:
        """Any is good but bad-* and expired-*; a request token for a day from its first use."""
        first_use = self._request_tokens.setdefault(_hash(password), now) if request_token else now
        if password.startswith(_BAD) or now - first_use > REQUEST_TOKEN_SECONDS:
            raise TokenRefused(5)

    def revoke(self, number: str) -> None:
        """The access token with this number is dead."""
        self._revoked[number] = None

    def revoked(self, number: str) -> bool:
        return number in self._revoked

    def as_json(self) -> dict[str, Any]:
        """{"clients": [...], "logins": [...]}: of refresh tokens only the fingerprint of the newest."""
        clients = [
            {
                "client_id": client_id,
                "requests": client.requests,
                "most_at_once": client.most_at_once,
                "answers": dict(sorted(client.answers.items())),
            }
            for client_id, client in self._clients.items()
        ]
        return {"clients": clients, "logins": [login.as_json() for login in self._logins.values()]}

    def _known(
        self, token: str, client_id: str, scope: str | None, switches: Switches, now: float
    ) -> _RefreshToken:
        key = _hash(token)
        known = self._refresh.get(key)
        if known is not None:
            return known
        if token.startswith(_BAD):
            raise TokenRefused(108)
        login = self.log_in(client_id, key, "refresh_token", scope or DEFAULT_SCOPE)
        known = self._refresh[key] = _RefreshToken(login, now + switches.refresh_seconds)
        return known


DEFAULT_SCOPE = "openid IMAGE EXTRCT"


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _fingerprint(text: str) -> str:
    return _hash(text)[:12]
