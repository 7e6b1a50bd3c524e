"""OAuth 2.0 access tokens (RFC 6749): fetched when needed, kept while they are good, one refresh at a time.

A rotated refresh token is on the disk before its access token is given out: a crash in between would lose the
login. Many callers and several processes share one login without spending a refresh token twice.
"""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

from ingestd.http.oauth_endpoint import Granted, OAuthRefused, OAuthUnavailable, ask_for_token
from ingestd.http.oauth_store import Damaged, Kept, Reserved, TokenStore, fingerprint
from ingestd.http.tokens import SecretUnavailable, read_secret
from ingestd.settings import OAuthSettings

__all__ = ["OAuthRefused", "OAuthTokens", "OAuthUnavailable"]

MARGIN = timedelta(seconds=60)
"""A token that expires sooner is not given out: it has to last for the connection it is used for."""


class OAuthTokens:
    """The tokens of one login. `name` is what `ingestd login` calls it. For one event loop."""

    def __init__(self, settings: OAuthSettings, *, name: str) -> None:
        self._settings = settings
        self._name = name
        self._store = TokenStore(settings.store)
        self._cached: tuple[str, float] | None = None
        """A token, and when it is no longer given out, by the monotonic clock."""
        self._refreshing: asyncio.Task[str] | None = None
        self._unsaved: tuple[Kept | None, Kept] | None = None
        """What could not be saved, behind what the store held instead of it."""

    def __repr__(self) -> str:
        return f"<OAuthTokens {self._name}>"

    async def access_token(self) -> str:
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
        if self._cached is not None and self._cached[0] == token:
            self._cached = None

    async def keep(self, granted: Granted) -> None:
        """Makes a new login (`ingestd login`) the one that is used. Raises OAuthUnavailable."""
        if granted.refresh_token is None:
            raise OAuthRefused(
                "the server gave no refresh token, so the login would end within the hour; ask for one: "
                "Microsoft wants offline_access in scope"
            )
        async with self._store.locked() as store:
            await store.save(self._kept(granted.refresh_token, _fingerprint_or_none(self._seed())))
        self._unsaved = None
        self._remember(granted)

    def check(self) -> str | None:
        """What is missing for a login, without asking the server; None when all is there."""
        if self._settings.grant == "client_credentials":
            return None
        try:
            self._current(self._store.load())
        except (OAuthUnavailable, SecretUnavailable) as error:
            return str(error)
        return None

    async def aclose(self) -> None:
        """Lets a refresh come to its end: what it is given must not be lost."""
        if self._refreshing is not None:
            with suppress(OAuthUnavailable, SecretUnavailable):
                await asyncio.shield(self._refreshing)

    def _refreshed(self, task: asyncio.Task[str]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # heard: every caller may have given up

    async def _refresh(self) -> str:
        if self._settings.grant == "client_credentials":
            form = {"grant_type": "client_credentials", "scope": self._settings.scope}
            return self._remember(await ask_for_token(self._settings, form))
        async with self._store.locked() as store:
            # Read under the lock: another process may have spent the one we knew.
            return await self._exchange(store)

    async def _exchange(self, store: Reserved) -> str:
        held = self._held(store)
        current = self._current(held)
        form = {
            "grant_type": "refresh_token",
            "refresh_token": current.refresh_token,
            "scope": self._settings.scope,
        }
        granted = await ask_for_token(self._settings, form)
        following = self._kept(granted.refresh_token or current.refresh_token, current.seed)
        if following != held or self._unsaved is not None:
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
            if self._seed() is None:
                raise
            found = None
        if self._unsaved is None:
            return found
        if found == self._unsaved[0]:
            return self._unsaved[1]
        self._unsaved = None  # somebody logged in meanwhile
        return found

    def _current(self, kept: Kept | None) -> Kept:
        """The refresh token to use: the kept one, unless the configured one was changed since.

        Raises OAuthRefused when there is none, SecretUnavailable when the only one can't be read.
        """
        seed = self._seed()
        if kept is not None and self._is_ours(kept) and (seed is None or kept.seed == fingerprint(seed)):
            return kept
        if seed is not None:
            return self._kept(seed, fingerprint(seed))
        if kept is not None:
            raise OAuthRefused(
                "the login that is kept belongs to another client_id or token_url; run: "
                f"ingestd login {self._name}"
            )
        if self._settings.refresh_token is not None:
            read_secret(self._settings.refresh_token)
        raise OAuthRefused(f"nobody has logged in yet; run: ingestd login {self._name}")

    def _seed(self) -> str | None:
        """The configured refresh token; it may be removed once it was used."""
        if self._settings.refresh_token is None:
            return None
        try:
            return read_secret(self._settings.refresh_token)
        except SecretUnavailable:
            return None

    def _is_ours(self, kept: Kept) -> bool:
        return (kept.client_id, kept.token_url) == (self._settings.client_id, self._settings.token_url)

    def _kept(self, refresh_token: str, seed: str | None) -> Kept:
        return Kept(
            refresh_token=refresh_token,
            client_id=self._settings.client_id,
            token_url=self._settings.token_url,
            seed=seed,
        )

    def _remember(self, granted: Granted) -> str:
        # Of a token that lives shortly, half its life.
        margin = min(MARGIN, granted.lifetime / 2)
        self._cached = granted.access_token, time.monotonic() + (granted.lifetime - margin).total_seconds()
        return granted.access_token


def _fingerprint_or_none(seed: str | None) -> str | None:
    return None if seed is None else fingerprint(seed)
