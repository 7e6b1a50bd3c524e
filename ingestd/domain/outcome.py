"""What a target answered to one upload, and the evidence for it.

An Outcome says what the answer means for the receipt; Evidence keeps what support would ask for. Expected
answers, a lost connection among them, are Outcomes; exceptions are left to the unexpected.
"""

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One exchange with the target, as recorded with the attempt. Never holds bodies or tokens."""

    status: int | None = None
    correlation_id: str | None = None
    error_id: str | None = None
    message: str = ""
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """The target stored the image and named it."""

    image_id: str
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """The target asks to slow down; nothing was stored. Spends no attempt.

    `wait` is what the server asked for; None when it did not say.
    """

    reason: str
    wait: timedelta | None = None
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """The target can't take it now and stored nothing: down, unreachable, or it refuses our credentials.

    `everything` says that the next receipt would meet the same answer: the target is left alone for a while,
    and no attempt is spent, since an outage is not the receipt's fault. `wait` is the shortest sensible
    pause, None for the ordinary backoff.
    """

    reason: str
    fix: str = ""
    wait: timedelta | None = None
    everything: bool = False
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The target said no to this receipt and would say it again. `fix` tells a person what to do."""

    reason: str
    fix: str
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unconfirmed:
    """The whole request may have reached the target and no usable answer came: it may be stored or not."""

    reason: str
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """The target took the bytes and will decide later (202); `reference` is how to ask."""

    reference: str
    ask_after: timedelta
    evidence: Evidence = field(default_factory=Evidence)


Outcome = Uploaded | Throttled | Unavailable | Refused | Unconfirmed | Pending


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The slot has an image. `url`: where it can be read for some minutes; None: the target names none."""

    image_id: str
    url: str | None = field(default=None, repr=False)
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotThere:
    """The target answered, and there is no image in the slot."""

    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class CannotSay:
    """The target could not be asked, or its answer decides nothing.

    `obstacle`: what an upload would have met as well, for the gate. None: only this question has no answer;
    `passing` tells if it may have one another time (a 500), or never will (the slot isn't ours to read).
    """

    reason: str
    obstacle: Throttled | Unavailable | None = None
    passing: bool = False
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def worth_asking_again(self) -> bool:
        return self.passing or self.obstacle is not None


LookUp = Found | NotThere | CannotSay
