"""Settling: a file is taken only after it rested, seen unchanged by at least two looks.

It rests while size, mtime and inode stay the same. How long it has to rest is decided by its content when it
first could be ready: a file without its end marker, or empty, may still be growing and needs more patience.
Memory is bounded by `capacity`; what does not fit is looked at when there is room again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ingestd.sources.filesystem import Signature


@dataclass(slots=True)
class Look:
    """One file at rest since `since` (monotonic seconds). `patience` is how long it has to rest, in seconds.

    `judged` says that its content was looked at, so that `patience` is final until it changes.
    """

    signature: Signature
    since: float
    patience: float
    judged: bool = False
    looks: int = 1


class Settling:
    """The files of one folder that are not ready yet, by relative path."""

    def __init__(self, *, patience_s: float, capacity: int) -> None:
        self._patience_s = patience_s
        self._capacity = capacity
        self._known: dict[str, Look] = {}
        self._seen: dict[str, Look] = {}
        self._unseen = 0
        self.overflow = False
        """Whether the last scan met more files than there was room for."""

    def __len__(self) -> int:
        return len(self._known)

    def __getitem__(self, path: str) -> Look:
        return self._known[path]

    def get(self, path: str) -> Look | None:
        return self._known.get(path)

    def begin_scan(self) -> None:
        self._seen = {}
        self._unseen = len(self._known)
        self.overflow = False

    def wants(self, path: str) -> bool:
        """Whether a look at this file is worth a stat: it is known, or there is room for one more."""
        if path in self._known:
            return True
        if len(self._seen) + self._unseen < self._capacity:
            return True
        self.overflow = True
        return False

    def see(self, path: str, found: Signature, now: float) -> None:
        look = self._known.get(path)
        if look is not None:
            self._unseen -= 1
        if look is None or look.signature != found:
            look = Look(found, now, self._patience_s)
        else:
            look.looks += 1
        self._seen[path] = look

    def end_scan(self) -> None:
        """Files not seen in this scan are gone."""
        self._known, self._seen = self._seen, {}

    def rested(self, now: float) -> Iterator[tuple[str, Look]]:
        """Files that have rested long enough, in order of their paths."""
        due = [p for p, look in self._known.items() if look.looks > 1 and now - look.since >= look.patience]
        for path in sorted(due):
            yield path, self._known[path]

    def next_due(self) -> float | None:
        """When the next file can be ready, in monotonic seconds; None when nothing is settling."""
        return min((look.since + look.patience for look in self._known.values()), default=None)

    def postpone(self, look: Look, now: float, wait_s: float) -> None:
        """Look at it again `wait_s` from now, and not before."""
        look.patience = now - look.since + wait_s

    def forget(self, path: str) -> None:
        self._known.pop(path, None)
