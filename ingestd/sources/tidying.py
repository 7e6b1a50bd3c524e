"""What was put into uploaded/, so that it can be taken away again after `keep_uploaded`, and nothing else.

A journal for each day, `.ingestd/kept/2026-11-21`, has one JSON line for each file: its path below the folder
and its inode. A file is removed only when both still agree: what a person put, changed or moved stays.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.sources.filesystem import Directory, split_path
from ingestd.sources.junk import UPLOADED

_KEPT = "kept"


def remember(own: Directory, path: str, inode: int, at: Instant) -> None:
    """Before the file gets its name: a crash between the two leaves a line without a file, never a file
    without a line."""
    day = datetime.fromtimestamp(at / MICROSECONDS, UTC).date().isoformat()
    line = json.dumps({"path": path, "inode": inode}) + "\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    kept = own.make(_KEPT)
    descriptor = os.open(day, flags, 0o600, dir_fd=kept.descriptor)
    try:
        os.write(descriptor, line.encode())  # one write: lines of two threads never mix (O_APPEND)
    finally:
        os.close(descriptor)


def forget_old(root: Directory, own: Directory, keep: timedelta, now: Instant) -> int:
    """Remove what is older than `keep` (by whole days, so at most a day late). Returns how many files."""
    today = datetime.fromtimestamp(now / MICROSECONDS, UTC)
    kept = own.make(_KEPT)
    removed = 0
    for name in sorted(kept.names()):
        day = _day(name)
        if (
            day is None
            or datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) + keep > today
        ):
            continue
        for path, inode in _lines(kept, name):
            removed += _remove(root, path, inode)
        kept.remove(name)
    return removed


def _remove(root: Directory, path: str, inode: int) -> bool:
    parts, name = split_path(path)
    if parts[:1] != [UPLOADED] or not all(part not in ("", ".", "..") for part in (*parts, name)):
        return False
    with suppress(FileNotFoundError, NotADirectoryError):
        directory = root.below(parts)
        found = directory.look(name)
        if found is not None and found.st_ino == inode:
            directory.remove(name)
            root.child(UPLOADED).remove_empty(parts[1:])
            return True
    return False


def _day(name: str) -> date | None:
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None


def _lines(kept: Directory, name: str) -> Iterator[tuple[str, int]]:
    """A power cut can leave half a line at the end; it is passed over."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=kept.descriptor), "rb") as stream:
        for line in stream:
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                yield str(entry["path"]), int(entry["inode"])
