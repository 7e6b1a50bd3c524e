"""One rule of the bad day: which requests meet a fault, and how often.

A rule matches slots (`receipt`, `report/*`, `*`). The token endpoint and the files behind image URLs are met
only by their names, `token` and `file`: an answer lost there may cost a login, so `*` does not mean them.
"""

import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ingestd.sandbox import faults
from ingestd.sandbox.faults import Fault
from ingestd.sandbox.fields import InvalidPlan, mapping, number, whole_number
from ingestd.sandbox.slots import BY_NAME_ONLY, TOKEN, compile_pattern

KEYS = frozenset({"match", "fault", "method", "times", "after", "probability", "seed"})
_METHODS = ("POST", "GET", "*")


@dataclass(slots=True, kw_only=True)
class Rule:
    """A fault for the places that match: after `after` of their requests, `times` times, with `probability`.

    `method` tells uploads from look-ups. `seen` counts the requests it matched, `fired` those it spoilt.
    """

    match: tuple[str, ...]
    fault: Fault
    name: str
    method: str
    times: int | None = None
    after: int = 0
    probability: float = 1.0
    seed: int | None = None
    seen: int = 0
    fired: int = 0
    _patterns: tuple[re.Pattern[str], ...] = field(init=False, repr=False)
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._patterns = tuple(compile_pattern(each) for each in self.match)
        self._random = random.Random(self.seed)

    def fires(self, place: str, method: str) -> bool:
        """Counts the request if it matches, and says whether it meets the fault."""
        if not self._matches(place, method):
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
            "match": self.match[0] if len(self.match) == 1 else list(self.match),
            "fault": self.name,
            "method": self.method,
            "times": self.times,
            "after": self.after,
            "probability": self.probability,
            "seed": self.seed,
            "seen": self.seen,
            "fired": self.fired,
        }

    def _matches(self, place: str, method: str) -> bool:
        if place in BY_NAME_ONLY:
            return place in self.match
        return self.method in (method, "*") and any(each.fullmatch(place) for each in self._patterns)


def first(rules: Iterable[Rule], place: str, method: str) -> Fault | None:
    """The fault of the first rule that fires."""
    return next((rule.fault for rule in rules if rule.fires(place, method)), None)


def parse(text: Any, where: str) -> Rule:
    """A rule of decoded JSON. Raises InvalidPlan."""
    fields = mapping(text, where, KEYS)
    name = fields.get("fault")
    fault = faults.parse(name) if isinstance(name, str) else None
    if fault is None:
        examples = ", ".join(entry.example for entry in faults.CATALOGUE.values())
        raise InvalidPlan(f'{where}: "fault" is {name!r}; it must be one of: {examples}')
    method = fields.get("method", "GET" if fault.on_get else "POST")
    if method not in _METHODS:
        raise InvalidPlan(f'{where}: "method" must be one of {", ".join(_METHODS)}')
    return Rule(
        match=_match(fields, fault, where),
        fault=fault,
        name=str(name),
        method=method,
        times=whole_number(fields, "times", where, default=fault.times),
        after=whole_number(fields, "after", where, default=0) or 0,
        probability=number(fields, "probability", where, 0.0, 1.0, default=1.0),
        seed=whole_number(fields, "seed", where, default=None),
    )


def _match(fields: Mapping[str, Any], fault: Fault, where: str) -> tuple[str, ...]:
    match = fields.get("match", TOKEN if fault.on_token else "*")
    patterns = match if isinstance(match, list) else [match]
    if not patterns or not all(isinstance(each, str) for each in patterns):
        raise InvalidPlan(f'{where}: "match" must be a slot such as "receipt", "report/*" or "*", or a list')
    return tuple(patterns)
