"""The folder source: files dropped into a watched folder become arrivals (interfaces.Source).

Scan, settle, claim, hand over. Trouble with the folder is waited out and shown in `status`. Everything that
touches the folder runs in two threads of its own, so that a share that hangs stops nobody else.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TypeVar, assert_never

from ingestd.domain.document import Instant
from ingestd.interfaces import Arrival, Clock, Observer, Report, SourceStatus, SourceUnavailable
from ingestd.settings import FolderSettings
from ingestd.sources.custody import BATCH, Custody
from ingestd.sources.filesystem import events_arrive, file_system_type
from ingestd.sources.opening import FolderInUse, OpenFolder, open_folder
from ingestd.sources.outbox import Outbox, printable
from ingestd.sources.scanning import Scan, Scanner
from ingestd.sources.settling import Ready
from ingestd.sources.trouble import advice, blocked, in_use, unmounted
from ingestd.sources.watching import Watch

POLL_S = 2.0
"""Shortest time between scans without events. A scan that takes long makes it longer, up to `rescan`."""

RECOVER_S = 2.0
"""A folder in trouble is looked at again after this."""

_PAUSE_S = 0.02
_SCAN_SHARE = 4
"""A scan is followed by a pause this many times as long, whatever events arrive."""

T = TypeVar("T")


class _Unmounted(Exception):
    """The folder is empty and on another file system than before."""


class FolderSource:
    """Watches one folder. `arrivals` may run once at a time; `report` and `tidy` work without it too.

    `group_of`: the group of a file, by its path below the folder as text, or None for one that goes alone.
    Files of one directory with the same group become one arrival, once they are quiet. It is asked in a
    thread, once for each file that comes, and must not block.
    """

    def __init__(
        self,
        settings: FolderSettings,
        *,
        clock: Clock,
        observer: Observer,
        group_of: Callable[[str], str | None] = lambda path: None,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._observer = observer
        self._threads = ThreadPoolExecutor(2, thread_name_prefix=f"folder-{settings.name}")
        self._outbox = Outbox(settings)
        self._scanner = Scanner(settings, lambda path: group_of(printable(path)))
        self._custody = Custody(
            settings, clock=clock, observer=observer, outbox=self._outbox, threads=self._threads
        )
        self._folder: OpenFolder | None = None
        self._device: int | None = None
        self._watch: Watch | None = None
        self._watch_again_at = 0.0
        self._scans = 0
        self._returned_before = 0
        self._scanned_at = 0.0
        self._scan_took_s = 0.0
        self._trouble: str | None = None
        self._troubled_since: Instant | None = None
        self._blocked: dict[str, str] = {}
        self._lost = False

    def __repr__(self) -> str:
        return f"<FolderSource {self.name} {self.settings.path} {self.status}>"

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def status(self) -> SourceStatus:
        return SourceStatus(
            scans=self._scans,
            settling=len(self._scanner.settling),
            trouble=self._trouble,
            troubled_since=self._troubled_since,
        )

    async def arrivals(self, *, once: bool) -> AsyncGenerator[Arrival, None]:
        """Files that came to rest, claimed; first what a crash left behind. See interfaces.Source."""
        try:
            while True:
                self._custody.wake.clear()
                scan = await self._scan()
                if scan is not None:
                    async with aclosing(self._hand_over(scan)) as handed:
                        async for arrival in handed:
                            yield arrival
                    if once and self._is_done(scan):
                        return
                await self._pause(scan)
        finally:
            await self._let_go()

    async def report(self, report: Report) -> str | None:
        """Put the file into uploaded/ or rejected/. Returns its place there, None when it has none."""
        try:
            return await self._run(lambda: self._outbox.deliver(report))
        except OSError as error:
            raise SourceUnavailable(advice(self.settings.path, error)) from error

    async def tidy(self) -> None:
        """Remove from uploaded/ what was put there longer than `keep_uploaded` ago."""
        try:
            removed = await self._run(lambda: self._outbox.tidy(self._clock()))
        except OSError as error:
            reason = advice(self.settings.path, error)
            self._observer.note("folder.untidy", level="warning", source=self.name, reason=reason)
            return
        if removed:
            self._observer.note("folder.tidied", source=self.name, removed=removed)

    # --- the loop

    async def _scan(self) -> Scan | None:
        """None when the folder is in trouble; `status` says so then."""
        started = time.monotonic()
        try:
            folder = await self._ready_folder()
            self._returned_before = self._custody.returned
            claimed = self._custody.paths
            scan = await self._run(
                lambda: self._scanner.scan(folder.root, started, inodes=folder.inodes, claimed=claimed)
            )
        except (FolderInUse, _Unmounted, OSError) as error:
            await self._lose(self._sentence(error))
            return None
        self._scanned_at = time.monotonic()
        self._scan_took_s = self._scanned_at - started
        self._scans += 1
        self._show(scan.blocked)
        return scan

    async def _hand_over(self, scan: Scan) -> AsyncGenerator[Arrival, None]:
        folder, settling = self._folder, self._scanner.settling
        assert folder is not None
        try:
            while again := await self._custody.again(folder):
                for arrival in again:
                    yield arrival
            for start in range(0, len(scan.ready), BATCH):
                batch = self._unless_parts_return(scan.ready[start : start + BATCH])
                arrivals, taken = await self._custody.take(folder, batch)
                for path in (path for ready in batch for path in ready.paths):
                    if path not in taken.blocked:
                        settling.forget(path)
                for path, reason in taken.blocked.items():
                    self._scanner.block(path, reason, time.monotonic())
                    scan.blocked[path] = reason
                    self._show(scan.blocked)
                for arrival in arrivals:
                    yield arrival
        except OSError as error:
            await self._lose(self._sentence(error))

    def _unless_parts_return(self, batch: list[Ready]) -> list[Ready]:
        """What waits for files that are being put back is looked at again later."""
        now = time.monotonic()
        awaiting = [ready for ready in batch if self._custody.awaits(ready)]
        for settled in (settled for ready in awaiting for settled in ready.files):
            self._scanner.settling.postpone(settled.look, now, POLL_S)
        return [ready for ready in batch if ready not in awaiting] if awaiting else batch

    def _is_done(self, scan: Scan) -> bool:
        """Nothing new, nothing settling, nothing in anybody's hands, nothing put back behind the scan."""
        quiet = not (scan.ready or scan.blocked or scan.overflow or len(self._scanner.settling))
        missed = self._custody.returned != self._returned_before
        return quiet and not missed and self._custody.is_empty and self._folder is not None

    async def _pause(self, scan: Scan | None) -> None:
        """Until an event, a claim given back, the next file that can be ready, or the next rescan."""
        now = time.monotonic()
        until = now + (self._interval_s() if scan is not None else RECOVER_S)
        if scan is not None:
            dues = (scan.next_due, self._custody.next_due, now if scan.overflow and scan.ready else None)
            until = min([until, *(due for due in dues if due is not None)])
        await asyncio.sleep(max(_PAUSE_S, self._scanned_at + _SCAN_SHARE * self._scan_took_s - now))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._custody.wake.wait()

    def _interval_s(self) -> float:
        rescan_s = self.settings.rescan.total_seconds()
        if self._watch is not None and self._watch.error is None:
            return rescan_s
        return min(rescan_s, max(POLL_S, 10 * self._scan_took_s))

    # --- the folder

    async def _ready_folder(self) -> OpenFolder:
        """The folder as it is now, opened anew when the path leads elsewhere. Raises OSError and others."""
        path, known = self.settings.path, self._folder
        if known is not None and await self._run(lambda: known.is_at(path)):
            await self._repair_watch()
            return known
        await self._let_go()
        device = await self._run(self._device_unless_bare)
        folder = await self._run(lambda: open_folder(path))
        self._folder, self._device = folder, device
        if not folder.locked:
            self._observer.note("folder.unlocked", level="warning", source=self.name)
        await self._run(lambda: self._scanner.remember(folder.root))
        await self._custody.adopt(folder)
        await self._start_watch()
        return folder

    def _device_unless_bare(self) -> int:
        """An empty directory where a file system was: that one is gone, and files must not go below it."""
        device = self.settings.path.stat().st_dev
        changed = self._device not in (None, device)
        if changed and next(self.settings.path.iterdir(), None) is None:
            raise _Unmounted
        return device

    async def _start_watch(self) -> None:
        polling = self.settings.polling
        if polling == "auto":
            file_system = await self._run(lambda: file_system_type(self.settings.path))
            polling = not events_arrive(file_system)
            if polling:
                self._observer.note("folder.polling", source=self.name, file_system=file_system)
        self._watch_again_at = time.monotonic() + self.settings.rescan.total_seconds()
        if not polling:
            self._watch = Watch(
                self.settings.path, recursive=self.settings.recursive, wake=self._custody.wake
            )
            await self._watch.started()
            if self._watch.error is not None:
                reason = self._watch.error
                self._observer.note("folder.unwatched", level="warning", source=self.name, reason=reason)

    async def _repair_watch(self) -> None:
        """A watch that broke is made anew, not more often than a rescan; until then the folder is polled."""
        broken = self._watch is not None and self._watch.error is not None
        if broken and time.monotonic() >= self._watch_again_at:
            await self._stop_watch()
            await self._start_watch()

    async def _stop_watch(self) -> None:
        if self._watch is not None:
            await self._watch.close()
            self._watch = None

    async def _let_go(self) -> None:
        await self._stop_watch()
        if self._folder is not None:
            self._folder.unlock()
            self._folder = None

    def _sentence(self, error: FolderInUse | _Unmounted | OSError) -> str:
        match error:
            case FolderInUse():
                return in_use(self.settings.path)
            case _Unmounted():
                return unmounted(self.settings.path)
            case OSError():
                return advice(self.settings.path, error)
            case _:
                assert_never(error)

    async def _lose(self, sentence: str) -> None:
        """Let go of a folder in trouble, so that it is opened anew when it is back."""
        await self._let_go()
        self._lost = True
        if sentence != self._trouble:
            self._observer.note("source.unavailable", level="warning", source=self.name, reason=sentence)
        self._set_trouble(sentence)

    # --- what people see

    def _show(self, reasons: dict[str, str]) -> None:
        """The folder works; these paths in it do not."""
        for path in reasons.keys() - self._blocked.keys():
            self._observer.note(
                "file.blocked",
                level="warning",
                source=self.name,
                path=printable(path),
                reason=reasons[path],
            )
        if self._lost:
            self._lost = False
            self._observer.note("source.recovered", source=self.name)
        self._blocked = dict(reasons)
        self._set_trouble(blocked(reasons) if reasons else None)

    def _set_trouble(self, sentence: str | None) -> None:
        if sentence is None:
            self._troubled_since = None
        elif self._trouble is None:
            self._troubled_since = self._clock()
        self._trouble = sentence

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
