"""Judging: which of the files at rest in one directory are ready, alone or with those they belong to.

A file is ready when it rested for as long as its content asks and its sidecar rests; a group when all its
files and sidecars rest and none of them came or changed for `group_quiet`. Nothing is moved here.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from ingestd.settings import FolderSettings
from ingestd.sniff import HEAD_BYTES, TAIL_BYTES, has_end_marker
from ingestd.sources.companions import Companions, GroupOf, Unit
from ingestd.sources.excess import Excess
from ingestd.sources.filesystem import Directory, open_regular, signature
from ingestd.sources.settling import Look, Ready, Settled, Settling
from ingestd.sources.sidecar import is_sidecar_name

GROUP_FILES = 100
"""Most files of one arrival; a group that has more is taken in several, without waiting for quiet, and
every one of them is held."""

LONGEST_QUIETS = 30
"""A member that never stops changing keeps its group waiting this many times `group_quiet` (or
`settle_incomplete`, if that is longer) after the last new member came; then the others go without it. A file
that is copied slowly looks the same, so this is generous: 5 minutes with the defaults."""

LONE_SIDECAR_PATIENCE = 3
"""A sidecar waits for its file this many times longer than an unfinished file does."""

_AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Times:
    """How long files have to rest, in seconds."""

    settle: float
    incomplete: float
    quiet: float

    @classmethod
    def of(cls, settings: FolderSettings) -> Self:
        settle = settings.settle.total_seconds()
        incomplete = max(settle, settings.settle_incomplete.total_seconds())
        return cls(settle, incomplete, settings.group_quiet.total_seconds())


class Judge:
    """Decides about the files at rest of one directory, in one scan. `inodes` as in filesystem.signature."""

    def __init__(
        self,
        directory: Directory,
        prefix: str,
        *,
        settling: Settling,
        times: Times,
        group_of: GroupOf,
        excess: Excess,
        inodes: bool,
    ) -> None:
        self._directory = directory
        self._prefix = prefix
        self._settling = settling
        self._times = times
        self._excess = excess
        self._inodes = inodes
        self._companions = Companions(directory, prefix, group_of)

    def judge(self, name: str, look: Look) -> None:
        """Look at its content once: that says how long it has to rest. Raises OSError."""
        if not look.judged and self._companions.unit(name) is not None:
            look.patience = self._patience(name)
            look.judged = True

    def ready(self, names: Sequence[str], now: float, blocked: Collection[str]) -> Iterator[Ready]:
        """What can be taken of these files that rest, with those they belong to; the others are postponed.

        `blocked` are paths that can't be taken: whoever belongs to one of them waits for it.
        """
        seen: set[int] = set()
        for name in names:
            unit = self._companions.unit(name)
            if unit is None:
                look = self._look(name)
                if look is not None:
                    self._settling.postpone(look, now, max(self._times.settle, _AGAIN_S))
            elif id(unit) not in seen:
                seen.add(id(unit))
                ready = self._gather(unit, now, blocked)
                if ready is not None:
                    yield ready

    # --- one unit

    def _gather(self, unit: Unit, now: float, blocked: Collection[str]) -> Ready | None:
        """None when it has to wait; its members are postponed until then."""
        looks = {name: look for name in unit.members if (look := self._look(name)) is not None}
        resting = [name for name, look in looks.items() if look.judged and look.rests(now)]
        stopped = [look for name, look in looks.items() if self._prefix + name in blocked]
        due = max((look.not_before for look in stopped), default=0.0)
        due = max(due, self._sidecars_due(unit, now))
        if not self._is_enough(unit, looks, resting, now):
            due = max(due, self._members_due(unit, looks, now))
            complete = len(resting) == len(unit.members)
            gave_up = unit.gathers and now >= self._last_resort(looks)
            if due <= now and not (complete or gave_up):
                due = now + _AGAIN_S
        if due > now or not resting:
            for name in resting:
                self._settling.postpone(looks[name], now, due - now if due > now else _AGAIN_S)
            return None
        return self._take(unit, resting, looks)

    def _is_enough(self, unit: Unit, looks: dict[str, Look], resting: Sequence[str], now: float) -> bool:
        # One that just fits waits like the others: a file more, and none of it may go as if it were whole.
        full = unit.gathers and len(unit.members) > GROUP_FILES and len(resting) >= GROUP_FILES
        if not full:
            self._make_known([name for name in unit.members if name not in looks], now)
        return full

    def _members_due(self, unit: Unit, looks: dict[str, Look], now: float) -> float:
        """When the last one rests and the group is quiet, but no later than the last resort."""
        due = max(look.since + look.patience for look in looks.values())
        if not unit.gathers:
            return due
        sidecars = [look for name in unit.sidecars if (look := self._look(name)) is not None]
        changed = max(look.since for look in (*looks.values(), *sidecars))
        return min(max(due, changed + self._times.quiet), self._last_resort(looks))

    def _last_resort(self, looks: dict[str, Look]) -> float:
        return max(look.came for look in looks.values()) + LONGEST_QUIETS * max(
            self._times.quiet, self._times.incomplete
        )

    def _sidecars_due(self, unit: Unit, now: float) -> float:
        due = 0.0
        for name in unit.sidecars:
            look = self._look(name)
            if look is None or look.looks < 2:
                due = max(due, now + max(self._times.settle, _AGAIN_S))
            else:
                due = max(due, look.since + self._times.settle)
        return due

    def _make_known(self, names: Sequence[str], now: float) -> None:
        """Members that found no room in the table of what settles, or came just now: others wait for them."""
        for name in names[:GROUP_FILES]:
            found = self._directory.look(name)
            if found is not None:
                self._settling.admit(self._prefix + name, signature(found, inodes=self._inodes), now)

    def _take(self, unit: Unit, resting: Sequence[str], looks: dict[str, Look]) -> Ready:
        files = tuple(
            Settled(self._prefix + name, looks[name], self._below(unit.own.get(name)))
            for name in resting[:GROUP_FILES]
        )
        excess = self._excess.hold([self._prefix + name for name in unit.members], most=GROUP_FILES)
        # What all share goes with the last of them: instructions of several held arrivals guide nobody.
        last = len(unit.members) <= GROUP_FILES
        shared = tuple(self._prefix + name for name in unit.shared) if last else ()
        return Ready(files, shared, excess or unit.hold)

    def _look(self, name: str) -> Look | None:
        return self._settling.get(self._prefix + name)

    def _below(self, name: str | None) -> str | None:
        return None if name is None else self._prefix + name

    # --- one file

    def _patience(self, name: str) -> float:
        if is_sidecar_name(name):
            os.close(open_regular(self._directory, name))
            return LONE_SIDECAR_PATIENCE * self._times.incomplete
        return self._times.incomplete if _looks_unfinished(self._directory, name) else self._times.settle


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
