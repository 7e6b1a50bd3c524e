"""Work below a directory that other people may write to: descriptors instead of paths, no symlink followed.

A name is looked up in an open directory only (openat), so nobody can bend a path to another place between
two steps. Names are str as the system gives them: undecodable bytes are surrogates, and stay what they are.
"""

import ctypes
import errno
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

NAME_BYTES = 255
"""NAME_MAX of every file system we know."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_RENAME_NOREPLACE = 1
_NOT_HERE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP})

_EVENTS_DO_NOT_ARRIVE = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|fuse(\..+)?|fuseblk|9p|afs|ceph|glusterfs|lustre|ocfs2|gfs2|beegfs|ncpfs|coda"
    r"|davfs|vboxsf|vmhgfs|prl_fs|virtiofs|drvfs|orangefs|gpfs"
)


class Directory:
    """An open directory. It is closed when nobody refers to it any more: never under somebody's feet.

    So keep it in a name while its descriptor is in use.
    """

    __slots__ = ("__weakref__", "descriptor")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Self:
        """By path, following symlinks: for paths that come from the configuration."""
        return cls(os.open(path, _DIRECTORY))

    def child(self, name: str) -> "Directory":
        return Directory(os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor))

    def below(self, parts: Sequence[str]) -> "Directory":
        """The directory reached through `parts`, itself for none. Raises OSError, ELOOP for a symlink."""
        found = self
        for part in parts:
            found = found.child(part)
        return found

    def make(self, name: str, mode: int = 0o700) -> "Directory":
        """The child of this name, made if it is absent. It inherits set-group-ID from this one (inode(7))."""
        try:
            return self.child(name)
        except FileNotFoundError:
            with suppress(FileExistsError):  # somebody else made it just now
                # Asking for set-group-ID is refused under systemd's RestrictSUIDSGID=.
                os.mkdir(name, mode & 0o777, dir_fd=self.descriptor)
            return self.child(name)

    def stat(self) -> os.stat_result:
        return os.fstat(self.descriptor)

    def look(self, name: str) -> os.stat_result | None:
        """lstat of an entry, None when there is none."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def names(self) -> list[str]:
        return os.listdir(self.descriptor)  # noqa: PTH208  a Path has no descriptor

    def remove(self, name: str) -> None:
        """Unlink a file; one that is gone already is fine."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return

    def remove_empty(self, parts: Sequence[str]) -> None:
        """Remove the directories along `parts`, deepest first, as far as they are empty."""
        for depth in range(len(parts), 0, -1):
            try:
                parent = self.below(parts[: depth - 1])
                os.rmdir(parts[depth - 1], dir_fd=parent.descriptor)
            except OSError:
                return

    def sync(self) -> None:
        os.fsync(self.descriptor)

    def __del__(self) -> None:
        os.close(self.descriptor)


Signature = tuple[int, int, int]
"""size in bytes, mtime_ns, inode: as long as they stay, nobody wrote to the file."""


def signature(found: os.stat_result, *, inodes: bool) -> Signature:
    """`inodes` is False where their numbers are made up by the client and may change (SMB)."""
    return found.st_size, found.st_mtime_ns, found.st_ino if inodes else 0


def split_path(path: str) -> tuple[list[str], str]:
    """The directories and the name of a relative path with `/` between its parts."""
    *parents, name = path.split("/")
    return parents, name


def open_regular(directory: Directory, name: str) -> int:
    """A descriptor for reading. Raises OSError for anything but a regular file, without touching it.

    O_NONBLOCK: a FIFO would block the open, a device may act on it.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory.descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return descriptor


def create(directory: Directory, name: str, mode: int) -> int:
    """A descriptor for writing a new file. Raises FileExistsError."""
    return os.open(name, _NEW_FILE, mode, dir_fd=directory.descriptor)


def rename(source: Directory, name: str, target: Directory, new_name: str) -> None:
    """Replaces what has the new name."""
    os.rename(name, new_name, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor)


def rename_new(source: Directory, name: str, target: Directory, new_name: str) -> None:
    """Rename that never replaces anything: raises FileExistsError.

    Where the file system has no RENAME_NOREPLACE (renameat2(2)) an empty file reserves the name first. A hard
    link would do as well, but fs.protected_hardlinks forbids it for other people's files.
    """
    if _RENAMEAT2 is not None:
        failed = _RENAMEAT2(
            source.descriptor, os.fsencode(name), target.descriptor, os.fsencode(new_name), _RENAME_NOREPLACE
        )
        if not failed:
            return
        number = ctypes.get_errno()
        if number not in _NOT_HERE:
            raise OSError(number, os.strerror(number), new_name)
    os.close(create(target, new_name, 0o600))
    try:
        rename(source, name, target, new_name)
    except OSError:
        target.remove(new_name)
        raise


def marked(name: str, mark: str, *, room_bytes: int = 40) -> str:
    """`scan (2).pdf` for the mark "2"; shortened so that `room_bytes` more still fit a name."""
    stem, dot, extension = name.rpartition(".")
    if not stem or len(os.fsencode(extension)) > 16:
        stem, dot, extension = name, "", ""
    end = (f" ({mark})" if mark else "") + dot + extension
    room = NAME_BYTES - room_bytes - len(os.fsencode(end))
    if len(os.fsencode(stem)) > room:
        stem = os.fsencode(stem)[:room].decode("utf-8", "ignore")  # a character cut in half goes too
    return stem + end


def file_system_type(path: Path) -> str:
    """The type of the file system `path` is on, as in mountinfo (proc_pid_mountinfo(5)); "" if unknown."""
    where = os.path.realpath(path)
    best, found = -1, ""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), fields.split(" ")[4])
        inside = where == point or where.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of mounts on one point the last one counts
            best, found = len(point), rest.split(" ")[0]
    return found


def events_arrive(file_system: str) -> bool:
    """Whether changes made elsewhere show up as events: not on what other machines or processes serve."""
    return not _EVENTS_DO_NOT_ARRIVE.fullmatch(file_system)


def _find_renameat2() -> "ctypes._NamedFuncPointer | None":
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):  # a libc without it
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return function


_RENAMEAT2 = _find_renameat2()
