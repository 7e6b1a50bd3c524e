"""The pipeline's life: recover, start every stage, and stop in order.

Soft stop: sources first, then uploads in flight finish within `grace`, claims not begun are given back, what
is settled is reported. Hard stop after grace: what was in flight becomes unconfirmed. A stage that fails
takes the pipeline down with its error; the service manager starts it again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.states import NEEDS_PERSON, State
from ingestd.interfaces import Source
from ingestd.pipeline.delivery import Delivery
from ingestd.pipeline.feedback import Reporting
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.gate import Key
from ingestd.pipeline.intake import Intake
from ingestd.pipeline.logins import stay_logged_in
from ingestd.pipeline.patience import shielded
from ingestd.pipeline.preparation import Preparation
from ingestd.pipeline.resolving import Resolving
from ingestd.pipeline.upkeep import Upkeep
from ingestd.pipeline.verifying import Verifying

IDLE_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended. Empty lists and no trouble: all is done.

    `trouble` names what stayed broken for longer than the wait; `people` are receipts of this run that need
    a person, `waiting` those that wait for a time beyond the wait, `refused` tells of files not even read and
    of what a source left where it was.
    """

    trouble: Sequence[str] = field(default_factory=list)
    people: Sequence[Receipt] = field(default_factory=list)
    waiting: Sequence[Receipt] = field(default_factory=list)
    refused: Sequence[str] = field(default_factory=list)


class Pipeline:
    """One run. `stop()` may be called at any time, from the loop's own thread."""

    def __init__(self, flow: Flow, sources: Mapping[str, Source]) -> None:
        self._flow = flow
        self._sources = sources
        self._intakes = [Intake(source, flow) for source in sources.values()]
        self._preparation = Preparation(flow)
        self._delivery = Delivery(flow)
        self._resolving = Resolving(flow, self._delivery.gates)
        self._verifying = Verifying(flow, self._delivery.gates)
        self._reporting = Reporting(sources, flow)
        self._upkeep = Upkeep(sources.values(), flow)
        self._stop = asyncio.Event()
        self._started: Instant = flow.clock()

    def stop(self) -> None:
        """Ask for the soft stop."""
        self._stop.set()

    @property
    def trouble(self) -> list[str]:
        """What is broken outside just now, for the status line."""
        troubles = self._source_troubles() + self._delivery.gates.troubles()
        return troubles + [f"{i.source.name}: intake paused, {i.paused}" for i in self._intakes if i.paused]

    @property
    def failing(self) -> Mapping[Key, tuple[Instant, str]]:
        """Targets, each with the account, that take nothing now: since when, and why."""
        return self._delivery.gates.failing()

    @property
    def paused(self) -> Mapping[str, tuple[Instant, str]]:
        """Sources that nothing is taken from, for lack of room: since when, and why."""
        return {
            i.source.name: (i.paused_since, i.paused)
            for i in self._intakes
            if i.paused is not None and i.paused_since is not None
        }

    @property
    def places(self) -> Mapping[str, int]:
        """Uploads that each target is given at the same time, at present."""
        return self._delivery.gates.places()

    def _source_troubles(self) -> list[str]:
        return [
            f"{i.source.name}: {i.source.status.trouble}" for i in self._intakes if i.source.status.trouble
        ]

    async def run(
        self, *, until_idle: timedelta | None = None, started: Callable[[], None] = lambda: None
    ) -> RunResult:
        """Until stopped, or with `until_idle` until everything is done that can be done within that wait.

        `started` is called once, when what a crash left is in order and every stage has begun.
        """
        await self._upkeep.first()
        once = until_idle is not None
        intakes = [
            asyncio.create_task(intake.run(once=once), name=f"intake {intake.source.name}")
            for intake in self._intakes
        ]
        prepare = asyncio.create_task(self._preparation.crew.run(), name="preparation")
        uploads = [
            asyncio.create_task(crew.run(), name=name)
            for name, crew in (
                ("delivery", self._delivery.crew),
                ("resolving", self._resolving.crew),
                ("verifying", self._verifying.crew),
            )
        ]
        report = asyncio.create_task(self._reporting.run(), name="reporting")
        upkeep = asyncio.create_task(self._upkeep.run(), name="upkeep")
        logins = asyncio.create_task(stay_logged_in(self._flow), name="logins")
        stages = [*intakes, prepare, *uploads, report, upkeep, logins]
        ending = asyncio.create_task(self._ending(intakes, until_idle), name="ending")
        started()
        try:
            await self._watch(stages, ending)
            trouble = ending.result()
            await self._stop_softly(intakes, [prepare, *uploads], report)
        except ExceptionGroup as errors:
            raise _first_of(errors) from None
        finally:
            await _cancel([ending, *stages])
            # On a full disk they stay claimed, and the next start gives them back.
            with suppress(StorageExhausted):
                await shielded(self._release())
        return await self._result(trouble, until_idle)

    async def _watch(self, stages: Sequence[asyncio.Task[None]], ending: asyncio.Task[list[str]]) -> None:
        """Returns when the run should end; raises the error of a stage that failed."""
        open_stages = set(stages)
        while not ending.done():
            done, _ = await asyncio.wait({ending, *open_stages}, return_when=asyncio.FIRST_COMPLETED)
            for stage in done & open_stages:
                open_stages.discard(stage)
                stage.result()

    async def _ending(self, intakes: Sequence[asyncio.Task[None]], until_idle: timedelta | None) -> list[str]:
        if until_idle is None:
            await self._stop.wait()
            return []
        while not self._stop.is_set():
            sources_done = all(task.done() for task in intakes)
            if sources_done and await self._idle(until_idle):
                return []
            stuck = self._stuck(until_idle)
            if stuck and (self._full(until_idle) or await self._idle(until_idle)):
                return stuck
            await asyncio.sleep(IDLE_LOOK_SECONDS)
        return ["stopped before everything was done"]

    async def _idle(self, wait: timedelta) -> bool:
        horizon = later(self._flow.clock(), wait)
        closed = self._delivery.gates.closed_until(horizon)
        waiting = await self._flow.reader.waiting(horizon=horizon, closed=closed)
        return not any(
            (waiting.received, waiting.ready_due, waiting.owned, waiting.asking, waiting.feedback_due)
        )

    def _stuck(self, wait: timedelta) -> list[str]:
        """Sources in trouble for longer than the wait, if every source not done yet is one of them."""
        limit = later(self._flow.clock(), -wait)
        stuck: list[str] = []
        for intake in self._intakes:
            status = intake.source.status
            if status.trouble and (status.troubled_since or 0) <= limit:
                stuck.append(f"{intake.source.name}: {status.trouble}")
            elif intake.paused_since is not None and intake.paused_since <= limit:
                stuck.append(f"{intake.source.name}: intake paused, {intake.paused}")
        return stuck

    def _full(self, wait: timedelta) -> bool:
        """Whether the disk has been full for longer than the wait: then nothing else gets done either."""
        limit = later(self._flow.clock(), -wait)
        return any(i.paused_since is not None and i.paused_since <= limit for i in self._intakes)

    async def _stop_softly(
        self,
        intakes: Sequence[asyncio.Task[None]],
        crews: Sequence[asyncio.Task[None]],
        report: asyncio.Task[None],
    ) -> None:
        """Within `grace`. What does not end by then is cut off by the caller."""
        try:
            async with asyncio.timeout(self._flow.grace.total_seconds()):
                self._preparation.crew.stop()
                self._delivery.crew.stop()
                self._resolving.crew.stop()
                self._verifying.crew.stop()
                await asyncio.gather(_cancel(intakes), *crews)
                self._reporting.stop()
                await report
        except TimeoutError:
            self._flow.observer.note("run.grace_over", level="warning")

    async def _release(self) -> None:
        await self._flow.ledger.release(owner=self._flow.owner, now=self._flow.clock())

    async def _result(self, trouble: list[str], until_idle: timedelta | None) -> RunResult:
        if until_idle is None:
            return RunResult(trouble=trouble)
        find = self._flow.reader.find
        people = {r.id: r for r in await find(states=NEEDS_PERSON, changed_since=self._started)}
        for receipt_id in {i for intake in self._intakes for i in intake.attention} - set(people):
            receipt = await self._flow.reader.get(receipt_id)
            if receipt is not None and receipt.state in NEEDS_PERSON:
                people[receipt.id] = receipt
        waiting = await find(states={State.READY, State.RECEIVED})
        refused = [sentence for intake in self._intakes for sentence in intake.refused]
        # A mailbox ends although messages wait in it (a flood, one that can't be fetched).
        refused += [sentence for sentence in self._source_troubles() if sentence not in trouble]
        return RunResult(trouble=trouble, people=list(people.values()), waiting=waiting, refused=refused)


def _first_of(errors: ExceptionGroup[Exception]) -> Exception:
    """One plain error of those that came together: they have one cause, and people read one line."""
    error = errors.exceptions[0]
    return _first_of(error) if isinstance(error, ExceptionGroup) else error


async def _cancel(tasks: Sequence[asyncio.Task[None] | asyncio.Task[list[str]]]) -> None:
    """Cancel what still runs and wait for it to end. Errors of tasks that had failed are the caller's."""
    for task in tasks:
        if not task.done():
            task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
