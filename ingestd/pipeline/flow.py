"""What every stage works with: the rooms behind their protocols, the bells between stages, the constants."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from ingestd.domain.routing import Route
from ingestd.domain.rules import TargetRules
from ingestd.interfaces import Clock, Destination, Ledger, LedgerReader, Normalizer, Observer
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool

LOOK = timedelta(seconds=1)
"""Each stage looks at the ledger at least this often: commands beside the daemon ring no bell."""


class Bell:
    """Wakes one waiting stage. Rings while nobody waits are kept, once."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self, timeout: timedelta = LOOK) -> None:
        """Returns at the next ring, or after `timeout`."""
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeSettings:
    width: int = 16
    """Arrivals copied to the spool at the same time; their commits share an fsync."""
    retry_full: timedelta = timedelta(seconds=2)
    """How often a full disk is looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepSettings:
    lease: timedelta = timedelta(seconds=60)
    keep: timedelta = timedelta(days=90)
    tidy_every: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Shared by the stages of one pipeline; `owner` names this process in every claim."""

    ledger: Ledger
    reader: LedgerReader
    spool: Spool
    normalizer: Normalizer
    destinations: Mapping[str, Destination]
    rules: Mapping[str, TargetRules]
    """How each target is treated; those of `destinations`."""
    routes: Sequence[Route]
    observer: Observer
    clock: Clock
    owner: str
    upload_workers: int = 8
    prepare_workers: int = 4
    grace: timedelta = timedelta(seconds=30)
    intake: IntakeSettings = field(default_factory=IntakeSettings)
    preparation: PreparationSettings = field(default_factory=PreparationSettings)
    upkeep: UpkeepSettings = field(default_factory=UpkeepSettings)
    exclusive: bool = True
    """True when no other process can own receipts (the run lock of SQLite): older leases are orphans."""
    discreet: frozenset[str] = frozenset()
    """Sources whose paths are not logged: those of a mailbox are the subjects of mails."""
    to_prepare: Bell = field(default_factory=Bell)
    to_upload: Bell = field(default_factory=Bell)
    to_report: Bell = field(default_factory=Bell)
    to_resolve: Bell = field(default_factory=Bell)
    to_verify: Bell = field(default_factory=Bell)

    def logged(self, source: str, path: str) -> Mapping[str, Any]:
        """The field of a log event that tells what it is about, beside the receipt."""
        return {"source": source} if source in self.discreet else {"source": source, "path": path}
