"""What can't work in the tables of mail: who may send, how the servers are reached, what is named twice."""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from ingestd.domain.mail import Person
from ingestd.normalizer.mail_bounds import MOST_MESSAGE_BYTES
from ingestd.settings import MEGABYTE, MailboxSettings, OAuthSettings, Secret, Settings, SmtpSettings
from ingestd.sources.mail.addresses import canonical_address, compile_sender_pattern

SHORTEST_POLL = timedelta(seconds=5)
SHORTEST_DEADLINE = timedelta(seconds=1)
LONGEST_IDLE = timedelta(minutes=29)
"""RFC 2177: a server may end an IDLE after 30 minutes."""

_NEVER_IN_A_NAME = re.compile(r'[\s;:()"=]')


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mail_contradictions(settings: Settings) -> Iterator[str]:
    """Each problem as: key path: what is wrong and what to do."""
    for number, mailbox in enumerate(settings.mailboxes, 1):
        yield from _mailbox_problems(f"mailboxes[{number}]", mailbox, settings)
    yield from _names_taken(settings)
    yield from _same_mailbox_twice(settings)
    yield from _filed_where_watched(settings)
    yield from _same_variable(settings)
    yield from _people_problems(settings)
    if settings.smtp is not None:
        yield from _smtp_problems(settings.smtp)


def account_of(mailbox: MailboxSettings) -> tuple[str, int, str]:
    """Which login it is; the same for two mailboxes of one user."""
    return mailbox.host.lower().rstrip("."), mailbox.port, mailbox.user


# --- one mailbox -------------------------------------------------------------------------------------------


def _mailbox_problems(key: str, mailbox: MailboxSettings, settings: Settings) -> Iterator[str]:
    if mailbox.security == "none" and not is_loopback(mailbox.host):
        yield (
            f'{key}.security: "none" would show the password to the network; write "tls" '
            "(none only to loopback)"
        )
    if not mailbox.allow and not settings.people:
        yield (
            f'{key}.allow: nobody may send; write who may, like allow = ["*@example.com"], or add a '
            "[[people]] table"
        )
    if mailbox.max_size > MOST_MESSAGE_BYTES:
        most = f"{MOST_MESSAGE_BYTES // MEGABYTE}MB"
        yield f'{key}.max_size: messages larger than {most} can\'t be opened; write "{most}" or less'
    if mailbox.reply and settings.smtp is None:
        yield f"{key}.reply: answers need a mail server; add an [smtp] table, or write reply = false"
    if mailbox.exchange_internal and mailbox.require != "dmarc":
        yield (
            f'{key}.exchange_internal: has no effect with require = "{mailbox.require}"; remove it, or write '
            'require = "dmarc"'
        )
    yield from _address_problems(key, mailbox)
    yield from _time_problems(key, mailbox)
    if mailbox.oauth is not None:
        yield from _oauth_problems(f"{key}.oauth", mailbox.oauth)


def _address_problems(key: str, mailbox: MailboxSettings) -> Iterator[str]:
    for address in mailbox.addresses:
        if canonical_address(address) is None:
            yield f"{key}.addresses: {address!r} is no address; write it like receipts@example.com"
    for pattern in mailbox.allow:
        if compile_sender_pattern(pattern) is None:
            yield (
                f"{key}.allow: no address can match {pattern!r}; write an address, or a pattern like "
                "*@example.com"
            )
    for name in mailbox.trusted_authserv:
        if _NEVER_IN_A_NAME.search(name):
            yield (
                f"{key}.trusted_authserv: no server calls itself {name!r}; write the name alone, like "
                'mx.example.com, or "" for Exchange Online, which writes none'
            )


def _time_problems(key: str, mailbox: MailboxSettings) -> Iterator[str]:
    if mailbox.poll < SHORTEST_POLL:
        yield f"{key}.poll: shorter than 5s would be a storm; write 5s or more"
    if mailbox.deadline < SHORTEST_DEADLINE:
        yield f"{key}.deadline: a server needs a second at least; write 1s or more"
    if not SHORTEST_DEADLINE <= mailbox.idle <= LONGEST_IDLE:
        yield f"{key}.idle: servers end an IDLE after 30 minutes; write 1s to 29m"


def _oauth_problems(key: str, oauth: OAuthSettings) -> Iterator[str]:
    urls = {
        "token_url": oauth.token_url,
        "device_url": oauth.device_url,
        "authorize_url": oauth.authorize_url,
    }
    for name, url in urls.items():
        if url is not None and (problem := url_problem(url)) is not None:
            yield f"{key}.{name}: {problem}"


def url_problem(text: str) -> str | None:
    try:
        url = urlsplit(text)
        host = url.hostname or ""
        url.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        return f"{text!r} is no URL"
    if url.scheme not in ("http", "https") or not host or not url.path.startswith("/"):
        return f"{text!r} must look like https://login.example.com/oauth2/token"
    if url.scheme == "http" and not is_loopback(host):
        return "http:// would show tokens to the network; use https:// (http only to loopback)"
    if url.fragment or url.username or url.password:
        return "must not hold a fragment or a password"
    return None


# --- names and places --------------------------------------------------------------------------------------


def _names_taken(settings: Settings) -> Iterator[str]:
    seen = {folder.name for folder in settings.folders} | {"submit"}
    for number, mailbox in enumerate(settings.mailboxes, 1):
        if mailbox.name in seen:
            yield (
                f"mailboxes[{number}].name: {mailbox.name!r} is taken; each folder and each mailbox needs "
                "its own name"
            )
        seen.add(mailbox.name)


def _same_mailbox_twice(settings: Settings) -> Iterator[str]:
    seen: dict[tuple[tuple[str, int, str], str], str] = {}
    for number, mailbox in enumerate(settings.mailboxes, 1):
        place = (account_of(mailbox), _comparable(mailbox.mailbox))
        if place in seen:
            yield (
                f"mailboxes[{number}].mailbox: {mailbox.mailbox} of {mailbox.user} is read by "
                f"{seen[place]!r} already; remove one of them"
            )
        seen.setdefault(place, mailbox.name)


def _filed_where_watched(settings: Settings) -> Iterator[str]:
    """Mail that was done with would be found again."""
    watched = {(account_of(m), _comparable(m.mailbox)): m for m in settings.mailboxes}
    for number, mailbox in enumerate(settings.mailboxes, 1):
        if mailbox.after != "move":
            continue
        for name, target in (("uploaded", mailbox.uploaded), ("rejected", mailbox.rejected)):
            reader = watched.get((account_of(mailbox), _comparable(target)))
            if reader is not None:
                who = "this mailbox itself" if reader is mailbox else f"the mailbox {reader.name!r}"
                yield f"mailboxes[{number}].{name}: {target} is watched by {who}; name another one"


def _comparable(mailbox: str) -> str:
    """Only INBOX is named without regard to case (RFC 9051 section 5.1)."""
    return "INBOX" if mailbox.upper() == "INBOX" else mailbox.rstrip("/")


def _same_variable(settings: Settings) -> Iterator[str]:
    """Two secrets can't come from one environment variable: a-b and a_b have the same, and so has smtp."""
    secrets: list[Secret | None] = [settings.smtp.password if settings.smtp else None]
    for mailbox in settings.mailboxes:
        secrets.append(mailbox.password)
        if mailbox.oauth is not None:
            secrets += [mailbox.oauth.client_secret, mailbox.oauth.refresh_token]
    count = Counter(secret.environment for secret in secrets if secret and secret.environment)
    for variable, uses in count.items():
        if uses > 1:
            yield f"mailboxes: {uses} secrets would be read from ${variable}; write a password_file for each"


# --- people and answers ------------------------------------------------------------------------------------


def _people_problems(settings: Settings) -> Iterator[str]:
    names: set[str] = set()
    owners: dict[str, str] = {}
    for number, person in enumerate(settings.people, 1):
        key = f"people[{number}]"
        if person.name in names:
            yield f"{key}.name: {person.name!r} is taken; each person needs a name of their own"
        names.add(person.name)
        if not person.addresses:
            yield f"{key}.addresses: is empty; write the addresses that {person.name} sends from"
        yield from _addresses_of(key, person, owners)
        yield from _account_problems(key, person, settings)


def _addresses_of(key: str, person: Person, owners: dict[str, str]) -> Iterator[str]:
    for text in person.addresses:
        address = canonical_address(text)
        if address is None:
            yield f"{key}.addresses: {text!r} is no address; write it like ann@example.com"
        elif owners.setdefault(address, person.name) != person.name:
            yield (
                f"{key}.addresses: {text} is an address of {owners[address]}, too; it can be one person's "
                "only (who sends for another belongs into delegates)"
            )
    for text in person.delegates:
        if canonical_address(text) is None:
            yield f"{key}.delegates: {text!r} is no address; write it like assistant@example.com"


def _account_problems(key: str, person: Person, settings: Settings) -> Iterator[str]:
    if person.account is None or any(person.account in t.accounts for t in settings.targets.values()):
        return
    name = next(iter(settings.targets), "concur")
    yield f"{key}.account: there is no [targets.{name}.accounts.{person.account}]"


def _smtp_problems(smtp: SmtpSettings) -> Iterator[str]:
    if smtp.security == "none" and not is_loopback(smtp.host):
        yield (
            'smtp.security: "none" would show answers and the password to the network; write "tls" or '
            '"starttls" (none only to loopback)'
        )
    if canonical_address(_bare(smtp.sender)) is None:
        yield f"smtp.sender: {smtp.sender!r} is no address; write it like receipts@example.com"
    if smtp.timeout < SHORTEST_DEADLINE:
        yield "smtp.timeout: a server needs a second at least; write 1s or more"


def _bare(sender: str) -> str:
    """The address of `Receipts <receipts@example.com>`."""
    return sender.rpartition("<")[2].removesuffix(">") if sender.endswith(">") else sender
