"""Intake: an arrival's bytes go to the spool, its rows into the ledger, and only then is it acknowledged.

A full disk pauses intake with everything kept; a payload that can't be read just now is given back. Both are
said once. Broken machinery (the ledger is gone) raises and ends the daemon.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing

from ingestd.domain.document import Document, Instant, Payload, display_name
from ingestd.domain.errors import ContentUnavailable, StorageExhausted
from ingestd.domain.receipt import NO_TARGET, idempotency_key
from ingestd.domain.routing import Destined, InvalidSlot, Repeat, first_match
from ingestd.domain.states import NEEDS_PERSON
from ingestd.interfaces import Accepted, Arrival, Destination, NewArrival, NewReceipt, Source
from ingestd.pipeline.flow import Flow

NO_ROUTE = "No route matches this receipt, so ingestd does not know where it belongs."


class WrittenSince(Exception):
    """The ledger has this arrival, but with other bytes: a crash came between commit and acknowledgement,
    and somebody who held the file open wrote to it meanwhile. What is there now is another arrival."""


class Intake:
    """Takes the arrivals of one source, a few at a time."""

    def __init__(self, source: Source, flow: Flow) -> None:
        self.source = source
        self.paused: str | None = None
        """Why intake waits, None while it flows."""
        self.paused_since: Instant | None = None
        self.attention: list[str] = []
        """With `once`: IDs of receipts that a repeat met in a state that needs a person."""
        self.refused: list[str] = []
        """With `once`: a sentence for each payload that was not even read."""
        self._flow = flow
        self._room = asyncio.Semaphore(flow.intake.width)
        self._stopping = asyncio.Event()
        self._waiting: set[str] = set()
        self._once = False

    async def run(self, *, once: bool) -> None:
        """Until cancelled, or with `once` until the source is done. Open arrivals are finished first."""
        self._once = once
        runner = asyncio.current_task()
        assert runner is not None
        taking: set[asyncio.Task[None]] = set()
        failed: list[BaseException] = []

        def ended(task: asyncio.Task[None]) -> None:
            taking.discard(task)
            self._room.release()
            if not task.cancelled() and (error := task.exception()) is not None:
                failed.append(error)
                runner.cancel()  # broken machinery is told now, not when the next file comes

        try:
            async with aclosing(self.source.arrivals(once=once)) as arrivals:
                async for arrival in arrivals:
                    await self._room.acquire()
                    task = asyncio.create_task(self._take(arrival), name=f"intake {arrival.origin.path}")
                    taking.add(task)
                    task.add_done_callback(ended)
            while taking:
                await asyncio.wait(set(taking))
        except asyncio.CancelledError:
            self._stopping.set()
            if taking:
                await asyncio.wait(set(taking))
            if failed:
                raise failed[0] from None
            raise

    async def _take(self, arrival: Arrival) -> None:
        try:
            accepted = await self._accept_when_there_is_room(arrival)
        except WrittenSince:
            await arrival.give_back(anew=True)
            return
        except ContentUnavailable as error:
            self._flow.observer.note(
                "arrival.postponed",
                source=self.source.name,
                path=arrival.origin.path,
                reason=str(error),
                level="debug",
            )
            await arrival.give_back()
            return
        if accepted is None:
            await arrival.give_back()
            return
        await arrival.acknowledge()
        self._announce(arrival, accepted)

    async def _accept_when_there_is_room(self, arrival: Arrival) -> Accepted | None:
        """None when the daemon stops while the disk is still full."""
        try:
            while True:
                try:
                    accepted = await self._accept(arrival)
                except StorageExhausted as error:
                    if self._stopping.is_set():
                        return None
                    self._waiting.add(arrival.id)
                    await self._pause(str(error))
                else:
                    self._waiting.discard(arrival.id)
                    self._resume()
                    return accepted
        finally:
            self._waiting.discard(arrival.id)

    async def _accept(self, arrival: Arrival) -> Accepted:
        documents = [await asyncio.to_thread(self._spool, payload) for payload in arrival.payloads]
        new = NewArrival(
            id=arrival.id,
            origin=arrival.origin,
            receipts=tuple(self._receipt(arrival, document) for document in documents),
            ignored=arrival.refused,
            payloads=len(arrival.payloads) + len(arrival.refused),
        )
        accepted = await self._flow.ledger.accept(new, now=self._flow.clock())
        recorded = {receipt.sha256 for receipt in accepted.receipts}
        if accepted.known and not {document.sha256 for document in documents} <= recorded:
            raise WrittenSince
        return accepted

    def _spool(self, payload: Payload) -> Document:
        with payload.content.open() as stream:
            spooled = self._flow.spool.write(stream)
        payload.content.recheck()
        return Document(
            path=spooled.path,
            filename=display_name(payload.filename),
            size=spooled.size,
            sha256=spooled.sha256,
            declared_type=payload.declared_type,
        )

    def _receipt(self, arrival: Arrival, document: Document) -> NewReceipt:
        return new_receipt(
            self._flow,
            (document,),
            facts=routing_facts(arrival),
            to=arrival.to,
            hold=arrival.hold,
            fields=dict(arrival.fields),
        )

    async def _pause(self, reason: str) -> None:
        if self.paused is None:
            self.paused, self.paused_since = reason, self._flow.clock()
            self._flow.observer.note("intake.paused", level="warning", source=self.source.name, reason=reason)
        try:
            async with asyncio.timeout(self._flow.intake.retry_full.total_seconds()):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _resume(self) -> None:
        # A small file that fits does not mean that there is room for the large one that waits.
        if self.paused is not None and not self._waiting:
            self.paused = self.paused_since = None
            self._flow.observer.note("intake.resumed", source=self.source.name)

    def _announce(self, arrival: Arrival, accepted: Accepted) -> None:
        note = self._flow.observer.note
        if self._once:  # a daemon runs for years and tells nobody a result: it must not collect any
            self.attention += [r.id for r in accepted.receipts if r.state in NEEDS_PERSON]
            self.refused += [f"{arrival.origin.path}: {refusal.reason}" for refusal in arrival.refused]
        for refusal in arrival.refused:
            note("payload.ignored", source=self.source.name, filename=refusal.filename, reason=refusal.reason)
        for receipt in accepted.receipts:
            event = "receipt.repeated" if receipt.id in accepted.repeats else "receipt.accepted"
            note(
                event,
                receipt=receipt.id,
                source=self.source.name,
                path=arrival.origin.path,
                destined=f"{receipt.target}:{receipt.slot}",
                state=str(receipt.state),
                reason=receipt.reason,
            )
        self._flow.to_prepare.ring()
        self._flow.to_report.ring()


def routing_facts(arrival: Arrival) -> dict[str, str]:
    """What the routes are asked with."""
    origin = arrival.origin
    filename = origin.path.rpartition("/")[2]
    return {**origin.facts, "source": origin.source, "path": origin.path, "filename": filename}


def new_receipt(
    flow: Flow,
    documents: tuple[Document, ...],
    *,
    facts: Mapping[str, str],
    to: Destined | None = None,
    hold: str | None = None,
    fields: Mapping[str, str] | None = None,
) -> NewReceipt:
    """The receipt these documents become: at the slot asked for, else where the routes send it, else held."""
    destined, account, again = to, None, False
    if to is None and hold is None:
        try:
            found = first_match(flow.routes, facts)
        except InvalidSlot as error:
            found, hold = None, f"The route that matches leads nowhere: {error}."
        if found is not None:
            route, destined = found
            account, again = route.account, route.repeat is Repeat.UPLOAD
    if hold is None:
        hold = unusable(destined, flow.destinations)
    target, slot = (NO_TARGET, "") if destined is None or hold else (destined.target, str(destined.slot))
    hashes = [document.sha256 for document in documents]
    return NewReceipt(
        documents=documents,
        target=target,
        slot=slot,
        account=account,
        key=idempotency_key(hashes, target=target, account=account, slot=slot),
        fields=fields or {},
        again=again,
        hold=hold,
    )


def unusable(destined: Destined | None, destinations: Mapping[str, Destination]) -> str | None:
    """Why nothing can be sent there, as a sentence for a person; None when it can."""
    if destined is None:
        return NO_ROUTE
    destination = destinations.get(destined.target)
    if destination is None:
        return (
            f"There is no target {destined.target!r}; the targets are: {', '.join(destinations) or 'none'}."
        )
    kind = destined.slot.kind
    if kind not in destination.slots:
        return f"{destined.target} has no slot {kind!r}; it has: {', '.join(destination.slots)}."
    if destination.slots[kind] and destined.slot.identifier is None:
        return f"The slot {kind} needs an ID: write {destined.target}:{kind}/ID."
    if not destination.slots[kind] and destined.slot.identifier is not None:
        return f"The slot {kind} takes no ID: write {destined.target}:{kind}."
    return None
