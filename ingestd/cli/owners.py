"""Whose bytes these are: for the few hashes that an audit finds in trouble, by a look at every receipt."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ingestd.cli.paging import pages
from ingestd.interfaces import LedgerReader

MOST = 5
"""Receipts that are named for one hash; the newest ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The receipts that have these bytes, and as what. Empty: they came with an arrival without receipts."""

    receipts: tuple[str, ...] = ()
    role: str = ""


async def owners_of(reader: LedgerReader, sha256s: Collection[str]) -> Mapping[str, Owner]:
    """An entry for each. The first document and the image stand with a receipt, the others are asked for."""
    found = _Found(sha256s)
    if found.sought:
        async for page in pages(reader):
            for receipt in page:
                found.meet(receipt.sha256, "original", receipt.id)
                if receipt.image is not None:
                    found.meet(receipt.image.sha256, "image", receipt.id)
    if not found.complete:
        async for page in pages(reader):
            for receipt in page:
                documents = await reader.documents(receipt.id) if receipt.documents > 1 else ()
                for document in documents:
                    found.meet(document.sha256, "original", receipt.id)
                for container in await reader.containers(receipt.id):
                    found.meet(container.sha256, "archive", receipt.id)
    return {sha256: found.owner(sha256) for sha256 in found.sought}


class _Found:
    def __init__(self, sha256s: Collection[str]) -> None:
        self.sought = frozenset(sha256s)
        self._receipts: dict[str, list[str]] = {}
        self._roles: dict[str, str] = {}

    @property
    def complete(self) -> bool:
        return self._receipts.keys() == self.sought

    def meet(self, sha256: str, role: str, receipt: str) -> None:
        if sha256 not in self.sought:
            return
        receipts = self._receipts.setdefault(sha256, [])
        self._roles.setdefault(sha256, role)
        if receipt not in receipts and len(receipts) < MOST:
            receipts.append(receipt)

    def owner(self, sha256: str) -> Owner:
        return Owner(receipts=tuple(self._receipts.get(sha256, ())), role=self._roles.get(sha256, ""))
