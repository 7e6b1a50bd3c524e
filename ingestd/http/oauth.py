"""OAuth 2.0 access tokens (RFC 6749): fetched when needed, kept while they are good, one refresh at a time.

A rotated refresh token is on the disk before its access token is given out: a crash in between would lose the
login. Many callers and several processes share one login without spending a refresh token twice.
"""

import asyncio
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.http.geolocation import standing
from ingestd.http.oauth_endpoint import Granted, ask_for_token
from ingestd.http.oauth_refusals import OAuthRefused, OAuthUnavailable
from ingestd.http.oauth_seeds import Seeds
from ingestd.http.oauth_store import Damaged, Kept, Reserved, TokenStore
from ingestd.http.tokens import SecretUnavailable, redact
from ingestd.settings import OAuthSettings

__all__ = ["Access", "OAuthRefused", "OAuthTokens", "OAuthUnavailable"]

MARGIN = timedelta(seconds=60)
"""A token that expires sooner is not given out: it has to last for the connection it is used for."""
_REMEMBERED_SECRETS = 32
"""Of those that were sent or given: more than the workers can still have in hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An access token and the only API it may be sent to.

    `base_url`: https://HOST[:PORT][/PATH], without a slash at its end; it may differ from the configured url
    and may be another one in the next Access. Empty for logins whose tokens are for no HTTP API (mailboxes).
    `generation` counts the tokens of one login in one process.
    """

    token: str = field(repr=False)
    base_url: str = ""
    generation: int


class OAuthTokens:
    """The tokens of one login. `name` is what `ingestd login` calls it. For one event loop."""

    def __init__(self, settings: OAuthSettings, *, name: str) -> None:
        self._settings = settings
        self._name = name
        self._store = TokenStore(settings.store)
        self._seeds = Seeds(settings, name)
        self._cached: tuple[Access, float] | None = None
        """A token, and when it is no longer given out, by the monotonic clock."""
        self._refreshing: asyncio.Task[Access] | None = None
        self._unsaved: tuple[Kept | None, Kept] | None = None
        """What could not be saved, behind what the store held instead of it."""
        self._generation = 0
        self._home: str | None = None
        """Where the login lives as far as this process knows; a login that is kept knows it itself."""
        self._told: deque[str] = deque(maxlen=_REMEMBERED_SECRETS)
        self.warning: str | None = None
        """What the server told last that is not believed, for a person."""

    def __repr__(self) -> str:
        return f"<OAuthTokens {self._name}>"

    async def access_token(self) -> str:
        """The token of `access`."""
        return (await self.access()).token

    async def access(self) -> Access:
        """A token that is good for a minute at least, as far as the server told.

        Raises OAuthRefused when a person must act, OAuthUnavailable when it may be better later, and
        SecretUnavailable when a configured secret can't be read.
        """
        if self._cached is not None and time.monotonic() < self._cached[1]:
            return self._cached[0]
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh(), name=f"refresh of {self._name}")
            self._refreshing.add_done_callback(self._refreshed)
        # A caller that gives up must not interrupt it: the server may have rotated the refresh token.
        return await asyncio.shield(self._refreshing)

    def invalidate(self, token: str) -> None:
        """The server refused this one: the next call fetches another."""
        if self._cached is not None and self._cached[0].token == token:
            self._cached = None

    async def keep(self, granted: Granted) -> None:
        """Makes a new login (`ingestd login`) the one that is used. Raises OAuthUnavailable."""
        if granted.refresh_token is None:
            raise OAuthRefused(self._seeds.no_refresh_token)
        kept = self._seeds.kept(granted.refresh_token, granted, seed=self._seeds.fingerprint())
        async with self._store.locked() as store:
            await store.save(kept)
        self._unsaved = None
        self._remember(granted)

    def check(self) -> str | None:
        """What is missing for a login, without asking the server; None when all is there."""
        if self._settings.grant == "client_credentials":
            return None
        try:
            self._seeds.question(self._store.load())
        except (OAuthUnavailable, SecretUnavailable) as error:
            return str(error)
        return None

    @property
    def expires_at(self) -> Instant | None:
        """When a person has to log in again at the latest, None: unknown. Reads the store."""
        with suppress(OAuthUnavailable, SecretUnavailable):
            return self._seeds.expires_at(self._store.load())
        return None

    def redact(self, text: str) -> str:
        """`text` without the secrets of this login, as far as they were used or can be read."""
        return redact(text, [*self._told, *self._seeds.secrets()])

    async def aclose(self) -> None:
        """Lets a refresh come to its end: what it is given must not be lost."""
        if self._refreshing is not None:
            with suppress(OAuthUnavailable, SecretUnavailable):
                await asyncio.shield(self._refreshing)

    def _refreshed(self, task: asyncio.Task[Access]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # heard: every caller may have given up

    async def _refresh(self) -> Access:
        if self._settings.grant == "client_credentials":
            form = {"grant_type": "client_credentials", "scope": self._settings.scope}
            return self._remember(await ask_for_token(self._settings, form, home=self._home))
        async with self._store.locked() as store:
            # Read under the lock: another process may have spent the one we knew.
            return await self._exchange(store)

    async def _exchange(self, store: Reserved) -> Access:
        held = self._held(store)
        question = self._seeds.question(held)
        if question.refresh_token is not None:
            self._told.append(question.refresh_token)
        home = standing(question.home, self._settings)
        granted = await ask_for_token(self._settings, question.form, home=home)
        following = self._seeds.following(question, granted)
        if following is not None and (following != held or self._unsaved is not None):
            on_disk = held if self._unsaved is None else self._unsaved[0]
            self._unsaved = (on_disk, following)
            await store.save(following)
            self._unsaved = None
        return self._remember(granted)

    def _held(self, store: Reserved) -> Kept | None:
        """What the store has, or what could not be saved in its place."""
        try:
            found = store.load()
        except Damaged:
            if self._seeds.fingerprint() is None:
                raise
            found = None
        if self._unsaved is None:
            return found
        if found == self._unsaved[0]:
            return self._unsaved[1]
        self._unsaved = None  # somebody logged in meanwhile
        return found

    def _remember(self, granted: Granted) -> Access:
        # Of a token that lives shortly, half its life.
        margin = min(MARGIN, granted.lifetime / 2)
        self._generation += 1
        self._home, self.warning = granted.home, granted.warning
        self._told += [s for s in (granted.access_token, granted.refresh_token) if s is not None]
        configured = "" if self._settings.concur is None else self._settings.concur.api_url
        access = Access(
            token=granted.access_token, base_url=self._home or configured, generation=self._generation
        )
        self._cached = access, time.monotonic() + (granted.lifetime - margin).total_seconds()
        return access
