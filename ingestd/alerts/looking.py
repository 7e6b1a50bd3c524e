"""Takes snapshots: asks the ledger, the sources, the gates, the logins and the disk how they stand.

One look at a time, whoever asks; figures and alerts share it. A ledger that can't be read is a finding.
"""

import asyncio
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from ingestd.alerts.hearing import Hearing
from ingestd.alerts.snapshot import Books, Needy, Snapshot, SourceState, TargetKey, Trouble
from ingestd.domain.document import Instant
from ingestd.domain.errors import IngestdError
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.states import NEEDS_PERSON, State
from ingestd.interfaces import Clock, Destination, LedgerReader, Source

SHOWN = 10
"""Receipts that are told one by one."""
_MOST_READ = 500
_READ_AGAIN = timedelta(minutes=1)
"""The receipts behind an unchanged count are read anew after this: one may have gone while another came."""


class Outside(Protocol):
    """What the pipeline knows of the world."""

    @property
    def failing(self) -> Mapping[TargetKey, tuple[Instant, str]]: ...

    @property
    def paused(self) -> Mapping[str, tuple[Instant, str]]: ...

    @property
    def places(self) -> Mapping[str, int]: ...


@dataclass(slots=True, kw_only=True)
class Looking:
    """For one event loop, made at the start of a run."""

    reader: LedgerReader
    outside: Outside
    sources: Mapping[str, Source]
    destinations: Mapping[str, Destination]
    folders: Collection[str]
    """Sources whose file names may be told to others; those of all others came by mail, or nobody knows."""
    directory: Path
    clock: Clock
    hearing: Hearing
    _started_at: Instant = field(init=False)
    _newest: "_Newest" = field(init=False)
    _unreadable: Trouble | None = field(init=False, default=None)
    _last: Snapshot | None = field(init=False, default=None)
    _one_look: asyncio.Lock = field(init=False, default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._started_at = self.clock()
        self._newest = _Newest(self.reader, self.folders)

    async def look(self, *, age: timedelta = timedelta()) -> Snapshot:
        """How it stands; a snapshot that is no older than `age` will do."""
        async with self._one_look:
            last = self._last
            if last is None or last.at < later(self.clock(), -age):
                last = self._last = await self._look()
            return last

    async def _look(self) -> Snapshot:
        now = self.clock()
        books = await self._books(now)
        return Snapshot(
            at=now,
            started_at=self._started_at,
            books=books,
            unreadable=self._unreadable,
            sources=self._sources(),
            failing={k: Trouble(since=at, reason=why) for k, (at, why) in self.outside.failing.items()},
            answered=frozenset(self.hearing.answered),
            places=self.outside.places,
            logins=self._logins(),
            free_bytes=await asyncio.to_thread(_free_bytes, self.directory),
            lacking=dict(self.hearing.lacking),
        )

    async def _books(self, now: Instant) -> Books | None:
        try:
            counts = await self.reader.counts()
            needy, newest = await self._newest.look(counts, now)
            waiting = await self.reader.waiting(horizon=now)
            books = Books(
                counts=counts,
                needy=needy,
                newest=newest,
                oldest_waiting=await self.reader.oldest_waiting(),
                feedback_due=waiting.feedback_due,
            )
        except IngestdError as error:
            since = self._unreadable.since if self._unreadable else now
            self._unreadable = Trouble(since=since, reason=str(error))
            return None
        self._unreadable = None
        return books

    def _sources(self) -> dict[str, SourceState]:
        paused = self.outside.paused
        states: dict[str, SourceState] = {}
        for name, source in self.sources.items():
            status = source.status
            trouble = None
            if status.trouble is not None:
                trouble = Trouble(since=status.troubled_since or self._started_at, reason=status.trouble)
            states[name] = SourceState(
                scanned=status.scans > 0,
                discreet=name not in self.folders,
                trouble=trouble,
                paused=Trouble(since=paused[name][0], reason=paused[name][1]) if name in paused else None,
            )
        return states

    def _logins(self) -> dict[TargetKey, Instant]:
        return {
            (name, login.account): login.expires_at
            for name, destination in self.destinations.items()
            for login in destination.logins
            if login.expires_at is not None
        }


class _Newest:
    """The receipts that need a person, those that came to it last first. Reads them only when it must."""

    def __init__(self, reader: LedgerReader, folders: Collection[str]) -> None:
        self._reader = reader
        self._folders = folders
        self._counts: Mapping[State, int] = {}
        self._read_at = Instant(0)
        self._found: tuple[int, tuple[Needy, ...]] = (0, ())
        self._floor: Instant | None = None

    async def look(self, counts: Mapping[State, int], now: Instant) -> tuple[int, tuple[Needy, ...]]:
        """How many there are, and the newest."""
        needing = {state: counts[state] for state in NEEDS_PERSON}
        if needing == self._counts and now < later(self._read_at, _READ_AGAIN):
            return self._found
        asked = await self._still_asked() if needing[State.UNCONFIRMED] else 0
        count = max(0, sum(needing.values()) - asked)
        self._found = count, await self._read() if count else ()
        self._counts, self._read_at = needing, now
        return self._found

    async def _still_asked(self) -> int:
        """Unconfirmed ones that ingestd asks the target about by itself. Of very many only the newest."""
        unconfirmed = await self._reader.find(states={State.UNCONFIRMED}, limit=_MOST_READ)
        return sum(not receipt.settled for receipt in unconfirmed)

    async def _read(self) -> tuple[Needy, ...]:
        """By when they changed, although lists are in the order in which receipts came."""
        find = self._reader.find
        receipts = {r.id: r for r in await find(states=NEEDS_PERSON, limit=SHOWN)}
        changed = await find(states=NEEDS_PERSON, limit=_MOST_READ, changed_since=self._floor)
        receipts |= {receipt.id: receipt for receipt in changed}
        settled = [receipt for receipt in receipts.values() if receipt.settled]
        newest = sorted(settled, key=lambda receipt: receipt.updated_at, reverse=True)[:SHOWN]
        self._floor = newest[-1].updated_at if len(newest) == SHOWN else None
        return tuple(self._needy(receipt) for receipt in newest)

    def _needy(self, receipt: Receipt) -> Needy:
        return Needy(
            id=receipt.id,
            state=receipt.state,
            filename=receipt.filename,
            reason=receipt.reason or "",
            changed_at=receipt.updated_at,
            discreet=receipt.source not in self._folders,
        )


def _free_bytes(directory: Path) -> int | None:
    try:
        state = os.statvfs(directory)
    except OSError:
        return None
    return state.f_bavail * state.f_frsize
