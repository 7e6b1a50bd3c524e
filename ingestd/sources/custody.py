"""Custody: every claim of one folder, from its rename until it is acknowledged.

A claim is in exactly one hand: outstanding (handed over), held (given back, handed over again later under the
same ID) or left over (found in the folder after a crash). What was disturbed while it was read, or is only a
part of what was to be taken, goes back to its place in the folder instead, to settle anew.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ingestd.domain.document import Origin, OriginKind, Payload, display_name
from ingestd.domain.receipt import new_id
from ingestd.interfaces import Arrival, Clock, Observer, Refusal
from ingestd.settings import MEGABYTE, FolderSettings
from ingestd.sources.claims import Claim, ClaimedContent, ClaimedFile
from ingestd.sources.opening import OpenFolder
from ingestd.sources.outbox import Outbox, printable
from ingestd.sources.settling import Ready
from ingestd.sources.sidecar import Instructions
from ingestd.sources.taking import Taken, find_again, is_listed, left_over, take

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
        self.returned = 0
        """How many claims went back to the folder: a scan that began before does not know of their files."""

    @property
    def is_empty(self) -> bool:
        return not (self._outstanding or self._held or self._left_over)

    @property
    def paths(self) -> list[str] | None:
        """Of the files in claims, relative to the folder; None while there are some that nobody read yet."""
        if self._left_over:
            return None
        claims = (*self._outstanding.values(), *(held.claim for held in self._held.values()))
        return [file.path for claim in claims for file in claim.files]

    @property
    def next_due(self) -> float | None:
        """When the next claim is to be handed over again, in monotonic seconds."""
        if self._left_over:
            return 0.0
        return min((held.again_at for held in self._held.values()), default=None)

    def awaits(self, ready: Ready) -> bool:
        """Whether files of its directory are on their way back, so that it may be a part of a group."""
        claims = (*self._outstanding.values(), *(held.claim for held in self._held.values()))
        returning = {_parents(file.path) for claim in claims if claim.returning for file in claim.files}
        return bool(returning) and _parents(ready.files[0].path) in returning

    async def adopt(self, folder: OpenFolder) -> None:
        """Find the claims that a crash left in this folder. Raises OSError.

        What is only a part of a group goes back now, before a scan: else the rest of it, in the folder, could
        be taken for the whole.
        """
        ids = await self._run(lambda: left_over(folder))
        self._left_over = deque(i for i in ids if i not in self._outstanding and i not in self._held)
        await self._run(lambda: self._put_parts_back(folder, list(self._left_over)))

    async def again(self, folder: OpenFolder) -> list[Arrival]:
        """A batch of claims that have to be handed over again; empty when none is due. Raises OSError."""
        now = time.monotonic()
        due = [held.claim for held in self._held.values() if held.again_at <= now][:BATCH]
        ids = [self._left_over.popleft() for _ in range(min(BATCH - len(due), len(self._left_over)))]
        for claim in due:
            del self._held[claim.id]
        ids += [claim.id for claim in due if claim.committed]
        due = [claim for claim in due if not claim.committed]
        found = await self._run(lambda: [*self._find_again(folder, ids), *due])
        read = await self._run(lambda: [(claim, self._read_again(claim)) for claim in found])
        return [self._hand_over(claim, told) for claim, told in read if told is not None]

    async def take(self, folder: OpenFolder, batch: Sequence[Ready]) -> tuple[list[Arrival], Taken]:
        """Claim what came to rest. Raises OSError; what was claimed by then is found by `adopt`."""
        taken, read = await self._run(lambda: _take(folder, batch, lambda: new_id(self._clock())))
        for claim in taken.stuck:
            self._hold(claim)
        return [self._hand_over(claim, instructions) for claim, instructions in read], taken

    def _put_parts_back(self, folder: OpenFolder, ids: Sequence[str]) -> None:
        for arrival_id in ids:
            if is_listed(folder, arrival_id):
                for claim in self._find_again(folder, [arrival_id]):
                    if claim.returning:
                        self._left_over.remove(arrival_id)
                        self._read_again(claim)

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
        """None when there is nothing to hand over now: it is gone, it goes back, or it can't be read."""
        try:
            if claim.returning:
                self._put_back(claim)
                self._note("claim.returned", claim)
                return None
            return claim.instructions() if claim.is_there() else None
        except OSError as error:
            self._note("claim.kept", claim, reason=error.strerror or str(error))
            self._held[claim.id] = _Held(claim, time.monotonic() + AGAIN_S)
            return None

    # --- one claim

    def _hand_over(self, claim: Claim, instructions: Instructions) -> Arrival:
        self._outstanding[claim.id] = claim
        refused = {file.path: self._refusal(file) for file in claim.files if self._is_too_large(file)}
        hold = " ".join(filter(None, (_incomplete(claim, refused), instructions.hold))) or None
        return Arrival(
            id=claim.id,
            origin=Origin(kind=OriginKind.FILE, source=self._settings.name, path=printable(claim.path)),
            payloads=tuple(self._payload(claim, file) for file in claim.files if file.path not in refused),
            refused=tuple(refused.values()),
            acknowledge=lambda: self._acknowledge(claim, refused),
            give_back=partial(self._give_back, claim),
            to=None if hold else instructions.to,
            fields=instructions.fields,
            hold=hold,
        )

    def _payload(self, claim: Claim, file: ClaimedFile) -> Payload:
        """A file that came alone has the path of its arrival."""
        return Payload(
            filename=_filename(file),
            declared_type=None,
            content=ClaimedContent(claim, file),
            arrived_as=printable(file.path) if len(claim.files) > 1 else "",
        )

    def _is_too_large(self, file: ClaimedFile) -> bool:
        return file.size > self._settings.max_size

    def _refusal(self, file: ClaimedFile) -> Refusal:
        reason = (
            f"The file has {file.size / MEGABYTE:.0f} MB; this folder takes files up to "
            f"{self._settings.max_size / MEGABYTE:.0f} MB."
        )
        return Refusal(filename=_filename(file), reason=reason)

    async def _acknowledge(self, claim: Claim, refused: Mapping[str, Refusal]) -> None:
        """The originals go away. If that fails they are handed over again, and the ledger will know them."""
        try:
            await self._run(lambda: self._put_away(claim, refused))
        except OSError as error:
            self._note("claim.kept", claim, reason=error.strerror or str(error))
            self._hold(claim)
        else:
            self._outstanding.pop(claim.id, None)
            if self.is_empty:
                self.wake.set()

    def _put_away(self, claim: Claim, refused: Mapping[str, Refusal]) -> None:
        if any(file.is_as_taken() is False for file in claim.files if file.path not in refused):
            # Somebody who had it open wrote to it after all: those bytes are not in the spool yet.
            self._put_back(claim)
            self._note("file.written_late", claim)
            return
        claim.commit()
        claim.remove_sidecars()
        for file in claim.files:
            if file.path in refused and file.is_as_taken() is not None:
                reason = refused[file.path].reason
                place = self._outbox.refuse(file, reason, self._clock())
                self._note("file.refused", claim, path=printable(file.path), place=place, reason=reason)
        claim.remove()

    async def _give_back(self, claim: Claim, *, anew: bool = False) -> None:
        if claim.id not in self._outstanding:
            return
        if claim.disturbed or anew:
            try:
                await self._run(lambda: self._put_back(claim))
            except OSError as error:
                self._note("claim.kept", claim, reason=error.strerror or str(error))
            else:
                self._outstanding.pop(claim.id, None)
                self.wake.set()
                return
        self._hold(claim)

    def _put_back(self, claim: Claim) -> None:
        claim.put_back()
        self.returned += 1

    def _hold(self, claim: Claim) -> None:
        """Keep it, and hand it over again (or try again to put it back) after a while."""
        self._outstanding.pop(claim.id, None)
        self._held[claim.id] = _Held(claim, time.monotonic() + AGAIN_S)
        self.wake.set()

    def _note(self, event: str, claim: Claim, **fields: object) -> None:
        fields = {"path": printable(claim.path), **fields}
        self._observer.note(event, level="warning", source=self._settings.name, **fields)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _take(
    folder: OpenFolder, batch: Sequence[Ready], next_id: Callable[[], str]
) -> tuple[Taken, list[tuple[Claim, Instructions]]]:
    taken = take(folder, batch, next_id)
    read = []
    for claim in taken.claims:
        try:
            read.append((claim, claim.instructions()))
        except OSError as error:
            taken.blocked[claim.path] = f"its sidecar can't be read ({error.strerror or error})"
            try:
                claim.put_back()
            except OSError:
                taken.stuck.append(claim)
    return taken, read


def _incomplete(claim: Claim, refused: Mapping[str, Refusal]) -> str | None:
    """Why the rest of these files can't be uploaded as if it were all; None when it is, or none is left."""
    if not 0 < len(refused) < len(claim.files):
        return None
    names = [repr(refusal.filename) for refusal in refused.values()]
    shown = ", ".join(names[:3]) + (" and others" if len(names) > 3 else "")
    were, are, it = ("was", "is", "it") if len(names) == 1 else ("were", "are", "them")
    return (
        f"{len(names)} of the {len(claim.files)} files that belong together {were} not taken ({shown} {are} "
        f"larger than this folder takes): without {it} the receipt would not be whole. Make {it} smaller and "
        "drop all of the files again."
    )


def _parents(path: str) -> str:
    return path.rpartition("/")[0]


def _filename(file: ClaimedFile) -> str:
    return display_name(file.path.rpartition("/")[2])
