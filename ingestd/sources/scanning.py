"""The scan: walk a watched folder and say which files are ready to be taken, and which of them together. The
scan is the truth, file events only say when to run it.

Nothing is followed and nothing is moved here. A file that can't be read is reported and looked at again; so
is a directory. Blocking; one scan at a time.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from ingestd.settings import FolderSettings
from ingestd.sources.companions import GroupOf
from ingestd.sources.excess import Excess
from ingestd.sources.filesystem import Directory, signature
from ingestd.sources.judging import Judge, Times
from ingestd.sources.junk import OWN, OWN_DIRECTORY, is_junk
from ingestd.sources.settling import Look, Ready, Settling
from ingestd.sources.sidecar import is_sidecar_name

CAPACITY = 20_000
"""Files of one folder that settle at the same time; some 250 bytes each. The rest wait in the folder."""

MAX_DEPTH = 64
_BLOCKED_WAIT_S = 2.0


@dataclass(slots=True)
class Scan:
    """What one scan found. `blocked` maps paths to what is wrong with them.

    `next_due`: monotonic seconds when the next file can be ready. `overflow`: there are more files than fit.
    """

    ready: list[Ready] = field(default_factory=list)
    blocked: dict[str, str] = field(default_factory=dict)
    next_due: float | None = None
    overflow: bool = False
    empty: bool = True


class Scanner:
    """Scans one folder again and again, and remembers between scans what is settling."""

    def __init__(self, settings: FolderSettings, group_of: GroupOf) -> None:
        self._settings = settings
        self._times = Times.of(settings)
        self._group_of = lru_cache(CAPACITY)(group_of)
        self._excess = Excess(self._group_of)
        self.settling = Settling(patience_s=self._times.settle, capacity=CAPACITY)
        self._inodes = True
        self._blocked: dict[str, str] = {}

    def remember(self, root: Directory) -> None:
        """Read what an earlier run saved in this folder, which was opened just now. Raises OSError."""
        self._excess.load(root.child(OWN_DIRECTORY))

    def scan(self, root: Directory, now: float, *, inodes: bool, claimed: Iterable[str] | None = ()) -> Scan:
        """One full scan; `now` in monotonic seconds. Raises OSError when the folder itself can't be read.

        `inodes`: whether the file system's inode numbers tell one file from another. `claimed`: paths of the
        files in claims, which may come back; None: not all of them are known yet.
        """
        scan = Scan()
        self._inodes = inodes
        self.settling.begin_scan()
        self._walk(root, scan, now)
        self.settling.end_scan()
        if claimed is not None and not self.settling.overflow:  # else nobody may have looked at some files
            self._excess.forget(lambda: (*self.settling.paths, *claimed))
        for parents, files in _by_directory(self.settling.rested(now)).items():
            scan.ready += self._judge(root, parents, files, now)
        self._excess.save(root.child(OWN_DIRECTORY))
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
            self.settling.postpone(look, now, max(self._times.settle, _BLOCKED_WAIT_S))

    def _judge(self, root: Directory, parents: str, files: dict[str, Look], now: float) -> list[Ready]:
        """What can be taken of these files of one directory, all of which rest."""
        prefix = f"{parents}/" if parents else ""
        try:
            judge = Judge(
                root.below(parents.split("/") if parents else []),
                prefix,
                settling=self.settling,
                times=self._times,
                group_of=self._group_of,
                excess=self._excess,
                inodes=self._inodes,
            )
        except FileNotFoundError:
            for name in files:
                self.settling.forget(prefix + name)
            return []
        except OSError as error:
            for name in files:
                self.block(prefix + name, error.strerror or str(error), now)
            return []
        judged = [name for name, look in files.items() if self._judge_file(judge, prefix, name, look, now)]
        return list(judge.ready(judged, now, self._blocked.keys()))

    def _judge_file(self, judge: Judge, prefix: str, name: str, look: Look, now: float) -> bool:
        """False when it can't be read, or is gone."""
        path = prefix + name
        try:
            judge.judge(name, look)
        except FileNotFoundError:
            self.settling.forget(path)
            return False
        except OSError as error:
            self.block(path, error.strerror or str(error), now)
            return False
        self._blocked.pop(path, None)
        return True

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


def _by_directory(rested: Iterable[tuple[str, Look]]) -> dict[str, dict[str, Look]]:
    found: dict[str, dict[str, Look]] = {}
    for path, look in rested:
        parents, _, name = path.rpartition("/")
        found.setdefault(parents, {})[name] = look
    return found
