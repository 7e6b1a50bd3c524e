"""The ledger: where every receipt is, how it came there, and what is due next. It is also the queue.

One code for SQLite (the default) and PostgreSQL. Writing goes through one thread with group commit
(`open_ledger`), reading beside it (`open_reader`); `SqlMailBook` is the mailboxes' view of both. `migrate`
and `backup` are for commands.
"""

from ingestd.ledger.backup import backup
from ingestd.ledger.chain import verify_chain
from ingestd.ledger.engine import server_time_ns, sqlite_path, sqlite_url
from ingestd.ledger.mailbook import SqlMailBook
from ingestd.ledger.reader import SqlLedgerReader, open_reader
from ingestd.ledger.store import SqlLedger, open_ledger
from ingestd.ledger.upgrade import migrate

__all__ = [
    "SqlLedger",
    "SqlLedgerReader",
    "SqlMailBook",
    "backup",
    "migrate",
    "open_ledger",
    "open_reader",
    "server_time_ns",
    "sqlite_path",
    "sqlite_url",
    "verify_chain",
]
