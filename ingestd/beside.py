"""What runs beside the pipeline and never touches it: alerts, and figures for Prometheus.

A defect in either is noted, and it begins anew: no upload waits for a chat. Also their checks.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from ingestd.alerts import Hearing, Looking, MailWay, Memory, Watch, Way, WebhookWay
from ingestd.alerts.memory import NAME as MEMORY_NAME
from ingestd.assembly import Findings, House
from ingestd.clock import process_clock
from ingestd.configfile.alert_tables import webhook_problem
from ingestd.domain.errors import ConfigurationError
from ingestd.http.tokens import SecretReader, SecretUnavailable, read_secret
from ingestd.http.tokens import warnings as secret_warnings
from ingestd.interfaces import Clock, Observer
from ingestd.logs import Observers
from ingestd.metrics import Metrics, serving
from ingestd.replies import SmtpHerald
from ingestd.settings import Settings

BROKEN_PAUSE_SECONDS = 60.0
SUBMISSIONS = "submit"
"""The source of receipts that were handed over on the command line."""


class Beside:
    """Made before anything happens, so that it hears all of it: `observer` is what everybody notes to."""

    def __init__(self, settings: Settings, logs: Observer) -> None:
        self._settings = settings
        self._hearing = Hearing()
        self._metrics = Metrics() if settings.metrics is not None else None
        ears = [logs, self._hearing] if self._metrics is None else [logs, self._hearing, self._metrics]
        self.observer: Observer = Observers(*ears)

    @asynccontextmanager
    async def running(self, house: House) -> AsyncIterator[None]:
        """As long as the block runs."""
        settings = self._settings
        looking = Looking(
            reader=house.reader,
            outside=house.pipeline,
            sources=house.sources,
            destinations=house.destinations,
            folders=frozenset({folder.name for folder in settings.folders} | {SUBMISSIONS}),
            directory=settings.storage.directory,
            clock=house.clock,
            hearing=self._hearing,
        )
        async with AsyncExitStack() as stack:
            watch = self._watch(looking, house.clock)
            if self._metrics is not None and settings.metrics is not None:
                await stack.enter_async_context(
                    serving(
                        settings.metrics,
                        self._metrics,
                        looking=looking,
                        spool=settings.storage.directory / "spool",
                        alerts_open=None if watch is None else watch.open,
                        observer=self.observer,
                    )
                )
            if watch is not None:
                await stack.enter_async_context(_for_ever(watch, self.observer))
            yield

    def _watch(self, looking: Looking, clock: Clock) -> Watch | None:
        if self._settings.alerts is None:
            return None
        return Watch(
            self._settings.alerts,
            alert_ways(self._settings, clock),
            looking=looking,
            memory=Memory(self._settings.storage.directory / MEMORY_NAME),
            clock=clock,
            observer=self.observer,
        )


def alert_ways(settings: Settings, clock: Clock) -> list[Way]:
    """Each address that is told, by itself. Raises ConfigurationError for one that is none."""
    alerts, host = settings.alerts, socket.gethostname()
    if alerts is None:
        return []
    ways: list[Way] = []
    if settings.smtp is not None:
        ways += [
            MailWay(SmtpHerald(settings.smtp, to=to, clock=clock), to=to, host=host) for to in alerts.mail
        ]
    quotable = not settings.mailboxes
    if alerts.webhook is not None:
        url = alerts.webhook
        ways.append(WebhookWay(lambda: url, name="webhook", host=host, quotable=quotable))
    if alerts.webhook_secret is not None:
        read = SecretReader(alerts.webhook_secret)
        ways.append(WebhookWay(read, name="webhook_file", host=host, quotable=quotable))
    return ways


def check_alerts(settings: Settings) -> Findings:
    """Whether everything that telling people needs is there, without asking anybody."""
    try:
        alert_ways(settings, process_clock())
    except ConfigurationError as error:
        return Findings(problems=error.problems)
    if settings.alerts is None or settings.alerts.webhook_secret is None:
        return Findings()
    secret = settings.alerts.webhook_secret
    key = "alerts.webhook_file" if secret.file else "alerts"
    try:
        problem = webhook_problem(read_secret(secret))
    except SecretUnavailable as error:
        return Findings(problems=(f"{key}: {error}",))
    if problem is not None:
        return Findings(problems=(f"{key}: what is in it {problem}",))
    return Findings(warnings=tuple(f"{key}: {warning}" for warning in secret_warnings(secret)))


@asynccontextmanager
async def _for_ever(watch: Watch, observer: Observer) -> AsyncIterator[None]:
    async def run() -> None:
        while True:
            try:
                await watch.run()
            except Exception as error:
                # A defect of ours. It must be seen, and must cost neither the uploads nor the next alert.
                observer.note("alerts.broke", level="error", error=repr(error), exc_info=True)
            await asyncio.sleep(BROKEN_PAUSE_SECONDS)

    task = asyncio.create_task(run(), name="alerts")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
