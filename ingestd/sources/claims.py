"""The claim: taking files is a rename to `.ingestd/claimed/<arrival ID>/<their paths>` in the same folder.

From then on nobody else takes them, and after any crash the claim is found there and handed over again under
the same ID. A sidecar goes before its file, to `<arrival ID>/.sidecar/<its path>`, and is removed before it:
a claim may miss a file, never its instructions. What changed since it rested is put back to rest again, and a
claim of several files as a whole; its manifest tells a part of it from what an acknowledgement left.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from ingestd.domain.errors import ContentChanged, ContentUnavailable
from ingestd.sources import manifest
from ingestd.sources.filesystem import (
    Directory,
    Signature,
    marked,
    open_regular,
    rename_new,
    signature,
    split_path,
)
from ingestd.sources.opening import OpenFolder
from ingestd.sources.sidecar import SUFFIX, Instructions, merge, read_sidecar

SIDECARS = ".sidecar"  # hidden names are never taken, so no claimed path begins with it


@dataclass(slots=True, kw_only=True)
class ClaimedFile:
    """A file of a claim. `path` and `sidecar` are relative to the folder, as the system has them.

    `signature` is what the file looked like when it was taken, or found again after a crash.
    """

    arrival: str
    folder: OpenFolder
    path: str
    signature: Signature
    sidecar: str | None = None

    @property
    def size(self) -> int:
        return self.signature[0]

    def where(self) -> tuple[Directory, str]:
        """The directory it is in now, and its name there. Raises OSError."""
        parents, name = split_path(self.path)
        return self.folder.claimed.below([self.arrival, *parents]), name

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


@dataclass(slots=True, kw_only=True, eq=False)
class Claim:
    """Files taken from the folder as one arrival, in order. `shared` are the sidecars of all of them.

    `listed` says that it has a manifest, `committed` that the ledger has it and the files are being removed.
    `disturbed`: reading failed or found a file changed, so that all should go back to their places;
    `returning`: they are on their way there, or only a part was ever taken, and nothing is handed over.
    """

    id: str
    folder: OpenFolder
    files: tuple[ClaimedFile, ...]
    shared: tuple[str, ...] = ()
    hold: str | None = None
    listed: bool = False
    committed: bool = False
    disturbed: bool = False
    returning: bool = False

    @property
    def path(self) -> str:
        """That of the first file."""
        return self.files[0].path if self.files else ""

    @property
    def sidecars(self) -> tuple[str, ...]:
        return (*(file.sidecar for file in self.files if file.sidecar is not None), *self.shared)

    def instructions(self) -> Instructions:
        """What its sidecars ask for together. Raises OSError."""
        told = [read_sidecar(*self._sidecar(path)) for path in self.sidecars]
        if self.hold is not None:
            told.insert(0, Instructions(hold=self.hold))
        return merge(told)

    def is_there(self) -> bool:
        """Whether any of its files is. Raises OSError."""
        return any(file.is_as_taken() is not None for file in self.files)

    def commit(self) -> None:
        """Before the first file goes away: everything of them is durable elsewhere. Idempotent."""
        if self.listed and not self.committed:
            manifest.commit(self.folder.claimed.child(self.id))
            self.committed = True

    def remove(self) -> None:
        """Remove files and sidecars: everything of them is durable elsewhere. Idempotent."""
        self.commit()
        self.remove_sidecars()
        for file in self.files:
            with suppress(FileNotFoundError):
                directory, name = file.where()
                directory.remove(name)
        self._clear_away()

    def remove_sidecars(self) -> None:
        for path in self.sidecars:
            with suppress(FileNotFoundError):
                directory, name = self._sidecar(path)
                directory.remove(name)

    def put_back(self) -> None:
        """Back to their places in the folder, under other names if those are taken meanwhile.

        A file goes before its sidecar: after a crash between the two, the sidecar is put back at the start.
        With several files, all are durably there before the manifest goes: until then a crash leaves a claim
        that is known to be a part, and the rest of it is put back at the start. Raises OSError.
        """
        self.returning = True
        touched: dict[int, Directory] = {}
        for file in self.files:
            placed = None
            with suppress(FileNotFoundError):
                placed = _put_back(*file.where(), self.folder.root, file.path, touched)
            if file.sidecar is not None:
                renamed = placed not in (None, file.path)
                self._put_sidecar_back(
                    file.sidecar, f"{placed}{SUFFIX}" if renamed else file.sidecar, touched
                )
        for path in self.shared:
            self._put_sidecar_back(path, path, touched)
        if self.is_there():
            raise FileNotFoundError(errno.ENOENT, "the directory went away while a file was put back")
        if self.listed:
            for directory in touched.values():
                directory.sync()
        self._clear_away()

    def _put_sidecar_back(self, path: str, target: str, touched: dict[int, Directory]) -> None:
        with suppress(FileNotFoundError):
            _put_back(*self._sidecar(path), self.folder.root, target, touched)

    def _sidecar(self, path: str) -> tuple[Directory, str]:
        parents, name = split_path(path)
        return self.folder.claimed.below([self.id, SIDECARS, *parents]), name

    def _clear_away(self) -> None:
        """The manifest, and directories as far as they are empty."""
        claimed = self.folder.claimed
        if self.listed:
            with suppress(FileNotFoundError):
                manifest.remove(claimed.child(self.id))
            remove_empty_tree(claimed, self.id)
            return
        for path in self.sidecars:
            claimed.remove_empty([self.id, SIDECARS, *split_path(path)[0]])
        for parents in {tuple(split_path(file.path)[0]) for file in self.files}:
            claimed.remove_empty([self.id, *parents])


class ClaimedContent:
    """The bytes of a claimed file (domain.document.Content)."""

    def __init__(self, claim: Claim, file: ClaimedFile) -> None:
        self._claim = claim
        self._file = file

    def open(self) -> BinaryIO:
        with self._unavailable():
            directory, name = self._file.where()
            descriptor = open_regular(directory, name)
            if not self._file.matches(os.fstat(descriptor)):
                os.close(descriptor)
                raise ContentChanged(f"{self._file.path!r} changed after it was taken")
            return os.fdopen(descriptor, "rb")

    def recheck(self) -> None:
        with self._unavailable():
            if not self._file.is_as_taken():
                raise ContentChanged(f"{self._file.path!r} changed while it was copied")

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._claim.disturbed = True
            raise ContentUnavailable(f"{self._file.path!r} can't be read: {error.strerror}") from error
        except ContentChanged:
            self._claim.disturbed = True
            raise


def remove_empty_tree(parent: Directory, name: str) -> None:
    """Remove a directory with all the empty ones in it; what holds a file stays."""
    with suppress(OSError):
        directory = parent.child(name)
        for child in directory.names():
            remove_empty_tree(directory, child)
        os.rmdir(name, dir_fd=parent.descriptor)


def _put_back(
    directory: Directory, name: str, root: Directory, path: str, touched: dict[int, Directory]
) -> str:
    """Move to `path` below the root, making its directories again. Returns the path it got."""
    if directory.look(name) is None:
        raise FileNotFoundError(name)
    parents, wanted = split_path(path)
    mode = stat.S_IMODE(root.stat().st_mode)
    target = root
    for part in parents:
        touched[target.stat().st_ino] = target
        target = target.make(part, mode)
    number = 1
    while True:
        candidate = marked(wanted, str(number)) if number > 1 else wanted
        try:
            rename_new(directory, name, target, candidate)
        except FileExistsError:
            number += 1
        else:
            for moved in (directory, target):
                touched[moved.stat().st_ino] = moved
            return "/".join((*parents, candidate))
