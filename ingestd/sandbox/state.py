"""Everything one sandbox knows, and the keys under which a request finds it."""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from aiohttp import web

from ingestd.sandbox.faults import Fault
from ingestd.sandbox.journal import Exchange, Journal
from ingestd.sandbox.limits import Limits
from ingestd.sandbox.logins import Logins
from ingestd.sandbox.plan import Plan
from ingestd.sandbox.store import KEPT_BYTES, Images
from ingestd.sandbox.switches import Switches
from ingestd.sandbox.timeline import Tally, Timeline


class Sandbox:
    """`images`: what it holds · `plan`, `timeline`: the faults · `journal`: what was asked · `logins`.

    `now` is the wall clock (seconds since 1970) that the life of URLs and tokens is measured by, `clock` the
    one that never goes back, for limits and the timeline. Close it when you made it.
    """

    def __init__(self, directory: Path | None = None, *, kept_bytes: int = KEPT_BYTES) -> None:
        """`directory`: where the bytes of the images lie until the end (see store.Images).

        `kept_bytes`: how many of them; 0 keeps only hashes, for a sink that never touches the disk.
        """
        self.now: Callable[[], float] = time.time
        self.clock: Callable[[], float] = time.monotonic
        self.images = Images(directory, kept_bytes=kept_bytes)
        self.journal = Journal()
        self.logins = Logins()
        self.limits = Limits(self._seconds)
        self.plan = Plan()
        self.timeline: Timeline | None = None
        self.closing = asyncio.Event()
        self.url_key = os.urandom(32)
        self.file_bases: Mapping[str, str] = {}
        """Where files can be had besides the API's own address: "port" and "host", as the switch says."""
        self.file_ports: frozenset[int] = frozenset()

    @property
    def switches(self) -> Switches:
        """Those in force at this moment."""
        if self.timeline is None:
            return self.plan.switches
        return self.plan.switches.changed(self.timeline.switches())

    @property
    def latency_seconds(self) -> float:
        by_clock = 0.0 if self.timeline is None else self.timeline.latency_seconds()
        return max(self.plan.latency_seconds, by_clock)

    def pick(self, place: str, method: str, names: Iterable[str] = ()) -> Fault | None:
        """The fault this request meets: by the clock, by the plan, or by one of its `names`."""
        by_clock = None if self.timeline is None else self.timeline.pick(place, method)
        return by_clock or self.plan.pick_at(place, method, names)

    def tallies(self) -> list[Tally]:
        """Where a request that comes now is counted besides the journal."""
        return [] if self.timeline is None else self.timeline.tallies()

    def reset(self) -> None:
        """As after the start."""
        self.images.reset()
        self.journal.reset()
        self.logins.reset()
        self.limits.reset()
        self.plan = Plan()
        self.timeline = None

    def close(self) -> None:
        self.images.close()

    async def sleep(self, seconds: float | None, request: web.Request) -> None:
        """Wait; ends early when the client has left or the sandbox closes. None: only then."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while request.transport is not None and not self.closing.is_set():
            rest = _LOOK_SECONDS if end is None else min(_LOOK_SECONDS, end - loop.time())
            if rest <= 0:
                return
            await asyncio.sleep(rest)

    def _seconds(self) -> float:
        return self.clock()


_LOOK_SECONDS = 0.05

SANDBOX = web.AppKey("SANDBOX", Sandbox)
EXCHANGE = web.RequestKey("EXCHANGE", Exchange)
