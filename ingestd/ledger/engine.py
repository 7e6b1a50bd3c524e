"""Connections to the ledger, what is special about each engine, and the border where their errors end.

SQLite keeps its promise only this way (measured with power cuts): WAL with synchronous=FULL, and every
write transaction takes the lock when it begins (https://sqlite.org/pragma.html#pragma_synchronous,
https://sqlite.org/isolation.html). Everything above this module is one code for both engines.
"""

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from ingestd.domain.errors import ConfigurationError, IngestdError, LedgerUnavailable, StorageExhausted

BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another process's transaction; ours take milliseconds."""

BUSY_RETRIES = 24
"""Two minutes in all: somebody's tool may look at the file for a while, and no result may be lost by it."""

_NO_ROOM_LEFT_BYTES = 1_000_000

_WRITER_PRAGMAS = [
    "journal_mode=WAL",
    "wal_autocheckpoint=4000",  # pages of 4 KiB; about a fifth less CPU in commits than with 1000
    "journal_size_limit=67108864",
    "cache_size=-32000",  # KiB; keys are random, so the pages of their index are touched all over
]


def sqlite_url(path: Path) -> str:
    """The ledger URL of a SQLite file."""
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite ledger; None for a server. Raises ConfigurationError for what is no ledger URL."""
    parsed = _parse(url)
    return Path(parsed.database or "") if parsed.drivername == "sqlite" else None


def open_engine(url: str, *, writes: bool) -> Engine:
    """An engine for an existing ledger; it connects when first used. `writes` False: it can only read."""
    parsed = _parse(url)
    if parsed.drivername == "sqlite":
        return _sqlite_engine(Path(parsed.database or ""), writes=writes)
    return _postgresql_engine(parsed, writes=writes)


def server_time_ns(url: str) -> int:
    """What a server's clock shows, in nanoseconds since 1970. Blocks. Raises LedgerUnavailable."""
    engine = open_engine(url, writes=False)
    try:
        with our_errors(None), engine.connect() as connection:
            shown = connection.exec_driver_sql(
                "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
            )
            return int(shown.scalar_one()) * 1000
    finally:
        engine.dispose()


def create_sqlite_file(path: Path) -> None:
    """An empty ledger file that only its owner can read, durable in its directory. May exist already."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageExhausted from error
        raise LedgerUnavailable(f"{path} can't be created: {error.strerror}") from error


def check_sqlite_file(connection: Connection) -> None:
    """Look for damage. Raises LedgerUnavailable."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise LedgerUnavailable(f"the ledger file is damaged, restore a backup of it: {found}")


@contextmanager
def our_errors(path: Path | None) -> Iterator[None]:
    """Foreign errors become ours here. `path`: the SQLite file, if it is one."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise translated(error, path) from error


def translated(error: Exception, path: Path | None) -> IngestdError:
    """What this error of an engine means for us."""
    cause = getattr(error, "orig", None) or error
    if _says_full(cause) or (path is not None and _may_mean_full(cause) and _no_room(path)):
        return StorageExhausted()
    text = str(cause).strip() or type(cause).__name__
    return LedgerUnavailable(f"the ledger can't be used: {text}")


def is_transient(error: DBAPIError) -> bool:
    """Whether the same transaction may well succeed when it is run again at once.

    A connection that was gone before the commit was sent, or two nodes that stood in each other's way
    (https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html).
    """
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in ("40001", "40P01")


def is_busy(error: DBAPIError) -> bool:
    """Whether another process holds SQLite's write lock for longer than BUSY_TIMEOUT_S."""
    code = getattr(error.orig, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError([f"storage.ledger is no database URL: {error}"]) from error
    match parsed.get_backend_name():
        case "sqlite" if parsed.database not in (None, "", ":memory:"):
            return parsed.set(drivername="sqlite")
        case "postgresql":
            return parsed.set(drivername="postgresql+psycopg")
        case _:
            problem = "storage.ledger must begin with postgresql:// or sqlite:/// and a file"
            raise ConfigurationError([problem])


def _sqlite_engine(path: Path, *, writes: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        # mode=rw: a ledger that is missing is an error, never a new and empty one.
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        pragmas = ["foreign_keys=ON", "synchronous=FULL", "temp_store=MEMORY"]
        pragmas += _WRITER_PRAGMAS if writes else ["query_only=ON"]
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns into a write may fail with SQLITE_BUSY at once, whatever the
        # timeout (https://sqlite.org/lang_transaction.html).
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL, *, writes: bool) -> Engine:
    try:
        engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="READ COMMITTED" if writes else "REPEATABLE READ",
            connect_args={"connect_timeout": 10, **url.query},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise LedgerUnavailable("PostgreSQL needs a driver: pip install 'ingestd[postgresql]'") from error

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            # A server may be set to answer before the commit is on disk; the ledger never is.
            cursor.execute(
                "SELECT set_config('synchronous_commit', 'on', false),"
                " set_config('default_transaction_read_only', %s, false)"
                " WHERE %s OR current_setting('synchronous_commit') = 'off'",
                ("off" if writes else "on", True),
            )
        connection.commit()

    return engine


def _says_full(cause: object) -> bool:
    code = getattr(cause, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == "53100"


def _may_mean_full(cause: object) -> bool:
    """SQLite has no better code for a log or an index of it that can't be made on a full disk."""
    code = getattr(cause, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)


def _no_room(path: Path) -> bool:
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _NO_ROOM_LEFT_BYTES or (room.f_files > 0 and room.f_favail == 0)
