"""Receipts page by page, newest first: a ledger of a million of them costs as much memory as one of a
thousand, and no transaction lasts longer than a page.
"""

from collections.abc import AsyncIterator, Collection, Sequence

from ingestd.domain.document import Instant
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State
from ingestd.interfaces import LedgerReader

PAGE = 1000
"""Receipts read in one transaction, and rows of one table at a terminal."""


async def pages(
    reader: LedgerReader,
    states: Collection[State] = (),
    limit: int | None = None,
    *,
    since: Instant | None = None,
    until: Instant | None = None,
) -> AsyncIterator[Sequence[Receipt]]:
    """At least one page, which may be empty. A receipt that moves meanwhile is told as its page finds it.

    Those received at `since` or later, and before `until`.
    """
    before, told = None if until is None else _first_id_after(until), 0
    while True:
        size = PAGE if limit is None else min(PAGE, limit - told)
        page = await reader.find(states=states, limit=size, before=before)
        fitting = [receipt for receipt in page if _came_between(receipt, since, until)]
        yield fitting
        told += len(fitting)
        if (
            len(page) < size
            or told == limit
            or (since is not None and _ms(page[-1].received_at) < _ms(since))
        ):
            return
        before = page[-1].id


def _came_between(receipt: Receipt, since: Instant | None, until: Instant | None) -> bool:
    at = receipt.received_at
    return (since is None or at >= since) and (until is None or at < until)


def _first_id_after(at: Instant) -> str:
    """Sorts behind every ID of a receipt that came before then: IDs begin with their milliseconds."""
    digits = f"{max(0, _ms(at) + 1):012x}"
    return f"{digits[:8]}-{digits[8:]}"


def _ms(at: Instant) -> int:
    return at // 1000
