"""What an audit proves, one receipt and one blob at a time: pure judgments, and the reading of one file.

Nothing is called wrong here because of a daemon that works meanwhile: who asks looks again first.
"""

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingestd.domain.receipt import Receipt
from ingestd.interfaces import Chain, HistoryEntry, Kept

PIECE_BYTES = 1 << 20
MOST_NAMED = 1000
"""Flaws of one kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """Something that is not as it should be. `receipts`: whose it is; `sha256` of the blob, if it is one."""

    what: str
    fix: str
    receipts: tuple[str, ...] = ()
    sha256: str | None = None

    def __str__(self) -> str:
        whose = f"receipt {', '.join(self.receipts)}: " if self.receipts else ""
        return f"{whose}{self.what}; {self.fix}"


class Flaws:
    """Named as far as memory is bounded, counted all."""

    def __init__(self) -> None:
        self.named: list[Flaw] = []
        self.count = 0

    def add(self, flaw: Flaw) -> None:
        self.count += 1
        if len(self.named) < MOST_NAMED:
            self.named.append(flaw)


def flaw_in_chain(chain: Chain, receipt: Receipt | None) -> str | None:
    """What is wrong with the history of a receipt, as a sentence. `receipt` as it stands, if it was read."""
    from ingestd.ledger import verify_chain

    entries = chain.entries
    if not entries:
        return "it has no history"
    if not verify_chain(entries):
        return _first_flaw(entries)
    if len(entries) < chain.version:
        missing = chain.version - len(entries)
        return f"the last {missing} row(s) of its history are missing"
    if (len(entries), entries[-1].digest) != (chain.version, chain.head):
        return (
            "its row in the ledger was changed, or rows of history were added: it doesn't name the last one"
        )
    if receipt is not None and receipt.version == chain.version and receipt.state is not entries[-1].after:
        return f"the ledger says {receipt.state}, its history says {entries[-1].after}"
    return None


def flaw_in_blob(path: Path, kept: Kept, *, quick: bool) -> str | None:
    """What is wrong with a blob of the spool; `quick`: without reading it. Blocks."""
    try:
        # O_NONBLOCK: a pipe that somebody put there must not hold up the audit; files don't heed it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return "is missing in the spool"
    except OSError as error:
        return f"can't be opened in the spool: {error.strerror}"
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return "is no file in the spool"
        if status.st_size != kept.size:
            return f"is damaged in the spool: it has {status.st_size:,} bytes instead of {kept.size:,}"
        if not quick and _sha256(descriptor) != kept.sha256:
            return "is damaged in the spool: its bytes were changed"
    except OSError as error:
        return f"can't be read from the spool: {error.strerror}"
    finally:
        os.close(descriptor)
    return None


def _first_flaw(entries: Sequence[HistoryEntry]) -> str:
    from ingestd.ledger import verify_chain

    number = next(n for n in range(1, len(entries) + 1) if not verify_chain(entries[:n]))
    entry = entries[number - 1]
    if entry.version > number:
        return f"row {number} of its history is missing"
    return f"row {number} of its history ({entry.event}) was changed"


def _sha256(descriptor: int) -> str:
    """Leaves nothing in the page cache: what the daemon works with should stay there."""
    digest = hashlib.sha256()
    while piece := os.read(descriptor, PIECE_BYTES):
        digest.update(piece)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()
