"""How a run stands at one moment, as far as people and figures need it: plain data, no behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ingestd.domain.document import Instant
from ingestd.domain.states import State

TargetKey = tuple[str, str | None]
"""Target and account; None: the target's own user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that has not worked since then, and why: a sentence, or words of a server."""

    since: Instant
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needy:
    """A receipt that needs a person. `discreet`: its name came by mail, and stays with us."""

    id: str
    state: State
    filename: str
    reason: str
    changed_at: Instant
    discreet: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """What the ledger says. `needy` counts receipts that need a person, `newest` are the last of them."""

    counts: Mapping[State, int]
    needy: int = 0
    newest: tuple[Needy, ...] = ()
    oldest_waiting: Instant | None = None
    feedback_due: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """`scanned`: at least one full scan succeeded since the start."""

    scanned: bool
    discreet: bool = False
    trouble: Trouble | None = None
    paused: Trouble | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`books` None: the ledger can't be read, for `unreadable`. `free_bytes` None: nobody knows.

    `failing`: closed gates. `answered`: targets that took or refused an upload since the start. `logins`:
    ends that are known. `lacking`: parts of the program that could not be started, each with its reason.
    """

    at: Instant
    started_at: Instant
    books: Books | None
    unreadable: Trouble | None = None
    sources: Mapping[str, SourceState] = field(default_factory=dict)
    failing: Mapping[TargetKey, Trouble] = field(default_factory=dict)
    answered: frozenset[str] = frozenset()
    places: Mapping[str, int] = field(default_factory=dict)
    logins: Mapping[TargetKey, Instant] = field(default_factory=dict)
    free_bytes: int | None = None
    lacking: Mapping[str, str] = field(default_factory=dict)
