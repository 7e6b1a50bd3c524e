"""Whose receipts are next: those who send take turns, and of one sender the longest due comes first.

The index ix_receipts_turns holds what is received or ready by state, share (who sent it), gate (target and
account) and time. It is walked by leaps, from one share and gate to the next (a loose index scan), so that a
claim reads a few entries of each and never all that waits, be it due later or behind a closed gate.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import groupby, islice, zip_longest
from math import ceil
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select

from ingestd.domain.document import Instant
from ingestd.domain.states import State
from ingestd.interfaces import NewReceipt
from ingestd.ledger.messages import searchable, searchable_address
from ingestd.ledger.rows import STORED_COLUMNS, Stored, stored
from ingestd.ledger.schema import receipts
from ingestd.ledger.transaction import Transaction

Gate = tuple[str, str | None]
"""Target and account."""


def share_of(new: NewReceipt, *, sender: str, source: str) -> str:
    """Who takes turns with others for this receipt: its person, else its sender, its account, its source."""
    if new.person:
        return searchable(f"person {new.person}")
    if sender:
        return searchable_address(f"sender {sender}")
    return searchable(f"account {new.account}" if new.account else f"source {source}")


def gate_of(target: str, account: str | None) -> str:
    """One word for a Gate; a target's name has no colon."""
    return target if account is None else f"{target}:{account}"


class Queue:
    """The receipts of one state in turn, as one node sees them.

    Where the last turn ended is known in memory alone: each node, and each start, begins somewhere in the
    round, which costs nobody more than one turn.
    """

    def __init__(self, state: State, *conditions: ColumnElement[bool]) -> None:
        """`conditions` on a receipt besides its state and time may use the parameter `now`."""
        self._last = _BEFORE_ALL
        self._walk = _walk(state)
        self._oldest = _oldest(state, *conditions)

    def take(
        self, tx: Transaction, *, limit: int, now: Instant, until: Instant, closed: Collection[Gate] = ()
    ) -> list[Stored]:
        """At most `limit` receipts due by `until`, locked, in the order of their turns."""
        lines: list[_Line] = []
        shut = {gate_of(*gate) for gate in closed}
        waiting = self._waiting(tx, limit, lambda gate, due_at: due_at <= until and gate not in shut)
        missing = limit
        while missing > 0 and (some := list(islice(waiting, missing))):
            for share, gates in some:
                line = _Line(share, gates)
                lines.append(line)
                self._read(tx, line, ceil(missing / len(some)), now=now, until=until)
            missing = limit - _total(lines)
        while missing > 0 and (longer := [line for line in lines if line.may_be_longer]):
            for line in longer:
                self._read(tx, line, line.asked + ceil(missing / len(longer)), now=now, until=until)
            missing = limit - _total(lines)
        turns = [
            (line.share, receipt)
            for turn in zip_longest(*(line.found for line in lines))
            for line, receipt in zip(lines, turn, strict=True)
            if receipt is not None
        ][:limit]
        if turns:
            self._last = turns[-1][0]
        return [receipt for _, receipt in turns]

    def _waiting(self, tx: Transaction, at_once: int, counts: "_Counts") -> Iterator[tuple[str, list[str]]]:
        """Each share that something waits for, with its gates, once round from behind the last one."""
        here = self._last
        for after, upto in ((here, _BEHIND_ALL), (_BEFORE_ALL, here)):
            if upto == _BEFORE_ALL:
                return
            entries = self._entries(tx, after, upto, at_once)
            for share, of_it in groupby(entries, key=itemgetter(0)):
                if gates := [gate for _, gate, due_at in of_it if counts(gate, due_at)]:
                    yield share, gates

    def _entries(
        self, tx: Transaction, after: str, upto: str, at_once: int
    ) -> Iterator[tuple[str, str, Instant]]:
        """Each share and gate behind the share `after`, in order, and when its first receipt is due.

        At first `at_once` of them: mostly that is enough.
        """
        share, gate = after, _BEHIND_ALL
        while True:
            found = tx.rows(self._walk, {"share": share, "gate": gate, "upto": upto, "steps": at_once})
            for share, gate, due_at in found:
                yield share, gate, due_at
            if len(found) < at_once:
                return
            at_once = min(4 * at_once, _MOST_STEPS)

    def _read(self, tx: Transaction, line: "_Line", count: int, *, now: Instant, until: Instant) -> None:
        """The `count` longest due of a share; what was locked before is found again."""
        values = {"share": line.share, "now": now, "until": until, "limit": count}
        found = [
            stored(row, tx.spool_path)
            for gate in line.gates
            for row in tx.rows(self._oldest, {**values, "gate": gate})
        ]
        if len(line.gates) > 1:
            found.sort(key=lambda receipt: (receipt.due_at, receipt.id))
        line.asked, line.found = count, found[:count]


class _Line:
    """Those of one share: how many were asked for, and which there are."""

    def __init__(self, share: str, gates: list[str]) -> None:
        self.share = share
        self.gates = gates
        self.asked = 0
        self.found: list[Stored] = []

    @property
    def may_be_longer(self) -> bool:
        return len(self.found) == self.asked


def _total(lines: list[_Line]) -> int:
    return sum(len(line.found) for line in lines)


_BEFORE_ALL, _BEHIND_ALL = "", "\U0010ffff"
"""No share is empty, and in the order of bytes nothing is behind the last character."""

_MOST_STEPS = 512
"""Of one walk; a longer way is gone in several."""

_Counts = Callable[[str, Instant], bool]
"""Whether what waits behind this gate from then on can be taken."""

_here = receipts.alias("here")
_next = receipts.alias("next")


def _is(column: ColumnElement[str], state: State) -> ColumnElement[bool]:
    # As in the index: SQLite proves nothing of a parameter.
    return column == literal_column(f"'{state.value}'")


def _walk(state: State) -> Select[Any]:
    """Share, gate and time of the first entries of each, behind (`share`, `gate`) and up to `upto`."""

    def first(*behind: ColumnElement[bool]) -> ColumnElement[str]:
        return (
            select(_next.c.id)
            .where(_is(_next.c.state, state), *behind)
            .order_by(_next.c.share, _next.c.gate, _next.c.due_at, _next.c.id)
            .limit(1)
            .scalar_subquery()
        )

    def leap(share: ColumnElement[str], gate: ColumnElement[str]) -> ColumnElement[str]:
        # Not (share, gate) > (...): there SQLite looks for the first of the two and reads on from it.
        return func.coalesce(
            first(_next.c.share == share, _next.c.gate > gate),
            first(_next.c.share > share),
            type_=_next.c.id.type,
        )

    # The ID alone goes from step to step: a query that stands for a value has one column on every engine.
    walk = select(
        leap(bindparam("share"), bindparam("gate")).label("id"), literal_column("1").label("step")
    ).cte("walk", recursive=True)
    walk = walk.union_all(
        select(leap(_here.c.share, _here.c.gate), walk.c.step + literal_column("1"))
        .join_from(walk, _here, _here.c.id == walk.c.id)
        # A LIMIT outside would not keep SQLite from going the whole way first.
        .where(_here.c.share <= bindparam("upto"), walk.c.step < bindparam("steps"))
    )
    return (
        select(_here.c.share, _here.c.gate, _here.c.due_at)
        .join_from(walk, _here, _here.c.id == walk.c.id)
        .where(_here.c.share <= bindparam("upto"))
        .order_by(walk.c.step)
    )


def _oldest(state: State, *conditions: ColumnElement[bool]) -> Select[Any]:
    """Those of one share and gate, longest due first, locked; what another node has locked is passed by."""
    return (
        select(*STORED_COLUMNS)
        .where(
            _is(receipts.c.state, state),
            receipts.c.share == bindparam("share"),
            receipts.c.gate == bindparam("gate"),
            receipts.c.due_at <= bindparam("until"),
            *conditions,
        )
        .order_by(receipts.c.due_at, receipts.c.id)
        .limit(bindparam("limit"))
        .with_for_update(skip_locked=True)
    )
