"""What is told to one address, and when: everything that is open in one message, rarely, and when it is over.

Pure: it is given what is open and the time, and remembers what was told. A message counts as told only once
it got through, so a way that was down for a while tells how things stand then.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from ingestd.alerts.conditions import Alert, Kind
from ingestd.domain.document import Instant
from ingestd.domain.retry import later
from ingestd.settings import AlertSettings

REMIND = timedelta(days=1)
"""How often what stays open is told again."""
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An alert as it was told."""

    title: str
    news: int
    notice: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one address knows. `gone`: titles of alerts that are over, of which it was not told yet.

    `digest_at`: the last message of trouble; `sent`: when any message went, within the last day.
    """

    open: Mapping[str, Item] = field(default_factory=dict)
    gone: Mapping[str, str] = field(default_factory=dict)
    digest_at: Instant | None = None
    sent: tuple[Instant, ...] = ()

    @property
    def anything(self) -> bool:
        """Whether trouble was told that has not been taken back yet."""
        return bool(self.gone) or any(not item.notice for item in self.open.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`alerts` are those open, `gone` the titles of those that are over. Empty and empty: a test."""

    event: Literal["trouble", "well", "test"]
    alerts: tuple[Alert, ...] = ()
    gone: tuple[str, ...] = ()


class Digest:
    """For one address."""

    def __init__(self, settings: AlertSettings, told: Told) -> None:
        self._settings = settings
        self._told = told
        self._seen: dict[str, Instant] = {}
        """Since when each alert has been open without a break."""
        self._missed: dict[str, Instant] = {}
        """Since when each alert that was told has not been there."""

    @property
    def told(self) -> Told:
        return self._told

    def due(
        self, alerts: Sequence[Alert], now: Instant, *, is_unknown: Callable[[str], bool]
    ) -> Message | None:
        """What should be told now. `is_unknown`: whether the absence of a key says nothing."""
        self._look(alerts, now, is_unknown)
        told = self._told
        settled = [alert for alert in alerts if self._is_settled(alert, now)]
        trouble = [alert for alert in settled if not alert.notice]
        waits = any(not alert.notice for alert in alerts if alert not in settled)
        still_told = any(not item.notice for item in told.open.values())
        if told.gone and not (trouble or waits or still_told):
            most = self._settings.most_per_day
            well = Message(event="well", alerts=tuple(settled), gone=tuple(told.gone.values()))
            return well if self._may_send(now, most) else None
        if not settled or not (self._is_news(settled) or (trouble and self._is_time_to_remind(now))):
            return None
        # The last message of a day is left for the good news.
        most = max(1, self._settings.most_per_day - 1)
        if not self._may_send(now, most) or not self._has_passed(told.digest_at, self._settings.every, now):
            return None
        keys = {alert.key for alert in settled}  # what is over may have come back
        gone = tuple(title for key, title in told.gone.items() if key not in keys)
        return Message(event="trouble", alerts=tuple(settled), gone=gone)

    def sent(self, message: Message, now: Instant) -> None:
        """It got through."""
        told = self._told
        items = {a.key: Item(title=a.title, news=a.news, notice=a.notice) for a in message.alerts}
        self._told = Told(
            # What was told and nobody can look at now stays.
            open={**told.open, **items},
            gone={},
            digest_at=now if message.event == "trouble" else told.digest_at,
            sent=(*(at for at in told.sent if at > later(now, -_DAY)), now),
        )

    def _look(self, alerts: Sequence[Alert], now: Instant, is_unknown: Callable[[str], bool]) -> None:
        present = {alert.key for alert in alerts}
        self._seen = {key: self._seen.get(key, now) for key in present}
        missing = {key for key in self._told.open if key not in present and not is_unknown(key)}
        self._missed = {key: self._missed.get(key, now) for key in missing}
        over = [key for key, at in self._missed.items() if self._has_passed(at, self._settings.after, now)]
        if over:
            self._close(over)

    def _close(self, keys: Collection[str]) -> None:
        told = self._told
        gone = {key: told.open[key].title for key in keys if not told.open[key].notice}
        self._told = Told(
            open={key: item for key, item in told.open.items() if key not in keys},
            gone={**told.gone, **gone},
            digest_at=told.digest_at,
            sent=told.sent,
        )

    def _is_settled(self, alert: Alert, now: Instant) -> bool:
        known = alert.key in self._told.open
        return known or self._has_passed(self._seen[alert.key], self._settings.after, now)

    def _is_news(self, settled: Sequence[Alert]) -> bool:
        if any(key.partition(":")[0] != Kind.RECEIPTS for key in self._told.gone):
            return True  # that a person has done the work is no news, that a target works again is
        before = self._told.open
        return any(alert.key not in before or alert.news > before[alert.key].news for alert in settled)

    def _is_time_to_remind(self, now: Instant) -> bool:
        return self._has_passed(self._told.digest_at, REMIND, now)

    def _may_send(self, now: Instant, most: int) -> bool:
        return sum(at > later(now, -_DAY) for at in self._told.sent) < most

    @staticmethod
    def _has_passed(since: Instant | None, wait: timedelta, now: Instant) -> bool:
        return since is None or now >= later(since, wait)
