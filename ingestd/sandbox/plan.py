"""The plan of the bad day: scripted faults, latency, and the switches between answers Concur may give.

Nothing is decided here but which fault a request meets. A rule of the plan comes before the fault named by
the ID; of several rules the first that fires wins. `PUT` replaces the whole plan: what is left out is back
at its default.
"""

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingestd.sandbox import faults
from ingestd.sandbox.faults import Fault
from ingestd.sandbox.slots import Slot, compile_pattern

_METHODS = ("POST", "GET", "*")
_LONGEST_LATENCY_SECONDS = 600.0


class InvalidPlan(ValueError):
    """The plan can't be followed; the text names the key and what it takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Status codes where Concur's documents are silent or disagree. The first of each is the default."""

    bad_token: int = field(default=403, metadata={"choices": (403, 401)})
    wrong_type: int = field(default=400, metadata={"choices": (400, 415)})
    too_large: int = field(default=400, metadata={"choices": (400, 413)})
    no_length: int = field(default=400, metadata={"choices": (400, 411)})
    unknown_id: int = field(default=404, metadata={"choices": (404, 400)})
    slot_taken: int = field(default=400, metadata={"choices": (400, 409, 200, 201)})

    @classmethod
    def choices(cls) -> dict[str, tuple[int, ...]]:
        return {each.name: each.metadata["choices"] for each in dataclasses.fields(cls)}


@dataclass(slots=True, kw_only=True)
class Rule:
    """A fault for the slots that match: after `after` of their requests, `times` times, with `probability`.

    `seen` counts the requests it matched, `fired` those it spoilt.
    """

    match: str
    fault: Fault
    name: str
    method: str
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int | None = None
    seen: int = 0
    fired: int = 0
    _pattern: re.Pattern[str] = field(init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._pattern = compile_pattern(self.match)
        self._random = random.Random(self.seed)

    def fires(self, slot: str, method: str) -> bool:
        """Counts the request if it matches, and says whether it meets the fault."""
        if self.method not in (method, "*") or self._pattern.fullmatch(slot) is None:
            return False
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.fired >= self.times):
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def as_json(self) -> dict[str, Any]:
        return {
            "match": self.match,
            "fault": self.name,
            "method": self.method,
            "times": self.times,
            "after": self.after,
            "probability": self.probability,
            "seed": self.seed,
            "seen": self.seen,
            "fired": self.fired,
        }


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is in force now. `latency_seconds` delays every answer of the image API, good or bad."""

    rules: list[Rule] = field(default_factory=list)
    latency_seconds: float = 0.0
    switches: Switches = field(default_factory=Switches)
    _met: Counter[str] = field(default_factory=Counter)

    def pick(self, slot: Slot, method: str) -> Fault | None:
        """The fault this request meets, None for a good day. Counts the request."""
        place = str(slot)
        for rule in self.rules:
            if rule.fires(place, method):
                return rule.fault
        named = faults.parse(slot.identifier) if slot.identifier else None
        if named is None or named.on_get is not (method == "GET"):
            return None
        if named.times is None:
            return named
        self._met[place] += 1
        return named if self._met[place] <= named.times else None

    def as_json(self) -> dict[str, Any]:
        return {
            "faults": [rule.as_json() for rule in self.rules],
            "latency_seconds": self.latency_seconds,
            "switches": dataclasses.asdict(self.switches),
        }


def parse(text: Any) -> Plan:
    """The plan of a decoded JSON document. Raises InvalidPlan."""
    keys = {"faults", "latency_seconds", "switches"}
    fields = _object(text, "the plan", keys)
    rules = fields.get("faults", [])
    if not isinstance(rules, list):
        raise InvalidPlan('"faults" must be a list of {"match": …, "fault": …}')
    return Plan(
        rules=[_rule(each, f"faults[{index}]") for index, each in enumerate(rules)],
        latency_seconds=_number(fields, "latency_seconds", "", 0.0, _LONGEST_LATENCY_SECONDS, default=0.0),
        switches=_switches(fields.get("switches", {})),
    )


def _rule(text: Any, where: str) -> Rule:
    keys = {"match", "fault", "method", "times", "after", "probability", "seed"}
    fields = _object(text, where, keys)
    name, match = fields.get("fault"), fields.get("match", "*")
    fault = faults.parse(name) if isinstance(name, str) else None
    if fault is None:
        examples = ", ".join(entry.example for entry in faults.CATALOGUE.values())
        raise InvalidPlan(f'{where}: "fault" is {name!r}; it must be one of: {examples}')
    if not isinstance(match, str):
        raise InvalidPlan(f'{where}: "match" must be a slot such as "receipt", "report/*" or "*"')
    method = fields.get("method", "GET" if fault.on_get else "POST")
    if method not in _METHODS:
        raise InvalidPlan(f'{where}: "method" must be one of {", ".join(_METHODS)}')
    return Rule(
        match=match,
        fault=fault,
        name=str(name),
        method=method,
        times=_count(fields, "times", where, default=fault.times),
        after=_count(fields, "after", where, default=0) or 0,
        probability=_number(fields, "probability", where, 0.0, 1.0, default=1.0),
        seed=_count(fields, "seed", where, default=None),
    )


def _switches(text: Any) -> Switches:
    choices = Switches.choices()
    fields = _object(text, "switches", set(choices))
    for name, value in fields.items():
        if type(value) is not int or value not in choices[name]:
            allowed = " or ".join(str(choice) for choice in choices[name])
            raise InvalidPlan(f'switches: "{name}" must be {allowed}, not {value!r}')
    return Switches(**fields)


def _object(text: Any, where: str, keys: set[str]) -> Mapping[str, Any]:
    if not isinstance(text, dict):
        raise InvalidPlan(f"{where} must be a JSON object with the keys {', '.join(sorted(keys))}")
    unknown = sorted(set(text) - keys)
    if unknown:
        raise InvalidPlan(f"{where}: unknown key {unknown[0]!r}; it takes {', '.join(sorted(keys))}")
    return text


def _count(fields: Mapping[str, Any], key: str, where: str, *, default: int | None) -> int | None:
    value = fields.get(key)
    if value is None:
        return default
    if type(value) is not int or value < 0:
        raise InvalidPlan(f'{where}: "{key}" must be a whole number from 0 on, not {value!r}')
    return value


def _number(
    fields: Mapping[str, Any], key: str, where: str, least: float, most: float, *, default: float
) -> float:
    value = fields.get(key, default)
    if type(value) not in (int, float) or not least <= value <= most:
        prefix = f"{where}: " if where else ""
        raise InvalidPlan(f'{prefix}"{key}" must be a number from {least:g} to {most:g}, not {value!r}')
    return float(value)
