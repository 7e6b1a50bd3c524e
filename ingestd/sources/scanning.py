"""The scan: walk a watched folder and say which files are ready to be taken. The scan is the truth, file
events only say when to run it.

Nothing is followed and nothing is moved here. A file that can't be read is reported and looked at again; so
is a directory. Blocking; one scan at a time.
"""

import os
import stat
from collections import Counter
from dataclasses import dataclass, field

from ingestd.settings import FolderSettings
from ingestd.sniff import HEAD_BYTES, TAIL_BYTES, has_end_marker
from ingestd.sources.filesystem import Directory, open_regular, signature, split_path
from ingestd.sources.junk import OWN, is_junk
from ingestd.sources.settling import Look, Settling
from ingestd.sources.sidecar import SUFFIX, is_sidecar_name, stem

CAPACITY = 20_000
"""Files of one folder that settle at the same time; some 250 bytes each. The rest wait in the folder."""

MAX_DEPTH = 64
LONE_SIDECAR_PATIENCE = 3
"""A sidecar waits for its file this many times longer than an unfinished file does."""
_BLOCKED_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Settled:
    """A file ready to be taken, as it was when it came to rest, with the sidecar that goes with it."""

    path: str
    look: Look
    sidecar: str | None


@dataclass(slots=True)
class Scan:
    """What one scan found. `blocked` maps paths to what is wrong with them.

    `next_due`: monotonic seconds when the next file can be ready. `overflow`: there are more files than fit.
    """

    ready: list[Settled] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    next_due: float | None = None
    overflow: bool = False
    empty: bool = True


class Scanner:
    """Scans one folder again and again, and remembers between scans what is settling."""

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings
        self._settle_s = settings.settle.total_seconds()
        self._incomplete_s = max(self._settle_s, settings.settle_incomplete.total_seconds())
        self.settling = Settling(patience_s=self._settle_s, capacity=CAPACITY)
        self._inodes = True
        self._blocked: dict[str, str] = {}

    def scan(self, root: Directory, now: float, *, inodes: bool) -> Scan:
        """One full scan; `now` in monotonic seconds. Raises OSError when the folder itself can't be read.

        `inodes`: whether the file system's inode numbers tell one file from another.
        """
        scan = Scan()
        self._inodes = inodes
        self.settling.begin_scan()
        self._walk(root, scan, now)
        self.settling.end_scan()
        judge = _Judge(root, self.settling, self._settle_s, self._incomplete_s)
        for path, look in self.settling.rested(now):
            try:
                settled = judge.judge(path, look, now)
            except FileNotFoundError:
                self.settling.forget(path)
            except OSError as error:
                self.block(path, error.strerror or str(error), now)
            else:
                self._blocked.pop(path, None)
                if settled is not None:
                    scan.ready.append(settled)
        self._blocked = {p: reason for p, reason in self._blocked.items() if self.settling.get(p)}
        scan.blocked |= self._blocked
        scan.next_due = self.settling.next_due()
        scan.overflow = self.settling.overflow
        return scan

    def block(self, path: str, reason: str, now: float) -> None:
        """This file can't be taken now: it is looked at again, and reported for as long as it is there."""
        self._blocked[path] = reason
        look = self.settling.get(path)
        if look is not None:
            self.settling.postpone(look, now, max(self._settle_s, _BLOCKED_WAIT_S))

    # --- the walk

    def _walk(self, root: Directory, scan: Scan, now: float) -> None:
        device = root.stat().st_dev
        waiting: list[tuple[str, ...]] = [()]
        while waiting:
            parts = waiting.pop()
            try:
                directory = root.below(parts)
                if directory.stat().st_dev != device:
                    reason = "it is another file system; list it as a folder of its own"
                    scan.blocked["/".join(parts)] = reason
                    continue
                children = self._list(directory, parts, scan, now)
            except FileNotFoundError:
                if not parts:
                    raise
                continue
            except OSError as error:
                if not parts:
                    raise
                scan.blocked["/".join(parts)] = error.strerror or str(error)
                continue
            if len(parts) < MAX_DEPTH:
                waiting.extend(children)

    def _list(
        self, directory: Directory, parts: tuple[str, ...], scan: Scan, now: float
    ) -> list[tuple[str, ...]]:
        """See the files of one directory; returns its sub-directories."""
        children: list[tuple[str, ...]] = []
        prefix = "/".join((*parts, ""))
        with os.scandir(directory.descriptor) as entries:
            for entry in entries:
                name = entry.name
                if is_junk(name) or (not parts and name in OWN):
                    continue
                scan.empty = False
                if entry.is_file(follow_symlinks=False):
                    self._see(entry, prefix + name, now)
                elif self._settings.recursive and entry.is_dir(follow_symlinks=False):
                    children.append((*parts, name))
        return children

    def _see(self, entry: "os.DirEntry[str]", path: str, now: float) -> None:
        if self.settling.wants(path) or is_sidecar_name(path):
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                return
            self.settling.see(path, signature(found, inodes=self._inodes), now)


class _Judge:
    """Decides about files at rest in one scan: whole or not, with or without a sidecar."""

    def __init__(self, root: Directory, settling: Settling, settle_s: float, incomplete_s: float) -> None:
        self._root = root
        self._settling = settling
        self._settle_s = settle_s
        self._incomplete_s = incomplete_s
        self._parts: list[str] | None = None
        self._directory = root
        self._stems: Counter[str] | None = None

    def judge(self, path: str, look: Look, now: float) -> Settled | None:
        """None: not yet. Raises OSError when the file can't be read."""
        parts, name = split_path(path)
        self._enter(parts)
        if is_sidecar_name(name) and self._has_partner(name):
            self._settling.postpone(look, now, max(self._settle_s, 0.1))  # it is taken with its file
            return None
        if not look.judged:
            look.patience = self._patience(name)
            look.judged = True
        if now - look.since < look.patience:
            return None
        sidecar = self._sidecar(name)
        if sidecar is None:
            return Settled(path, look, None)
        sidecar_path = "/".join((*parts, sidecar))
        beside = self._settling.get(sidecar_path)
        if beside is None or beside.looks < 2 or now - beside.since < self._settle_s:
            self._settling.postpone(look, now, max(self._settle_s, 0.1))
            return None
        return Settled(path, look, sidecar_path)

    def _enter(self, parts: list[str]) -> None:
        """Files come in order of their paths: the directory of the last one is most often the right one."""
        if parts != self._parts:
            self._directory = self._root.below(parts)
            self._parts, self._stems = parts, None

    def _patience(self, name: str) -> float:
        if is_sidecar_name(name):
            os.close(open_regular(self._directory, name))
            return LONE_SIDECAR_PATIENCE * self._incomplete_s
        return self._incomplete_s if _looks_unfinished(self._directory, name) else self._settle_s

    def _sidecar(self, name: str) -> str | None:
        if is_sidecar_name(name):
            return None
        suffixes = (SUFFIX, SUFFIX.upper())  # some systems shout
        for own in (name + suffix for suffix in suffixes):
            if self._is_file(own):
                return own
        for shared in (stem(name) + suffix for suffix in suffixes):
            if self._is_file(shared) and self._count_of_stem(stem(name)) == 1:
                return shared
        return None

    def _has_partner(self, sidecar: str) -> bool:
        partner = sidecar[: -len(SUFFIX)]
        if self._is_file(partner) and not is_junk(partner):
            return True
        if self._count_of_stem(partner) != 1:
            return False
        single = next(n for n in self._directory.names() if stem(n) == partner and _is_candidate(n))
        return self._sidecar(single) == sidecar

    def _count_of_stem(self, wanted: str) -> int:
        if self._stems is None:
            self._stems = Counter(stem(n) for n in self._directory.names() if _is_candidate(n))
        return self._stems[wanted]

    def _is_file(self, name: str) -> bool:
        found = self._directory.look(name)
        return found is not None and stat.S_ISREG(found.st_mode)


def _is_candidate(name: str) -> bool:
    return not is_junk(name) and not is_sidecar_name(name)


def _looks_unfinished(directory: Directory, name: str) -> bool:
    """Empty, without the end marker of its type, or ending in the zeros of a preallocated file."""
    descriptor = open_regular(directory, name)
    try:
        size = os.fstat(descriptor).st_size
        head = os.pread(descriptor, HEAD_BYTES, 0)
        tail = os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES))
    finally:
        os.close(descriptor)
    return has_end_marker(head, tail) is False
