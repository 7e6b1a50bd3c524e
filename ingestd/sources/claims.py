"""The claim: taking a file is a rename to `.ingestd/claimed/<arrival ID>/<its path>` in the same folder.

From then on nobody else takes it, and after any crash the claim is found there and handed over again under
the same ID. Its sidecar goes first, to `<arrival ID>/.sidecar/<its path>`, and is removed first: a claim may
miss a file, never its instructions. What changed since it rested is put back to rest again.
"""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ingestd.domain.errors import ContentChanged, ContentUnavailable
from ingestd.sources.filesystem import (
    Directory,
    Signature,
    events_arrive,
    file_system_type,
    marked,
    open_regular,
    rename,
    rename_new,
    signature,
    split_path,
)
from ingestd.sources.junk import OWN_DIRECTORY
from ingestd.sources.scanning import Settled
from ingestd.sources.sidecar import SUFFIX, Instructions, read_sidecar

_CLAIMED = "claimed"
_SIDECAR = ".sidecar"  # hidden names are never taken, so no claimed path begins with it
_ARRIVAL_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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


@dataclass(slots=True, kw_only=True)
class Claim:
    """A file taken from the folder. `path` and `sidecar` are relative to the folder, as the system has them.

    `signature` is what the file looked like when it was taken, or found again after a crash. `disturbed` says
    that reading it failed or found it changed, so that it should go back to its place.
    """

    id: str
    path: str
    folder: OpenFolder
    signature: Signature
    sidecar: str | None = None
    disturbed: bool = False

    @property
    def size(self) -> int:
        return self.signature[0]

    def instructions(self) -> Instructions:
        """What its sidecar asks for. Raises OSError."""
        if self.sidecar is None:
            return Instructions()
        parents, name = split_path(self.sidecar)
        return read_sidecar(self.folder.claimed.below([self.id, _SIDECAR, *parents]), name)

    def where(self) -> tuple[Directory, str]:
        """The directory it is in now, and its name there. Raises OSError."""
        parents, name = split_path(self.path)
        return self.folder.claimed.below([self.id, *parents]), name

    def is_as_taken(self) -> bool | None:
        """None when the file is gone."""
        try:
            directory, name = self.where()
        except FileNotFoundError:
            return None
        found = directory.look(name)
        return None if found is None else self.matches(found)

    def matches(self, found: os.stat_result) -> bool:
        return signature(found, inodes=self.folder.inodes) == self.signature

    def remove(self) -> None:
        """Remove file and sidecar: everything of them is durable elsewhere. Idempotent."""
        self.remove_sidecar()
        with suppress(FileNotFoundError):
            directory, name = self.where()
            directory.remove(name)
        self.remove_directories()

    def remove_sidecar(self) -> None:
        if self.sidecar is not None:
            parents, name = split_path(self.sidecar)
            with suppress(FileNotFoundError):
                self.folder.claimed.below([self.id, _SIDECAR, *parents]).remove(name)

    def remove_directories(self) -> None:
        claimed = self.folder.claimed
        for path, before in ((self.sidecar, [self.id, _SIDECAR]), (self.path, [self.id])):
            if path is not None:
                claimed.remove_empty([*before, *split_path(path)[0]])

    def put_back(self) -> None:
        """Back to its place in the folder, under another name if that one is taken meanwhile.

        The file goes before its sidecar: after a crash between the two, the sidecar is put back at the start.
        """
        with suppress(FileNotFoundError):
            directory, name = self.where()
            placed = _put_back(directory, name, self.folder.root, self.path)
            if self.sidecar is not None:
                renamed = placed != self.path
                self._put_sidecar_back(placed + SUFFIX if renamed else self.sidecar)
        self.remove_directories()

    def _put_sidecar_back(self, target: str) -> None:
        parents, name = split_path(self.sidecar or "")
        with suppress(FileNotFoundError):
            directory = self.folder.claimed.below([self.id, _SIDECAR, *parents])
            _put_back(directory, name, self.folder.root, target)


class ClaimedContent:
    """The bytes of a claimed file (domain.document.Content)."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim

    def open(self) -> BinaryIO:
        with self._unavailable():
            directory, name = self._claim.where()
            descriptor = open_regular(directory, name)
            if not self._claim.matches(os.fstat(descriptor)):
                os.close(descriptor)
                raise ContentChanged(f"{self._claim.path!r} changed after it was taken")
            return os.fdopen(descriptor, "rb")

    def recheck(self) -> None:
        with self._unavailable():
            if not self._claim.is_as_taken():
                raise ContentChanged(f"{self._claim.path!r} changed while it was copied")

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._claim.disturbed = True
            raise ContentUnavailable(f"{self._claim.path!r} can't be read: {error.strerror}") from error
        except ContentChanged:
            self._claim.disturbed = True
            raise


@dataclass(slots=True)
class Taken:
    """What became of a batch: claims, and what could not be taken with the reason (path to sentence)."""

    claims: list[Claim] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)


def take(folder: OpenFolder, batch: Sequence[Settled], new_id: Callable[[], str]) -> Taken:
    """Claim files that rested. The claims are durable when this returns. Raises OSError if they can't be.

    One fsync of each directory for the whole batch: without them a power cut could bring a file back to its
    old place after the ledger has it, and it would come again as another arrival.
    """
    taken = Taken()
    touched: dict[int, Directory] = {}
    for settled in batch:
        try:
            claim = _take(folder, settled, new_id(), touched)
        except FileNotFoundError:
            taken.changed.append(settled.path)
        except OSError as error:
            taken.blocked[settled.path] = _advice(error)
        else:
            if claim is None:
                taken.changed.append(settled.path)
            else:
                taken.claims.append(claim)
    for directory in touched.values():
        directory.sync()
    if touched:
        folder.claimed.sync()
    return taken


def left_over(folder: OpenFolder) -> list[str]:
    """Arrival IDs of the claims in the folder, oldest first."""
    return sorted(name for name in folder.claimed.names() if _ARRIVAL_ID.fullmatch(name))


def find_again(folder: OpenFolder, arrival_id: str) -> Claim | None:
    """The claim of this ID as a crash left it; None when there is no file in it (it is cleared away)."""
    try:
        directory = folder.claimed.child(arrival_id)
    except FileNotFoundError:
        return None
    path = _first_file(directory, skip=_SIDECAR)
    sidecar = None
    with suppress(FileNotFoundError):
        sidecar = _first_file(directory.child(_SIDECAR))
    if path is None:
        _clear(folder, arrival_id, sidecar)
        return None
    parents, name = split_path(path)
    found = directory.below(parents).look(name)
    if found is None:
        return None
    seen = signature(found, inodes=folder.inodes)
    return Claim(id=arrival_id, path=path, folder=folder, signature=seen, sidecar=sidecar)


# --- taking one file


def _take(
    folder: OpenFolder, settled: Settled, arrival_id: str, touched: dict[int, Directory]
) -> Claim | None:
    """None when the file is not the one that rested any more."""
    parents, name = split_path(settled.path)
    origin = folder.root.below(parents)
    claim = Claim(
        id=arrival_id,
        path=settled.path,
        folder=folder,
        signature=settled.look.signature,
        sidecar=settled.sidecar,
    )
    top = folder.claimed.make(arrival_id)
    try:
        if settled.sidecar is not None:
            sidecar_name = split_path(settled.sidecar)[1]
            beside = _make_all(top, [_SIDECAR, *parents], touched)
            rename(origin, sidecar_name, beside, sidecar_name)
        target = _make_all(top, parents, touched)
        rename(origin, name, target, name)
    except OSError:
        _clear(folder, arrival_id, settled.sidecar)
        raise
    touched[origin.stat().st_ino] = origin
    found = target.look(name)
    if found is None or not stat.S_ISREG(found.st_mode) or not claim.matches(found):
        claim.put_back()
        return None
    return claim


def _make_all(top: Directory, parts: Sequence[str], touched: dict[int, Directory]) -> Directory:
    directory = top
    touched[top.stat().st_ino] = top
    for part in parts:
        directory = directory.make(part)
        touched[directory.stat().st_ino] = directory
    return directory


def _advice(error: OSError) -> str:
    match error.errno:
        case errno.EXDEV:
            return "it is on another file system; list that directory as a folder of its own"
        case errno.EACCES | errno.EPERM:
            return "it can't be moved; allow the user of ingestd to write to its directory"
        case _:
            return error.strerror or str(error)


# --- putting back


def _put_back(directory: Directory, name: str, root: Directory, path: str) -> str:
    """Move to `path` below the root, making its directories again. Returns the path it got."""
    parents, wanted = split_path(path)
    mode = stat.S_IMODE(root.stat().st_mode)
    target = root
    for part in parents:
        target = target.make(part, mode)
    number = 1
    while True:
        candidate = marked(wanted, str(number)) if number > 1 else wanted
        try:
            rename_new(directory, name, target, candidate)
        except FileExistsError:
            number += 1
        else:
            return "/".join((*parents, candidate))


def _clear(folder: OpenFolder, arrival_id: str, sidecar: str | None) -> None:
    """Undo a claim that never got its file: the sidecar goes back to where it was."""
    if sidecar is not None:
        parents, name = split_path(sidecar)
        with suppress(FileNotFoundError):
            _put_back(folder.claimed.below([arrival_id, _SIDECAR, *parents]), name, folder.root, sidecar)
    _remove_empty_tree(folder.claimed, arrival_id)


def _remove_empty_tree(parent: Directory, name: str) -> None:
    with suppress(OSError):
        directory = parent.child(name)
        for child in directory.names():
            _remove_empty_tree(directory, child)
        os.rmdir(name, dir_fd=parent.descriptor)


def _first_file(directory: Directory, *, skip: str = "") -> str | None:
    """The relative path of the regular file below; a claim holds one."""
    for name in sorted(directory.names()):
        found = directory.look(name)
        if name == skip or found is None:
            continue
        if stat.S_ISREG(found.st_mode):
            return name
        if stat.S_ISDIR(found.st_mode):
            below = _first_file(directory.child(name))
            if below is not None:
                return f"{name}/{below}"
    return None


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
