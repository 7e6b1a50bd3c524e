"""Preparation: received -> ready, rejected or held. The normalizer decides; the ledger remembers.

Nothing is lost by a crash here: the receipt is still `received` and is prepared again.
"""

from collections.abc import Sequence
from typing import assert_never

from ingestd.domain.document import InvalidDocument, ReceiptImage
from ingestd.domain.errors import IllegalTransition, StaleClaim
from ingestd.domain.receipt import NO_TARGET, Receipt
from ingestd.domain.routing import InvalidSlot, first_match
from ingestd.domain.states import Event
from ingestd.interfaces import Work
from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.intake import NO_ROUTE, unusable
from ingestd.pipeline.patience import until_there_is_room

NO_ROUTE_FIX = "Say where it goes: ingestd retry ID --to TARGET:SLOT, or add a route and retry."
UNREADABLE = "The stored original of this receipt can't be read from the spool"
UNREADABLE_FIX = "Restore the spool from a backup and run ingestd retry ID, or drop the file again."


class Preparation:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.crew: Crew[Work] = Crew(
            "prepare", flow.prepare_workers, take=self._take, do=self._prepare, bell=flow.to_prepare
        )

    async def _take(self, limit: int) -> Sequence[Work]:
        flow = self._flow

        async def take() -> Sequence[Work]:
            return await flow.ledger.take_received(
                owner=flow.owner, lease=flow.upkeep.lease, limit=limit, now=flow.clock()
            )

        return await until_there_is_room(take, flow.observer)

    async def _prepare(self, work: Work) -> None:
        try:
            await self._settle(work)
        except StaleClaim:
            # Dropped, or taken by another node after our lease ran out: not ours any more.
            self._flow.observer.note("receipt.overtaken", level="warning", receipt=work.receipt.id)

    async def _settle(self, work: Work) -> None:
        try:
            receipt = await self._routed(work.receipt)
        except (IllegalTransition, InvalidSlot) as error:
            # The same documents are on their way to that slot already, were uploaded to it, or it is none.
            return await self._move(work.receipt, Event.HOLD, reason=f"{error}.")
        if receipt.target == NO_TARGET:
            reason = f"{NO_ROUTE} {NO_ROUTE_FIX}" if _had_no_route(receipt) else receipt.waived
            return await self._move(receipt, Event.HOLD, reason=reason)
        problem = unusable(receipt.destined, self._flow.destinations)
        if problem is not None:
            return await self._move(receipt, Event.HOLD, reason=f"{problem} {NO_ROUTE_FIX}")
        limits = self._flow.destinations[receipt.target].limits(receipt.destined.slot)
        try:
            verdict = await self._flow.normalizer.normalize(work.documents, limits)
        except OSError as error:
            if not self._flow.spool.directory.is_dir():
                raise  # not this document: the spool is gone
            why = error.strerror or str(error)
            return await self._move(receipt, Event.HOLD, reason=f"{UNREADABLE} ({why}). {UNREADABLE_FIX}")
        match verdict:
            case ReceiptImage():
                await self._move(receipt, Event.PREPARE, image=verdict)
                self._flow.to_upload.ring()
            case InvalidDocument():
                await self._move(receipt, Event.REJECT, reason=str(verdict))
            case _:
                assert_never(verdict)
        return None

    async def _routed(self, receipt: Receipt) -> Receipt:
        """A receipt without a target asks the routes again: they may have changed since it was held."""
        if receipt.target != NO_TARGET or not _had_no_route(receipt):
            return receipt
        filename = receipt.path.rpartition("/")[2]
        found = first_match(
            self._flow.routes, {"source": receipt.source, "path": receipt.path, "filename": filename}
        )
        if found is None:
            return receipt
        route, destined = found
        return await self._flow.ledger.assign(
            receipt, destined=destined, account=route.account, now=self._flow.clock()
        )

    async def _move(
        self, receipt: Receipt, event: Event, *, reason: str | None = None, image: ReceiptImage | None = None
    ) -> None:
        flow = self._flow

        async def write() -> Receipt:
            now = flow.clock()
            return await flow.ledger.move(receipt, event, now=now, image=image, reason=reason, due_at=now)

        moved = await until_there_is_room(write, flow.observer)
        flow.observer.note(
            f"receipt.{moved.state}",
            level="debug" if event is Event.PREPARE else "warning",
            receipt=receipt.id,
            path=receipt.path,
            reason=reason,
        )
        flow.to_report.ring()


def _had_no_route(receipt: Receipt) -> bool:
    """False when its sender said where it goes and was not understood: then no route may guess."""
    return receipt.waived is None or receipt.waived.startswith(NO_ROUTE)
