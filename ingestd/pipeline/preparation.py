"""Preparation: received -> ready, rejected or held. The normalizer decides; the ledger remembers.

Nothing is lost by a crash here: the receipt is still `received` and is prepared again. A check that a person
overruled (`waived`) does not hold the receipt again.
"""

import errno
from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from ingestd.domain.document import InvalidDocument, OriginKind, ReceiptImage
from ingestd.domain.errors import SLOT_TAKEN, IllegalTransition, SlotTaken, StaleClaim
from ingestd.domain.receipt import NO_TARGET, Receipt
from ingestd.domain.routing import InvalidSlot, first_match
from ingestd.domain.states import Event
from ingestd.interfaces import Limits, Work
from ingestd.pipeline import lookalikes
from ingestd.pipeline.crew import Crew
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.lookalikes import Lookalikes
from ingestd.pipeline.passwords import Passwords
from ingestd.pipeline.patience import until_there_is_room
from ingestd.pipeline.placing import NO_ROUTE, no_account, receipt_facts, unusable

NO_ROUTE_FIX = "Say where it goes: ingestd retry ID --to TARGET:SLOT, or add a route and retry."
UNREADABLE = "The stored original of this receipt can't be read from the spool"
UNREADABLE_FIX = "Restore the spool from a backup and run ingestd retry ID, or drop the file again."
TOO_MANY_OPEN = "The pages of this receipt could not all be opened at once: too many files are open."
TOO_MANY_OPEN_FIX = "Allow more (LimitNOFILE= in the unit), restart ingestd and run ingestd retry ID."


class Preparation:
    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._passwords = Passwords(flow)
        self._lookalikes = Lookalikes(flow)
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
            receipt = await self._routed(work)
        except (IllegalTransition, InvalidSlot) as error:
            # The same documents are on their way to that slot already, were uploaded to it, or it is none.
            return await self._set_aside(work.receipt, Event.HOLD, f"{error}.")
        if receipt.target == NO_TARGET:
            reason = f"{NO_ROUTE} {NO_ROUTE_FIX}" if _asks_routes(work) else receipt.waived[-1]
            return await self._set_aside(receipt, Event.HOLD, reason)
        problem = unusable(receipt.destined, self._flow.destinations)
        if problem is not None:
            return await self._set_aside(receipt, Event.HOLD, f"{problem} {NO_ROUTE_FIX}")
        missing = no_account(receipt.destined, receipt.account, self._flow.destinations)
        if missing is not None:
            return await self._set_aside(receipt, Event.HOLD, missing)
        limits = self._flow.destinations[receipt.target].limits(receipt.destined.slot)
        try:
            verdict = await self._verdict(work, limits)
        except OSError as error:
            if not self._flow.spool.directory.is_dir():
                raise  # not this document: the spool is gone
            return await self._set_aside(receipt, Event.HOLD, _why_unreadable(error))
        match verdict:
            case ReceiptImage():
                return await self._commit(receipt, verdict, limits)
            case InvalidDocument():
                return await self._set_aside(receipt, Event.REJECT, str(verdict))
            case _:
                assert_never(verdict)

    async def _routed(self, work: Work) -> Receipt:
        """A receipt without a target asks the routes again: they may have changed since it was held."""
        receipt = work.receipt
        if receipt.target != NO_TARGET or not _asks_routes(work):
            return receipt
        found = first_match(self._flow.routes, receipt_facts(work))
        if found is None:
            return receipt
        route, destined = found
        return await self._flow.ledger.assign(
            receipt, destined=destined, account=route.account, now=self._flow.clock()
        )

    async def _verdict(self, work: Work, limits: Limits) -> ReceiptImage | InvalidDocument:
        passwords = await self._passwords.for_facts(receipt_facts(work))

        async def normalize() -> ReceiptImage | InvalidDocument:
            return await self._flow.normalizer.normalize(work.documents, limits, passwords=passwords)

        return await until_there_is_room(normalize, self._flow.observer)

    async def _commit(self, receipt: Receipt, image: ReceiptImage, limits: Limits) -> None:
        """Make it ready, unless it shows what another one shows, or comes to a slot that has its image."""
        async with self._lookalikes.turn(receipt, image):
            first = await self._lookalikes.first_of(receipt, image)
            if first is None:
                return await self._make_ready(receipt, image, limits)
            pointer = await lookalikes.pointer(self._flow.reader, first)
            if self._flow.preparation.near_duplicates == "hold" and not lookalikes.is_waived(receipt):
                reason = lookalikes.hold_reason(pointer, receipt)
                return await self._set_aside(receipt, Event.HOLD, reason)
            warnings = (*image.warnings, lookalikes.warning(pointer))
            return await self._make_ready(receipt, replace(image, warnings=warnings), limits)

    async def _make_ready(self, receipt: Receipt, image: ReceiptImage, limits: Limits) -> None:
        flow = self._flow

        async def write() -> Receipt:
            return await flow.ledger.prepare(receipt, image, one_image=limits.one_image, now=flow.clock())

        try:
            moved = await until_there_is_room(write, flow.observer)
        except SlotTaken as taken:
            await self._set_aside(receipt, Event.HOLD, _slot_taken(receipt, taken))
            return
        flow.observer.note(
            f"receipt.{moved.state}",
            level="warning" if image.warnings else "debug",
            receipt=receipt.id,
            **flow.logged(receipt.source, receipt.path),
            steps=image.steps,
            warnings=image.warnings,
        )
        flow.to_upload.ring()

    async def _set_aside(self, receipt: Receipt, event: Event, reason: str) -> None:
        """Held or rejected: the sender is told, and a person decides."""
        flow = self._flow

        async def write() -> Receipt:
            now = flow.clock()
            return await flow.ledger.move(receipt, event, now=now, reason=reason, due_at=now)

        moved = await until_there_is_room(write, flow.observer)
        flow.observer.note(
            f"receipt.{moved.state}",
            level="warning",
            receipt=receipt.id,
            **flow.logged(receipt.source, receipt.path),
            reason=reason,
        )
        flow.to_report.ring()


def _why_unreadable(error: OSError) -> str:
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{TOO_MANY_OPEN} {TOO_MANY_OPEN_FIX}"
    return f"{UNREADABLE} ({error.strerror or error}). {UNREADABLE_FIX}"


def _asks_routes(work: Work) -> bool:
    """False when its sender said where it goes and was not understood: then no route may guess.

    A mail says nothing that a route doesn't read; it was held for who sent it, and a person lets it in.
    """
    if work.origin.kind is OriginKind.MAIL:
        return True
    waived = work.receipt.waived
    return not waived or any(reason.startswith(NO_ROUTE) for reason in waived)


def _slot_taken(receipt: Receipt, taken: SlotTaken) -> str:
    return (
        f"{SLOT_TAKEN} {receipt.destined} belongs to receipt {taken.receipt} ({taken.filename}), which is "
        f"{taken.state}. A later page can't be added to it. Send all pages together to a slot of their own "
        f"and run ingestd drop {receipt.id}; if the slot was emptied in {receipt.target}, run ingestd retry "
        f"{receipt.id}."
    )
