"""Delivery: claim, begin, upload, finish. The intent is durable before the first byte leaves.

A receipt's failure is its outcome; broken machinery raises and ends the daemon. The write of a result is
shielded from cancellation, and what a hard stop interrupts becomes unconfirmed, never silently sent again.
"""

import asyncio
import random
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import assert_never

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.doubt import IN_DOUBT
from ingestd.domain.errors import StaleClaim, StorageExhausted
from ingestd.domain.outcome import (
    CannotSay,
    Found,
    NotThere,
    Outcome,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.receipt import Receipt, SlotBefore
from ingestd.domain.retry import Step, later, next_step
from ingestd.domain.states import Event, State
from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.gate import Gates, Key
from ingestd.pipeline.patience import shielded, until_there_is_room
from ingestd.pipeline.reading_back import look_up
from ingestd.pipeline.resolving import tried
from ingestd.pipeline.verifying import PROCESSING

FIRST_QUESTION = timedelta(seconds=5)
"""A server that lost its answer may still be storing what it got."""

STOPPED = "ingestd was stopped while the image was on its way, so nobody knows if it arrived."


class Delivery:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.gates = Gates(
            flow.rules, flow.observer, workers=flow.upload_workers, accounts=partial(_accounts, flow)
        )
        self.crew: Crew[Receipt] = Crew(
            "upload", flow.upload_workers, take=self._take, do=self._deliver, bell=flow.to_upload
        )

    async def _take(self, limit: int) -> Sequence[Receipt]:
        flow = self._flow

        async def claim() -> Sequence[Receipt]:
            now = flow.clock()
            room = self.gates.room(now)
            if room == 0 and flow.destinations:
                return []
            # Half as many again wait in hand for a place that becomes free.
            most, closed = min(limit, room + (room + 1) // 2 or 1), self.gates.closed(now)
            return await flow.ledger.claim(
                owner=flow.owner, lease=flow.upkeep.lease, limit=most, now=now, closed=closed
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
        until = await self.gates.admit(key, self._flow.clock)
        if until is not None:
            await self._move(receipt, Event.RELEASE, due_at=until)
            return
        entered = self._flow.clock()
        try:
            begun = await self._go_ahead(receipt)
        except BaseException:
            self.gates.leave(key, self._flow.clock())
            raise
        if isinstance(begun, Receipt):
            started = self._flow.clock()
            await self._finish(begun, await self._upload(begun), key, started)
            return
        if begun is None:
            self.gates.leave(key, self._flow.clock())
            return
        now = self._flow.clock()
        until = self.gates.settle(key, begun, began=entered, now=now, jitter=random.random())
        await self._move(receipt, Event.RELEASE, due_at=until or self._soon(receipt, now))

    def _soon(self, receipt: Receipt, now: Instant) -> Instant:
        """The longer it waits, the later: a slot that never answers must not fill the ledger."""
        policy = self._flow.rules[receipt.target].retry
        waited = timedelta(seconds=max(0, now - receipt.received_at) / MICROSECONDS)
        return later(now, max(min(waited / 2, policy.unavailable), policy.first))

    async def _go_ahead(self, receipt: Receipt) -> Receipt | Throttled | Unavailable | None:
        """Asks the slot first where that is of use, then claimed -> uploading.

        An obstacle: the target can't take anything now. None: this receipt is not to be uploaded.
        """
        flow = self._flow
        before, rules = None, flow.rules[receipt.target]
        destination, slot = flow.destinations[receipt.target], receipt.destined.slot
        if rules.ask_first and destination.reads_back(slot):
            look = await look_up(flow, receipt)
            self.gates.spend((receipt.target, receipt.account), flow.clock())
            match look:
                case Found():
                    await self._settle_taken(receipt)
                    return None
                case NotThere():
                    before = SlotBefore.EMPTY
                case CannotSay(obstacle=None):
                    before = SlotBefore.UNKNOWN
                case CannotSay(obstacle=obstacle):
                    return obstacle
                case _:
                    assert_never(look)
        return await self._begin(receipt, before)

    async def _may_hold_ours(self, receipt: Receipt) -> bool:
        """Whether the slot can be looked up and an earlier attempt may have left the image there."""
        destination = self._flow.destinations[receipt.target]
        if not destination.reads_back(receipt.destined.slot):
            return False
        return any(attempt.outcome in IN_DOUBT for attempt in await tried(self._flow.reader, receipt))

    async def _settle_taken(self, receipt: Receipt) -> None:
        """The slot has an image before this attempt: it is in doubt if an earlier attempt may have put it."""
        flow = self._flow
        if await self._may_hold_ours(receipt):
            reason = (
                f"{receipt.destined} has an image now; an earlier attempt may have put it there without an "
                "answer."
            )
            await self._move(receipt, Event.LOSE, reason=reason, due_at=flow.clock())
            flow.to_resolve.ring()
            return
        reason = (
            f"{receipt.destined} already has an image, and takes only one. Look there: if it is another "
            "receipt's, remove it there and retry this one, or send this one elsewhere; else drop it."
        )
        await self._move(receipt, Event.REFUSE, reason=reason)
        flow.observer.note(
            "slot.taken",
            level="warning",
            receipt=receipt.id,
            **flow.logged(receipt.source, receipt.path),
            destined=str(receipt.destined),
            state=str(State.FAILED),
            settled=True,
            reason=reason,
        )
        flow.to_report.ring()

    async def _begin(self, receipt: Receipt, slot_before: SlotBefore | None) -> Receipt:
        """Claimed -> uploading. When the stop comes just now, no byte was sent: the receipt goes back."""
        flow = self._flow
        begun: list[Receipt] = []

        async def write() -> None:
            begun.append(
                await until_there_is_room(
                    lambda: flow.ledger.begin(receipt, now=flow.clock(), slot_before=slot_before),
                    flow.observer,
                )
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
            # Asked about after the next start, as what a crash leaves is.
            step = Step(event=Event.LOSE, due_at=self._flow.clock())
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
        closed_until = self.gates.settle(key, outcome, began=started, now=now, jitter=jitter)
        step = self._next_step(receipt, outcome, now=now, jitter=jitter)
        if step.event is Event.REFUSE and await self._may_hold_ours(receipt):
            # "It has an image already" may be about ours, which shows only now.
            step = Step(event=Event.LOSE, due_at=later(now, FIRST_QUESTION))
        if step.event is Event.DEFER and step.due_at is not None and closed_until is not None:
            step = replace(step, due_at=Instant(max(step.due_at, closed_until)))
        finished = await shielded(self._record(receipt, step, outcome))
        evidence = outcome.evidence
        flow.observer.note(
            "attempt.finished",
            level="info" if isinstance(outcome, Uploaded) else "warning",
            receipt=receipt.id,
            **flow.logged(receipt.source, receipt.path),
            destined=str(receipt.destined),
            account=receipt.account,
            attempt=receipt.attempts + 1,
            outcome=type(outcome).__name__.lower(),
            state=str(finished.state),
            settled=finished.settled,
            image_id=finished.image_id,
            status=evidence.status,
            correlation_id=evidence.correlation_id,
            sent_bytes=evidence.bytes_sent,
            milliseconds=(now - started) // 1000,
            reason=finished.reason,
        )
        flow.to_report.ring()
        if finished.ask_at is not None:
            flow.to_resolve.ring()

    def _next_step(self, receipt: Receipt, outcome: Outcome, *, now: Instant, jitter: float) -> Step:
        """As the policy says; of an upload in doubt, and of one to be verified, also what comes then."""
        flow, rules = self._flow, self._flow.rules[receipt.target]
        step = next_step(
            outcome,
            rules.retry,
            attempts=receipt.attempts + 1,
            now=now,
            jitter=jitter,
            since=receipt.tried_since,
        )
        match step.event:
            case Event.CONFIRM if rules.verify:
                return replace(step, verify_at=later(now, PROCESSING))
            case Event.LOSE if step.due_at is None:
                readable = flow.destinations[receipt.target].reads_back(receipt.destined.slot)
                if readable:
                    return replace(step, due_at=later(now, FIRST_QUESTION))
                if rules.on_unconfirmed == "hold":
                    return step
                # "May store the image twice" must not become "for ever": the attempts bound it.
                last = receipt.attempts + 1 >= rules.retry.attempts
                again = replace(step, due_at=later(now, rules.retry.unavailable))
                return Step(event=Event.EXHAUST) if last else again
            case _:
                return step

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
        now, rules = self._flow.clock(), self._flow.rules[receipt.target]
        return await self._flow.ledger.move(
            current,
            Event.CONFIRM,
            now=now,
            image_id=outcome.image_id,
            reason="The answer came after the lease had run out.",
            verify_at=later(now, PROCESSING) if rules.verify else None,
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


def _accounts(flow: Flow, target: str) -> Collection[str]:
    return flow.destinations[target].accounts
