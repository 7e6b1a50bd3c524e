"""A watched folder, opened for putting files into it: with its group and mode, whole, and durable.

No symlink below the folder is followed. Blocking; methods raise OSError when the folder does not let them.
"""

import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from ingestd.domain.document import Document
from ingestd.sources.filesystem import Directory, create, open_regular, rename
from ingestd.sources.junk import OWN_DIRECTORY

PIECE_BYTES = 1 << 20
_TMP = "tmp"
_TMP_AGE = timedelta(hours=1)


class Desk:
    def __init__(self, path: Path) -> None:
        self.root = Directory.open(path)
        self.own = self.root.make(OWN_DIRECTORY)
        self.tmp = self.own.make(_TMP)
        found = self.root.stat()
        self._group = found.st_gid
        self._mode = stat.S_IMODE(found.st_mode)

    def directory(self, parts: Sequence[str]) -> Directory:
        """The directory below the folder, made like the folder itself where it is absent."""
        found = self.root
        for part in parts:
            try:
                found = found.child(part)
            except FileNotFoundError:
                parent, found = found, found.make(part, self._mode)
                self._give(found.descriptor, self._mode)
                parent.sync()
        return found

    def give_manners(self, descriptor: int) -> bool:
        """The folder's group, and who may read there may read this; nobody may write. False: not ours."""
        return self._give(descriptor, 0o444 & self._mode)

    def holds(self, directory: Directory, name: str, document: Document) -> bool:
        """Whether this entry is the document: the spool's own inode, or the same bytes."""
        found = directory.look(name)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != document.size:
            return False
        with suppress(OSError):
            spooled = document.path.stat()
            if (spooled.st_dev, spooled.st_ino) == (found.st_dev, found.st_ino):
                return True
        digest = hashlib.sha256()
        with os.fdopen(open_regular(directory, name), "rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest() == document.sha256

    def is_note_on(self, directory: Directory, name: str, receipt: str) -> bool:
        found = directory.look(name)
        if found is None or not stat.S_ISREG(found.st_mode):
            return False
        with os.fdopen(open_regular(directory, name), "rb") as stream:
            return receipt.encode() in stream.read(1 << 16)

    def write_note(self, directory: Directory, name: str, text: str) -> int:
        """Whole or not at all. Returns its inode. Only for a name that is free or a text of ours."""
        temporary, inode = self.write_tmp(iter([text.encode("utf-8", "replace")]))
        try:
            rename(self.tmp, temporary, directory, name)
        except OSError:
            self.tmp.remove(temporary)
            raise
        directory.sync()
        return inode

    def write_tmp(self, pieces: Iterator[bytes]) -> tuple[str, int]:
        """A durable new file in `.ingestd/tmp`: its name and inode."""
        name = secrets.token_hex(16)
        descriptor = create(self.tmp, name, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                for piece in pieces:
                    stream.write(piece)
                stream.flush()
                self.give_manners(descriptor)
                os.fsync(descriptor)
                return name, os.fstat(descriptor).st_ino
        except OSError:
            self.tmp.remove(name)
            raise

    def clear_tmp(self) -> None:
        """Remove what a crash left."""
        for name in self.tmp.names():
            found = self.tmp.look(name)
            if found is not None and found.st_mtime < time.time() - _TMP_AGE.total_seconds():
                self.tmp.remove(name)

    def _give(self, descriptor: int, mode: int) -> bool:
        found = os.fstat(descriptor)
        if found.st_gid != self._group:
            try:
                os.fchown(descriptor, -1, self._group)
            except OSError:
                return False  # we are no member of that group
        if stat.S_IMODE(found.st_mode) != mode:
            try:
                os.fchmod(descriptor, mode)
            except OSError:
                return False
        return True
