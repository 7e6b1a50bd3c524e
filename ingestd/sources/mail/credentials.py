"""What a mailbox is logged in with now: its password, or an access token that is refreshed when need be."""

import asyncio

from ingestd.http.oauth import OAuthTokens
from ingestd.http.tokens import read_password
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.imap import ImapSecret


class MailboxLogin:
    """One for each mailbox. Close it at the end."""

    def __init__(self, settings: MailboxSettings) -> None:
        self._settings = settings
        self._tokens = None if settings.oauth is None else OAuthTokens(settings.oauth, name=settings.name)

    async def __call__(self) -> ImapSecret:
        """Raises SecretUnavailable, OAuthUnavailable (try later), OAuthRefused (a person must act)."""
        if self._tokens is not None:
            return ImapSecret("xoauth2", await self._tokens.access_token())
        assert self._settings.password is not None
        return ImapSecret("login", await asyncio.to_thread(read_password, self._settings.password))

    def refused(self, secret: ImapSecret) -> None:
        """The mail server does not take it; the next access token is a new one."""
        if self._tokens is not None:
            self._tokens.invalidate(secret.value)

    async def aclose(self) -> None:
        if self._tokens is not None:
            await self._tokens.aclose()
