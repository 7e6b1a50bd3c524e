"""Settling: a file is taken only after it rested, seen unchanged by at least two looks.

It rests while size, mtime and inode stay the same. How long it has to rest is decided by its content when it
first could be ready: a file without its end marker, or empty, may still be growing and needs more patience.
Memory is bounded by `capacity`; what does not fit is looked at when there is room again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ingestd.sources.filesystem import Signature


@dataclass(slots=True)
class Look:
    """One file at rest since `since` (monotonic seconds). `patience` is how long it has to rest, in seconds.

    `came` is when it was first seen, whatever it looked like then. `judged` says that its content was looked
    at, so that `patience` is final until it changes. It is not looked at again before `not_before`.
    """

    signature: Signature
    since: float
    patience: float
    came: float
    judged: bool = False
    looks: int = 1
    not_before: float = 0.0

    @property
    def due(self) -> float:
        return max(self.since + self.patience, self.not_before)

    def rests(self, now: float) -> bool:
        """Whether it rested as long as it has to, as far as that is known."""
        return self.looks > 1 and now - self.since >= self.patience


@dataclass(frozen=True, slots=True)
class Settled:
    """A file ready to be taken, as it was when it came to rest, with the sidecar of its own."""

    path: str
    look: Look
    sidecar: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """Files to be taken as one arrival, in order. `shared`: the sidecars of all of them together.

    `hold` is a sentence: why instructions that are there can't be followed.
    """

    files: tuple[Settled, ...]
    shared: tuple[str, ...] = ()
    hold: str | None = None

    @property
    def paths(self) -> Iterator[str]:
        """Of its files and their sidecars."""
        for settled in self.files:
            yield settled.path
            if settled.sidecar is not None:
                yield settled.sidecar
        yield from self.shared


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

    @property
    def paths(self) -> Iterable[str]:
        return self._known.keys()

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
            look = Look(found, now, self._patience_s, came=now if look is None else look.came)
        else:
            look.looks += 1
        self._seen[path] = look

    def end_scan(self) -> None:
        """Files not seen in this scan are gone."""
        self._known, self._seen = self._seen, {}

    def rested(self, now: float) -> Iterator[tuple[str, Look]]:
        """Files that have rested long enough, in order of their paths."""
        due = [p for p, look in self._known.items() if look.rests(now) and now >= look.not_before]
        for path in sorted(due):
            yield path, self._known[path]

    def next_due(self) -> float | None:
        """When the next file can be ready, in monotonic seconds; None when nothing is settling."""
        return min((look.due for look in self._known.values()), default=None)

    def postpone(self, look: Look, now: float, wait_s: float) -> None:
        """Look at it again `wait_s` from now, and not before."""
        look.not_before = now + wait_s

    def admit(self, path: str, found: Signature, now: float) -> None:
        """A file that others wait for, room or not; there is as much again for such."""
        if len(self._known) < 2 * self._capacity:
            self._known.setdefault(path, Look(found, now, self._patience_s, came=now))

    def forget(self, path: str) -> None:
        self._known.pop(path, None)
