"""The spool: originals and receipt images, found by their sha256, durable before anybody relies on them.

A blob is written to tmp/, fsynced, renamed to ab/<sha256>, and the directory is fsynced: a name in the spool
is a whole file. A failed fsync means "not accepted": Linux reports such an error once, so the bytes are
thrown away and never fsynced again (fsync(2), NOTES). A thumbnail stands beside its blob and can be made
again, so it is never fsynced and never an error. Everything here blocks; call it in a thread.
"""

import errno
import hashlib
import io
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

from ingestd.domain.errors import ContentUnavailable, IngestdError, StorageExhausted

PIECE_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TMP_AGE_S = 3600.0
_THUMBNAIL = ".jpg"
_NO_ANONYMOUS_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
"""What open(2) answers to O_TMPFILE on file systems and kernels that have none."""


class SpoolUnavailable(StorageExhausted):
    """The spool can't be written; intake waits, nothing is lost."""


class SpoolDamaged(IngestdError):
    """An original in the spool is missing, or its bytes are not those that arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """A durable blob: `path` holds `size` bytes with this sha256 (hex)."""

    sha256: str
    size: int
    path: Path


class Spool:
    """Content-addressed files below `directory`, which is made if need be. Safe for threads and processes.

    Writing stops while less than `min_free_bytes` of the file system is free, or when all that is in it would
    take more than `max_bytes` (counted at the start, then kept by increments). A blob written or used again
    less than `grace` ago is never purged, so a purge can't take what another process is about to commit.
    """

    def __init__(
        self,
        directory: Path,
        *,
        min_free_bytes: int,
        max_bytes: int | None = None,
        grace: timedelta = timedelta(days=1),
    ) -> None:
        self.directory = directory.absolute()
        self._min_free_bytes = min_free_bytes
        self._max_bytes = max_bytes
        self._grace_s = grace.total_seconds()
        self._tmp = self.directory / "tmp"
        self._aside = self.directory / "aside"
        self._lock = threading.Lock()
        self._durable_shards: set[str] = set()
        self._scratches: set[io.FileIO] = set()
        for made in (self.directory, self._tmp, self._aside):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        _fsync_directory(self.directory)
        _fsync_directory(self.directory.parent)
        self._clear_tmp()
        self._bring_back_aside()
        self._used_bytes = 0 if max_bytes is None else self._stored_bytes()

    def path(self, sha256: str) -> Path:
        """Where this blob is, or would be. Raises ValueError for what is no sha256 in hex."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError(f"{sha256!r} is no sha256")
        return self.directory / sha256[:2] / sha256

    def write(self, stream: BinaryIO) -> Spooled:
        """Copy the stream from where it stands; when this returns, its bytes survive a power cut.

        Raises StorageExhausted when there is no room, SpoolUnavailable when the disk fails, and
        ContentUnavailable when the stream can't be read. Whatever it raises, nothing is left behind.
        """
        with self._temporary() as temporary:
            sha256, size = self._copy(stream, temporary)
            path = self.path(sha256)
            with _as_storage_trouble():
                self._make_shard(path.parent)
                if not self._use_again(path, size):
                    os.fsync(temporary.descriptor)
                    self._publish(temporary, path)
            return Spooled(sha256=sha256, size=size, path=path)

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """An empty file without a name, to be written and read: whatever ends the process, nothing is left.

        Unbuffered, so that another process that got its descriptor sees what is there. It counts as used
        room while it is open. Rewind it before it is given to `write`. Raises StorageExhausted.
        """
        self.check_room()
        with _as_storage_trouble():
            descriptor = self._open_without_name()
        with io.FileIO(descriptor, "r+") as file:
            with self._lock:
                self._scratches.add(file)
            try:
                yield cast("BinaryIO", file)
            finally:
                with self._lock:
                    self._scratches.discard(file)

    def write_thumbnail(self, sha256: str, jpeg: bytes) -> bool:
        """Put a thumbnail beside this blob. False, and nothing else, when that is not possible now.

        Raises ValueError for what is no sha256.
        """
        blob = self.path(sha256)
        path = blob.with_suffix(_THUMBNAIL)
        temporary = self._tmp / secrets.token_hex(16)
        try:
            self.check_room()
            blob.stat()  # a thumbnail of nothing would stay for ever
            before_bytes = path.stat().st_size if path.exists() else 0
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(jpeg)
            temporary.rename(path)
        except (OSError, StorageExhausted):
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        self._count(len(jpeg) - before_bytes)
        return True

    def thumbnail(self, sha256: str) -> Path | None:
        """Where the thumbnail of this blob is, if there is one. Raises ValueError for what is no sha256."""
        path = self.path(sha256).with_suffix(_THUMBNAIL)
        return path if path.is_file() else None

    def read(self, sha256: str) -> bytes:
        """The bytes of a blob, checked. Raises SpoolDamaged when they are missing or not what arrived."""
        path = self.path(sha256)
        try:
            data = self._read_even_if_purge_looks(path)
        except FileNotFoundError:
            raise SpoolDamaged(f"the original {sha256} is missing in the spool ({path})") from None
        except OSError as error:
            raise SpoolDamaged(f"the original {path} can't be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise SpoolDamaged(f"the original {path} was changed or damaged on the disk")
        return data

    def check_room(self) -> None:
        """Raises StorageExhausted when nothing more should be taken now."""
        with _as_storage_trouble():
            file_system = os.statvfs(self.directory)
        free_bytes = file_system.f_bavail * file_system.f_frsize
        if free_bytes < self._min_free_bytes:
            raise StorageExhausted(
                f"only {free_bytes // 1_000_000} MB are free where {self.directory} is, less than min_free "
                f"({self._min_free_bytes // 1_000_000} MB); make room there"
            )
        if self._max_bytes is not None and self._used_bytes + self._scratch_bytes() > self._max_bytes:
            raise StorageExhausted(
                f"the spool {self.directory} has reached max_size "
                f"({self._max_bytes // 1_000_000} MB); raise it, or shorten `keep`"
            )

    def purge(self, sha256: str) -> bool:
        """Remove a blob and its thumbnail. True when it is gone; False when it was used again within the
        grace, so it stays.

        A writer in another process may have found the blob and be about to commit it. It made the blob young
        first, so the age is looked at twice: before the blob is set aside, and after.
        """
        path = self.path(sha256)
        aside = self._aside / sha256
        try:
            if self._is_young(path):
                return False
            path.rename(aside)
        except FileNotFoundError:
            self._remove_thumbnail(path)
            return True
        with suppress(FileNotFoundError):  # another process that starts now puts it back: an orphan again
            if self._is_young(aside):
                self._restore(aside, path)
                return False
            size = aside.stat().st_size
            aside.unlink()
            self._count(-size)
        self._remove_thumbnail(path)
        return True

    def old_blobs(self) -> Iterator[str]:
        """sha256 of every blob past its grace: those the ledger does not know were never committed."""
        newest = time.time() - self._grace_s
        for entry in self._entries():
            with suppress(FileNotFoundError):
                if _SHA256.fullmatch(entry.name) and entry.stat(follow_symlinks=False).st_mtime < newest:
                    yield entry.name

    def remove_lone_thumbnails(self) -> int:
        """Remove what a crash, or a race with a purge, left without its blob; returns how many."""
        removed = 0
        for entry in self._entries():
            path = Path(entry.path)
            if path.suffix == _THUMBNAIL and not self._has_blob(path.with_suffix("")):
                self._remove_thumbnail(path.with_suffix(""))
                removed += 1
        return removed

    # --- writing

    @contextmanager
    def _temporary(self) -> Iterator["_Temporary"]:
        """A file in tmp/ that is gone afterwards, with the room counted for it, unless it was published."""
        self.check_room()
        path = self._tmp / secrets.token_hex(16)
        with _as_storage_trouble():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        temporary = _Temporary(path, descriptor)
        try:
            yield temporary
        finally:
            os.close(descriptor)
            self._count(-temporary.counted_bytes)
            path.unlink(missing_ok=True)

    def _open_without_name(self) -> int:
        flags = os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(self._tmp, flags | os.O_TMPFILE, 0o600)
        except OSError as error:
            if error.errno not in _NO_ANONYMOUS_FILES:
                raise
        path = self._tmp / secrets.token_hex(16)
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        path.unlink()
        return descriptor

    def _scratch_bytes(self) -> int:
        with self._lock:
            return sum(os.fstat(file.fileno()).st_size for file in self._scratches if not file.closed)

    def _copy(self, stream: BinaryIO, temporary: "_Temporary") -> tuple[str, int]:
        digest = hashlib.sha256()
        while piece := _read_piece(stream):
            self._count(len(piece))
            temporary.counted_bytes += len(piece)
            self.check_room()
            digest.update(piece)
            with _as_storage_trouble():
                _write_all(temporary.descriptor, piece)
        return digest.hexdigest(), temporary.counted_bytes

    def _make_shard(self, shard: Path) -> None:
        """Once in the life of a process: a shard made by another, not yet durable, becomes so too."""
        if shard.name in self._durable_shards:
            return
        shard.mkdir(mode=0o700, exist_ok=True)
        _fsync_directory(self.directory)
        self._durable_shards.add(shard.name)

    def _use_again(self, path: Path, size: int) -> bool:
        """Whether the blob is there already. It is made young first (see purge), then surely durable.

        Its bytes were fsynced before they got this name; the name itself may not have been.
        """
        try:
            if path.stat().st_size != size:
                return False  # damaged: the good bytes at hand replace it
            os.utime(path)
        except FileNotFoundError:
            return False
        _fsync_directory(path.parent)
        return True

    def _publish(self, temporary: "_Temporary", path: Path) -> None:
        temporary.path.rename(path)
        try:
            _fsync_directory(path.parent)
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
        temporary.counted_bytes = 0  # from now on it counts as a blob

    def _count(self, size: int) -> None:
        with self._lock:
            self._used_bytes += size

    # --- reading and purging

    def _read_even_if_purge_looks(self, path: Path) -> bytes:
        """A purge that changes its mind takes the name away for a moment."""
        for _ in range(20):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                if not (self._aside / path.name).exists():
                    break
                time.sleep(0.01)
        return path.read_bytes()

    def _is_young(self, path: Path) -> bool:
        return path.stat().st_mtime > time.time() - self._grace_s

    def _restore(self, aside: Path, path: Path) -> None:
        """Put a blob back; if a writer brought the same bytes meanwhile, theirs stay."""
        with suppress(FileExistsError):
            os.link(aside, path)
            _fsync_directory(path.parent)
        aside.unlink(missing_ok=True)

    def _bring_back_aside(self) -> None:
        """A crash in the middle of a purge: the blob goes back, and the next purge decides again."""
        for aside in self._aside.iterdir():
            if _SHA256.fullmatch(aside.name):
                with suppress(FileNotFoundError):
                    self._restore(aside, self.path(aside.name))

    def _clear_tmp(self) -> None:
        """Remove what a crash left; a file another process may be writing now is younger than an hour."""
        for left in self._tmp.iterdir():
            with suppress(FileNotFoundError):
                if left.stat().st_mtime < time.time() - _TMP_AGE_S:
                    left.unlink()

    def _remove_thumbnail(self, blob: Path) -> None:
        path = blob.with_suffix(_THUMBNAIL)
        with suppress(OSError):
            size = path.stat().st_size
            path.unlink()
            self._count(-size)

    def _has_blob(self, blob: Path) -> bool:
        """A purge that looks at the blob may have it set aside for a moment, and then put it back."""
        return blob.exists() or (self._aside / blob.name).exists() or blob.exists()

    def _stored_bytes(self) -> int:
        total = 0
        for entry in self._entries():
            with suppress(FileNotFoundError):
                total += entry.stat(follow_symlinks=False).st_size
        return total

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        """Every blob and thumbnail, one shard in memory at a time."""
        for number in range(256):
            try:
                with os.scandir(self.directory / f"{number:02x}") as shard:
                    entries = [e for e in shard if _SHA256.fullmatch(e.name.removesuffix(_THUMBNAIL))]
            except FileNotFoundError:
                continue
            yield from entries


@dataclass(slots=True)
class _Temporary:
    path: Path
    descriptor: int
    counted_bytes: int = 0


def _read_piece(stream: BinaryIO) -> bytes:
    """The border to the source: whatever fails here is about the payload, not about the spool."""
    try:
        return stream.read(PIECE_BYTES)
    except OSError as error:
        raise ContentUnavailable(f"reading failed: {error.strerror or error}") from error


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_storage_trouble() -> Iterator[None]:
    """The border to the disk: every OSError of the spool's own files becomes one of ours."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise StorageExhausted(f"no room left in the spool: {error.strerror}") from error
        raise SpoolUnavailable(f"the spool can't be written: {error}") from error
