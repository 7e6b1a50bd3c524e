"""The manifest of a claim that holds several files: what belongs to it, written before the first is taken.

`<arrival ID>/.group` is durable before the first rename, so a claim that lacks one of its files was never
complete. It becomes `.committed`, durably, before the first file is removed: from then on what is missing was
acknowledged. Hidden names are never taken from a folder, so no claimed file is called like these.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from ingestd.sources.filesystem import Directory, create, open_regular, rename

OPEN, COMMITTED = ".group", ".committed"

_LONGEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`files`: each with its own sidecar or None, in order. `whole` is False for one a crash cut short.

    `hold` is a sentence: why no instructions can be followed. Paths are relative to the folder.
    """

    files: tuple[tuple[str, str | None], ...]
    shared: tuple[str, ...] = ()
    hold: str | None = None
    committed: bool = False
    whole: bool = True

    def write(self, directory: Directory) -> None:
        """Durable when this returns. Raises OSError."""
        text = json.dumps({"files": self.files, "shared": self.shared, "hold": self.hold})
        with os.fdopen(create(directory, OPEN, 0o600), "wb") as stream:
            stream.write(text.encode("ascii"))  # undecodable bytes of names are escaped surrogates here
            stream.flush()
            os.fsync(stream.fileno())
        directory.sync()

    @classmethod
    def read(cls, directory: Directory) -> Self | None:
        """None when there is none. Raises OSError when it can't be read."""
        for name in (COMMITTED, OPEN):
            if directory.look(name) is not None:
                with os.fdopen(open_regular(directory, name), "rb") as stream:
                    return cls._parse(stream.read(_LONGEST_BYTES), committed=name == COMMITTED)
        return None

    @classmethod
    def _parse(cls, data: bytes, *, committed: bool) -> Self:
        try:
            found = json.loads(data)
            files = tuple((_path(path), sidecar and _path(sidecar)) for path, sidecar in found["files"])
            shared = tuple(_path(path) for path in found["shared"])
            hold = None if found["hold"] is None else str(found["hold"])
        except (ValueError, TypeError, KeyError):
            return cls(files=(), committed=committed, whole=False)
        return cls(files=files, shared=shared, hold=hold, committed=committed)


def commit(directory: Directory) -> None:
    """From now on the ledger has all of it. Durable when this returns. Raises OSError."""
    rename(directory, OPEN, directory, COMMITTED)
    directory.sync()


def remove(directory: Directory) -> None:
    directory.remove(OPEN)
    directory.remove(COMMITTED)


def are_names(parts: Sequence[str]) -> bool:
    """Whether each can be the name of an entry of a directory: it came from outside, and is data."""
    return bool(parts) and all(part not in ("", ".", "..") and "\0" not in part for part in parts)


def _path(found: object) -> str:
    if not isinstance(found, str) or not are_names(found.split("/")):
        raise ValueError(found)
    return found
