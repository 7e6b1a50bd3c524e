"""The plan of the bad day: scripted faults, latency, and switches.

Nothing is decided here but which fault a request meets. A rule of the plan comes before the fault named by
the ID; of several rules the first that fires wins. `PUT` replaces the whole plan: what is left out is back
at its default.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingestd.sandbox import faults, rules, switches
from ingestd.sandbox.faults import Fault
from ingestd.sandbox.fields import InvalidPlan, mapping, number
from ingestd.sandbox.rules import Rule
from ingestd.sandbox.slots import TOKEN, Slot
from ingestd.sandbox.switches import Switches

__all__ = ["InvalidPlan", "Plan", "latency", "parse", "rule_list"]

_LONGEST_LATENCY_SECONDS = 600.0


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is in force now. `latency_seconds` delays every answer of the API, good or bad."""

    rules: list[Rule] = field(default_factory=list)
    latency_seconds: float = 0.0
    switches: Switches = field(default_factory=Switches)
    _met: Counter[tuple[str, str]] = field(default_factory=Counter)

    def pick(self, slot: Slot, method: str) -> Fault | None:
        """The fault this request meets, None for a good day. Counts the request."""
        return self.pick_at(str(slot), method, [slot.identifier or ""])

    def pick_at(self, place: str, method: str, names: Iterable[str]) -> Fault | None:
        """The same for any place; `names` of the request that may pick a fault themselves."""
        return rules.first(self.rules, place, method) or self._named(place, method, names)

    def as_json(self) -> dict[str, Any]:
        return {
            "faults": [rule.as_json() for rule in self.rules],
            "latency_seconds": self.latency_seconds,
            "switches": self.switches.as_json(),
        }

    def _named(self, place: str, method: str, names: Iterable[str]) -> Fault | None:
        for name in names:
            named = faults.parse(name)
            if named is None or named.on_get is not (method == "GET"):
                continue
            if named.on_token and place != TOKEN:
                continue
            self._met[place, name] += named.times is not None
            if named.times is None or self._met[place, name] <= named.times:
                return named
        return None


def parse(text: Any) -> Plan:
    """The plan of a decoded JSON document. Raises InvalidPlan."""
    fields = mapping(text, "the plan", {"faults", "latency_seconds", "switches"})
    return Plan(
        rules=rule_list(fields, ""),
        latency_seconds=latency(fields, ""),
        switches=Switches().changed(switches.read(fields.get("switches", {}))),
    )


def rule_list(fields: Mapping[str, Any], where: str) -> list[Rule]:
    """Those under "faults"."""
    listed = fields.get("faults", [])
    prefix = f"{where}." if where else ""
    if not isinstance(listed, list):
        raise InvalidPlan(f'{prefix}"faults" must be a list of {{"match": …, "fault": …}}')
    return [rules.parse(each, f"{prefix}faults[{index}]") for index, each in enumerate(listed)]


def latency(fields: Mapping[str, Any], where: str) -> float:
    return number(fields, "latency_seconds", where, 0.0, _LONGEST_LATENCY_SECONDS, default=0.0)
