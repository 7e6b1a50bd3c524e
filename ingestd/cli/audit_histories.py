"""The first half of an audit: every history, page by page, against its digests and its receipt."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from ingestd.cli.audit_progress import AuditProgress
from ingestd.cli.proving import Flaw, Flaws, flaw_in_chain
from ingestd.interfaces import Chain, LedgerReader

PAGE = 500
"""Histories read in one transaction."""
LOOKS = 3
LOOK_EVERY = timedelta(milliseconds=200)
"""The receipt and its history are read in two transactions, between which it may move."""

RESTORE = "keep a copy of the ledger as it is, find out what wrote to it, and restore a backup of it"


class HistoryAudit:
    """What was counted, and the flaws that were found."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self.receipts = 0
        self.rows = 0
        self.flaws = Flaws()

    async def run(self, progress: AuditProgress) -> None:
        progress.begin("histories")
        total = sum((await self._reader.counts()).values())
        after = ""
        while True:
            try:
                page = await self._reader.chains(after=after, limit=PAGE)
                flawed = await self._flawed(page, after)
            except ValueError as error:
                self.flaws.add(_unreadable(after, error))
                return
            if not page:
                return
            for receipt, what in flawed.items():
                self.flaws.add(Flaw(what=what, fix=RESTORE, receipts=(receipt,)))
            self.receipts += len(page)
            self.rows += sum(len(chain.entries) for chain in page)
            progress.advance(min(1.0, self.receipts / max(total, 1)), f"{self.receipts:,} receipts")
            after = page[-1].receipt

    async def _flawed(self, page: Sequence[Chain], after: str) -> dict[str, str]:
        """By receipt, what is wrong in several looks."""
        flawed = await self._look(page)
        for _ in range(LOOKS - 1):
            if not flawed:
                break
            await asyncio.sleep(LOOK_EVERY.total_seconds())
            again = await self._look(await self._reader.chains(after=after, limit=len(page)))
            flawed = {receipt: what for receipt, what in again.items() if receipt in flawed}
        return flawed

    async def _look(self, page: Sequence[Chain]) -> dict[str, str]:
        if not page:
            return {}
        # Of this page and no other: newest first, from just behind its last one.
        receipts = await self._reader.find(before=f"{page[-1].receipt}0", limit=len(page))
        standing = {receipt.id: receipt for receipt in receipts}
        judged = {chain.receipt: flaw_in_chain(chain, standing.get(chain.receipt)) for chain in page}
        return {receipt: what for receipt, what in judged.items() if what is not None}


def _unreadable(after: str, error: ValueError) -> Flaw:
    """A state that there is none of, or the like: such a page can't be read at all."""
    where = f"one of the {PAGE} receipts behind {after}" if after else f"one of the first {PAGE} receipts"
    what = f"{where} holds what no ingestd writes ({error}), so the histories from there on are not proved"
    return Flaw(what=what, fix=RESTORE)
