"""Feedback: every settled receipt is reported to its source, at least once, from an outbox in the ledger.

A report that can't be delivered now waits and never touches the receipt.
"""

import asyncio
from collections.abc import Mapping
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

    def stop(self) -> None:
        """Soft stop: what is due by now is still reported."""
        self._stopping = True
        self._flow.to_report.ring()

    async def run(self) -> None:
        """Until stopped, and then until nothing is due."""
        while True:
            due = await until_there_is_room(
                lambda: self._flow.ledger.feedback_due(limit=BATCH, now=self._flow.clock()),
                self._flow.observer,
            )
            if due:
                async with asyncio.TaskGroup() as group:
                    for feedback in due:
                        group.create_task(self._report(feedback), name=f"report {feedback.report.receipt}")
            elif self._stopping:
                return
            else:
                await self._flow.to_report.wait()

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
