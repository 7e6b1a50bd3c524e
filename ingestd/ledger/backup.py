"""A copy of a SQLite ledger while the daemon goes on; a file copy would miss what is still in the log.

PostgreSQL brings better tools of its own (pg_dump, pg_basebackup).
"""

import os
import sqlite3
from pathlib import Path

from ingestd.domain.errors import LedgerUnavailable
from ingestd.ledger.engine import our_errors, sqlite_path


def backup(url: str, target: Path) -> int:
    """Write a checked copy of the ledger, of one instant, to the new file `target`; returns its bytes.

    Durable when it returns. Raises LedgerUnavailable (also when `target` exists, or for PostgreSQL) and
    StorageExhausted. Blocks; writers go on meanwhile (https://sqlite.org/backup.html).
    """
    source = sqlite_path(url)
    if source is None:
        raise LedgerUnavailable("this ledger is on PostgreSQL: back it up with pg_dump")
    if not source.exists():
        raise LedgerUnavailable(f"there is no ledger at {source}")
    if target.exists():
        raise LedgerUnavailable(f"{target} exists already; a backup never overwrites")
    part = target.with_name(f"{target.name}.part")
    try:
        with our_errors(part):
            os.close(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600))
            _copy(source, part)
        _make_durable(part, target)
    except OSError as error:
        raise LedgerUnavailable(f"{target} can't be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
    return target.stat().st_size


def _copy(source: Path, part: Path) -> None:
    reading = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
    writing = sqlite3.connect(part)
    try:
        reading.backup(writing)
        # One file that needs no log beside it, whatever becomes of its name.
        writing.execute("PRAGMA journal_mode=DELETE").close()
        (found,) = writing.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        writing.close()
        reading.close()
    if found != "ok":
        raise LedgerUnavailable(f"the ledger is damaged, and so is its copy: {found}")


def _make_durable(part: Path, target: Path) -> None:
    for path in (part, target.parent):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            if path is part:
                part.rename(target)
        finally:
            os.close(descriptor)
