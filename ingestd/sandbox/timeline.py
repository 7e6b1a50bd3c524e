"""Faults by the clock: periods that begin and end by themselves, counted from the PUT.

While a period lasts its rules come before those of the plan, its switches replace the plan's, and the longest
latency counts. Of periods that overlap the first of the list decides. Each counts the requests that came in
it, so that an outage shows what it cost.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ingestd.sandbox import plan, rules, storm, switches
from ingestd.sandbox.faults import Fault
from ingestd.sandbox.fields import InvalidPlan, mapping, number
from ingestd.sandbox.rules import Rule

_LONGEST_SECONDS = 30 * 86_400.0
_MOST_PERIODS = 10_000
_OWN_KEYS = frozenset({"at", "for", "name", "faults", "latency_seconds", "switches"})


class Tally:
    """Requests by the status of their answer."""

    def __init__(self) -> None:
        self._by_status: Counter[str] = Counter()

    def add(self, status: str) -> None:
        self._by_status[status] += 1

    def as_json(self) -> dict[str, Any]:
        return {"total": self._by_status.total(), "by_status": dict(sorted(self._by_status.items()))}


@dataclass(slots=True, kw_only=True)
class Period:
    """From `at` (seconds after the PUT) for `lasts` seconds. `requests`: those that came while it lasted."""

    number: int
    at: float
    lasts: float
    name: str
    rules: list[Rule] = field(default_factory=list)
    latency_seconds: float = 0.0
    switches: Mapping[str, Any] = field(default_factory=dict)
    requests: Tally = field(default_factory=Tally)

    @property
    def end(self) -> float:
        return self.at + self.lasts

    def as_json(self, elapsed: float) -> dict[str, Any]:
        return {
            "number": self.number,
            "name": self.name,
            "at": self.at,
            "for": self.lasts,
            "in_force": self.at <= elapsed < self.end,
            "faults": [rule.as_json() for rule in self.rules],
            "latency_seconds": self.latency_seconds,
            "switches": dict(self.switches),
            "requests": self.requests.as_json(),
        }


class Timeline:
    """Begins when it is made. `outside`: the requests that met no period."""

    def __init__(self, periods: Sequence[Period], clock: Callable[[], float]) -> None:
        """`clock`: seconds that never go back."""
        self.periods = periods
        self.outside = Tally()
        self._clock = clock
        self._began = clock()
        self._began_at = datetime.now(UTC)
        self._in_force: Sequence[Period] = ()
        self._in_force_until = 0.0

    def in_force(self) -> Sequence[Period]:
        """The periods of this moment, in the order of the list."""
        elapsed = self._elapsed()
        if elapsed >= self._in_force_until:
            self._in_force = [each for each in self.periods if each.at <= elapsed < each.end]
            edges = (edge for each in self.periods for edge in (each.at, each.end) if edge > elapsed)
            self._in_force_until = min(edges, default=float("inf"))
        return self._in_force

    def pick(self, place: str, method: str) -> Fault | None:
        """The fault this request meets by the clock. Counts the request."""
        return rules.first((rule for each in self.in_force() for rule in each.rules), place, method)

    def latency_seconds(self) -> float:
        return max((each.latency_seconds for each in self.in_force()), default=0.0)

    def switches(self) -> Mapping[str, Any]:
        """Those that replace the plan's."""
        return {name: value for each in reversed(self.in_force()) for name, value in each.switches.items()}

    def tallies(self) -> list[Tally]:
        """Where a request that comes now is counted."""
        return [each.requests for each in self.in_force()] or [self.outside]

    def as_json(self) -> dict[str, Any]:
        """What was planned, what is in force, what each period met."""
        elapsed = self._elapsed()
        return {
            "began_at": self._began_at.isoformat(),
            "elapsed_seconds": round(elapsed, 3),
            "ends_after_seconds": max((each.end for each in self.periods), default=0.0),
            "in_force": [each.name for each in self.in_force()],
            "periods": [each.as_json(elapsed) for each in self.periods],
            "outside": self.outside.as_json(),
        }

    def _elapsed(self) -> float:
        return self._clock() - self._began


def parse(text: Any, clock: Callable[[], float]) -> Timeline:
    """A timeline of decoded JSON, begun: a list of periods, or a storm's recipe. Raises InvalidPlan."""
    listed = storm.periods(text) if isinstance(text, dict) else text
    if not isinstance(listed, list) or len(listed) > _MOST_PERIODS:
        raise InvalidPlan(
            f"the timeline must be a list of up to {_MOST_PERIODS} periods, or an object with a seed"
        )
    return Timeline([_period(each, index) for index, each in enumerate(listed)], clock)


def _period(text: Any, index: int) -> Period:
    where = f"[{index}]"
    fields = mapping(text, where, _OWN_KEYS | rules.KEYS)
    short = {key: value for key, value in fields.items() if key in rules.KEYS}
    listed = plan.rule_list(fields, where)
    if short:
        listed.insert(0, rules.parse(short, where))
    period = Period(
        number=index,
        at=number(fields, "at", where, 0.0, _LONGEST_SECONDS, default=None),
        lasts=number(fields, "for", where, 0.001, _LONGEST_SECONDS, default=None),
        name=_name(fields, listed, where),
        rules=listed,
        latency_seconds=plan.latency(fields, where),
        switches=switches.read(fields.get("switches", {}), f"{where}.switches"),
    )
    if not (period.rules or period.latency_seconds or period.switches):
        raise InvalidPlan(f'{where}: nothing happens in it; give "fault", "latency_seconds" or "switches"')
    return period


def _name(fields: Mapping[str, Any], listed: Sequence[Rule], where: str) -> str:
    name = fields.get(
        "name", listed[0].name if listed else "latency" if "latency_seconds" in fields else "switches"
    )
    if not isinstance(name, str):
        raise InvalidPlan(f'{where}: "name" must be a text')
    return name
