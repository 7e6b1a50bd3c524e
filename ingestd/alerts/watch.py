"""Looks every few seconds, and tells each address by itself what it should know.

A way that fails is tried again with growing pauses, and keeps neither the others nor any receipt waiting.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

from ingestd.alerts.conditions import conditions, is_unknown
from ingestd.alerts.digest import Digest, Message
from ingestd.alerts.looking import Looking
from ingestd.alerts.memory import Memory
from ingestd.alerts.snapshot import Snapshot
from ingestd.alerts.ways import Way
from ingestd.domain.document import Instant
from ingestd.domain.retry import later
from ingestd.interfaces import Clock, Observer, SourceUnavailable, Undeliverable
from ingestd.settings import AlertSettings

LOOK_SECONDS = 15.0
_LOOKS_WITHIN_AFTER = 4
_LEAST_LOOK_SECONDS = 0.1
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)


class Watch:
    """For one run."""

    def __init__(
        self,
        settings: AlertSettings,
        ways: Sequence[Way],
        *,
        looking: Looking,
        memory: Memory,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._ways = ways
        self._looking = looking
        self._memory = memory
        self._clock = clock
        self._observer = observer
        self._open: Mapping[str, int] = {}
        self._saving = asyncio.Lock()

    def open(self) -> Mapping[str, int]:
        """Alerts that are open now, by kind; told or not."""
        return self._open

    async def run(self) -> None:
        """Until cancelled."""
        problem = await asyncio.to_thread(self._memory.load, now=self._clock())
        if problem is not None:
            self._observer.note("alerts.forgotten", level="warning", reason=problem)
        self._memory.forget_others(frozenset(way.name for way in self._ways))
        tellers = [_Teller(way, self._settings, self._memory, self._observer) for way in self._ways]
        tasks = [asyncio.create_task(self._tell(teller), name="alerts") for teller in tellers]
        try:
            await asyncio.gather(*tasks)
        finally:
            await _ended(tasks)

    async def _tell(self, teller: "_Teller") -> None:
        while True:
            snapshot = await self._looking.look(age=timedelta(seconds=self._pause / 2))
            self._open = Counter(str(alert.kind) for alert in conditions(snapshot, self._settings))
            if await teller.turn(snapshot, self._clock()):
                await self._save()
            await asyncio.sleep(self._pause)

    @property
    def _pause(self) -> float:
        often = self._settings.after.total_seconds() / _LOOKS_WITHIN_AFTER
        return max(_LEAST_LOOK_SECONDS, min(LOOK_SECONDS, often))

    async def _save(self) -> None:
        """A full disk is what is told just now: then a restart may tell it twice."""
        async with self._saving:
            try:
                await asyncio.to_thread(self._memory.save)
            except OSError as error:
                reason = error.strerror or str(error)
                self._observer.note("alerts.unsaved", level="warning", reason=reason)


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancelled until they are: asyncio.wait_for, deep in a library, may swallow one (Python 3.11)."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1.0)


class _Teller:
    """One way, what it was told, and its pauses."""

    def __init__(self, way: Way, settings: AlertSettings, memory: Memory, observer: Observer) -> None:
        self._way = way
        self._settings = settings
        self._memory = memory
        self._observer = observer
        self._digest = Digest(settings, memory.of(way.name))
        self._failures = 0
        self._not_before = Instant(0)

    async def turn(self, snapshot: Snapshot, now: Instant) -> bool:
        """Tells what is due. Returns whether there is something to be saved."""
        alerts = conditions(snapshot, self._settings, told=self._digest.told.open)
        unknown = partial(is_unknown, snapshot=snapshot, settings=self._settings)
        message = self._digest.due(alerts, now, is_unknown=unknown)
        if message is not None and now >= self._not_before:
            await self._send(message, now)
        return self._memory.keep(self._way.name, self._digest.told)

    async def _send(self, message: Message, now: Instant) -> None:
        try:
            await self._way.send(message, now)
        except (SourceUnavailable, Undeliverable) as error:
            wait = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures, 10))
            self._failures += 1
            self._not_before = later(now, wait)
            self._observer.note(
                "alerts.unsent",
                level="warning",
                way=self._way.name,
                failures=self._failures,
                seconds=round(wait.total_seconds()),
                reason=str(error),
            )
            return
        self._failures = 0
        self._digest.sent(message, now)
        kinds = sorted({str(alert.kind) for alert in message.alerts})
        # `about` and not `event`: that is the name of the log line.
        self._observer.note("alerts.sent", way=self._way.name, about=message.event, kinds=kinds)
