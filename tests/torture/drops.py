"""What people drop while the daemon is tortured: every slot, every format, some bad files, some repeats.

Everything follows from the seed, so a run that went wrong can be played again.
"""

import hashlib
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ingestd import samples

_SMALL: tuple[tuple[str, Callable[[int], bytes]], ...] = (
    (".jpg", samples.small_jpeg),
    (".png", samples.small_png),
    (".pdf", samples.small_pdf),
)


class Kind(StrEnum):
    GOOD = "good"
    BAD = "bad"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A file in the inbox at `path`, which the routes of the place send to `slot`."""

    path: str
    content: bytes
    kind: Kind
    slot: str

    @property
    def image(self) -> tuple[str, str]:
        """Slot and sha256: what the target holds when it was uploaded."""
        return self.slot, hashlib.sha256(self.content).hexdigest()


class Drops:
    """Makes files and remembers them. `bad` and `repeats` are shares of 1."""

    def __init__(self, inbox: Path, seed: int, *, bad: float = 0.1, repeats: float = 0.06) -> None:
        self.inbox = inbox
        self.all: dict[str, Dropped] = {}
        self._chance = random.Random(seed)
        self._bad = bad
        self._repeats = repeats
        self._good: list[Dropped] = []

    def make(self) -> Dropped:
        """The next file; not written yet."""
        number = len(self.all)
        roll = self._chance.random()
        if roll < self._bad:
            dropped = self._bad_one(number)
        elif roll < self._bad + self._repeats and self._good:
            first = self._chance.choice(self._good)
            parent, _, name = first.path.rpartition("/")
            path = f"{parent}/again{number}-{name}".lstrip("/")
            dropped = Dropped(path, first.content, Kind.REPEAT, first.slot)
        else:
            dropped = self._good_one(number)
            if not dropped.slot.startswith(("expenseentry", "invoice")):
                self._good.append(dropped)  # beside a file for those, a repeat would be its second page
        self.all[dropped.path] = dropped
        return dropped

    def drop(self, count: int) -> None:
        """Write that many, as a person would."""
        for _ in range(count):
            dropped = self.make()
            path = self.inbox / dropped.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(dropped.content)

    def drop_durably(self) -> Dropped:
        """Write one, and return when no power cut can take it back."""
        dropped = self.make()
        path = self.inbox / dropped.path
        path.parent.mkdir(parents=True, exist_ok=True)
        hidden = path.with_name(f".{path.name}")  # never taken before it is whole
        with hidden.open("wb") as stream:
            stream.write(dropped.content)
            stream.flush()
            os.fsync(stream.fileno())
        hidden.rename(path)
        for directory in (path.parent, self.inbox):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return dropped

    def _good_one(self, number: int) -> Dropped:
        suffix, sample = self._chance.choice(_SMALL)
        folder, slot = self._chance.choice(
            [
                ("", "receipt"),
                ("trip/day 1/", "receipt"),
                (f"reports/R{number % 7}/", f"report/R{number % 7}"),
                (f"entries/E{number}/", f"expenseentry/E{number}"),
                (f"invoices/I{number}/", f"invoice/I{number}"),
            ]
        )
        return Dropped(f"{folder}file{number}{suffix}", sample(number), Kind.GOOD, slot)

    def _bad_one(self, number: int) -> Dropped:
        """Each with bytes of its own: bad files that are the same would be tried again as one receipt."""
        mark = f"{number}\n".encode()
        suffix, content = self._chance.choice(
            [
                (".pdf", samples.text() + mark),
                (".png", samples.html() + mark),
                (".jpg", samples.small_jpeg(number)[:-900]),
                (".jpg", b"\xff\xd8\xff" + mark),
            ]
        )
        return Dropped(f"bad{number}{suffix}", content, Kind.BAD, "receipt")
