"""A random timeline that a seed repeats: every fault in turn, with calm in between.

Trouble and calm have exactly the shares asked for, and no name that was asked for is left out. The periods
are plain JSON, so GET /_sandbox/timeline shows what a storm was made of.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ingestd.sandbox import faults
from ingestd.sandbox.faults import Kind
from ingestd.sandbox.fields import InvalidPlan, mapping, number, whole_number
from ingestd.sandbox.slots import FILE, TOKEN

_KEYS = frozenset({"seed", "seconds", "faults", "calm"})
_EVERYTHING = ["*", TOKEN, FILE]
_PERIOD_SECONDS = 15.0
_LONGEST_SECONDS = 7 * 86_400.0
_MOST_PERIODS = 10_000
_HANGING = frozenset({Kind.TIMEOUT, Kind.SLOW})

CONDITIONS: Mapping[str, Callable[[random.Random], dict[str, Any]]] = MappingProxyType(
    {
        "down": lambda _: {"fault": "drop-before", "match": _EVERYTHING, "method": "*"},
        "maintenance": lambda _: {"fault": "fail-503", "match": _EVERYTHING, "method": "*"},
        "latency": lambda dice: {"latency_seconds": round(dice.uniform(0.2, 2.0), 2)},
        "rate": lambda dice: {
            "switches": {"rate": f"{dice.randint(2, 20)}/1", "retry_after": dice.choice([0, 1, "absent"])}
        },
        "rate-400": lambda dice: {"switches": {"rate": f"{dice.randint(2, 20)}/1", "rate_status": 400}},
        "capacity": lambda dice: {
            "switches": {"capacity": dice.randint(1, 8), "capacity_seconds": round(dice.uniform(0.1, 1.0), 2)}
        },
        "processing": lambda dice: {
            "switches": {
                "processing_seconds": dice.randint(1, 10),
                "processing": dice.choice(["404", "no-url"]),
            }
        },
        "converts": lambda dice: {"switches": {"converts": dice.choice(["pdf", "recompressed"])}},
    }
)
"""What no single fault can play: an outage of everything, a limit, a slow day."""

ALL = (
    *("drop-before", "drop-mid-body", "fail-400", "fail-401", "fail-403", "fail-500", "fail-503"),
    *("throttle", "throttle-0", "throttle-1", "throttle-date-2", "limit-400", "deadlock-400", "imaging-500"),
    *("error-in-200", "html-403", "html-502", "redirect", "accept-then-500", "accept-then-503"),
    *("accept-then-drop", "timeout", "slow-2", "empty-201", "truncated-xml", "cut-answer"),
    *("expired-url", "no-url", "other-bytes", "other-image", "revoke-token", "code-134"),
    *CONDITIONS,
)
"""Every kind of fault. None of them costs a login for good."""


def periods(text: Any) -> list[dict[str, Any]]:
    """The periods of {"seed", "seconds", "faults": "all" or names, "calm": share}. Raises InvalidPlan."""
    fields = mapping(text, "the timeline", _KEYS)
    seconds = number(fields, "seconds", "", 1.0, _LONGEST_SECONDS, default=None)
    calm = number(fields, "calm", "", 0.0, 0.99, default=0.5)
    seed = whole_number(fields, "seed", "the timeline", default=None)
    if seed is None:
        raise InvalidPlan('"seed" must be a whole number from 0 on: it repeats the storm')
    names = _names(fields.get("faults", "all"))
    trouble = seconds * (1 - calm)
    count = min(_MOST_PERIODS, max(len(names), round(trouble / _PERIOD_SECONDS)))
    dice = random.Random(seed)
    lengths, gaps = _shares(dice, count, trouble), _shares(dice, count + 1, seconds * calm)
    at, found = 0.0, []
    for name, length, gap in zip(_dealt(dice, names, count), lengths, gaps[:-1], strict=True):
        at += gap
        found.append(
            _period(dice, name) | {"name": name, "at": round(at, 3), "for": round(max(length, 0.001), 3)}
        )
        at += length
    return found


def _names(value: Any) -> Sequence[str]:
    if value == "all":
        return ALL
    if not isinstance(value, list) or not value:
        raise InvalidPlan('"faults" must be "all" or a list of names')
    for name in value:
        if not isinstance(name, str) or (name not in CONDITIONS and faults.parse(name) is None):
            known = ", ".join(ALL)
            raise InvalidPlan(f'"faults" has {name!r}; it takes the name of a fault or of: {known}')
    return value


def _dealt(dice: random.Random, names: Sequence[str], count: int) -> list[str]:
    """As from a deck that is shuffled anew whenever it is used up."""
    dealt: list[str] = []
    while len(dealt) < count:
        dealt += dice.sample(list(names), len(names))
    return dealt[:count]


def _shares(dice: random.Random, count: int, total: float) -> list[float]:
    """So many random parts of the total, none more than three times another."""
    weights = [dice.uniform(0.5, 1.5) for _ in range(count)]
    return [total * weight / sum(weights) for weight in weights]


def _period(dice: random.Random, name: str) -> dict[str, Any]:
    condition = CONDITIONS.get(name)
    if condition is not None:
        return condition(dice)
    fault = faults.parse(name)
    assert fault is not None
    # A request that hangs holds a worker of the client: all of them hanging would only stop the storm.
    most = 0.3 if fault.kind in _HANGING else 1.0
    chance = round(dice.uniform(0.3 * most, most), 2)
    return {"fault": name, "probability": chance, "seed": dice.randrange(2**31)}
