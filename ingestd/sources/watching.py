"""File events of one folder. They are hints that wake the scan, nothing more: the kernel drops them silently
when its queue is full, when a directory is moved in, and when the folder itself is replaced.
"""

import asyncio
import os
from pathlib import Path

from watchfiles import Change, awatch

from ingestd.sources.junk import OWN, is_junk

_DEBOUNCE_MS = 200
_STEP_MS = 20


class Watch:
    """One long-lived watch. It never moves to another directory: a replaced folder needs a new one."""

    def __init__(self, path: Path, *, recursive: bool, wake: asyncio.Event) -> None:
        self._path = os.path.realpath(path)
        self._recursive = recursive
        self._wake = wake
        self._stop = asyncio.Event()
        self.error: str | None = None
        """Why there are no events, None while there are."""
        self._task = asyncio.create_task(self._run(), name=f"watch {path}")

    async def started(self) -> None:
        """After this, what happens in the folder wakes the scan."""
        await asyncio.sleep(0)  # the task's first step registers the watch before it first waits

    async def close(self) -> None:
        self._stop.set()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        events = awatch(
            self._path,
            watch_filter=self._matters,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            stop_event=self._stop,
            recursive=self._recursive,
            ignore_permission_denied=True,
        )
        try:
            async for _ in events:
                self._wake.set()
        except Exception as error:  # whatever it is: without events only the rescan sees new files
            self.error = str(error) or type(error).__name__
        if not self._stop.is_set():
            self.error = self.error or "the watch ended by itself"
            self._wake.set()

    def _matters(self, change: Change, path: str) -> bool:
        """Our own claims, and what goes away, wake nobody."""
        if change is Change.deleted:
            return False
        below = path.removeprefix(self._path).lstrip("/")  # called for every claim: no Path here
        return below.partition("/")[0] not in OWN and not is_junk(below.rpartition("/")[2])
