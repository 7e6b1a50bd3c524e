"""Delivery: claim, begin, upload, finish. The intent is durable before the first byte leaves.

A receipt's failure is its outcome; broken machinery raises and ends the daemon. The write of a result is
shielded from cancellation, and what a hard stop interrupts becomes unconfirmed, never silently sent again.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from ingestd.domain.document import Instant
from ingestd.domain.errors import StaleClaim, StorageExhausted
from ingestd.domain.outcome import Outcome, Throttled, Unconfirmed, Uploaded
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import Step, later, next_step
from ingestd.domain.states import Event, State
from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.gate import Gates, Key
from ingestd.pipeline.patience import shielded, until_there_is_room

STOPPED = "ingestd was stopped while the image was on its way, so nobody knows if it arrived."


class Delivery:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.gates = Gates(dict(flow.policies), flow.observer)
        self.crew: Crew[Receipt] = Crew(
            "upload", flow.upload_workers, take=self._take, do=self._deliver, bell=flow.to_upload
        )

    async def _take(self, limit: int) -> Sequence[Receipt]:
        flow = self._flow

        async def claim() -> Sequence[Receipt]:
            now = flow.clock()
            closed = self.gates.closed(now)
            return await flow.ledger.claim(
                owner=flow.owner, lease=flow.upkeep.lease, limit=limit, now=now, closed=closed
            )

        return await until_there_is_room(claim, flow.observer)

    async def _deliver(self, receipt: Receipt) -> None:
        try:
            await self._try_once(receipt)
        except StaleClaim:
            # Our lease ran out and another node judged the receipt: its word stands.
            self._flow.observer.note("receipt.overtaken", level="warning", receipt=receipt.id)

    async def _try_once(self, receipt: Receipt) -> None:
        key = (receipt.target, receipt.account)
        if receipt.target not in self._flow.destinations:
            await self._refuse_unknown_target(receipt)
            return
        until = self.gates.enter(key, self._flow.clock())
        if until is not None:
            await self._move(receipt, Event.RELEASE, due_at=until)
            return
        try:
            begun = await self._begin(receipt)
        except BaseException:
            self.gates.leave(key, self._flow.clock())
            raise
        started = self._flow.clock()
        outcome = await self._upload(begun)
        await self._finish(begun, outcome, key, started)

    async def _begin(self, receipt: Receipt) -> Receipt:
        """Claimed -> uploading. When the stop comes just now, no byte was sent: the receipt goes back."""
        flow = self._flow
        begun: list[Receipt] = []

        async def write() -> None:
            begun.append(
                await until_there_is_room(lambda: flow.ledger.begin(receipt, now=flow.clock()), flow.observer)
            )

        try:
            await shielded(write())
        except asyncio.CancelledError:
            if begun:
                step = Step(event=Event.DEFER, due_at=flow.clock(), spent=False)
                nothing_sent = Throttled(reason="ingestd was stopped before the first byte was sent.")
                # On a full disk it stays `uploading`; the next start calls it unconfirmed: safe, if untrue.
                with suppress(StorageExhausted):
                    await flow.ledger.finish(begun[0], step, nothing_sent, now=flow.clock())
            raise
        return begun[0]

    async def _upload(self, receipt: Receipt) -> Outcome:
        assert receipt.image is not None
        destination = self._flow.destinations[receipt.target]
        try:
            return await destination.upload(receipt.image, receipt)
        except asyncio.CancelledError:
            step = Step(event=Event.LOSE, due_at=None)
            lost = Unconfirmed(reason=STOPPED)
            await shielded(self._record(receipt, step, lost))
            raise
        except Exception as error:
            # A defect of ours on this receipt. What left is unknown, so it is not sent again by itself.
            self._flow.observer.note(
                "attempt.broke", level="error", receipt=receipt.id, error=repr(error), exc_info=True
            )
            return Unconfirmed(
                reason=f"The upload broke off with an internal error ({type(error).__name__})."
            )

    async def _finish(self, receipt: Receipt, outcome: Outcome, key: Key, started: Instant) -> None:
        flow = self._flow
        now, jitter = flow.clock(), random.random()
        policy = flow.policies[receipt.target]
        closed_until = self.gates.settle(key, outcome, now=now, jitter=jitter)
        step = next_step(outcome, policy, attempts=receipt.attempts + 1, now=now, jitter=jitter)
        if step.due_at is not None and closed_until is not None:
            step = replace(step, due_at=Instant(max(step.due_at, closed_until)))
        if step.event is Event.LOSE and receipt.target in flow.upkeep.retry_unconfirmed:
            # "May store the image twice" must not become "for ever": the attempts bound it.
            last = receipt.attempts + 1 >= policy.attempts
            again = Step(event=Event.LOSE, due_at=later(now, policy.unavailable))
            step = Step(event=Event.EXHAUST) if last else again
        finished = await shielded(self._record(receipt, step, outcome))
        evidence = outcome.evidence
        flow.observer.note(
            "attempt.finished",
            level="info" if isinstance(outcome, Uploaded) else "warning",
            receipt=receipt.id,
            **flow.logged(receipt.source, receipt.path),
            destined=str(receipt.destined),
            attempt=receipt.attempts + 1,
            outcome=type(outcome).__name__.lower(),
            state=str(finished.state),
            image_id=finished.image_id,
            status=evidence.status,
            correlation_id=evidence.correlation_id,
            sent_bytes=evidence.bytes_sent,
            milliseconds=(now - started) // 1000,
            reason=finished.reason,
        )
        flow.to_report.ring()

    async def _record(self, receipt: Receipt, step: Step, outcome: Outcome) -> Receipt:
        flow = self._flow
        try:
            return await until_there_is_room(
                lambda: flow.ledger.finish(receipt, step, outcome, now=flow.clock()), flow.observer
            )
        except StaleClaim:
            if not isinstance(outcome, Uploaded):
                raise
            return await self._confirm_late(receipt, outcome)

    async def _confirm_late(self, receipt: Receipt, outcome: Uploaded) -> Receipt:
        """The lease ran out during the upload and the receipt became unconfirmed: we know the answer."""
        current = await self._flow.reader.get(receipt.id)
        if current is None or current.state is not State.UNCONFIRMED:
            raise StaleClaim
        return await self._flow.ledger.move(
            current,
            Event.CONFIRM,
            now=self._flow.clock(),
            image_id=outcome.image_id,
            reason="The answer came after the lease had run out.",
        )

    async def _refuse_unknown_target(self, receipt: Receipt) -> None:
        reason = f"The target {receipt.target!r} is not in the configuration any more. Add it, then retry."
        await self._move(receipt, Event.REFUSE, reason=reason)
        self._flow.to_report.ring()

    async def _move(
        self, receipt: Receipt, event: Event, *, reason: str | None = None, due_at: Instant | None = None
    ) -> None:
        flow = self._flow
        await until_there_is_room(
            lambda: flow.ledger.move(receipt, event, now=flow.clock(), reason=reason, due_at=due_at),
            flow.observer,
        )
