"""What arrivals brought: their documents, each with the receipt that it is part of or that it repeats."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import bindparam, select, union_all

from ingestd.domain.document import Document
from ingestd.ledger.rows import SpoolPath, document
from ingestd.ledger.schema import documents, receipt_documents, sightings


def by_receipt(rows: Iterable[Any], spool_path: SpoolPath) -> dict[tuple[str, str], list[Document]]:
    """The rows of BROUGHT by (receipt, arrival), all in the order the documents came in."""
    found: dict[tuple[str, str], list[Document]] = defaultdict(list)
    for row in rows:
        found[row.receipt_id, row.arrival_id].append(document(row, spool_path))
    return found


_DOCUMENT = tuple(
    documents.c[name]
    for name in (
        *("arrival_id", "entry", "position", "filename", "size", "sha256", "declared_type"),
        "arrived_as",
    )
)
_IN_ARRIVALS = documents.c.arrival_id.in_(bindparam("ids", expanding=True))
BROUGHT = union_all(
    select(receipt_documents.c.receipt_id, *_DOCUMENT)
    .join(documents, documents.c.id == receipt_documents.c.document_id)
    .where(_IN_ARRIVALS),
    select(sightings.c.receipt_id, *_DOCUMENT)
    .join(documents, documents.c.id == sightings.c.document_id)
    .where(_IN_ARRIVALS),
).order_by("entry", "position")
"""Of the arrivals `ids`."""
