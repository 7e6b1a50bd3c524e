"""Excess: groups with more files than one arrival takes, so that no part of them is taken for the whole.

Such a group comes in several arrivals, and every one of them is held. What is left after the first looks like
a smaller group, so it is remembered until the last file is neither in the folder nor in a claim: also in
`.ingestd/excess`, durably before any of its files is taken, so that a restart does not forget it.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence

from ingestd.sources.companions import GroupOf
from ingestd.sources.filesystem import Directory, create, open_regular, rename
from ingestd.sources.outbox import printable

_NAME, _NEW = "excess", "excess.new"
_LONGEST_BYTES = 4 << 20

_Key = tuple[str, str | None, str]
_Held = tuple[str, str]
"""The path of one of its files, and why they are held."""


class Excess:
    """Remembers the groups of one folder. Paths are relative to it."""

    def __init__(self, group_of: GroupOf) -> None:
        self._group_of = group_of
        self._held: dict[_Key, _Held] = {}
        self._saved: dict[_Key, _Held] = {}

    def hold(self, paths: Sequence[str], *, most: int) -> str | None:
        """Why these files that belong together are held: there are, or were, more of them than `most`."""
        if len(paths) <= most and not self._held:
            return None
        keys = {self._key(path): path for path in paths}
        hold = next((self._held[key][1] for key in sorted(keys, key=str) if key in self._held), None)
        if hold is None and len(paths) > most:
            hold = _sentence(paths, most)
        if hold is not None:
            self._held = {key: (path, hold) for key, path in keys.items()} | self._held
        return hold

    def forget(self, remaining: Callable[[], Iterable[str]]) -> None:
        """Groups of which none of the remaining paths is a part; these are only asked for when it matters."""
        if self._held:
            keys = {self._key(path) for path in remaining()}
            self._held = {key: held for key, held in self._held.items() if key in keys}

    def load(self, own: Directory) -> None:
        """Add what was saved in our own directory of the folder. Raises OSError when it can't be read."""
        self._saved = {self._key(path): (path, hold) for path, hold in _read(own)}
        self._held = self._saved | self._held

    def save(self, own: Directory) -> None:
        """Durable when this returns. Raises OSError."""
        if self._held == self._saved:
            return
        if self._held:
            own.remove(_NEW)
            text = json.dumps(list(self._held.values()))
            with os.fdopen(create(own, _NEW, 0o600), "wb") as stream:
                stream.write(text.encode("ascii"))  # undecodable bytes of names are escaped surrogates here
                stream.flush()
                os.fsync(stream.fileno())
            rename(own, _NEW, own, _NAME)
        else:
            own.remove(_NAME)
        own.sync()
        self._saved = dict(self._held)

    def _key(self, path: str) -> _Key:
        """The same for all files of a group; a file without one is its own."""
        parents, _, name = path.rpartition("/")
        group = self._group_of(path)
        return (parents, group, name if group is None else "")


def _read(own: Directory) -> list[_Held]:
    """What is there and is none of ours is passed over: it is written anew with the next group."""
    try:
        with os.fdopen(open_regular(own, _NAME), "rb") as stream:
            found = json.loads(stream.read(_LONGEST_BYTES))
        return [(str(path), str(hold)) for path, hold in found]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def _sentence(paths: Sequence[str], most: int) -> str:
    parents, _, name = paths[0].rpartition("/")
    where = printable(parents) if parents else f"{printable(name)} and others"
    return (
        f"{len(paths)} files belong together ({where}); at most {most} can become one receipt. "
        "Send fewer, or one PDF."
    )
