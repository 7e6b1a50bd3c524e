"""How much one target is asked to bear: places for uploads at the same time, and a rate.

The number of places adapts (additive increase, multiplicative decrease: Chiu and Jain, 1989): one more after
a round of answers in good time, half after a 429 or an upload in doubt, a tenth less when answers take twice
as long as they used to. Below one place requests are spaced out instead. It never leaves its hard ceiling.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.retry import later
from ingestd.domain.rules import GatePolicy, Rate

FIRST_PLACES = 4.0
FEWEST_PLACES = 1 / 64
"""One request in 64 times the usual answer time; what a target bears less of is down."""
LONGEST_SPACING = timedelta(seconds=10)
"""A target that answers slowly must not be found well again only after a quarter of an hour."""
_CUT = 0.5
_TRIM = 0.9
_SLOW = 2.0
"""Answers that take so many times the usual are a sign of a queue at the server."""
_LEAST_SECONDS = 0.1
"""Taken for the answer time of a target that has not given a good answer yet."""
_REGROWTH = 1.5
"""Below one place each good answer counts for more: there are few of them."""
_CAREFUL = 0.05
"""How much slower the number grows where it once was too high."""
_QUEUE_LEAST = timedelta(milliseconds=100)
"""Differences below this are noise, whatever their ratio."""


@dataclass(slots=True)
class Pace:
    """Of one target. Whoever goes through calls `begin`, and `end` or `give_back` after it."""

    policy: GatePolicy
    workers: int
    in_flight: int = 0
    _places: float = field(init=False)
    _bucket: "Bucket | None" = field(init=False)
    _growing_fast: bool = field(init=False, default=True)
    _too_many: float = field(init=False, default=1e9)
    _cut_at: Instant = field(init=False, default=Instant(0))
    _begun_at: Instant = field(init=False, default=Instant(0))
    _usual: float = field(init=False, default=0.0)
    """Seconds an answer takes when nothing queues; 0 until the first."""
    _lately: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._places = min(FIRST_PLACES, float(self.ceiling)) if self.policy.adaptive else float(self.ceiling)
        self._bucket = Bucket(self.policy.rate) if self.policy.rate else None

    @property
    def ceiling(self) -> int:
        return min(self.policy.concurrency or self.workers, self.workers)

    @property
    def places(self) -> int:
        """Uploads at the same time, at present."""
        return max(1, min(self.ceiling, int(self._places)))

    def room(self, now: Instant) -> int:
        """How many more may begin now."""
        if self.not_before(now) > now:
            return 0
        places = max(0, self.places - self.in_flight)
        # Whoever is claimed beyond the rate goes back at once, and behind those that came later.
        return min(places, self._bucket.tokens(now)) if self._bucket else places

    def not_before(self, now: Instant) -> Instant:
        """When the next may begin as far as rate and spacing say; `now` or earlier: at once."""
        spaced = Instant(0)
        if self._places < 1:
            wait = timedelta(seconds=max(self._lately, _LEAST_SECONDS) / self._places)
            spaced = later(self._begun_at, min(wait, LONGEST_SPACING))
        return max(spaced, self._bucket.next_at(now)) if self._bucket else spaced

    def begin(self, now: Instant) -> None:
        self.in_flight += 1
        self._begun_at = now
        self.spend(now)

    def spend(self, now: Instant) -> None:
        """One more request of somebody who is through already."""
        if self._bucket is not None:
            self._bucket.take(now)

    def give_back(self) -> None:
        """Nothing was learned: nothing was sent, or its answer says nothing of the target's strength."""
        self.in_flight -= 1

    def end(self, *, began: Instant, now: Instant, overloaded: bool) -> None:
        """An answer came, or the lack of one. `overloaded`: a 429, or an upload that ran into the void."""
        used = self.in_flight >= self.places
        self.in_flight -= 1
        if not self.policy.adaptive:
            return
        if overloaded:
            self._shrink(_CUT, began, now)
            return
        if self._is_slow((now - began) / MICROSECONDS):
            self._shrink(_TRIM, began, now)
        elif used:
            self._grow()

    def _is_slow(self, seconds: float) -> bool:
        if not self._usual:
            self._usual = self._lately = seconds
            return False
        self._lately += 0.3 * (seconds - self._lately)
        # Learns quickly that it can be faster, and slowly that it is slower now: images differ in size.
        self._usual += (0.3 if seconds < self._usual else 0.02) * (seconds - self._usual)
        return self._lately > max(_SLOW * self._usual, self._usual + _QUEUE_LEAST.total_seconds())

    def _shrink(self, factor: float, began: Instant, now: Instant) -> None:
        """Once for all that was under way together: they met the same moment of the server."""
        self._growing_fast = False
        if began >= self._cut_at:
            self._too_many = min(self._places, self.ceiling)
            self._places = max(FEWEST_PLACES, min(self._places, self.ceiling) * factor)
            self._cut_at = now

    def _grow(self) -> None:
        if self._places < 1:
            self._places = min(1.0, self._places * _REGROWTH)
        else:
            step = 1.0 if self._growing_fast else 1 / self._places
            if int(self._places + step) >= int(self._too_many):
                step *= _CAREFUL
            self._places = min(float(self.ceiling), self._places + step)


class Bucket:
    """A token bucket that lets no more than `rate.requests` through within any `rate.within`.

    A tenth of them may come at once.
    """

    def __init__(self, rate: Rate) -> None:
        self._burst = max(1, rate.requests // 10)
        self._per_second = (rate.requests - self._burst + 1) / rate.within.total_seconds()
        self._tokens = float(self._burst)
        self._at = Instant(0)

    def tokens(self, now: Instant) -> int:
        return max(0, int(self._level(now)))

    def next_at(self, now: Instant) -> Instant:
        """When there will be a token; `now` when there is one."""
        lacking = 1.0 - self._level(now)
        # A microsecond more, so that rounding never makes it too early.
        return now if lacking <= 0 else Instant(now + 1 + round(lacking / self._per_second * MICROSECONDS))

    def take(self, now: Instant) -> None:
        """One token; without one it becomes a debt that later ones wait for."""
        self._tokens = self._level(now) - 1.0
        self._at = max(self._at, now)

    def _level(self, now: Instant) -> float:
        gained = max(0, now - self._at) / MICROSECONDS * self._per_second
        return min(float(self._burst), self._tokens + gained)
