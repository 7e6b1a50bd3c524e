"""How a target is treated, whatever API it speaks: retries, its gate, and what follows an upload in doubt."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from ingestd.domain.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most so many requests within the time."""

    requests: int
    within: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """How much a target is asked to bear.

    `concurrency` is the hard ceiling of uploads at the same time; None: as many as there are workers.
    `adaptive`: below that ceiling the gate looks for the number that the API bears. `rate` None: no limit.
    """

    concurrency: int | None = None
    adaptive: bool = True
    rate: Rate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRules:
    """Those of one target.

    `ask_first`: a slot that takes one image is looked at before the first upload. An upload in doubt counts
    as not there when the slot is still empty `not_there_after` the attempt; while the target can't say, it
    is asked again for `look_up_for`, then it is left to a person. `verify`: an uploaded image is read back
    and compared.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    gate: GatePolicy = field(default_factory=GatePolicy)
    on_unconfirmed: Literal["hold", "retry"] = "hold"
    ask_first: bool = True
    not_there_after: timedelta = timedelta(minutes=5)
    look_up_for: timedelta = timedelta(days=1)
    verify: bool = False
