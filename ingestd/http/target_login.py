"""What a target is logged in with: a static token, or OAuth 2.0, behind one face for every API.

One TargetLogin for each (target, account), shared by all workers: they cause one refresh together, and a
token that the API goes on refusing is not fetched again and again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.http.expiry import end_of_jwt
from ingestd.http.oauth import Access, OAuthTokens
from ingestd.http.oauth_refusals import OAuthRefused, OAuthUnavailable
from ingestd.http.tokens import SecretReader, SecretUnavailable, redact
from ingestd.interfaces import Level, Observer
from ingestd.settings import ConcurImageV1Settings, OAuthSettings, Secret

__all__ = ["Access", "OAuthRefused", "OAuthUnavailable", "SecretUnavailable", "TargetLogin", "target_logins"]

IN_VAIN = timedelta(minutes=1)
"""A token that was fetched because the API refused the one before, and is refused too, is as good as it gets
for so long: the API's no is about what the user may do."""
PAUSE = timedelta(seconds=10)
"""A token server that could give none is left alone for so long, whoever asks; longer if it says so."""
LONGEST_PAUSE = timedelta(minutes=15)
_REMEMBERED_TOKENS = 8


def target_logins(
    settings: ConcurImageV1Settings, *, observer: Observer | None = None
) -> Mapping[str | None, "TargetLogin"]:
    """One for the target's own user (None), where there is one, and one for each account."""
    own = settings.oauth or settings.token
    found: dict[str | None, Secret | OAuthSettings] = {} if own is None else {None: own}
    found.update(settings.accounts)
    return {
        account: TargetLogin(how, target=settings.name, account=account, url=settings.url, observer=observer)
        for account, how in found.items()
    }


class TargetLogin:
    """For one event loop; safe for any number of tasks. Close it at the end."""

    def __init__(
        self,
        how: Secret | OAuthSettings,
        *,
        target: str,
        account: str | None,
        url: str,
        observer: Observer | None = None,
    ) -> None:
        """`url`: the configured base of the API."""
        self.target = target
        self.account = account
        self._how: _Static | _Renewing
        if isinstance(how, Secret):
            self._how = _Static(how, url)
        else:
            self._how = _Renewing(how, self, observer)

    def __repr__(self) -> str:
        return f"<TargetLogin {self}>"

    def __str__(self) -> str:
        """`concur`, or `concur, account ann`."""
        return self.target + (f", account {self.account}" if self.account else "")

    @property
    def place(self) -> str:
        """Where the token comes from, for texts: `file /etc/…/concur-token`, `the login of concur`."""
        return str(self._how.secret) if isinstance(self._how, _Static) else self.title

    @property
    def title(self) -> str:
        """What ends one day, as the subject of a sentence: `the token of concur`, `the login of concur`."""
        return f"the {'token' if isinstance(self._how, _Static) else 'login'} of {self}"

    @property
    def fix(self) -> str:
        """What a person does when the API refuses the token for good: a sentence without its full stop."""
        return self._how.fix

    @property
    def expires_at(self) -> Instant | None:
        """When a person has to log in again at the latest; None: unknown. Reads a small file.

        Of OAuth the end of the refresh token (or, before the first login, of the request token); of a static
        JWT its `exp`, unverified (RFC 7519 section 4.1.4).
        """
        return self._how.expires_at

    async def token(self) -> Access:
        """A token to use now, fetched or renewed if need be, and the base URL it is for.

        Raises OAuthRefused (a person must act), OAuthUnavailable (may be better later; its `wait` says when,
        if the server told) and SecretUnavailable. The first is a child of the second. What the token server
        could not give is not asked for again within PAUSE, and raised again.
        """
        return await self._how.token()

    def invalidate(self, refused: Access) -> None:
        """The API refused this one (401 or 403): the next `token()` renews it.

        Nothing happens when it isn't the newest any more (others complained before), for static tokens, and
        when the newest was itself fetched because of such a complaint less than IN_VAIN ago: then the token
        is not what is wrong.
        """
        self._how.invalidate(refused)

    async def renewed_since(self, refused: Access) -> Access | None:
        """After `invalidate`: another token than this one, with which repeating the call makes sense.

        None: there is none, and the API's no is about what the user may do, or a person must act. Raises
        nothing; what kept a renewal from succeeding is raised by the next `token()`.
        """
        try:
            newest = await self.token()
        except (OAuthUnavailable, SecretUnavailable):
            return None
        return newest if newest.token != refused.token else None

    def redact(self, text: str) -> str:
        """`text` without any secret of this login, earlier ones included."""
        return self._how.redact(text)

    def check(self) -> str | None:
        """What is missing before the first call, without asking anybody; None when all is there."""
        return self._how.check()

    async def aclose(self) -> None:
        """Lets a refresh come to its end: what it is given must not be lost."""
        await self._how.aclose()


class _Static:
    """A token that a person puts into a file: a new one there is a new generation."""

    def __init__(self, secret: Secret, url: str) -> None:
        self.secret = secret
        self._url = url
        self._read = SecretReader(secret)
        self._newest: Access | None = None
        self._seen: deque[str] = deque(maxlen=_REMEMBERED_TOKENS)

    @property
    def fix(self) -> str:
        return f"put a valid token into {self.secret}; it is picked up by itself"

    @property
    def expires_at(self) -> Instant | None:
        try:
            return end_of_jwt(self._read())
        except SecretUnavailable:
            return None

    async def token(self) -> Access:
        value = await asyncio.to_thread(self._read)
        newest = self._newest
        if newest is None or newest.token != value:
            number = 1 if newest is None else newest.generation + 1
            newest = self._newest = Access(token=value, base_url=self._url, generation=number)
            self._seen.append(value)
        return newest

    def invalidate(self, refused: Access) -> None:
        """There is nothing to renew: the file is looked at for each token anyway."""

    def redact(self, text: str) -> str:
        return redact(text, self._seen)

    def check(self) -> str | None:
        try:
            self._read()
        except SecretUnavailable as error:
            return str(error)
        return None

    async def aclose(self) -> None:
        """Nothing is open."""


class _Renewing:
    """OAuth 2.0: what many workers want and complain of, turned into few questions."""

    def __init__(self, settings: OAuthSettings, login: TargetLogin, observer: Observer | None) -> None:
        command = "ingestd login" if settings.concur is None else settings.concur.command
        self.fix = f"run: {command}"
        self._tokens = OAuthTokens(settings, name=str(login))
        self._login = login
        self._observer = observer
        self._newest: Access | None = None
        self._complained_of: int | None = None
        """The generation that the next one is fetched in place of."""
        self._replacement: tuple[int, float] | None = None
        """The generation that was fetched because of a complaint, and when."""
        self._trouble: tuple[OAuthUnavailable, float] | None = None
        """The last no of the token server, and until when it stands."""

    @property
    def expires_at(self) -> Instant | None:
        return self._tokens.expires_at

    async def token(self) -> Access:
        if self._trouble is not None and time.monotonic() < self._trouble[1]:
            raise self._trouble[0].with_traceback(None)
        try:
            access = await self._tokens.access()
        except OAuthUnavailable as error:
            pause = min(max(error.wait or PAUSE, PAUSE), LONGEST_PAUSE)
            self._trouble = error, time.monotonic() + pause.total_seconds()
            raise
        self._trouble = None
        if self._newest is None or access.generation > self._newest.generation:
            self._took(access, before=self._newest)
        return access

    def invalidate(self, refused: Access) -> None:
        newest = self._newest
        if newest is None or refused.generation != newest.generation or self._is_in_vain(newest):
            return
        self._complained_of = newest.generation
        self._tokens.invalidate(newest.token)

    def redact(self, text: str) -> str:
        return self._tokens.redact(text)

    def check(self) -> str | None:
        return self._tokens.check()

    async def aclose(self) -> None:
        await self._tokens.aclose()

    def _is_in_vain(self, newest: Access) -> bool:
        if self._replacement is None or self._replacement[0] != newest.generation:
            return False
        return time.monotonic() - self._replacement[1] < IN_VAIN.total_seconds()

    def _took(self, access: Access, *, before: Access | None) -> None:
        """The first caller that gets a new token notes what there is to note of it."""
        self._newest = access
        if self._complained_of is not None:
            self._replacement = access.generation, time.monotonic()
            self._complained_of = None
        self._note("login.renewed", generation=access.generation)
        if before is not None and before.base_url != access.base_url:
            self._note("login.moved", to=access.base_url)
        if self._tokens.warning is not None:
            self._note("login.misdirected", level="warning", reason=self._tokens.redact(self._tokens.warning))

    def _note(self, event: str, *, level: Level = "info", **fields: object) -> None:
        if self._observer is not None:
            self._observer.note(
                event, level=level, target=self._login.target, account=self._login.account, **fields
            )
