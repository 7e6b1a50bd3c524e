"""What each address was told, on disk: a restart neither repeats a message nor forgets to take it back.

One small JSON file, replaced by fsync and rename. A damaged one is as good as none.
"""

import json
import os
from pathlib import Path
from typing import Any

from ingestd.alerts.conditions import Kind
from ingestd.alerts.digest import Item, Told
from ingestd.domain.document import Instant

NAME = "alerts.json"
LARGEST_BYTES = 1_000_000
_VERSION = 1


class Memory:
    """`path` is the file. Blocking; for one process, which has the run lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[str, Told] = {}

    def load(self, *, now: Instant) -> str | None:
        """Reads the file; a time later than `now` (the clock was set back) counts as now.

        Returns why it could not be used, None when it could or there is none.
        """
        try:
            if self._path.stat().st_size > LARGEST_BYTES:
                raise ValueError("it is too long")
            document = json.loads(self._path.read_text("utf-8"))
            if document["version"] != _VERSION:
                raise ValueError("it is of another version")
            self._told = {str(way): _told(entry, now) for way, entry in document["ways"].items()}
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self._path} can't be read: {error.strerror}"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self._told = {}
            return f"{self._path} is damaged ({error}); what was told before is forgotten"
        return None

    def of(self, way: str) -> Told:
        return self._told.get(way, Told())

    def keep(self, way: str, told: Told) -> bool:
        """Returns whether it differs from what is kept already; `save` writes it."""
        if self.of(way) == told:
            return False
        self._told[way] = told
        return True

    def forget_others(self, ways: frozenset[str]) -> None:
        """Addresses that are not configured any more."""
        self._told = {way: told for way, told in self._told.items() if way in ways}

    def save(self) -> None:
        """Durable when it returns. Raises OSError; the file before it is whole then."""
        document = {"version": _VERSION, "ways": {way: _entry(told) for way, told in self._told.items()}}
        new = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _entry(told: Told) -> dict[str, Any]:
    return {
        "open": {
            key: {"title": item.title, "news": item.news, "notice": item.notice}
            for key, item in told.open.items()
        },
        "gone": dict(told.gone),
        "digest_at": told.digest_at,
        "sent": list(told.sent),
    }


def _told(entry: dict[str, Any], now: Instant) -> Told:
    """Raises ValueError, KeyError, TypeError or AttributeError for what we did not write."""
    return Told(
        open={_key(key): _item(item) for key, item in entry["open"].items()},
        gone={_key(key): str(title) for key, title in entry["gone"].items()},
        digest_at=None if entry["digest_at"] is None else _instant(entry["digest_at"], now),
        sent=tuple(_instant(at, now) for at in entry["sent"]),
    )


def _item(item: dict[str, Any]) -> Item:
    return Item(title=str(item["title"]), news=int(item["news"]), notice=bool(item["notice"]))


def _key(key: str) -> str:
    Kind(key.partition(":")[0])
    return key


def _instant(value: Any, now: Instant) -> Instant:
    return Instant(min(int(value), now))
