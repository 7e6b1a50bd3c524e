"""A watched folder, opened for taking files out of it, and locked so that no other process does.

Everything below it is reached from the descriptors held here, never again by its path.
"""

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from ingestd.sources.filesystem import Directory, events_arrive, file_system_type
from ingestd.sources.junk import OWN_DIRECTORY

_CLAIMED = "claimed"
_NO_LOCKS_HERE = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})


class FolderInUse(Exception):
    """Another ingestd watches this folder."""


@dataclass(slots=True, kw_only=True)
class OpenFolder:
    """A watched folder, opened and locked for this process. `locked` is False where locks do not work."""

    root: Directory
    claimed: Directory
    lock: Directory | None
    identity: tuple[int, int]
    inodes: bool
    """Whether inode numbers can be trusted here."""

    def is_at(self, path: Path) -> bool:
        """Whether the path still leads here, our own directory included. Raises OSError."""
        found = path.stat()
        if (found.st_dev, found.st_ino) != self.identity:
            return False
        try:
            claimed = self.root.below([OWN_DIRECTORY, _CLAIMED]).stat()
        except FileNotFoundError:
            return False
        return claimed.st_ino == self.claimed.stat().st_ino

    def unlock(self) -> None:
        if self.lock is not None:
            fcntl.flock(self.lock.descriptor, fcntl.LOCK_UN)

    @property
    def locked(self) -> bool:
        return self.lock is not None


def open_folder(path: Path) -> OpenFolder:
    """Raises OSError, and FolderInUse when another process holds its lock."""
    root = Directory.open(path)
    own = root.make(OWN_DIRECTORY)
    found = root.stat()
    return OpenFolder(
        root=root,
        lock=_lock(own),
        claimed=own.make(_CLAIMED),
        identity=(found.st_dev, found.st_ino),
        inodes=events_arrive(file_system_type(path)),
    )


def _lock(own: Directory) -> Directory | None:
    """Hold `.ingestd/lock` for as long as the result lives; the kernel drops it with the process."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    held = Directory(os.open("lock", flags, 0o600, dir_fd=own.descriptor))
    try:
        fcntl.flock(held.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderInUse from None
    except OSError as error:
        if error.errno in _NO_LOCKS_HERE:
            return None
        raise
    return held
