"""The gate before each target: closed after an answer that the next receipt would meet too.

Kept for each (target, account). A pause asked for by the server is obeyed; without one it doubles with every
strike in a row. When the pause is over one receipt goes through as a probe: its outcome opens the gate or
closes it again, so that a dead API costs one request a pause, not one for each receipt waiting. Answers that
get lost several times in a row close it as well. Through an open gate goes what the target's pace allows.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.outcome import (
    Outcome,
    Pending,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.retry import LONGEST_ASKED_WAIT, doubled, later
from ingestd.domain.rules import TargetRules
from ingestd.interfaces import Clock, Observer
from ingestd.pipeline.pace import Pace

Key = tuple[str, str | None]

PATIENCE = timedelta(seconds=1)
"""How long a receipt in hand waits for a place; then it goes back, and others may have the worker."""
PATIENCE_OF_QUESTIONS = timedelta(seconds=10)
"""Those have workers of their own, and only who waits in line gets between uploads that fill every place."""
DOUBTS = 3
"""So many uploads in a row without a usable answer close the gate: the next ones would end in doubt, too."""


@dataclass(slots=True)
class _Gate:
    until: Instant
    since: Instant
    strikes: int = 0
    doubts: int = 0
    reason: str = ""
    probing: bool = False
    asked_until: Instant = field(default=Instant(0))
    """The end of a pause that the answer itself asked for."""

    @property
    def shut(self) -> bool:
        """False while it only counts doubts."""
        return self.strikes > 0


class Gates:
    """Open unless an outcome closed it. Knows nothing of receipts."""

    def __init__(
        self,
        rules: Mapping[str, TargetRules],
        observer: Observer,
        *,
        workers: int,
        accounts: Callable[[str], Collection[str]] = lambda target: (),
    ) -> None:
        """`accounts`: those a target has beside its own user."""
        self._rules = rules
        self._observer = observer
        self._accounts = accounts
        self._gates: dict[Key, _Gate] = {}
        self._paces = {name: Pace(each.gate, workers) for name, each in rules.items()}
        self._freed = asyncio.Event()

    def closed(self, now: Instant) -> list[Key]:
        """For whom nothing should be claimed now."""
        shut = set(self.shut(now))
        for target, pace in self._paces.items():
            if pace.room(now) == 0:
                shut |= {(target, account) for account in (None, *self._accounts(target))}
        return list(shut)

    def shut(self, now: Instant) -> list[Key]:
        """Those that let nobody through now, whatever room there is."""
        return [key for key, gate in self._gates.items() if gate.shut and (gate.probing or now < gate.until)]

    def room(self, now: Instant) -> int:
        """How many receipts could go through by now, all targets together."""
        return sum(pace.room(now) for pace in self._paces.values())

    def closed_until(self, horizon: Instant) -> list[Key]:
        """For whom nothing can be tried before the horizon."""
        return [key for key, gate in self._gates.items() if gate.shut and gate.until > horizon]

    def troubles(self) -> list[str]:
        """A sentence for each gate that is closed, for the status line."""
        return [f"{target}: {gate.reason}" for (target, _), gate in self._gates.items() if gate.shut]

    def failing(self) -> Mapping[Key, tuple[Instant, str]]:
        """Closed gates: since when, and why."""
        return {key: (gate.since, gate.reason) for key, gate in self._gates.items() if gate.shut}

    def places(self) -> Mapping[str, int]:
        """Uploads that each target is given at the same time, at present."""
        return {target: pace.places for target, pace in self._paces.items()}

    async def admit(self, key: Key, clock: Clock, *, patience: timedelta = PATIENCE) -> Instant | None:
        """`enter`, after waiting for a place for a moment where only that is lacking."""
        deadline = later(clock(), patience)
        while True:
            now = clock()
            until = self.enter(key, now)
            gate = self._gates.get(key)
            shut = gate is not None and gate.shut
            if until is None or shut or now >= deadline or until > later(now, patience):
                return until
            self._freed.clear()
            try:
                async with asyncio.timeout((min(until, deadline) - now) / MICROSECONDS):
                    await self._freed.wait()
            except TimeoutError:
                continue

    def enter(self, key: Key, now: Instant) -> Instant | None:
        """None: go ahead, and `settle` or `leave` follows. Else the time before which it makes no sense."""
        gate, pace = self._gates.get(key), self._paces[key[0]]
        if gate is not None and gate.shut:
            if now < gate.until:
                return gate.until
            if gate.probing:
                return later(now, PATIENCE)
        not_before = pace.not_before(now)
        if not_before > now:
            return not_before
        if pace.room(now) == 0:
            return later(now, PATIENCE)
        if gate is not None and gate.shut:
            gate.probing = True
        pace.begin(now)
        return None

    def spend(self, key: Key, now: Instant) -> None:
        """Whoever entered sends one request more."""
        self._paces[key[0]].spend(now)

    def leave(self, key: Key, now: Instant) -> None:
        """Whoever entered learned nothing of the target after all; another one may be the probe."""
        gate = self._gates.get(key)
        if gate is not None:
            gate.probing = False
        self._paces[key[0]].give_back()
        self._freed.set()

    def settle(
        self, key: Key, outcome: Outcome, *, began: Instant, now: Instant, jitter: float
    ) -> Instant | None:
        """Closes or opens the gate by what the target answered. Returns until when it is closed now.

        `began`: when the upload entered; what was under way together counts as one strike.
        """
        self._paces[key[0]].end(began=began, now=now, overloaded=_is_overload(outcome))
        self._freed.set()
        pause = self._pause(key, outcome, now, jitter)
        if pause is None:
            self._opened(key, outcome, began)
            return None
        gate = self._gates.setdefault(key, _Gate(until=now, since=now))
        gate.probing = False
        if not gate.shut or began >= gate.until:
            gate.strikes += 1
        gate.reason = getattr(outcome, "reason", "")
        gate.until = max(gate.until, later(now, pause))
        if getattr(outcome, "wait", None) is not None:
            gate.asked_until = gate.until
        self._observer.note(
            "gate.closed",
            level="warning",
            target=key[0],
            account=key[1],
            seconds=round(pause.total_seconds(), 1),
            reason=gate.reason,
        )
        return gate.until

    def _opened(self, key: Key, outcome: Outcome, began: Instant) -> None:
        gate = self._gates.get(key)
        if gate is None or isinstance(outcome, Unconfirmed | Unavailable):
            return
        if began < gate.asked_until:
            # Under way since before the pause: that was asked for all the same.
            return
        del self._gates[key]
        if gate.shut:
            self._observer.note("gate.opened", target=key[0], account=key[1])

    def _pause(self, key: Key, outcome: Outcome, now: Instant, jitter: float) -> timedelta | None:
        match outcome:
            case Throttled(wait=asked):
                return self._length(key, asked, jitter)
            case Unavailable(wait=asked, everything=True):
                return self._length(key, asked, jitter)
            case Uploaded() | Refused() | Pending():
                return None
            case Unavailable() | Unconfirmed():
                # One says nothing about the next receipt, several do. A probe that failed so opens nothing.
                gate = self._gates.setdefault(key, _Gate(until=now, since=now))
                gate.doubts += 1
                return self._length(key, None, jitter) if gate.shut or gate.doubts >= DOUBTS else None
            case _:
                assert_never(outcome)

    def _length(self, key: Key, asked: timedelta | None, jitter: float) -> timedelta:
        policy = self._rules[key[0]].retry
        gate = self._gates.get(key)
        # A target that is back should not wait longer for its probe than one that said so itself.
        ceiling = min(policy.ceiling, max(policy.unavailable, policy.first))
        own = doubled(policy.first, gate.strikes if gate else 0, ceiling) * (0.5 + jitter / 2)
        return max(own, min(asked or timedelta(), LONGEST_ASKED_WAIT))


def _is_overload(outcome: Outcome) -> bool:
    match outcome:
        case Throttled() | Unavailable() | Unconfirmed():
            return True
        case Uploaded() | Refused() | Pending():
            return False
        case _:
            assert_never(outcome)
