"""The gate before each target: closed after an answer that the next receipt would meet too.

Kept for each (target, account). A pause asked for by the server is obeyed; without one it doubles with every
strike in a row. When the pause is over one receipt goes through as a probe: its outcome opens the gate or
closes it again, so that a dead API costs one request a pause, not one for each receipt waiting.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from ingestd.domain.document import Instant
from ingestd.domain.outcome import (
    Outcome,
    Pending,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.retry import LONGEST_ASKED_WAIT, RetryPolicy, doubled, later
from ingestd.interfaces import Observer

Key = tuple[str, str | None]

PROBE_PATIENCE = timedelta(seconds=1)
"""How soon a receipt that met a probe in flight comes back."""


@dataclass(slots=True)
class _Gate:
    until: Instant
    strikes: int
    reason: str = ""
    probing: bool = False


class Gates:
    """Open unless an outcome closed it. Knows nothing of receipts."""

    def __init__(self, policies: dict[str, RetryPolicy], observer: Observer) -> None:
        self._policies = policies
        self._observer = observer
        self._gates: dict[Key, _Gate] = {}

    def closed(self, now: Instant) -> list[Key]:
        """For whom nothing should be claimed now."""
        return [key for key, gate in self._gates.items() if gate.probing or now < gate.until]

    def closed_until(self, horizon: Instant) -> list[Key]:
        """For whom nothing can be tried before the horizon."""
        return [key for key, gate in self._gates.items() if gate.until > horizon]

    def troubles(self) -> list[str]:
        """A sentence for each gate that is closed, for the status line."""
        return [f"{target}: {gate.reason}" for (target, _), gate in self._gates.items()]

    def enter(self, key: Key, now: Instant) -> Instant | None:
        """None: go ahead. Else the time before which it makes no sense to try."""
        gate = self._gates.get(key)
        if gate is None:
            return None
        if now < gate.until:
            return gate.until
        if gate.probing:
            return later(now, PROBE_PATIENCE)
        gate.probing = True
        return None

    def leave(self, key: Key, now: Instant) -> None:
        """The receipt that entered sent nothing after all; another one may be the probe."""
        gate = self._gates.get(key)
        if gate is not None:
            gate.probing = False

    def settle(self, key: Key, outcome: Outcome, *, now: Instant, jitter: float) -> Instant | None:
        """Closes or opens the gate by what the target answered. Returns until when it is closed now."""
        pause = self._pause(key, outcome, jitter)
        if pause is None:
            if self._gates.pop(key, None) is not None:
                self._observer.note("gate.opened", target=key[0], account=key[1])
            return None
        gate = self._gates.setdefault(key, _Gate(until=now, strikes=0))
        gate.probing = False
        gate.strikes += 1
        gate.reason = getattr(outcome, "reason", "")
        gate.until = max(gate.until, later(now, pause))
        self._observer.note(
            "gate.closed",
            level="warning",
            target=key[0],
            account=key[1],
            seconds=round(pause.total_seconds(), 1),
            reason=gate.reason,
        )
        return gate.until

    def _pause(self, key: Key, outcome: Outcome, jitter: float) -> timedelta | None:
        match outcome:
            case Throttled(wait=asked):
                return self._length(key, asked, jitter)
            case Unavailable(wait=asked, everything=True):
                return self._length(key, asked, jitter)
            case Uploaded() | Refused() | Pending():
                return None
            case Unavailable() | Unconfirmed():
                # Says nothing about the next receipt; but a probe that failed so must not open the gate.
                return self._length(key, None, jitter) if key in self._gates else None
            case _:
                assert_never(outcome)

    def _length(self, key: Key, asked: timedelta | None, jitter: float) -> timedelta:
        policy = self._policies[key[0]]
        gate = self._gates.get(key)
        strikes = gate.strikes if gate else 0
        own = doubled(policy.first, strikes, policy.ceiling) * (0.5 + jitter / 2)
        return max(own, min(asked or timedelta(), LONGEST_ASKED_WAIT))
