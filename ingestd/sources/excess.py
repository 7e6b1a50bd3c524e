"""Excess: groups with more files than one arrival takes, so that no part of them is taken for the whole.

Such a group comes in several arrivals, and every one of them is held. What is left after the first looks like
a smaller group, so it is remembered here until the last file is neither in the folder nor in a claim.
"""

from collections.abc import Callable, Iterable, Sequence

from ingestd.sources.companions import GroupOf
from ingestd.sources.outbox import printable

_Key = tuple[str, str | None, str]


class Excess:
    """Remembers the groups of one folder. Paths are relative to it.

    This is memory only: after a restart between two arrivals of one group, a rest that is small enough is
    judged as if it were all. The parts before it stay held, so a person still meets the sentence.
    """

    def __init__(self, group_of: GroupOf) -> None:
        self._group_of = group_of
        self._holds: dict[_Key, str] = {}

    def hold(self, paths: Sequence[str], *, most: int) -> str | None:
        """Why these files that belong together are held: there are, or were, more of them than `most`."""
        if len(paths) <= most and not self._holds:
            return None
        keys = {self._key(path) for path in paths}
        hold = next((self._holds[key] for key in sorted(keys, key=str) if key in self._holds), None)
        if hold is None and len(paths) > most:
            hold = _sentence(paths, most)
        if hold is not None:
            self._holds |= dict.fromkeys(keys - self._holds.keys(), hold)
        return hold

    def forget(self, remaining: Callable[[], Iterable[str]]) -> None:
        """Groups of which none of the remaining paths is a part; these are only asked for when it matters."""
        if self._holds:
            keys = {self._key(path) for path in remaining()}
            self._holds = {key: hold for key, hold in self._holds.items() if key in keys}

    def _key(self, path: str) -> _Key:
        """The same for all files of a group; a file without one is its own."""
        parents, _, name = path.rpartition("/")
        group = self._group_of(path)
        return (parents, group, name if group is None else "")


def _sentence(paths: Sequence[str], most: int) -> str:
    parents, _, name = paths[0].rpartition("/")
    where = printable(parents) if parents else f"{printable(name)} and others"
    return (
        f"{len(paths)} files belong together ({where}); at most {most} can become one receipt. "
        "Send fewer, or one PDF."
    )
