"""Intake: an arrival's bytes go to the spool, its rows into the ledger, and only then is it acknowledged.

Archives are opened before rows exist: their members are the documents. A full disk pauses intake with
everything kept; a payload that can't be read just now is given back. Both are said once. Broken machinery
(the ledger is gone) raises and ends the daemon.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

from ingestd.domain.document import Document, Instant, OriginKind, Payload, display_name
from ingestd.domain.errors import ContentUnavailable, StorageExhausted
from ingestd.domain.states import NEEDS_PERSON
from ingestd.interfaces import Accepted, Arrival, NewArrival, Refusal, Source
from ingestd.pipeline.flow import Flow
from ingestd.pipeline.merging import Merging


class WrittenSince(Exception):
    """The ledger has this arrival, but with other bytes: a crash came between commit and acknowledgement,
    and somebody who held the file open wrote to it meanwhile. What is there now is another arrival."""


@dataclass(slots=True)
class _Taken:
    """What an arrival turned out to hold; `payloads` is counted as it is taken, for the balance."""

    documents: list[Document] = field(default_factory=list)
    containers: list[Document] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    payloads: int = 0


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
        self._merging = Merging(flow.routes, flow.destinations)
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
                **self._flow.logged(self.source.name, arrival.origin.path),
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
        taken = await self._open(arrival)
        new = NewArrival(
            id=arrival.id,
            origin=arrival.origin,
            receipts=self._merging.receipts(arrival, taken.documents),
            ignored=tuple(taken.refused),
            payloads=taken.payloads,
            containers=tuple(taken.containers),
        )
        accepted = await self._flow.ledger.accept(new, now=self._flow.clock())
        if accepted.unrecorded:
            raise WrittenSince
        # A daemon runs for years and tells nobody a result: it must not collect any. The logos of a mail need
        # nobody either.
        if self._once and arrival.origin.kind is not OriginKind.MAIL:
            self.refused += [_sentence(arrival.origin.path, refusal) for refusal in arrival.refused]
        for refusal in taken.refused:
            self._flow.observer.note(
                "payload.ignored",
                **self._flow.logged(self.source.name, arrival.origin.path),
                filename=refusal.filename,
                reason=refusal.reason,
            )
        return accepted

    async def _open(self, arrival: Arrival) -> _Taken:
        """Every payload in the spool, then what the source put there. Archives give way to their members."""
        taken = _Taken(
            containers=list(arrival.containers),
            refused=list(arrival.refused),
            payloads=len(arrival.refused),
        )
        for payload in arrival.payloads:
            await self._unpack(arrival, await asyncio.to_thread(self._spool, payload), taken)
        for document in arrival.spooled:
            await self._unpack(arrival, document, taken)
        return taken

    async def _unpack(self, arrival: Arrival, document: Document, taken: _Taken) -> None:
        path = document.arrived_as or arrival.origin.path
        unpacked = await self._flow.normalizer.unpack(document, path)
        if unpacked is None:
            taken.documents.append(document)
            taken.payloads += 1
        else:
            taken.containers.append(document)
            taken.documents += unpacked.documents
            taken.refused += unpacked.refused
            taken.payloads += len(unpacked.documents) + len(unpacked.refused)

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
            arrived_as=payload.arrived_as,
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
        if self._once:
            self.attention += [r.id for r in accepted.receipts if r.state in NEEDS_PERSON]
        for receipt in accepted.receipts:
            event = "receipt.repeated" if receipt.id in accepted.repeats else "receipt.accepted"
            note(
                event,
                receipt=receipt.id,
                **self._flow.logged(self.source.name, arrival.origin.path),
                destined=f"{receipt.target}:{receipt.slot}",
                state=str(receipt.state),
                reason=receipt.reason,
            )
        self._flow.to_prepare.ring()
        self._flow.to_report.ring()


def _sentence(path: str, refusal: Refusal) -> str:
    own = path == refusal.filename or path.endswith(f"/{refusal.filename}")
    return f"{path}: {refusal.reason}" if own else f"{path}: {refusal.filename}: {refusal.reason}"
