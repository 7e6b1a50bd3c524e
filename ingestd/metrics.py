"""Figures for Prometheus: counted as things happen (an Observer), and read from snapshots when asked.

Labels are names of the configuration and words of the program: never a receipt, a person or a file, so that
their number stays small. A scrape takes a snapshot that may be some seconds old, whoever asks how often.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from ingestd import __version__
from ingestd.alerts import Looking, Snapshot
from ingestd.alerts.conditions import Kind
from ingestd.domain.document import MICROSECONDS
from ingestd.interfaces import Level, Observer
from ingestd.settings import MetricsSettings

FRESH = timedelta(seconds=5)
"""A snapshot that old is good enough."""
PATIENCE_SECONDS = 5.0
"""How long a scrape waits for a snapshot; then it gets the last one."""
SPOOL_EVERY_SECONDS = 900.0
BETWEEN_SHARDS_SECONDS = 0.05
LISTEN_AGAIN_SECONDS = 30.0
SHUTDOWN_SECONDS = 1.0
"""A scrape under way keeps no stop waiting for longer."""
_DAY_SECONDS = 86_400
Labels = TypeVar("Labels", bound=tuple[str, ...])
_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The figures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        make = self.registry
        self._attempts = Counter(
            "ingestd_attempts",
            "Uploads tried, by what the target answered.",
            ["target", "outcome"],
            registry=make,
        )
        self._seconds = Histogram(
            "ingestd_attempt_duration_seconds",
            "From the first byte to the answer, or the lack of one.",
            ["target"],
            buckets=_BUCKETS,
            registry=make,
        )
        self._bytes = Counter(
            "ingestd_sent_bytes", "Bytes of uploads handed over.", ["target"], registry=make
        )
        self._accepted = Counter(
            "ingestd_receipts_accepted", "Receipts recorded, repeats not counted.", ["source"], registry=make
        )
        self._repeats = Counter(
            "ingestd_receipts_repeated", "Repeats of receipts known already.", ["source"], registry=make
        )
        self._doubts = Counter(
            "ingestd_doubts_resolved", "Uploads in doubt that were decided.", ["decision"], registry=make
        )
        self._verified = Counter(
            "ingestd_verifications", "Images read back from their target.", ["result"], registry=make
        )
        self._lines = Counter("ingestd_events", "What was noted, by its level.", ["level"], registry=make)

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        self._lines.labels(level).inc()
        match event:
            case "attempt.finished":
                self._attempt(fields)
            case "receipt.accepted":
                self._accepted.labels(str(fields.get("source"))).inc()
            case "receipt.repeated":
                self._repeats.labels(str(fields.get("source"))).inc()
            case "doubt.resolved":
                self._doubts.labels(str(fields.get("decision")).lower()).inc()
            case "upload.verified" | "upload.not_verified":
                result = "same" if event == "upload.verified" else "other" if level == "error" else "unclear"
                self._verified.labels(result).inc()
            case _:
                pass

    def _attempt(self, fields: Mapping[str, object]) -> None:
        target = str(fields.get("destined", "")).partition(":")[0]
        self._attempts.labels(target, str(fields.get("outcome"))).inc()
        milliseconds, sent = fields.get("milliseconds"), fields.get("sent_bytes")
        if isinstance(milliseconds, int):
            self._seconds.labels(target).observe(milliseconds / 1000)
        if isinstance(sent, int):
            self._bytes.labels(target).inc(sent)


@asynccontextmanager
async def serving(
    settings: MetricsSettings,
    metrics: Metrics,
    *,
    looking: Looking,
    spool: Path,
    alerts_open: Callable[[], Mapping[str, int]] | None,
    observer: Observer,
) -> AsyncIterator[None]:
    """Serves /metrics while the block runs. A port that is taken is tried again, and stops nothing."""
    figures = Figures(looking, alerts_open)
    metrics.registry.register(figures)
    app = web.Application()
    app.router.add_get("/metrics", _answering(figures, metrics.registry))
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    tasks = [
        asyncio.create_task(_listen(runner, settings, observer), name="metrics"),
        asyncio.create_task(_count_spool(spool, figures), name="spool size"),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
        metrics.registry.unregister(figures)


class Figures(Collector):
    """What a snapshot says, as gauges. `refresh` takes the snapshot; `collect` only writes it down."""

    def __init__(self, looking: Looking, alerts_open: Callable[[], Mapping[str, int]] | None) -> None:
        self._looking = looking
        self._alerts_open = alerts_open
        self._snapshot: Snapshot | None = None
        self.spool_bytes: int | None = None

    async def refresh(self) -> None:
        """A fresh one, or the last one where that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                self._snapshot = await self._looking.look(age=FRESH)
        except TimeoutError:
            return  # ingestd_snapshot_timestamp_seconds shows how old it is

    def describe(self) -> list[Metric]:
        """Nothing: asked when it is registered, before there is a snapshot."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("ingestd_build", "The program that answers.", value={"version": __version__})
        if self.spool_bytes is not None:
            yield _gauge("ingestd_spool_bytes", "Size of the spool, counted now and then.", self.spool_bytes)
        if self._alerts_open is not None:
            found = self._alerts_open()
            kinds = {(str(kind),): float(found.get(str(kind), 0)) for kind in Kind}
            yield _gauges("ingestd_alerts_open", "Alerts that are open, told or not.", ["kind"], kinds)
        if self._snapshot is not None:
            yield from _of(self._snapshot)


def _of(snapshot: Snapshot) -> Iterator[Metric]:
    now = snapshot.at / MICROSECONDS
    yield _gauge("ingestd_snapshot_timestamp_seconds", "When the gauges were read.", now)
    yield _gauge("ingestd_ledger_readable", "1 while the ledger can be read.", snapshot.books is not None)
    yield from _books(snapshot)
    yield _gauges(
        "ingestd_gate_closed",
        "1 while a target takes nothing for an account; empty: its own user.",
        ["target", "account"],
        {(target, account or ""): 1.0 for target, account in snapshot.failing}
        | {(target, ""): float((target, None) in snapshot.failing) for target in snapshot.places},
    )
    yield _gauges(
        "ingestd_places",
        "Uploads at the same time that a target is given at present.",
        ["target"],
        {(target,): float(places) for target, places in snapshot.places.items()},
    )
    sources = snapshot.sources.items()
    yield _gauges(
        "ingestd_source_trouble",
        "1 while a source is in trouble.",
        ["source"],
        {(name,): float(source.trouble is not None) for name, source in sources},
    )
    yield _gauges(
        "ingestd_intake_paused",
        "1 while nothing is taken from a source, for lack of room.",
        ["source"],
        {(name,): float(source.paused is not None) for name, source in sources},
    )
    if snapshot.free_bytes is not None:
        yield _gauge("ingestd_free_bytes", "Free where the storage directory is.", snapshot.free_bytes)
    ends_at = {
        (target, account or ""): ends / MICROSECONDS for (target, account), ends in snapshot.logins.items()
    }
    yield _gauges(
        "ingestd_login_expiry_timestamp_seconds",
        "When a person must log in again; logins without a known end are left out.",
        ["target", "account"],
        ends_at,
    )
    yield _gauges(
        "ingestd_login_days_left",
        "Days until a person must log in again.",
        ["target", "account"],
        {who: (ends - now) / _DAY_SECONDS for who, ends in ends_at.items()},
    )


def _books(snapshot: Snapshot) -> Iterator[Metric]:
    """Nothing while the ledger can't be read: a zero would be a lie."""
    books = snapshot.books
    if books is None:
        return
    yield _gauges(
        "ingestd_receipts",
        "Receipts, by state.",
        ["state"],
        {(str(state),): float(count) for state, count in books.counts.items()},
    )
    yield _gauge("ingestd_receipts_need_person", "Receipts that need a person.", books.needy)
    oldest = books.oldest_waiting
    waiting = 0.0 if oldest is None else max(0, snapshot.at - oldest) / MICROSECONDS
    yield _gauge("ingestd_oldest_waiting_seconds", "How long the longest waiting receipt waits.", waiting)
    yield _gauge("ingestd_feedback_due", "Reports to sources that are due.", books.feedback_due)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=float(value))


def _gauges(name: str, text: str, labels: list[str], values: Mapping[Labels, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family


def _answering(
    figures: Figures, registry: CollectorRegistry
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """OpenMetrics for who accepts it, the older text format for all others."""

    async def answer(request: web.Request) -> web.Response:
        await figures.refresh()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(registry), headers={"Content-Type": content_type})

    return answer


async def _listen(runner: web.AppRunner, settings: MetricsSettings, observer: Observer) -> None:
    """Until it listens. The figures of a daemon are not worth its uploads."""
    said = False
    while True:
        try:
            await web.TCPSite(runner, settings.host, settings.port).start()
        except OSError as error:
            if not said:
                where = f"{settings.host}:{settings.port}"
                reason = f"{where} can't be listened at: {error.strerror or error}; check metrics.listen"
                observer.note("metrics.unavailable", level="error", reason=reason)
                said = True
            await asyncio.sleep(LISTEN_AGAIN_SECONDS)
        else:
            observer.note("metrics.listening", port=settings.port)
            return


async def _count_spool(directory: Path, figures: Figures) -> None:
    """Until cancelled. A shard at a time, with pauses: a million files must not be noticed."""
    while True:
        total = 0
        for shard in await asyncio.to_thread(_below, directory):
            total += await asyncio.to_thread(_size, shard)
            await asyncio.sleep(BETWEEN_SHARDS_SECONDS)
        figures.spool_bytes = total
        await asyncio.sleep(SPOOL_EVERY_SECONDS)


def _below(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_dir()]
    except OSError:
        return []


def _size(shard: Path) -> int:
    """What vanishes meanwhile counts as nothing."""
    total = 0
    try:
        with os.scandir(shard) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except OSError:
                    continue
    except OSError:
        return total
    return total
