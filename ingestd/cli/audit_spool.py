"""The second half of an audit: everything that the spool should hold, read and compared with its hash.

Goes by hashes, in order: so one directory of the spool is in memory at a time, and since hashes are spread
evenly, the present one tells how far it got. Reads in a thread of low priority.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from ingestd.cli.audit_progress import AuditProgress
from ingestd.cli.looking_up import is_kept
from ingestd.cli.owners import owners_of
from ingestd.cli.proving import MOST_NAMED, Flaw, Flaws, flaw_in_blob
from ingestd.interfaces import Kept, LedgerReader

PAGE = 256
"""Blobs between two looks at the ledger."""
LOOKS = 5
LOOK_EVERY = timedelta(seconds=1)
"""A purge removes bytes first and says so in the ledger a moment later, five hundred at a time."""
NICENESS = 10
_SHA256_LENGTH = 64


class SpoolAudit:
    """What was counted, and the flaws that were found."""

    def __init__(self, reader: LedgerReader, spool: Path, *, quick: bool) -> None:
        self._reader = reader
        self._spool = spool
        self._quick = quick
        self.blobs = 0
        self.bytes = 0
        self.unknown = 0
        self.flaws = Flaws()

    async def run(self, progress: AuditProgress) -> None:
        progress.begin("spool")
        loop, listing, after = asyncio.get_running_loop(), _Listing(self._spool), ""
        suspects: dict[Kept, str] = {}
        with _nice_thread() as thread:
            while page := await self._reader.kept(after=after, limit=PAGE):
                await loop.run_in_executor(thread, listing.meet, page)
                flawed = await loop.run_in_executor(thread, self._look, page)
                for kept, what in flawed.items():
                    if len(suspects) < MOST_NAMED:
                        suspects[kept] = what
                    else:
                        self.flaws.count += 1
                self.blobs += len(page)
                self.bytes += sum(kept.size for kept in page)
                after = page[-1].sha256
                share = int(after[:8], 16) / 0x1_0000_0000
                progress.advance(share, f"{self.blobs:,} files", 0 if self._quick else self.bytes)
            self.unknown = await loop.run_in_executor(thread, listing.unknown)
            suspects = await self._look_again(suspects, thread)
        await self._name(suspects)

    def _look(self, page: Sequence[Kept]) -> dict[Kept, str]:
        judged = {kept: flaw_in_blob(self._path(kept), kept, quick=self._quick) for kept in page}
        return {kept: what for kept, what in judged.items() if what is not None}

    async def _look_again(self, flawed: dict[Kept, str], thread: ThreadPoolExecutor) -> dict[Kept, str]:
        """Those that stay wrong and stay kept: a purge may be at them, or a writer may bring them again."""
        for _ in range(LOOKS - 1):
            if not flawed:
                break
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            still = [kept for kept in flawed if await is_kept(self._reader, kept.sha256)]
            flawed = await asyncio.get_running_loop().run_in_executor(thread, self._look, still)
        return flawed

    async def _name(self, suspects: dict[Kept, str]) -> None:
        """Whose they are takes a look at every receipt, so it is looked up once for all."""
        owners = await owners_of(self._reader, {kept.sha256 for kept in suspects})
        for kept, what in suspects.items():
            owner = owners[kept.sha256]
            fix = f"restore {self._path(kept)} from a backup of the spool, or have it sent again"
            told = f"its {owner.role} {kept.sha256} {what}" if owner.receipts else f"{kept.sha256} {what}"
            self.flaws.add(Flaw(what=told, fix=fix, receipts=owner.receipts, sha256=kept.sha256))

    def _path(self, kept: Kept) -> Path:
        return self._spool / kept.sha256[:2] / kept.sha256


class _Listing:
    """Counts the blobs of the spool that were not met. Each directory is listed before its blobs are met."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._shards = iter([f"{number:02x}" for number in range(256)])
        self._shard = ""
        self._names: set[str] = set()
        self._unknown = 0

    def meet(self, page: Sequence[Kept]) -> None:
        """In the order of the hashes. What comes to the spool later is not counted. Blocks."""
        for kept in page:
            while self._shard < kept.sha256[:2]:
                self._list_next()
            self._names.discard(kept.sha256)

    def unknown(self) -> int:
        """After the last page. Blocks."""
        while self._shard < "ff":
            self._list_next()
        return self._unknown + len(self._names)

    def _list_next(self) -> None:
        self._unknown += len(self._names)
        self._shard = next(self._shards)
        try:
            with os.scandir(self._spool / self._shard) as entries:
                self._names = {entry.name for entry in entries if len(entry.name) == _SHA256_LENGTH}
        except FileNotFoundError:
            self._names = set()


@contextmanager
def _nice_thread() -> Iterator[ThreadPoolExecutor]:
    """Linux gives each thread a niceness of its own (setpriority(2), NOTES)."""
    with ThreadPoolExecutor(1, initializer=lambda: os.setpriority(os.PRIO_PROCESS, 0, NICENESS)) as thread:
        yield thread
