"""What works and is unwise, or works for some only: warnings of `ingestd check`, never a reason to stop."""

from collections.abc import Iterator

from ingestd.configfile.alert_tables import alert_cautions
from ingestd.domain.routing import PLACEHOLDER, Destined, Route, compile_pattern
from ingestd.settings import MailboxSettings, Settings


def cautions(settings: Settings) -> Iterator[str]:
    """Each as: key path: what may surprise and what to do. The settings have no contradictions."""
    for number, mailbox in enumerate(settings.mailboxes, 1):
        yield from _mailbox_cautions(f"mailboxes[{number}]", mailbox)
    if settings.mailboxes:
        yield from _account_cautions(settings)
    if settings.people and not settings.mailboxes:
        yield "people: there is no [[mailboxes]] table, so nobody can send anything"
    alerted = settings.alerts is not None and settings.alerts.mail
    if settings.smtp is not None and not alerted and not any(box.reply for box in settings.mailboxes):
        yield "smtp: no mailbox has reply = true, so nothing is answered"
    yield from alert_cautions(settings)


def _mailbox_cautions(key: str, mailbox: MailboxSettings) -> Iterator[str]:
    if mailbox.require != "none" and not mailbox.trusted_authserv:
        yield (
            f"{key}.trusted_authserv: is empty, so what your own mail server found out is not believed and "
            "only DKIM signatures count, which ingestd verifies itself; write the name with which its "
            "Authentication-Results begin"
        )
    if mailbox.require == "dmarc" and not mailbox.exchange_internal and _is_exchange_online(mailbox.host):
        yield (
            f"{key}.exchange_internal: is not set, and mail between colleagues of one Microsoft 365 "
            "organisation often carries no proof: it will be held. Write exchange_internal = true if mail "
            "reaches this mailbox through Exchange Online alone"
        )
    yield from _allow_cautions(key, mailbox)


def _is_exchange_online(host: str) -> bool:
    return host.lower().rstrip(".") in {"outlook.office365.com", "outlook.office.com"}


def _allow_cautions(key: str, mailbox: MailboxSettings) -> Iterator[str]:
    everybody = [pattern for pattern in mailbox.allow if _is_public(pattern)]
    loose = [pattern for pattern in mailbox.allow if pattern not in everybody and _is_loose(pattern)]
    if mailbox.require == "none" and everybody:
        yield (
            f'{key}.allow: {everybody[0]!r} with require = "none": anybody in the world can upload; name who '
            'may send, or write require = "dmarc"'
        )
    elif everybody:
        yield (
            f"{key}.allow: {everybody[0]!r}: anybody in the world who has a mail domain can upload; name who "
            "may send"
        )
    if loose:
        yield (
            f"{key}.allow: {loose[0]!r} lets in domains that anybody can register; write the domains out "
            '("*@example.com", and "*@*.example.com" for those below it)'
        )
    if mailbox.require == "none" and not everybody:
        yield (
            f'{key}.require: "none": anybody can write one of these senders into a message; write "dmarc" or '
            '"dkim" unless your mail server refuses forged senders'
        )


def _is_public(pattern: str) -> bool:
    """Whether it lets everybody in, or a whole top-level domain."""
    domain = pattern.rpartition("@")[2]
    return "*" in domain and not domain.removeprefix("*.").count(".")


def _is_loose(pattern: str) -> bool:
    """Whether a `*` stands where it may complete a registered name: *@example.*, *@*example.com."""
    return "*" in pattern.rpartition("@")[2].removeprefix("*.")


def _account_cautions(settings: Settings) -> Iterator[str]:
    """People whose account is missing in a target that their mail may be sent to."""
    targets = dict.fromkeys(
        Destined.parse(PLACEHOLDER.sub("x", route.send)).target
        for route in settings.routes
        if route.account is None and _takes_mail(route, settings)
    )
    for number, person in enumerate(settings.people, 1):
        for name in targets:
            if person.account is not None and person.account not in settings.targets[name].accounts:
                yield (
                    f"people[{number}].account: there is no [targets.{name}.accounts.{person.account}], but "
                    f"routes send mail to {name}; what {person.name} sends there will be held"
                )


def _takes_mail(route: Route, settings: Settings) -> bool:
    source = route.patterns.get("source")
    if source is None:
        return True
    pattern = compile_pattern(source)
    return any(pattern.fullmatch(mailbox.name) for mailbox in settings.mailboxes)
