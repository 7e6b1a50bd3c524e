"""What `export --evidence` and `audit` ask the read side of the ledger about one receipt or one blob.

Its pages begin behind an ID or a hash; all but the last character of one sorts just before it.
"""

from ingestd.interfaces import Chain, LedgerReader

_SIBLINGS = 16
"""So many differ from it in nothing but the last digit, at most."""


async def chain_of(reader: LedgerReader, receipt_id: str) -> Chain | None:
    """The history of this receipt with its head, all of one instant; None: there is no such receipt."""
    found = await reader.chains(after=receipt_id[:-1], limit=_SIBLINGS)
    return next((chain for chain in found if chain.receipt == receipt_id), None)


async def is_kept(reader: LedgerReader, sha256: str) -> bool:
    """Whether the spool should hold these bytes: somebody has them, and they were not purged."""
    found = await reader.kept(after=sha256[:-1], limit=_SIBLINGS)
    return any(kept.sha256 == sha256 for kept in found)
