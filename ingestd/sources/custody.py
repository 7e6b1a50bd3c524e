"""Custody: every claim of one folder, from its rename until it is acknowledged.

A claim is in exactly one hand: outstanding (handed over), held (given back, handed over again later under the
same ID) or left over (found in the folder after a crash). What was disturbed while it was read goes back to
its place in the folder instead, to settle anew.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ingestd.domain.document import Origin, OriginKind, Payload, display_name
from ingestd.domain.receipt import new_id
from ingestd.interfaces import Arrival, Clock, Observer, Refusal
from ingestd.settings import MEGABYTE, FolderSettings
from ingestd.sources.claims import Claim, ClaimedContent, OpenFolder, Taken, find_again, left_over, take
from ingestd.sources.outbox import Outbox, printable
from ingestd.sources.scanning import Settled
from ingestd.sources.sidecar import Instructions

BATCH = 16
"""Claims made at once; their directories are fsynced together."""

AGAIN_S = 5.0
"""A claim that was given back is handed over again after this."""

T = TypeVar("T")


@dataclass(slots=True)
class _Held:
    claim: Claim
    again_at: float


class Custody:
    """`wake` is set whenever a claim was given back, or the last one was acknowledged."""

    def __init__(
        self, settings: FolderSettings, *, clock: Clock, observer: Observer, outbox: Outbox, threads: Executor
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._observer = observer
        self._outbox = outbox
        self._threads = threads
        self._outstanding: dict[str, Claim] = {}
        self._held: dict[str, _Held] = {}
        self._left_over: deque[str] = deque()
        self.wake = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not (self._outstanding or self._held or self._left_over)

    @property
    def next_due(self) -> float | None:
        """When the next claim is to be handed over again, in monotonic seconds."""
        if self._left_over:
            return 0.0
        return min((held.again_at for held in self._held.values()), default=None)

    async def adopt(self, folder: OpenFolder) -> None:
        """Find the claims that a crash left in this folder. Raises OSError."""
        ids = await self._run(lambda: left_over(folder))
        self._left_over = deque(i for i in ids if i not in self._outstanding and i not in self._held)

    async def again(self, folder: OpenFolder) -> list[Arrival]:
        """A batch of claims that have to be handed over again; empty when none is due. Raises OSError."""
        now = time.monotonic()
        due = [held.claim for held in self._held.values() if held.again_at <= now][:BATCH]
        ids = [self._left_over.popleft() for _ in range(min(BATCH - len(due), len(self._left_over)))]
        for claim in due:
            del self._held[claim.id]
        found = await self._run(lambda: [*self._find_again(folder, ids), *due])
        read = await self._run(lambda: [(claim, self._read_again(claim)) for claim in found])
        return [self._hand_over(claim, told) for claim, told in read if told is not None]

    async def take(self, folder: OpenFolder, batch: Sequence[Settled]) -> tuple[list[Arrival], Taken]:
        """Claim what came to rest. Raises OSError; what was claimed by then is found by `adopt`."""
        taken, read = await self._run(lambda: _take(folder, batch, lambda: new_id(self._clock())))
        return [self._hand_over(claim, instructions) for claim, instructions in read], taken

    def _find_again(self, folder: OpenFolder, ids: Iterable[str]) -> Iterator[Claim]:
        for arrival_id in ids:
            try:
                claim = find_again(folder, arrival_id)
            except OSError as error:  # it stays where it is, and is found at the next start
                reason = error.strerror or str(error)
                self._observer.note(
                    "claim.lost", level="error", source=self._settings.name, arrival=arrival_id, reason=reason
                )
            else:
                if claim is not None:
                    yield claim

    def _read_again(self, claim: Claim) -> Instructions | None:
        """None when there is nothing to hand over now."""
        try:
            return None if claim.is_as_taken() is None else claim.instructions()
        except OSError as error:
            self._note("claim.kept", claim, reason=error.strerror or str(error))
            self._held[claim.id] = _Held(claim, time.monotonic() + AGAIN_S)
            return None

    # --- one claim

    def _hand_over(self, claim: Claim, instructions: Instructions) -> Arrival:
        self._outstanding[claim.id] = claim
        path = printable(claim.path)
        filename = display_name(claim.path.rpartition("/")[2])
        refusal = None
        if claim.size > self._settings.max_size:
            reason = (
                f"The file has {claim.size / MEGABYTE:.0f} MB; this folder takes files up to "
                f"{self._settings.max_size / MEGABYTE:.0f} MB."
            )
            refusal = Refusal(filename=filename, reason=reason)
        payload = Payload(filename=filename, declared_type=None, content=ClaimedContent(claim))
        return Arrival(
            id=claim.id,
            origin=Origin(kind=OriginKind.FILE, source=self._settings.name, path=path),
            payloads=(payload,) if refusal is None else (),
            refused=() if refusal is None else (refusal,),
            acknowledge=lambda: self._acknowledge(claim, refusal),
            give_back=partial(self._give_back, claim),
            to=instructions.to,
            fields=instructions.fields,
            hold=instructions.hold,
        )

    async def _acknowledge(self, claim: Claim, refusal: Refusal | None) -> None:
        """The original goes away. If that fails it is handed over again, and the ledger will know it."""
        try:
            await self._run(lambda: self._put_away(claim, refusal))
        except OSError as error:
            self._note("claim.kept", claim, reason=error.strerror or str(error))
            self._hold(claim)
        else:
            self._outstanding.pop(claim.id, None)
            if self.is_empty:
                self.wake.set()

    def _put_away(self, claim: Claim, refusal: Refusal | None) -> None:
        if refusal is not None:
            claim.remove_sidecar()
            place = self._outbox.refuse(claim, refusal.reason, self._clock())
            claim.remove_directories()
            self._note("file.refused", claim, place=place, reason=refusal.reason)
        elif claim.is_as_taken() is False:
            # Somebody who had it open wrote to it after all: those bytes are not in the spool yet.
            claim.put_back()
            self._note("file.written_late", claim)
        else:
            claim.remove()

    async def _give_back(self, claim: Claim, *, anew: bool = False) -> None:
        if claim.id not in self._outstanding:
            return
        if claim.disturbed or anew:
            try:
                await self._run(claim.put_back)
            except OSError as error:
                self._note("claim.kept", claim, reason=error.strerror or str(error))
            else:
                self._outstanding.pop(claim.id, None)
                self.wake.set()
                return
        self._hold(claim)

    def _hold(self, claim: Claim) -> None:
        self._outstanding.pop(claim.id, None)
        self._held[claim.id] = _Held(claim, time.monotonic() + AGAIN_S)
        self.wake.set()

    def _note(self, event: str, claim: Claim, **fields: object) -> None:
        path = printable(claim.path)
        self._observer.note(event, level="warning", source=self._settings.name, path=path, **fields)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _take(
    folder: OpenFolder, batch: Sequence[Settled], next_id: Callable[[], str]
) -> tuple[Taken, list[tuple[Claim, Instructions]]]:
    taken = take(folder, batch, next_id)
    read = []
    for claim in taken.claims:
        try:
            read.append((claim, claim.instructions()))
        except OSError as error:
            claim.put_back()
            taken.blocked[claim.path] = f"its sidecar can't be read ({error.strerror or error})"
    return taken, read
