"""The storage directory as the configuration names it: the run lock, the ledger and the spool in it.

Small on purpose: commands that only look at the ledger load nothing of the rest.
"""

import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from ingestd.domain.errors import ConfigurationError, LedgerLocked
from ingestd.interfaces import Ledger, LedgerReader
from ingestd.ledger import backup, migrate, open_ledger, open_reader, sqlite_path, sqlite_url
from ingestd.settings import Settings
from ingestd.spool import Spool

LOOK_SECONDS = 0.2
"""How long the run lock is asked for before it counts as taken."""


@contextmanager
def run_lock(settings: Settings) -> Iterator[None]:
    """Held by the one `ingestd run` of a storage directory; the kernel frees it when the process ends."""
    path = _lock_path(settings)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _locked(descriptor):
            holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise LedgerLocked(
                f"storage.directory {path.parent}: another `ingestd run` (process {holder}) works on it; "
                "stop that one first, or give this one a storage directory of its own"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def daemon_runs(settings: Settings) -> bool:
    """Whether an `ingestd run` is active on this storage directory."""
    try:
        descriptor = os.open(_lock_path(settings), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _locked(descriptor: int) -> bool:
    """A command that only looks (daemon_runs) holds the lock for an instant: that must stop no daemon."""
    deadline = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS / 20)
        else:
            return True


def _lock_path(settings: Settings) -> Path:
    return settings.storage.directory / "run.lock"


def ledger_url(settings: Settings) -> str:
    return settings.storage.ledger or sqlite_url(settings.storage.directory / "ledger.db")


def ledger_exists(settings: Settings) -> bool:
    """Whether there is something to read; a ledger on PostgreSQL is taken to exist."""
    path = sqlite_path(ledger_url(settings))
    return path is None or path.exists()


def open_spool(settings: Settings) -> Spool:
    """Raises ConfigurationError when the storage directory can't be used."""
    storage = settings.storage
    try:
        storage.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Spool(storage.directory / "spool", min_free_bytes=storage.min_free, max_bytes=storage.max_size)
    except OSError as error:
        raise ConfigurationError([storage_problem(storage.directory, error)]) from None


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[LedgerReader]:
    """The read side. Raises LedgerUnavailable when there is no ledger yet."""
    reader = open_reader(ledger_url(settings), spool_path=_spool_path(settings))
    try:
        yield reader
    finally:
        await reader.aclose()


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[Ledger]:
    """The write side, beside a daemon that may be running; without one, the ledger is made or migrated."""
    ledger = open_ledger(
        ledger_url(settings), migrate=not daemon_runs(settings), spool_path=_spool_path(settings)
    )
    try:
        yield ledger
    finally:
        await ledger.aclose()


def migrate_ledger(settings: Settings) -> str:
    """Raises LedgerLocked while a daemon runs. Returns the revision."""
    open_spool(settings)
    with run_lock(settings):
        return migrate(ledger_url(settings))


def backup_ledger(settings: Settings, target: Path) -> None:
    backup(ledger_url(settings), target)


def storage_problem(directory: Path, error: OSError) -> str:
    """The sentence for a storage directory that can't be used."""
    why = error.strerror or str(error)
    return f"storage.directory {directory}: can't be used: {why}; run as its owner, or change the key"


def _spool_path(settings: Settings) -> Callable[[str], Path]:
    spool = settings.storage.directory / "spool"
    return lambda sha256: spool / sha256[:2] / sha256
