"""Opening sessions with patience: longer, jittered pauses after each failure, long ones after a refusal.

A mail server that is down is not hammered, and an account is not locked by its own mail program. Reading and
filing share one Connector, so that what one of them learns spares the other.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from ingestd.domain.errors import IngestdError
from ingestd.interfaces import SourceUnavailable
from ingestd.settings import MailboxSettings
from ingestd.sources.mail.imap import ImapLoginRefused, ImapRefused, ImapSecret, ImapSession

FIRST_S = 1.0
LONGEST_S = 300.0
FAILURES_AFTER_LOGIN = 5
"""As many count where the server lets us in and fails afterwards: one message may be to blame."""
SLOW_S = 900.0
"""Pause after a refused login, unless the password or token is another one by then."""
SECRET_LOOK_S = {"login": 15.0, "xoauth2": 60.0}
"""How often it is looked at meanwhile; a token may cost a request."""
SECRET_WITHIN_S = 90.0
HEADER_BYTES = 262_144
"""So much is looked at of the header of a message that is too large to be fetched, or can't be opened."""

Credentials = Callable[[], Awaitable[ImapSecret]]


class MailboxSession(ImapSession):
    """A session that can fetch the header alone."""

    async def header(self, uid: int) -> bytes | None:
        """The header of a message, at most HEADER_BYTES of it; None: it is gone."""
        item = "BODY[HEADER]<0>"
        items = await self._items_of(
            uid, f"BODY.PEEK[HEADER]<0.{HEADER_BYTES}>", item, payload=2 * HEADER_BYTES
        )
        if items is None:
            return None
        raw = items[item]
        if not isinstance(raw, bytes):
            raise ImapRefused(f"the server does not give the header of message {uid}")
        return raw


class Connector:
    """Opens sessions of one mailbox. Whoever got one tells whether it was of use: worked() or failed().

    reached() says less than worked(): login and search went well, and what follows may break down every time.
    """

    def __init__(
        self,
        settings: MailboxSettings,
        credentials: Credentials,
        refused: Callable[[ImapSecret], None] = lambda secret: None,
    ) -> None:
        """`refused` hears of every secret that the server did not take."""
        self._settings = settings
        self._credentials = credentials
        self._tell_refused = refused
        self._failures = 0
        self._again_at_s = 0.0
        self._why = ""
        self._turn = asyncio.Lock()
        self._tried: ImapSecret | None = None
        self._taken: ImapSecret | None = None
        """The last one that the server let in."""
        self._refused: ImapSecret | None = None
        self._changed_once = False

    async def open(self) -> MailboxSession:
        """Connected and logged in. Raises SourceUnavailable, at once while it is too early to try again."""
        # One after the other: two that come with the same token would each fetch another one for it.
        async with self._turn:
            if time.monotonic() < self._again_at_s:
                raise SourceUnavailable(self._why)
            try:
                return await self._logged_in()
            except SourceUnavailable as error:
                self.failed(error)
                raise

    def reached(self) -> None:
        self._failures = min(self._failures, FAILURES_AFTER_LOGIN)
        self._refused = None
        self._changed_once = False

    def worked(self) -> None:
        self.reached()
        self._failures = 0

    def failed(self, error: SourceUnavailable) -> None:
        """`error` is said again to those who come too early."""
        self._why = str(error)
        if isinstance(error, ImapLoginRefused):
            self._refused = self._tried
            if self._tried is not None:
                self._tell_refused(self._tried)
            pause_s = SLOW_S
        else:
            longest_s = min(LONGEST_S, FIRST_S * 2 ** min(self._failures, 20))
            pause_s = random.uniform(longest_s / 2, longest_s)
        self._failures += 1
        self._again_at_s = time.monotonic() + pause_s

    async def _logged_in(self) -> MailboxSession:
        """A token that was taken before may end early (revoked, a clock that is wrong): then by a new one."""
        self._tried = secret = await self._secret()
        try:
            session = await MailboxSession.open(self._settings, secret)
        except ImapLoginRefused:
            if secret.kind != "xoauth2" or secret != self._taken:
                raise
            self._taken = None
            self._tell_refused(secret)
            return await self._logged_in()
        self._taken = secret
        return session

    async def pause(self) -> None:
        """Until it may be tried again; sooner when the login that was refused is another one now.

        A person changes a password now and then; access tokens change by themselves, so only the first new
        one after a refusal is tried at once.
        """
        while (left_s := self._again_at_s - time.monotonic()) > 0:
            look_s = self._look_s()
            await asyncio.sleep(min(left_s, left_s if look_s is None else look_s))
            if look_s is not None and await self._has_new_secret():
                self._again_at_s = 0.0
                self._changed_once = True

    def _look_s(self) -> float | None:
        """How often to look whether the login that was refused is another one; None: not at all."""
        if self._refused is None or (self._refused.kind == "xoauth2" and self._changed_once):
            return None
        return SECRET_LOOK_S[self._refused.kind]

    async def _has_new_secret(self) -> bool:
        try:
            return await self._secret() != self._refused
        except SourceUnavailable:
            return False

    async def _secret(self) -> ImapSecret:
        try:
            async with asyncio.timeout(SECRET_WITHIN_S):
                return await self._credentials()
        except TimeoutError:
            raise SourceUnavailable(f"the login of {self._settings.user} can't be had in time") from None
        except (IngestdError, OSError) as error:
            raise SourceUnavailable(f"the login of {self._settings.user} can't be had: {error}") from error
