"""The storage directory as the configuration names it: the run lock, the ledger and the spool in it.

Small on purpose: commands that only look at the ledger load nothing of the rest.
"""

import errno
import fcntl
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from ingestd.clock import Clock, process_clock
from ingestd.domain.errors import ConfigurationError, LedgerLocked, StorageUnavailable
from ingestd.interfaces import Ledger, LedgerReader
from ingestd.ledger import (
    backup,
    migrate,
    open_ledger,
    open_reader,
    server_time_ns,
    sqlite_path,
    sqlite_url,
)
from ingestd.settings import Settings
from ingestd.spool import Spool

LOOK_SECONDS = 0.2
"""How long the run lock is asked for before it counts as taken."""

_MAY_BE_OVER_LATER = frozenset(
    {errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT}
    | {errno.EHOSTDOWN, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
)
"""Troubles of a disk or a mount: a service manager should start the daemon again, for nobody typed them."""


@contextmanager
def run_lock(settings: Settings, clock: Clock | None = None) -> Iterator[None]:
    """Held by the one `ingestd run` of a storage directory; the kernel frees it when the process ends.

    `clock`: what its holder goes by, for those who write beside it. Raises LedgerLocked, StorageUnavailable.
    """
    path = _lock_path(settings)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path.parent, error) from None
    try:
        if not _locked(descriptor):
            holder = (_written(descriptor) or ["unknown"])[0]
            raise LedgerLocked(
                f"storage.directory {path.parent}: another `ingestd run` (process {holder}) works on it; "
                "stop that one first, or give this one a storage directory of its own"
            )
        ahead_ns = "" if clock is None else f" {clock.ahead_of_boot_ns}"
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}{ahead_ns}\n".encode(), 0)
        except OSError as error:
            raise _unusable(path.parent, error) from None
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


def new_clock(settings: Settings) -> Clock:
    """For a daemon: this machine's, or for a ledger that several share that of its server.

    Raises what opening the ledger raises.
    """
    if settings.storage.ledger is None or sqlite_path(settings.storage.ledger) is not None:
        return process_clock()
    since_boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Clock(wall_ns=server_time_ns(settings.storage.ledger), since_boot_ns=since_boot_ns)


def ledger_clock(settings: Settings) -> Clock:
    """For a command that writes: the daemon's own, if one runs, whatever the wall shows meanwhile.

    Raises what opening the ledger raises.
    """
    if daemon_runs(settings):
        words = _written_in(_lock_path(settings))
        if len(words) == 2 and words[1].lstrip("-").isdigit():
            return Clock(wall_ns=int(words[1]), since_boot_ns=0)
    return new_clock(settings)


def _written_in(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").split()
    except OSError:
        return []


def _written(descriptor: int) -> list[str]:
    """Process and clock of who holds the lock."""
    return os.pread(descriptor, 64, 0).decode(errors="replace").split()


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


def demand_disk(settings: Settings) -> None:
    """Raises StorageUnavailable when the disk of the storage is read-only or away, whatever the settings."""
    directory = settings.storage.directory
    try:
        nearest = next(path for path in (directory, *directory.parents) if path.exists())
        if os.statvfs(nearest).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    except OSError as error:
        if error.errno in _MAY_BE_OVER_LATER:
            raise _unusable(directory, error) from None


def open_spool(settings: Settings) -> Spool:
    """Raises ConfigurationError when the storage directory can't be used; StorageUnavailable: not now."""
    storage = settings.storage
    try:
        storage.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Spool(storage.directory / "spool", min_free_bytes=storage.min_free, max_bytes=storage.max_size)
    except OSError as error:
        raise _unusable(storage.directory, error) from None


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


def _unusable(directory: Path, error: OSError) -> ConfigurationError | StorageUnavailable:
    """A disk may be back later; a wrong owner or path waits for a person."""
    if error.errno not in _MAY_BE_OVER_LATER:
        return ConfigurationError([storage_problem(directory, error)])
    return StorageUnavailable(
        f"storage.directory {directory}: can't be used just now: {error.strerror or error}; look at the disk "
        "and how it is mounted; nothing is taken in meanwhile"
    )


def _spool_path(settings: Settings) -> Callable[[str], Path]:
    spool = settings.storage.directory / "spool"
    return lambda sha256: spool / sha256[:2] / sha256
