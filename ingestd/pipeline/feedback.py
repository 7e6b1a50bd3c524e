"""Feedback: every settled receipt is reported to its source, at least once, from an outbox in the ledger.

A report that can't be delivered now waits and never touches the receipt.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from ingestd.domain.retry import later
from ingestd.interfaces import Feedback, Source, SourceUnavailable
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.patience import until_there_is_room

BATCH = 64
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=10)
ABSENT_WAIT = timedelta(days=1)
"""For a source that is not configured. A restart looks sooner: it brings every due time near."""


class Reporting:
    def __init__(self, sources: Mapping[str, Source], flow: Flow) -> None:
        self._sources = sources
        self._flow = flow
        self._stopping = False
        self._elsewhere: set[str] = set()
        """Sources of other nodes on this ledger: each tells its own people."""

    def stop(self) -> None:
        """Soft stop: what is due by now is still reported."""
        self._stopping = True
        self._flow.to_report.ring()

    async def run(self) -> None:
        """Until stopped, and then until nothing is due. A source that is slow keeps no other one waiting."""
        telling: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                _reap(telling)
                due = await self._due(telling)
                for source, reports in due.items():
                    task = asyncio.create_task(self._report_all(reports), name=f"reports to {source}")
                    task.add_done_callback(lambda _: self._flow.to_report.ring())
                    telling[source] = task
                if self._stopping and not telling:
                    return
                if not due:
                    await self._flow.to_report.wait()
        finally:
            for task in telling.values():
                task.cancel()
            await asyncio.gather(*telling.values(), return_exceptions=True)

    async def _due(self, but_not: Collection[str]) -> dict[str, list[Feedback]]:
        """What is due to sources that aren't being told something already, by source."""

        async def read() -> Sequence[Feedback]:
            ledger, now = self._flow.ledger, self._flow.clock()
            others = frozenset({*but_not, *self._elsewhere})
            return await ledger.feedback_due(limit=BATCH, now=now, but_not=others)

        due: dict[str, list[Feedback]] = {}
        for feedback in await until_there_is_room(read, self._flow.observer):
            source = feedback.report.origin.source
            if source in self._sources or self._flow.exclusive:
                due.setdefault(source, []).append(feedback)
            else:
                self._elsewhere.add(source)
        return due

    async def _report_all(self, reports: Sequence[Feedback]) -> None:
        async with asyncio.TaskGroup() as group:
            for feedback in reports:
                group.create_task(self._report(feedback), name=f"report {feedback.report.receipt}")

    async def _report(self, feedback: Feedback) -> None:
        flow, report = self._flow, feedback.report
        source = self._sources.get(report.origin.source)
        if source is None:
            # A folder taken out of the configuration or renamed: it may come back.
            return await self._defer(feedback, f"there is no source {report.origin.source!r}", ABSENT_WAIT)
        try:
            place = await source.report(report)
        except SourceUnavailable as error:
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(feedback.failures, 10))
            return await self._defer(feedback, str(error), wait)

        async def done() -> None:
            await flow.ledger.feedback_done(feedback, place=place, now=flow.clock())

        return await until_there_is_room(done, flow.observer)

    async def _defer(self, feedback: Feedback, reason: str, wait: timedelta) -> None:
        self._flow.observer.note(
            "feedback.deferred", level="warning", receipt=feedback.report.receipt, reason=reason
        )
        due_at = later(self._flow.clock(), wait)

        async def write() -> None:
            await self._flow.ledger.feedback_deferred(feedback, due_at=due_at)

        await until_there_is_room(write, self._flow.observer)


def _reap(telling: dict[str, asyncio.Task[None]]) -> None:
    """Without those that are done. Raises what broke one."""
    for source in [source for source, task in telling.items() if task.done()]:
        telling.pop(source).result()
