"""[alerts] and [metrics]: who is told when something needs a person, and who may ask how things stand.

The URL of a webhook lets whoever knows it write into a chat: it is treated as a secret and never shown.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field

from ingestd.configfile.mail_contradictions import is_loopback
from ingestd.configfile.values import Duration, Line, PathText, Positive, Size, Table, optional_secret
from ingestd.settings import AlertSettings, MetricsSettings, Settings
from ingestd.sources.mail.addresses import canonical_address

SHORTEST_EVERY = timedelta(seconds=1)
LONGEST_AFTER = timedelta(hours=1)


def _listen(value: object) -> object:
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        if colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            bare = host.removeprefix("[").removesuffix("]")
            if ":" not in bare or host == f"[{bare}]":
                return value
    raise ValueError('write an address and a port, like "127.0.0.1:9464" or "[::1]:9464"')


class Alerts(Table):
    mail: list[Line] = Field(default_factory=list)
    webhook: Line | None = None
    webhook_file: PathText | None = None
    waiting: Duration = timedelta(hours=4)
    failing: Duration = timedelta(minutes=30)
    low_disk: Size | None = None
    after: Duration = timedelta(minutes=1)
    every: Duration = timedelta(hours=1)
    most_per_day: Positive = 24

    def settings(self, base: Path, *, min_free: int) -> AlertSettings:
        """`min_free`: below it intake waits, so that people should know well before."""
        return AlertSettings(
            mail=tuple(self.mail),
            webhook=self.webhook,
            webhook_secret=optional_secret(self.webhook_file, base, "ALERTS", kind="WEBHOOK"),
            waiting=self.waiting,
            failing=self.failing,
            low_disk=2 * min_free if self.low_disk is None else self.low_disk,
            after=self.after,
            every=self.every,
            most_per_day=self.most_per_day,
        )


class Metrics(Table):
    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:9464"
    open: bool = False

    def settings(self) -> MetricsSettings:
        host, _, port = self.listen.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        return MetricsSettings(host=bare, port=int(port), open=self.open)


def alert_contradictions(settings: Settings) -> Iterator[str]:
    """Each problem as: key path: what is wrong and what to do."""
    if settings.alerts is not None:
        yield from _alert_problems(settings.alerts, settings)
    metrics = settings.metrics
    if metrics is not None and not metrics.open and not is_loopback(metrics.host):
        yield (
            f"metrics.listen: at {metrics.host} everybody in the network could ask; write open = true if "
            'that is meant, or an address of this machine, like "127.0.0.1:9464"'
        )


def alert_cautions(settings: Settings) -> Iterator[str]:
    alerts = settings.alerts
    if alerts is not None and alerts.low_disk < settings.storage.min_free:
        yield (
            "alerts.low_disk: is less than storage.min_free, where intake stops already; leave it out for "
            "twice as much"
        )


def webhook_problem(url: str) -> str | None:
    """Why nothing can be sent to this URL, without showing it; None when something can."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL; write it as the chat shows it, beginning with https://"
    if parts.scheme not in ("http", "https") or not host or not url.isascii():
        return "is no URL; write it as the chat shows it, beginning with https://"
    if parts.scheme == "http" and not is_loopback(host):
        return "http:// would show it to the network; use https:// (http only to loopback)"
    if parts.username or parts.password or parts.fragment:
        return "must not hold a fragment or a password"
    return None


def _alert_problems(alerts: AlertSettings, settings: Settings) -> Iterator[str]:
    if not alerts.mail and alerts.webhook is None and alerts.webhook_secret is None:
        yield 'alerts: nobody is told; write mail = ["it@example.com"] or a webhook, or remove the table'
    if alerts.mail and settings.smtp is None:
        yield "alerts.mail: mail needs a mail server; add an [smtp] table, or tell a webhook instead"
    for number, address in enumerate(alerts.mail, 1):
        if canonical_address(address) is None:
            yield f"alerts.mail[{number}]: {address!r} is no address; write it like it@example.com"
    if alerts.webhook is not None and (problem := webhook_problem(alerts.webhook)) is not None:
        yield f"alerts.webhook: {problem}"
    if alerts.every < SHORTEST_EVERY:
        yield "alerts.every: a message each moment helps nobody; write 1s or more"
    if alerts.after > LONGEST_AFTER:
        yield "alerts.after: is longer than an hour, and nobody would be told in time; write a shorter time"
    if alerts.mail and settings.smtp is not None:
        yield from _told_by_itself(alerts, settings)


def _told_by_itself(alerts: AlertSettings, settings: Settings) -> Iterator[str]:
    """An alert that arrives in a watched mailbox would be held, and be the next alert."""
    watched = {
        canonical_address(address)
        for mailbox in settings.mailboxes
        for address in (mailbox.user, *mailbox.addresses)
    }
    for number, address in enumerate(alerts.mail, 1):
        if canonical_address(address) in watched - {None}:
            yield f"alerts.mail[{number}]: {address} is a watched mailbox; name one that people read"
