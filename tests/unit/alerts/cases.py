"""Moments of a run, made by hand, and a clock that is moved by hand."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from ingestd.alerts.conditions import Alert, conditions, is_unknown
from ingestd.alerts.digest import Digest, Message, Told
from ingestd.alerts.snapshot import Books, Needy, Snapshot, SourceState, Trouble
from ingestd.domain.document import Instant
from ingestd.domain.retry import later
from ingestd.domain.states import State
from ingestd.settings import AlertSettings

START = Instant(1_760_000_000_000_000)
SETTINGS = AlertSettings(mail=("it@example.com",))
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
GATE_REASON = "The target answers 503."


def needy(number: int, *, at: Instant = START, discreet: bool = False, **more: Any) -> Needy:
    given = {"state": State.FAILED, "filename": f"taxi{number}.pdf", "reason": "The report does not exist."}
    return Needy(
        id=f"0199-{number:04}",
        changed_at=at,
        discreet=discreet,
        **{**given, **more},
    )


def books(*newest: Needy, oldest_waiting: Instant | None = None, count: int | None = None) -> Books:
    counts = dict.fromkeys(State, 0)
    counts[State.FAILED] = len(newest) if count is None else count
    return Books(
        counts=counts,
        needy=counts[State.FAILED],
        newest=newest,
        oldest_waiting=oldest_waiting,
        feedback_due=2,
    )


def snapshot(at: Instant = START, **given: Any) -> Snapshot:
    """All is well, unless something else is given. Started long ago."""
    known: dict[str, Any] = {
        "started_at": later(at, -DAY),
        "books": books(),
        "sources": {"inbox": SourceState(scanned=True), "post": SourceState(scanned=True, discreet=True)},
        "places": {"concur": 4},
        "free_bytes": 10**12,
    }
    return Snapshot(at=at, **{**known, **given})


def failing(since: Instant, *, account: str | None = None) -> dict[str, Any]:
    return {"failing": {("concur", account): Trouble(since=since, reason=GATE_REASON)}}


class Scene:
    """A Digest that is shown snapshots at moments since START. Every message that is due gets through."""

    def __init__(self, settings: AlertSettings = SETTINGS, told: Told | None = None) -> None:
        self.settings = settings
        self.digest = Digest(settings, told or Told())

    def at(self, since_start: timedelta, *, delivered: bool = True, **given: Any) -> Message | None:
        now = later(START, since_start)
        moment = snapshot(now, **given)
        alerts: tuple[Alert, ...] = conditions(moment, self.settings, told=self.digest.told.open)
        unknown: Callable[[str], bool] = lambda key: is_unknown(key, moment, self.settings)  # noqa: E731 - shown as one
        message = self.digest.due(alerts, now, is_unknown=unknown)
        if message is not None and delivered:
            self.digest.sent(message, now)
        return message

    def restarted(self) -> "Scene":
        return Scene(self.settings, self.digest.told)
