"""Which alerts are open: a pure function of a snapshot, the settings, and what was told before.

What was told stays open until it is known to be over: after a restart nobody knows of a target before it has
been asked, and a target that answers one probe and fails again was never well.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import assert_never

from ingestd.alerts.snapshot import Needy, Snapshot, TargetKey
from ingestd.alerts.words import clock_time, megabytes, span
from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.retry import later
from ingestd.http.expiry import expiry_sentence, threshold_crossed
from ingestd.settings import AlertSettings

ENOUGH_AGAIN_PERCENT = 110
"""A disk that was low is well with a tenth more, so that one file does not make it low again."""


class Kind(StrEnum):
    """What an alert is about; in the order in which they are told."""

    LEDGER = "ledger"
    DISK = "disk"
    INTAKE = "intake"
    TARGET = "target"
    SOURCE = "source"
    WAITING = "waiting"
    RECEIPTS = "receipts"
    LETTERS = "letters"
    LOGIN = "login"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """`key` is the same as long as it is about the same thing; it begins with its kind and a colon.

    `title` is a clause for a subject, without words of strangers. `says` is a sentence, `reason` what was
    said about it; of a `discreet` one it may quote mail. `news` grows when there is more to tell. A
    `notice` warns ahead: nothing is broken yet.
    """

    key: str
    title: str
    says: str
    fix: str
    since: Instant | None = None
    reason: str = ""
    discreet: bool = False
    needy: tuple[Needy, ...] = ()
    count: int = 0
    news: int = 0
    notice: bool = False

    @property
    def kind(self) -> Kind:
        return Kind(self.key.partition(":")[0])


def conditions(
    snapshot: Snapshot, settings: AlertSettings, *, told: Collection[str] = ()
) -> tuple[Alert, ...]:
    """What is open, in the order in which it is told. `told`: keys of what was told and is not closed."""
    found: list[Alert] = []
    for kind in Kind:
        found += _of(kind, snapshot, settings, told)
    return tuple(found)


def is_unknown(key: str, snapshot: Snapshot, settings: AlertSettings) -> bool:
    """Whether the absence of an alert says nothing, because nobody has looked yet, or nobody can."""
    kind, _, subject = key.partition(":")
    fresh = snapshot.at < later(snapshot.started_at, settings.failing)
    match Kind(kind):
        case Kind.RECEIPTS | Kind.WAITING:
            return snapshot.books is None
        case Kind.TARGET:
            # An account is proved by nothing but time: what is answered may have been another one's.
            return fresh and subject not in snapshot.answered
        case Kind.SOURCE:
            source = snapshot.sources.get(subject)
            return source is not None and not source.scanned
        case Kind.INTAKE:
            source = snapshot.sources.get(subject)
            return source is not None and not source.scanned and fresh
        case Kind.DISK:
            return snapshot.free_bytes is None
        case Kind.LEDGER | Kind.LETTERS | Kind.LOGIN:
            return False
        case _ as unreachable:
            assert_never(unreachable)


def _of(
    kind: Kind, snapshot: Snapshot, settings: AlertSettings, told: Collection[str]
) -> Iterator[Alert] | tuple[Alert, ...]:
    match kind:
        case Kind.LEDGER:
            return _ledger(snapshot)
        case Kind.DISK:
            return _disk(snapshot, settings, told)
        case Kind.INTAKE:
            return _intake(snapshot)
        case Kind.TARGET:
            return _targets(snapshot, settings, told)
        case Kind.SOURCE:
            return _sources(snapshot, settings, told)
        case Kind.WAITING:
            return _waiting(snapshot, settings)
        case Kind.RECEIPTS:
            return _receipts(snapshot)
        case Kind.LETTERS:
            return _letters(snapshot)
        case Kind.LOGIN:
            return _logins(snapshot)
        case _ as unreachable:
            assert_never(unreachable)


def _ledger(snapshot: Snapshot) -> Iterator[Alert]:
    if snapshot.unreadable is not None:
        yield Alert(
            key="ledger:",
            title="the ledger can't be read",
            says=f"The ledger has not been readable since {clock_time(snapshot.unreadable.since)}.",
            fix="ingestd doctor",
            since=snapshot.unreadable.since,
            reason=snapshot.unreadable.reason,
        )


def _disk(snapshot: Snapshot, settings: AlertSettings, told: Collection[str]) -> Iterator[Alert]:
    key = "disk:"
    enough = settings.low_disk * (ENOUGH_AGAIN_PERCENT if key in told else 100) // 100
    if snapshot.free_bytes is not None and snapshot.free_bytes < enough:
        yield Alert(
            key=key,
            title="the disk is nearly full",
            says=f"{megabytes(snapshot.free_bytes)} are free where the storage directory is; fewer than "
            f"{megabytes(settings.low_disk)} are too few. Intake stops at storage.min_free.",
            fix="make room there, or lower storage.keep",
        )


def _intake(snapshot: Snapshot) -> Iterator[Alert]:
    for name, source in snapshot.sources.items():
        if source.paused is not None:
            yield Alert(
                key=f"{Kind.INTAKE}:{name}",
                title=f"nothing is taken from {name}",
                says=f"Nothing has been taken from {name} since {clock_time(source.paused.since)}.",
                fix="make room where the storage directory is; nothing is lost meanwhile",
                since=source.paused.since,
                reason=source.paused.reason,
            )


def _targets(snapshot: Snapshot, settings: AlertSettings, told: Collection[str]) -> Iterator[Alert]:
    for (target, account), trouble in snapshot.failing.items():
        key = f"{Kind.TARGET}:{target}" + (f"/{account}" if account else "")
        if key in told or _is_old(trouble.since, settings.failing, snapshot.at):
            yield Alert(
                key=key,
                title=f"the target {_named((target, account))} fails",
                says=f"The target {_named((target, account))} has failed since {clock_time(trouble.since)}.",
                fix="ingestd doctor; receipts for it wait, and go by themselves when it works again",
                since=trouble.since,
                reason=trouble.reason,
            )


def _sources(snapshot: Snapshot, settings: AlertSettings, told: Collection[str]) -> Iterator[Alert]:
    for name, source in snapshot.sources.items():
        key, trouble = f"{Kind.SOURCE}:{name}", source.trouble
        if trouble is not None and (key in told or _is_old(trouble.since, settings.failing, snapshot.at)):
            what = "mailbox" if source.discreet else "folder"
            yield Alert(
                key=key,
                title=f"the {what} {name} is in trouble",
                says=f"The {what} {name} has been in trouble since {clock_time(trouble.since)}.",
                fix="ingestd doctor",
                since=trouble.since,
                reason=trouble.reason,
                discreet=source.discreet,
            )


def _waiting(snapshot: Snapshot, settings: AlertSettings) -> Iterator[Alert]:
    oldest = snapshot.books.oldest_waiting if snapshot.books is not None else None
    if oldest is not None and _is_old(oldest, settings.waiting, snapshot.at):
        long = span(oldest, snapshot.at)
        yield Alert(
            key="waiting:",
            title=f"receipts have waited for {long}",
            says=f"The oldest receipt that waits came at {clock_time(oldest)}, {long} ago.",
            fix="ingestd list --state ready, and ingestd doctor",
            since=oldest,
        )


def _receipts(snapshot: Snapshot) -> Iterator[Alert]:
    books = snapshot.books
    if books is not None and books.needy:
        one = books.needy == 1
        yield Alert(
            key="receipts:",
            title=f"{books.needy:,} receipt{' needs' if one else 's need'} you",
            says=f"{books.needy:,} receipt{' is' if one else 's are'} held, rejected, failed or unconfirmed.",
            fix="ingestd show ID says what to do; then ingestd retry, confirm or drop",
            needy=books.newest,
            count=books.needy,
            news=max((needy.changed_at for needy in books.newest), default=Instant(0)),
        )


def _letters(snapshot: Snapshot) -> Iterator[Alert]:
    for part, reason in snapshot.lacking.items():
        yield Alert(
            key=f"{Kind.LETTERS}:{part}",
            title="mails can't be made into PDFs",
            says="Mails whose text is the receipt are rejected: this machine can't make PDFs of them.",
            fix="ingestd doctor, then restart",
            reason=reason,
        )


def _logins(snapshot: Snapshot) -> Iterator[Alert]:
    for key, ends in snapshot.logins.items():
        threshold = threshold_crossed(ends, snapshot.at)
        if threshold is None:
            continue
        over, who = threshold == 0, _named(key)
        command = f"ingestd login {key[0]}" + (f" --account {key[1]}" if key[1] else "")
        sentence = expiry_sentence(f"the login of {who}", ends, snapshot.at)
        yield Alert(
            key=f"{Kind.LOGIN}:{key[0]}" + (f"/{key[1]}" if key[1] else ""),
            title=f"the login of {who} {'has ended' if over else 'ends soon'}",
            says=f"{sentence[0].upper()}{sentence[1:]}.",
            fix=f"{command}, or put a new token into its file",
            news=-threshold,
            notice=not over,
        )


def _named(key: TargetKey) -> str:
    target, account = key
    return f"{target} ({account})" if account else target


def _is_old(since: Instant, most: timedelta, now: Instant) -> bool:
    return now - since >= most.total_seconds() * MICROSECONDS
