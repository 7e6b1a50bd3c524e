"""Upkeep: leases are renewed, orphans rescued, what is old is purged, sources are tidied. Nothing here is
urgent but the leases: they have a task of their own, so that nothing slow can cost them, and a full disk or a
slow purge never stops the flow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.retry import later
from ingestd.interfaces import Source
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.patience import until_there_is_room

PURGE_BATCH = 500
"""Bytes looked at, and rows removed, in one step: a few milliseconds of the ledger's only writer."""

TICK = timedelta(seconds=1)


class Upkeep:
    def __init__(self, sources: Iterable[Source], flow: Flow) -> None:
        self._sources = list(sources)
        self._flow = flow
        now = flow.clock()
        self._renew_at = later(now, flow.upkeep.lease / 4)
        self._tidy_at = later(now, min(flow.upkeep.tidy_every, timedelta(minutes=1)))

    async def first(self) -> None:
        """Before sources start: nothing stays claimed by a process that is gone, nothing is due too late."""
        flow = self._flow
        recovered = await until_there_is_room(
            lambda: flow.ledger.recover(now=flow.clock(), everything=flow.exclusive), flow.observer
        )
        if recovered.released or recovered.lost:
            flow.observer.note(
                "receipts.recovered",
                level="warning" if recovered.lost else "info",
                released=recovered.released,
                unconfirmed=recovered.lost,
            )
        longest = max((rules.retry.longest for rules in flow.rules.values()), default=timedelta(hours=1))
        latest = later(flow.clock(), longest)
        await until_there_is_room(lambda: flow.ledger.clamp_due(latest=latest), flow.observer)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for duty in (self._keep_leases, self._tidy):
                group.create_task(self._again_and_again(duty), name=f"upkeep {duty.__name__}")

    async def _again_and_again(self, duty: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(TICK.total_seconds())
            try:
                await duty()
            except StorageExhausted as error:
                self._flow.observer.note("upkeep.postponed", level="warning", reason=str(error))

    async def _tidy(self) -> None:
        flow = self._flow
        now = flow.clock()
        if now >= self._tidy_at:
            self._tidy_at = later(now, flow.upkeep.tidy_every)
            await self._purge(now)
            await self._forget_looks(now)
            await self._sweep()
            for source in self._sources:
                await source.tidy()

    async def _keep_leases(self) -> None:
        flow = self._flow
        now = flow.clock()
        if now >= self._renew_at:
            await flow.ledger.renew(owner=flow.owner, lease=flow.upkeep.lease, now=now)
            self._renew_at = later(now, flow.upkeep.lease / 4)
            # Ours too, when a stall outlived their lease: whoever worked on them has given them up by then.
            await flow.ledger.recover(now=now, everything=False)

    async def _purge(self, now: Instant) -> None:
        """Remove originals that nobody needs since `keep`; the row stays, with the time of the purge."""
        flow = self._flow
        before = later(now, -flow.upkeep.keep)
        total, after = 0, ""
        while True:
            found = await flow.ledger.expired(before=before, after=after, limit=PURGE_BATCH)
            gone = await asyncio.to_thread(self._remove, found.sha256s)
            if gone:
                await flow.ledger.purged(gone, now=now)
                total += len(gone)
            if found.last is None:
                break
            after = found.last
        if total:
            flow.observer.note("spool.purged", count=total)

    async def _forget_looks(self, now: Instant) -> None:
        """Nothing is compared with what was received before the window. Slots stay: see ledger/slots.py."""
        flow = self._flow
        before = later(now, -flow.preparation.near_duplicate_window)
        while await flow.ledger.forget_looks(before=before, limit=PURGE_BATCH) == PURGE_BATCH:
            pass

    async def _sweep(self) -> None:
        """Remove old spool files that no arrival was committed for (a crash came between copy and commit)."""
        flow = self._flow
        orphans = await asyncio.to_thread(lambda: list(flow.spool.old_blobs()))
        for start in range(0, len(orphans), PURGE_BATCH):
            batch = orphans[start : start + PURGE_BATCH]
            known = await flow.ledger.known(batch)
            await asyncio.to_thread(self._remove, [s for s in batch if s not in known])
        await asyncio.to_thread(flow.spool.remove_lone_thumbnails)

    def _remove(self, sha256s: Sequence[str]) -> list[str]:
        return [sha256 for sha256 in sha256s if self._flow.spool.purge(sha256)]
