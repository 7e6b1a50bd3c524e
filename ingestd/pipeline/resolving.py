"""Uploads in doubt: the target is asked, and domain.doubt decides by its answer.

Each question and its answer is a row of the receipt's history. What a target can't be asked about is left to
a person, or sent again where on_unconfirmed says so.
"""

from collections.abc import Sequence
from typing import assert_never

from ingestd.domain.doubt import (
    AskAgain,
    Compared,
    Confirm,
    Decision,
    LeaveToPerson,
    Refuse,
    SendAgain,
    decide,
)
from ingestd.domain.errors import StaleClaim
from ingestd.domain.outcome import CannotSay, Found, LookUp
from ingestd.domain.receipt import Attempt, Receipt
from ingestd.domain.states import Event
from ingestd.interfaces import LedgerReader
from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.gate import PATIENCE_OF_QUESTIONS, Gates
from ingestd.pipeline.patience import until_there_is_room
from ingestd.pipeline.reading_back import ask, compared

WIDTH = 2
"""Receipts asked about at the same time."""

UNKNOWN_TARGET = "The target {} is not in the configuration any more, so it can't be asked."


class Resolving:
    def __init__(self, flow: Flow, gates: Gates) -> None:
        self._flow = flow
        self._gates = gates
        self.crew: Crew[Receipt] = Crew(
            "resolve", WIDTH, take=self._take, do=self._resolve, bell=flow.to_resolve
        )

    async def _take(self, limit: int) -> Sequence[Receipt]:
        flow = self._flow

        async def take() -> Sequence[Receipt]:
            now = flow.clock()
            # Not those that are only full: with uploads always waiting, a question's turn would never come.
            closed = self._gates.shut(now)
            return await flow.ledger.take_unconfirmed(
                owner=flow.owner, lease=flow.upkeep.lease, limit=limit, now=now, closed=closed
            )

        return await until_there_is_room(take, flow.observer)

    async def _resolve(self, receipt: Receipt) -> None:
        try:
            decision = await until_there_is_room(lambda: self._decided(receipt), self._flow.observer)
            await until_there_is_room(lambda: self._obey(receipt, decision), self._flow.observer)
        except StaleClaim:
            # A person, or the late answer of the upload itself, was quicker: their word stands.
            self._flow.observer.note("receipt.overtaken", receipt=receipt.id)

    async def _decided(self, receipt: Receipt) -> Decision:
        """Raises StorageExhausted."""
        flow = self._flow
        destination = flow.destinations.get(receipt.target)
        if destination is None:
            return LeaveToPerson(evidence=UNKNOWN_TARGET.format(repr(receipt.target)))
        rules, slot = flow.rules[receipt.target], receipt.destined.slot
        if not destination.reads_back(slot):
            return _unasked(receipt, again=rules.on_unconfirmed == "retry", most=rules.retry.attempts)
        flow.spool.check_room()  # without room nothing can be read back, and the question would be in vain
        key = (receipt.target, receipt.account)
        until = await self._gates.admit(key, flow.clock, patience=PATIENCE_OF_QUESTIONS)
        if until is not None:
            return AskAgain(at=until, evidence="The target can't be asked now.")
        look, same = await self._looked_up(receipt)
        return decide(
            look,
            await tried(flow.reader, receipt),
            compared=same,
            rules=rules,
            spent=receipt.attempts,
            slot=str(receipt.destined),
            now=flow.clock(),
        )

    async def _looked_up(self, receipt: Receipt) -> tuple[LookUp, Compared | CannotSay]:
        look = await ask(self._flow, self._gates, receipt)
        if not isinstance(look, Found):
            return look, CannotSay(reason="There is nothing to read back.")
        return look, await compared(self._flow, receipt, look)

    async def _obey(self, receipt: Receipt, decision: Decision) -> None:
        flow, now = self._flow, self._flow.clock()
        match decision:
            case Confirm(image_id=image_id, evidence=text):
                rules = flow.rules[receipt.target]
                after = await flow.ledger.move(
                    receipt,
                    Event.CONFIRM,
                    now=now,
                    image_id=image_id,
                    reason=text,
                    verify_at=now if rules.verify else None,
                )
            case SendAgain(evidence=text):
                after = await flow.ledger.move(receipt, Event.REQUEUE, now=now, reason=text, afresh=False)
            case Refuse(reason=text):
                after = await flow.ledger.move(receipt, Event.REFUSE, now=now, reason=text)
            case AskAgain(at=at, evidence=text):
                after = await flow.ledger.asked(receipt, now=now, note=text, ask_at=at)
            case LeaveToPerson(evidence=text, reason=reason):
                after = await flow.ledger.asked(receipt, now=now, note=text, ask_at=None, reason=reason)
            case _:
                assert_never(decision)
        flow.observer.note(
            "doubt.resolved",
            level="info" if isinstance(decision, Confirm | SendAgain) else "warning",
            receipt=receipt.id,
            **flow.logged(receipt.source, receipt.path),
            destined=str(receipt.destined),
            decision=type(decision).__name__,
            state=str(after.state),
            settled=after.settled,
            image_id=after.image_id,
            reason=text,
        )
        flow.to_upload.ring()
        flow.to_report.ring()


async def tried(reader: LedgerReader, receipt: Receipt) -> Sequence[Attempt]:
    """Its attempts since a person last sent it on its way: that decision settled what was before.

    By their order, not their times: a clock may have been set back between two of them.
    """
    attempts = await reader.attempts(receipt.id)
    first = next((n for n, a in enumerate(attempts) if a.started_at == receipt.tried_since), len(attempts))
    return attempts[first:]


def _unasked(receipt: Receipt, *, again: bool, most: int) -> Decision:
    kind = receipt.destined.slot.kind
    if again and receipt.attempts < most:
        return SendAgain(
            evidence=f"A {kind} can't be looked up. Sent again, as on_unconfirmed says: it may be there "
            "twice."
        )
    if again:
        return LeaveToPerson(evidence=f"A {kind} can't be looked up, and the attempts have run out.")
    return LeaveToPerson(evidence=f"A {kind} can't be looked up in the target, so a person has to look.")
