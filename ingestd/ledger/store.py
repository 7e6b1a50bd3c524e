"""The write side of the ledger: every method of interfaces.Ledger is one operation of the writer.

What an operation does stands in intake, images, transitions, dispatch, attempts, lookups, outbox and
retention.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta

from ingestd.domain.document import Instant, ReceiptImage
from ingestd.domain.outcome import Outcome
from ingestd.domain.receipt import Receipt, SlotBefore
from ingestd.domain.retry import Step
from ingestd.domain.routing import Destined
from ingestd.domain.states import Event
from ingestd.interfaces import Accepted, Expired, Feedback, NewArrival, Recovered, Work
from ingestd.ledger import (
    attempts,
    dispatch,
    images,
    intake,
    lookups,
    outbox,
    retention,
    transitions,
    upgrade,
)
from ingestd.ledger.engine import check_sqlite_file, open_engine, our_errors, sqlite_path
from ingestd.ledger.rows import SpoolPath
from ingestd.ledger.transaction import Operation, Result
from ingestd.ledger.writer import Writer


def open_ledger(url: str, *, migrate: bool, spool_path: SpoolPath, alone: bool = False) -> "SqlLedger":
    """Open the ledger for writing; `migrate` creates or upgrades it first. Blocks.

    `alone`: the caller holds the run lock. Only then a file that was not closed in order is looked through:
    beside a running daemon it is always open, and the look would hold its writer up.

    `url`: sqlite:///FILE (see engine.sqlite_url) or postgresql://…. Raises LedgerTooNew, LedgerUnavailable,
    StorageExhausted and ConfigurationError.
    """
    path = sqlite_path(url)
    # The log of a SQLite file is removed by the last process that closes it in order. Only if one did not,
    # the time for looking through the file is spent.
    was_left_open = alone and path is not None and path.with_name(f"{path.name}-wal").exists()
    if migrate:
        upgrade.migrate(url)
    engine = open_engine(url, writes=True)
    try:
        upgrade.check_revision(engine, path)
        if was_left_open:
            with our_errors(path), engine.connect() as connection:
                check_sqlite_file(connection)
    except BaseException:
        engine.dispose()
        raise
    return SqlLedger(Writer(engine, spool_path=spool_path, path=path))


class SqlLedger:
    """interfaces.Ledger on SQLite or PostgreSQL."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._received = dispatch.received_queue()
        self._ready = dispatch.ready_queue()

    async def accept(self, arrival: NewArrival, *, now: Instant) -> Accepted:
        return await self._writer.run(intake.accept(arrival, now=now))

    async def take_received(
        self, *, owner: str, lease: timedelta, limit: int, now: Instant
    ) -> Sequence[Work]:
        return await self._writer.run(
            dispatch.take_received(self._received, owner=owner, lease=lease, limit=limit, now=now)
        )

    async def assign(
        self, receipt: Receipt, *, destined: Destined, account: str | None, now: Instant
    ) -> Receipt:
        return await self._writer.run(intake.assign(receipt, destined=destined, account=account, now=now))

    async def move(
        self,
        receipt: Receipt,
        event: Event,
        *,
        now: Instant,
        image_id: str | None = None,
        reason: str | None = None,
        due_at: Instant | None = None,
        verify_at: Instant | None = None,
        afresh: bool = True,
        actor: str = transitions.DAEMON,
    ) -> Receipt:
        operation = transitions.move(
            receipt,
            event,
            now=now,
            image_id=image_id,
            reason=reason,
            due_at=due_at,
            verify_at=verify_at,
            afresh=afresh,
            actor=actor,
        )
        return await self._writer.run(operation)

    async def prepare(
        self, receipt: Receipt, image: ReceiptImage, *, one_image: bool, now: Instant
    ) -> Receipt:
        return await self._writer.run(images.prepare(receipt, image, one_image=one_image, now=now))

    async def claim(
        self,
        *,
        owner: str,
        lease: timedelta,
        limit: int,
        now: Instant,
        closed: Collection[tuple[str, str | None]] = (),
    ) -> Sequence[Receipt]:
        return await self._writer.run(
            dispatch.claim(self._ready, owner=owner, lease=lease, limit=limit, now=now, closed=closed)
        )

    async def begin(
        self, receipt: Receipt, *, now: Instant, slot_before: SlotBefore | None = None
    ) -> Receipt:
        return await self._writer.run(attempts.begin(receipt, now=now, slot_before=slot_before))

    async def finish(self, receipt: Receipt, step: Step, outcome: Outcome, *, now: Instant) -> Receipt:
        return await self._writer.run(attempts.finish(receipt, step, outcome, now=now))

    async def take_unconfirmed(
        self,
        *,
        owner: str,
        lease: timedelta,
        limit: int,
        now: Instant,
        closed: Collection[tuple[str, str | None]] = (),
    ) -> Sequence[Receipt]:
        return await self._writer.run(
            lookups.take_unconfirmed(owner=owner, lease=lease, limit=limit, now=now, closed=closed)
        )

    async def asked(
        self,
        receipt: Receipt,
        *,
        now: Instant,
        note: str,
        ask_at: Instant | None,
        reason: str | None = None,
    ) -> Receipt:
        return await self._writer.run(
            lookups.asked(receipt, now=now, note=note, ask_at=ask_at, reason=reason)
        )

    async def take_unverified(
        self,
        *,
        owner: str,
        lease: timedelta,
        limit: int,
        now: Instant,
        closed: Collection[tuple[str, str | None]] = (),
    ) -> Sequence[Receipt]:
        return await self._writer.run(
            lookups.take_unverified(owner=owner, lease=lease, limit=limit, now=now, closed=closed)
        )

    async def verified(
        self, receipt: Receipt, *, now: Instant, note: str, same: bool, verify_at: Instant | None = None
    ) -> Receipt:
        return await self._writer.run(
            lookups.verified(receipt, now=now, note=note, same=same, verify_at=verify_at)
        )

    async def release(self, *, owner: str, now: Instant) -> int:
        return await self._writer.run(dispatch.release(owner=owner, now=now))

    async def renew(self, *, owner: str, lease: timedelta, now: Instant) -> None:
        await self._writer.run(dispatch.renew(owner=owner, lease=lease, now=now))

    async def recover(self, *, now: Instant, everything: bool) -> Recovered:
        return await self._writer.run(dispatch.recover(now=now, everything=everything))

    async def clamp_due(self, *, latest: Instant) -> int:
        return await self._writer.run(dispatch.clamp_due(latest=latest))

    async def feedback_due(
        self, *, limit: int, now: Instant, but_not: Collection[str] = ()
    ) -> Sequence[Feedback]:
        return await self._writer.run(outbox.feedback_due(limit=limit, now=now, but_not=but_not))

    async def feedback_done(self, feedback: Feedback, *, place: str | None, now: Instant) -> None:
        await self._writer.run(outbox.feedback_done(feedback, place=place, now=now))

    async def feedback_deferred(self, feedback: Feedback, *, due_at: Instant) -> None:
        await self._writer.run(outbox.feedback_deferred(feedback, due_at=due_at))

    async def expired(self, *, before: Instant, after: str, limit: int) -> Expired:
        return await self._writer.run(retention.expired(before=before, after=after, limit=limit))

    async def purged(self, sha256s: Sequence[str], *, now: Instant) -> None:
        await self._writer.run(retention.purged(sha256s, now=now))

    async def forget_looks(self, *, before: Instant, limit: int) -> int:
        return await self._writer.run(images.forget_looks(before=before, limit=limit))

    async def known(self, sha256s: Sequence[str]) -> frozenset[str]:
        return await self._writer.run(retention.known(sha256s))

    async def write(self, operation: Operation[Result]) -> Result:
        """What `operation` returns, once it is durable; for the rest of this package."""
        return await self._writer.run(operation)

    async def aclose(self) -> None:
        await self._writer.aclose()
