"""Verification: what was uploaded is read back and compared with what was sent.

A match is recorded with its time; something surely else contradicts the upload, loudly. What can't be read
back (no URL, a 404, an expired link) is "not verifiable", and no more than a line in the history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.errors import StaleClaim
from ingestd.domain.outcome import CannotSay, Found, NotThere
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.states import Event
from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.gate import PATIENCE_OF_QUESTIONS, Gates
from ingestd.pipeline.patience import until_there_is_room
from ingestd.pipeline.reading_back import ask, compared

WIDTH = 2
PROCESSING = timedelta(seconds=20)
"""An image that was taken just now may not be shown yet."""
LONGEST_PAUSE = timedelta(hours=1)

CONTRADICTED = (
    "What the target gives back is not the image that was sent (image ID {}). Look there; if it is wrong, "
    "remove it there and retry this receipt."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """`verify_at`: try again then; None: this is the end of it."""

    note: str
    same: bool = False
    other: bool = False
    verify_at: Instant | None = None


class Verifying:
    def __init__(self, flow: Flow, gates: Gates) -> None:
        self._flow = flow
        self._gates = gates
        self.crew: Crew[Receipt] = Crew(
            "verify", WIDTH, take=self._take, do=self._verify, bell=flow.to_verify
        )

    async def _take(self, limit: int) -> Sequence[Receipt]:
        flow = self._flow

        async def take() -> Sequence[Receipt]:
            now = flow.clock()
            # Not those that are only full: with uploads always waiting, a question's turn would never come.
            closed = self._gates.shut(now)
            return await flow.ledger.take_unverified(
                owner=flow.owner, lease=flow.upkeep.lease, limit=limit, now=now, closed=closed
            )

        return await until_there_is_room(take, flow.observer)

    async def _verify(self, receipt: Receipt) -> None:
        try:
            verdict = await until_there_is_room(lambda: self._judged(receipt), self._flow.observer)
            await until_there_is_room(lambda: self._record(receipt, verdict), self._flow.observer)
        except StaleClaim:
            self._flow.observer.note("receipt.overtaken", receipt=receipt.id)

    async def _judged(self, receipt: Receipt) -> _Verdict:
        """Raises StorageExhausted."""
        flow, key = self._flow, (receipt.target, receipt.account)
        destination = flow.destinations.get(receipt.target)
        if destination is None or not destination.shows_alone(receipt.destined.slot):
            return _Verdict(note="Not verifiable: the target does not show this image by itself.")
        flow.spool.check_room()  # without room nothing can be read back, and the question would be in vain
        until = await self._gates.admit(key, flow.clock, patience=PATIENCE_OF_QUESTIONS)
        if until is not None:
            return _Verdict(note="The target can't be asked now.", verify_at=until)
        look = await ask(flow, self._gates, receipt, image_id=receipt.image_id)
        rules = flow.rules[receipt.target]
        match look:
            case Found():
                return await self._compared(receipt, look)
            case NotThere():
                return await self._later(receipt, "The target does not show it.", rules.not_there_after)
            case CannotSay():
                return await self._unless_for_good(receipt, look)
            case _:
                assert_never(look)

    async def _compared(self, receipt: Receipt, look: Found) -> _Verdict:
        match await compared(self._flow, receipt, look):
            case "same":
                return _Verdict(note="Verified: the target gives back what was sent.", same=True)
            case "other":
                return _Verdict(note=CONTRADICTED.format(receipt.image_id), other=True)
            case "unclear":
                return _Verdict(note="Not verifiable: what the target gives back can't be compared for sure.")
            case CannotSay() as unread:
                return await self._unless_for_good(receipt, unread)

    async def _unless_for_good(self, receipt: Receipt, unread: CannotSay) -> _Verdict:
        if not unread.worth_asking_again:
            return _Verdict(note=f"Not verifiable: {unread.reason}")
        rules = self._flow.rules[receipt.target]
        return await self._later(receipt, unread.reason, rules.look_up_for)

    async def _later(self, receipt: Receipt, why: str, patience: timedelta) -> _Verdict:
        """Once more, with growing pauses, until so long after the upload."""
        now = self._flow.clock()
        attempts = await self._flow.reader.attempts(receipt.id)
        uploaded = (attempts[-1].finished_at if attempts else None) or receipt.received_at
        if now >= later(uploaded, patience):
            return _Verdict(note=f"Not verifiable: {why}")
        waited = timedelta(seconds=(now - uploaded) / MICROSECONDS)
        return _Verdict(
            note=f"Not verified yet: {why}", verify_at=later(now, min(max(PROCESSING, waited), LONGEST_PAUSE))
        )

    async def _record(self, receipt: Receipt, verdict: _Verdict) -> None:
        flow, now = self._flow, self._flow.clock()
        if verdict.other:
            await flow.ledger.move(receipt, Event.CONTRADICT, now=now, reason=verdict.note)
        else:
            await flow.ledger.verified(
                receipt, now=now, note=verdict.note, same=verdict.same, verify_at=verdict.verify_at
            )
        flow.observer.note(
            "upload.verified" if verdict.same else "upload.not_verified",
            level="error" if verdict.other else "info",
            receipt=receipt.id,
            image_id=receipt.image_id,
            result=verdict.note,
        )
        flow.to_report.ring()
