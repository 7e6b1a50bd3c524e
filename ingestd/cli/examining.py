"""Looks at a mailbox and at the mail server for answers as the daemon will meet them: one finding for each
thing that can be wrong, with what to do. No message is read or sent; missing target mailboxes are made.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta

from ingestd.cli.examining_marks import Marked
from ingestd.cli.finding import Finding
from ingestd.clock import process_clock
from ingestd.http.oauth import OAuthUnavailable
from ingestd.http.tokens import SecretUnavailable
from ingestd.replies import SmtpCorrespondent
from ingestd.settings import MailboxSettings, Settings, SmtpSettings
from ingestd.sources.mail.credentials import MailboxLogin
from ingestd.sources.mail.imap import (
    ImapError,
    ImapLoginRefused,
    ImapRefused,
    ImapSession,
    Selected,
)
from ingestd.sources.mail.imap_login import connected
from ingestd.sources.mail.second_connection import KEYWORD, keeps_keywords

CERTIFICATE_DAYS = 14
"""Fewer days than this are a warning: somebody has to act soon."""
CLOCK_APART = timedelta(minutes=2)
QUOTA_SHARE = 0.9

TellMarked = Callable[[Marked], None]


def _tell_nobody(marked: Marked) -> None:
    """Whoever has no ledger at hand can't judge them."""


async def examine_mailbox(settings: MailboxSettings, tell_marked: TellMarked = _tell_nobody) -> list[Finding]:
    """From the name to the clock; ends at the first thing without which the next can't be looked at.

    `tell_marked` hears of the messages that bear the mark.
    """
    examined = _Examined(settings, tell_marked)
    return [finding async for finding in examined.findings()]


async def examine_smtp(settings: SmtpSettings) -> Finding:
    """Whether it takes answers. No mail is sent."""
    correspondent = SmtpCorrespondent(settings, clock=process_clock(), templates=settings.templates)
    problems = await correspondent.check()
    place = f"{settings.host}:{settings.port}"
    if problems:
        return Finding(subject="smtp", what="answers", weight="bad", says=" ".join(problems))
    return Finding(subject="smtp", what="answers", says=f"{place} takes mail from {settings.sender}")


async def examine_mail(settings: Settings, tell_marked: TellMarked = _tell_nobody) -> list[Finding]:
    """All mailboxes at once, then the mail server for answers."""
    found = await asyncio.gather(*(examine_mailbox(each, tell_marked) for each in settings.mailboxes))
    smtp = [] if settings.smtp is None else [await examine_smtp(settings.smtp)]
    return [finding for findings in found for finding in findings] + smtp


def login_advice(settings: MailboxSettings) -> str:
    """What to look at when the server refuses a login whose secret is right."""
    if settings.oauth is None:
        return "check user and password_file; many providers want an app password, or [mailboxes.oauth]"
    return (
        f"the person who logged in must be {settings.user}, or may open that mailbox; IMAP must be switched "
        "on for it; the client must be allowed to use IMAP, and by itself (client_credentials) be given the "
        "mailbox"
    )


class _Examined:
    """One mailbox under examination."""

    def __init__(self, settings: MailboxSettings, tell_marked: TellMarked) -> None:
        self._settings = settings
        self._tell_marked = tell_marked

    async def findings(self) -> AsyncIterator[Finding]:
        for look in (self._name, self._connection):
            finding = await look()
            yield finding
            if finding.weight == "bad":
                return
        opened = await self._opened()
        if isinstance(opened, Finding):
            yield opened
            return
        try:
            yield self._good("login", f"{self._settings.user} is let in")
            async for finding in self._inside(opened):
                yield finding
        except ImapError as error:
            yield self._bad("connection", str(error))
        finally:
            await opened.close()

    async def _name(self) -> Finding:
        host = self._settings.host
        try:
            async with asyncio.timeout(self._settings.deadline.total_seconds()):
                found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            return self._bad("DNS", f"no answer about {host} in time", "check the DNS of this machine")
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "it is no host name"
            return self._bad("DNS", f"{host} is not known: {why}", "check host, and the DNS of this machine")
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        return self._good("DNS", f"{host} is {', '.join(addresses[:4])}")

    async def _connection(self) -> Finding:
        try:
            wire = await connected(self._settings)
        except ImapError as error:
            return self._bad("connection", str(error))
        try:
            peer = f"{self._settings.host}:{self._settings.port}"
            if self._settings.security == "none":
                return self._good("connection", f"{peer} answers, without TLS")
            return self._certificate(peer, wire.transport.get_extra_info("ssl_object"))
        finally:
            wire.abort("examined")
            await wire.lost.wait()

    def _certificate(self, peer: str, tls: ssl.SSLObject) -> Finding:
        certificate = tls.getpeercert() or {}
        until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
        days = (until - datetime.now(UTC)).days
        says = f"{peer} answers, {tls.version()}, its certificate is good for {days} days"
        if days < CERTIFICATE_DAYS:
            return self._warning("connection", says, "have the certificate renewed")
        return self._good("connection", says)

    async def _opened(self) -> ImapSession | Finding:
        login = MailboxLogin(self._settings)
        try:
            return await ImapSession.open(self._settings, await login())
        except ImapLoginRefused as error:
            return self._bad("login", str(error), login_advice(self._settings))
        except (ImapError, OAuthUnavailable, SecretUnavailable) as error:
            return self._bad("login", str(error))
        finally:
            await login.aclose()

    # --- logged in ------------------------------------------------------------------------------------------

    async def _inside(self, session: ImapSession) -> AsyncIterator[Finding]:
        for finding in self._capabilities(session.capabilities):
            yield finding
        try:
            selected = await session.select(self._settings.mailbox)
        except ImapRefused as error:
            yield self._bad(
                "mailbox", str(error), "check mailbox: it must exist, named with / between levels"
            )
            return
        yield self._good("mailbox", f"{self._settings.mailbox} holds {selected.exists} message(s)")
        yield self._keywords(selected)
        await self._look_at_marks(session, selected)
        if self._settings.after == "move":
            for target in dict.fromkeys((self._settings.uploaded, self._settings.rejected)):
                yield await self._target(session, target)
        yield await self._quota(session)
        yield await self._clock(session)

    def _capabilities(self, offered: frozenset[str]) -> Iterator[Finding]:
        if "IDLE" in offered:
            yield self._good("IDLE", "new mail is told at once")
        else:
            minutes = self._settings.poll.total_seconds() / 60
            yield self._warning(
                "IDLE", f"is not offered: new mail is found every {minutes:g} minutes", "set poll"
            )
        if "MOVE" in offered:
            yield self._good("MOVE", "messages are moved in one step")
        elif "UIDPLUS" in offered:
            yield self._good("MOVE", "is not offered: messages are copied, and removed by their UID")
        else:
            yield self._warning(
                "MOVE",
                "neither MOVE nor UIDPLUS is offered: what was moved or deleted stays, marked as deleted, "
                "until a mail program removes it",
                "have one of them switched on at the server",
            )

    def _keywords(self, selected: Selected) -> Finding:
        if keeps_keywords(selected):
            return self._good("keywords", f"messages are marked with {KEYWORD}")
        if "\\Seen" in selected.flags:
            return self._warning("keywords", "are not kept here: messages are marked as read instead")
        return self._bad("keywords", "no marks are kept here", f"let {self._settings.user} change messages")

    async def _look_at_marks(self, session: ImapSession, selected: Selected) -> None:
        if not keeps_keywords(selected):
            return
        try:
            uids = await session.search("UNDELETED", "KEYWORD", KEYWORD)
        except ImapRefused:
            return
        if uids:
            self._tell_marked(Marked(self._settings, selected.uidvalidity, uids))

    async def _target(self, session: ImapSession, name: str) -> Finding:
        try:
            await session.ensure(name)
        except ImapRefused as error:
            fix = "make the mailbox, or name another one: uploaded and rejected"
            return self._bad("mailbox", f"{name} is not there and can't be made: {error}", fix)
        return self._good("mailbox", f"{name} is there")

    async def _quota(self, session: ImapSession) -> Finding:
        try:
            found = await session.quota()
        except ImapRefused:
            found = None
        if found is None or not found[1]:
            return self._good("quota", "none is told")
        used, limit = found
        says = f"{used / 1024:,.1f} of {limit / 1024:,.1f} MiB are used"
        if used >= limit:
            return self._bad(
                "quota", f"{says}: no mail arrives any more", "delete old mail, or raise the quota"
            )
        if used >= limit * QUOTA_SHARE:
            return self._warning("quota", says, "delete old mail, or raise the quota")
        return self._good("quota", says)

    async def _clock(self, session: ImapSession) -> Finding:
        there = await session.server_time()
        if there is None:
            return self._good("clock", "the server does not tell its time")
        apart = abs(datetime.now(UTC) - there)
        if apart > CLOCK_APART:
            return self._warning(
                "clock",
                f"the server's clock and this one are {apart.total_seconds():,.0f} s apart",
                "set this machine's clock (timedatectl set-ntp true); logins and signatures need it",
            )
        return self._good("clock", "agrees with the server's")

    def _good(self, what: str, says: str) -> Finding:
        return Finding(subject=self._subject, what=what, says=says)

    def _warning(self, what: str, says: str, fix: str = "") -> Finding:
        return Finding(subject=self._subject, what=what, weight="warning", says=says, fix=fix)

    def _bad(self, what: str, says: str, fix: str = "") -> Finding:
        return Finding(subject=self._subject, what=what, weight="bad", says=says, fix=fix)

    @property
    def _subject(self) -> str:
        return f"mailbox {self._settings.name}"
