"""Asking a target afterwards: what became of an upload in doubt, and whether what it holds is what was sent.

Whoever asks reserves the receipt first. Its state and version stay, so that a person who decides meanwhile
is not in the way: whoever moves it first wins, and the other one gets StaleClaim.
"""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, bindparam, not_, select

from ingestd.domain.document import Instant
from ingestd.domain.errors import IllegalTransition
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import later
from ingestd.domain.states import State
from ingestd.ledger.dispatch import any_of, is_free, reserve
from ingestd.ledger.rows import STORED_COLUMNS, Stored
from ingestd.ledger.schema import receipts
from ingestd.ledger.transaction import Operation, Transaction
from ingestd.ledger.transitions import (
    DAEMON,
    Staying,
    advanced,
    current,
    fenced,
    fenced_update,
    fetch,
    record,
)
from ingestd.ledger.turns import Gate


def take_unconfirmed(
    *, owner: str, lease: timedelta, limit: int, now: Instant, closed: Collection[Gate]
) -> Operation[Sequence[Receipt]]:
    """Ledger.take_unconfirmed."""
    return _take(_TO_ASK, owner=owner, lease=lease, limit=limit, now=now, closed=closed)


def take_unverified(
    *, owner: str, lease: timedelta, limit: int, now: Instant, closed: Collection[Gate]
) -> Operation[Sequence[Receipt]]:
    """Ledger.take_unverified."""
    return _take(_TO_VERIFY, owner=owner, lease=lease, limit=limit, now=now, closed=closed)


def asked(
    receipt: Receipt, *, now: Instant, note: str, ask_at: Instant | None, reason: str | None
) -> Operation[Receipt]:
    """Ledger.asked."""

    def run(tx: Transaction) -> Receipt:
        before = _in_state(tx, receipt, State.UNCONFIRMED)
        told = before.reason if reason is None else reason
        return _write_down(tx, before, "ask", now=now, note=note, ask_at=ask_at, reason=told)

    return run


def verified(
    receipt: Receipt, *, now: Instant, note: str, same: bool, verify_at: Instant | None
) -> Operation[Receipt]:
    """Ledger.verified."""

    def run(tx: Transaction) -> Receipt:
        before = _in_state(tx, receipt, State.UPLOADED)
        if same:
            return _write_down(tx, before, "verify", now=now, note=note, verify_at=None, verified_at=now)
        return _write_down(tx, before, "verify", now=now, note=note, verify_at=verify_at)

    return run


def _take(
    statement: Select[Any],
    *,
    owner: str,
    lease: timedelta,
    limit: int,
    now: Instant,
    closed: Collection[Gate],
) -> Operation[Sequence[Receipt]]:
    def run(tx: Transaction) -> Sequence[Receipt]:
        due = statement.where(not_(any_of(closed))) if closed else statement
        found = fetch(tx, due, {"now": now, "limit": limit})
        return reserve(tx, found, owner=owner, lease_until=later(now, lease))

    return run


def _in_state(tx: Transaction, receipt: Receipt, state: State) -> Stored:
    found = current(tx, receipt)
    if found.state is not state:
        raise IllegalTransition(
            f"a receipt that is {found.state} is not {state}, so nothing is asked about it"
        )
    return found


def _write_down(
    tx: Transaction, before: Stored, event: Staying, *, now: Instant, note: str, **changes: Any
) -> Stored:
    """A row of the history; the receipt is nobody's again."""
    actor = before.owner or DAEMON
    after = advanced(before, event, now=now, actor=actor, note=note, owner=None, lease_until=None, **changes)
    fenced(tx, _LOOKED_UP, before, {name: getattr(after, name) for name in _CHANGED})
    record(tx, before, after, event, actor=actor, note=note)
    return after


def _due(when: Any) -> Select[Any]:
    # Every transition sees to it that only an unconfirmed receipt has an ask_at, and only an uploaded one a
    # verify_at. To name the state here as well would lead SQLite to the index of states, which is long.
    return (
        select(*STORED_COLUMNS)
        .where(when <= bindparam("now"), is_free())
        .order_by(when, receipts.c.id)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
    )


_TO_ASK = _due(receipts.c.ask_at)
_TO_VERIFY = _due(receipts.c.verify_at)
_CHANGED = (
    *("version", "head", "updated_at", "owner", "lease_until", "reason"),
    *("ask_at", "verify_at", "verified_at"),
)
_LOOKED_UP = fenced_update(*_CHANGED)
