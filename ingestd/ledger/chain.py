"""The hash chain of one receipt: each history row's digest covers the row and the digest before it.

Whoever changes or removes a row in the middle has to rewrite every later one, and the head in `receipts`.
"""

import hashlib
import json
from collections.abc import Iterable

from ingestd.domain.document import Instant
from ingestd.interfaces import HistoryEntry

START = ""
"""What the first row chains to."""


def digest(
    previous: str,
    *,
    receipt: str,
    version: int,
    at: Instant,
    event: str,
    before: str | None,
    after: str,
    actor: str,
    reason: str | None,
) -> str:
    """sha256 (hex) over a JSON list, which unlike joined text leaves no doubt where a part ends."""
    row = [previous, receipt, version, at, event, before, after, actor, reason]
    return hashlib.sha256(_encode(row).encode()).hexdigest()


def verify_chain(entries: Iterable[HistoryEntry]) -> bool:
    """Whether these are the rows of one receipt from its first on, complete, in order and unchanged."""
    previous, state = START, None
    for version, entry in enumerate(entries, start=1):
        expected = digest(
            previous,
            receipt=entry.receipt,
            version=version,
            at=entry.at,
            event=entry.event,
            before=state,
            after=entry.after,
            actor=entry.actor,
            reason=entry.reason,
        )
        if entry.digest != expected or entry.version != version or entry.before != state:
            return False
        previous, state = entry.digest, entry.after
    return True


_encode = json.JSONEncoder(separators=(",", ":")).encode
