"""What people drop while the daemon is tortured: every slot and format, groups, archives, bad files, repeats.

Everything follows from the seed (and, for repeats in a slot of one image, from what the daemon has done by
then), so a run that went wrong can be played again.
"""

import hashlib
import io
import os
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ingestd import samples
from tests.torture.marked import FORMATS, marked_page

_SMALL: tuple[tuple[str, Callable[[int], bytes]], ...] = (
    (".jpg", samples.small_jpeg),
    (".png", samples.small_png),
    (".pdf", samples.small_pdf),
)
_MOST_PAGES = 4
ONE_IMAGE = ("expenseentry/", "invoice/")


class Kind(StrEnum):
    GOOD = "good"
    BAD = "bad"
    REPEAT = "repeat"
    LATE = "late"
    """Another page for a slot that has its one image."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """One document: a file at `path`, or a member of an archive there, that the routes send to `slot`.

    `marks` are those of all pages of its receipt, in order (tests.torture.marked), `first` is the content of
    the receipt's first page; both are empty for a document that is a receipt by itself.
    """

    path: str
    content: bytes
    kind: Kind
    slot: str
    marks: tuple[int, ...] = ()
    first: bytes = b""

    @property
    def receipt(self) -> tuple[str, str]:
        """Slot and sha256 of the first document: what the ledger knows it by."""
        return self.slot, hashlib.sha256(self.first or self.content).hexdigest()

    @property
    def image(self) -> tuple[str, str]:
        """Slot, and what the target holds when it was uploaded: the sha256 of its bytes, or its pages."""
        return self.slot, f"pages {self.marks}" if self.marks else self.receipt[1]


@dataclass(frozen=True, slots=True)
class Drop:
    """What a person does at once. `directory`: they come as this directory, moved into the inbox whole."""

    files: dict[str, bytes]
    documents: Sequence[Dropped]
    directory: str = ""


class Drops:
    """Makes files and remembers them as documents by path. All numbers are shares of 1."""

    def __init__(
        self,
        inbox: Path,
        seed: int,
        *,
        bad: float = 0.1,
        repeats: float = 0.1,
        groups: float = 0.12,
        archives: float = 0.06,
        late: float = 0.03,
    ) -> None:
        self.inbox = inbox
        self.all: dict[str, Dropped] = {}
        self._chance = random.Random(seed)
        self._kinds = {
            self._bad_one: bad, self._repeat: repeats, self._group: groups, self._archive: archives,
            self._late_page: late,
        }  # fmt: skip
        self._number = 0
        self._good: list[Dropped] = []
        self._single: list[Sequence[Dropped]] = []
        """Receipts in a slot of one image; each is repeated, or gets a late page, once."""

    def make(self) -> Drop:
        """The next; not written yet."""
        self._number += 1
        roll = self._chance.random()
        drop = None
        for make, share in self._kinds.items():
            roll -= share
            if roll < 0:
                drop = make(self._number)
                break
        drop = drop or self._good_one(self._number)
        self.all |= {document.path: document for document in drop.documents}
        return drop

    def drop(self, count: int) -> None:
        """Do that many, as a person would."""
        for _ in range(count):
            drop = self.make()
            if drop.directory:
                self._move_in(drop)
            for path, content in drop.files.items():
                if not drop.directory:
                    target = self.inbox / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)

    def drop_durably(self) -> Sequence[Dropped]:
        """Do one, and return when no power cut can take it back. Not for groups."""
        drop = self.make()
        for name, content in drop.files.items():
            path = self.inbox / name
            path.parent.mkdir(parents=True, exist_ok=True)
            hidden = path.with_name(f".{path.name}")  # never taken before it is whole
            with hidden.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            hidden.rename(path)
            for directory in (path.parent, self.inbox):
                descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        return drop.documents

    def _move_in(self, drop: Drop) -> None:
        """All pages at one instant: a slow writer would make two groups of them, and rightly so."""
        staged = self.inbox.with_name("staged") / drop.directory
        for path, content in drop.files.items():
            file = staged / Path(path).relative_to(drop.directory)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        target = self.inbox / drop.directory
        target.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(target)  # also over a directory that was emptied and left

    def _good_one(self, number: int) -> Drop:
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
        dropped = Dropped(f"{folder}file{number}{suffix}", sample(number), Kind.GOOD, slot)
        if slot.startswith(ONE_IMAGE):
            self._single.append([dropped])
        else:
            self._good.append(dropped)
        return _single_file(dropped)

    def _group(self, number: int) -> Drop:
        """Pages that become one receipt: by their directory, or by their names. One in ten has a bad page."""
        pages = self._chance.randint(2, _MOST_PAGES)
        directory, slot, name = self._chance.choice(
            [
                (f"entries/E{number}", f"expenseentry/E{number}", "page{}"),
                (f"invoices/I{number}", f"invoice/I{number}", "{}-scan"),
                (f"trip/day {number}", "receipt", "bill_p{}"),
            ]
        )
        marks = tuple(8 * number + page for page in range(pages))
        suffixes = [self._chance.choice([*FORMATS]) for _ in marks]
        contents = [marked_page(mark, suffix) for mark, suffix in zip(marks, suffixes, strict=True)]
        kind = Kind.GOOD
        if self._chance.random() < 0.1:
            kind = Kind.BAD
            suffixes[-1], contents[-1] = ".jpg", marked_page(marks[-1], ".jpg")[:-900]
        # Numbers as people give them: 9 comes before 10.
        names = [name.format(9 + page) + suffix for page, suffix in enumerate(suffixes)]
        documents = [
            Dropped(f"{directory}/{name}", content, kind, slot, marks, contents[0])
            for name, content in zip(names, contents, strict=True)
        ]
        if kind is Kind.GOOD and slot.startswith(ONE_IMAGE):
            self._single.append(documents)
        return Drop({document.path: document.content for document in documents}, documents, directory)

    def _archive(self, number: int) -> Drop:
        """Two or three receipts, and perhaps something that is none."""
        members = [
            Dropped(f"batch{number}.zip/{name}", content, Kind.GOOD, "receipt")
            for name, content in (
                ("taxi.jpg", samples.small_jpeg(10_000_000 + number)),
                ("trip/hotel.png", samples.small_png(10_000_000 + number)),
                ("bar.pdf", samples.small_pdf(10_000_000 + number)),
            )[: self._chance.randint(2, 3)]
        ]
        if self._chance.random() < 0.3:
            notes = samples.text() + f"{number}\n".encode()
            members.append(Dropped(f"batch{number}.zip/notes.txt", notes, Kind.BAD, "receipt"))
        return Drop({f"batch{number}.zip": archive_of(members)}, members)

    def _repeat(self, number: int) -> Drop | None:
        """The same once more under other names, for a slot of one image only when the first was uploaded."""
        if self._chance.random() < 0.5 and (pages := self._an_uploaded_single()):
            again = [
                Dropped(_beside(page, f"again{number}-{place}"), page.content, Kind.REPEAT, page.slot,
                        page.marks, page.first)
                for place, page in enumerate(pages)
            ]  # fmt: skip
            directory = pages[0].path.rpartition("/")[0] if len(pages) > 1 else ""
            return Drop({page.path: page.content for page in again}, again, directory)
        if not self._good:
            return None
        first = self._chance.choice(self._good)
        return _single_file(Dropped(_beside(first, f"again{number}"), first.content, Kind.REPEAT, first.slot))

    def _late_page(self, number: int) -> Drop | None:
        if not (pages := self._an_uploaded_single()):
            return None
        path = _beside(pages[0], f"late{number}").rpartition(".")[0] + ".jpg"
        return _single_file(Dropped(path, samples.small_jpeg(number), Kind.LATE, pages[0].slot))

    def _an_uploaded_single(self) -> Sequence[Dropped]:
        """It is chosen once: what comes for the same slot within an instant would be one group."""
        uploaded = self.inbox / "uploaded"
        ready = [pages for pages in self._single if all((uploaded / page.path).exists() for page in pages)]
        if not ready:
            return []
        pages = self._chance.choice(ready)
        self._single.remove(pages)
        return pages

    def _bad_one(self, number: int) -> Drop:
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
        return _single_file(Dropped(f"bad{number}{suffix}", content, Kind.BAD, "receipt"))


def archive_of(members: Sequence[Dropped]) -> bytes:
    """A ZIP of the documents, which have its path before their names."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            entry = zipfile.ZipInfo(member.path.partition(".zip/")[2])  # carries a fixed date
            archive.writestr(entry, member.content)
    return buffer.getvalue()


def _single_file(dropped: Dropped) -> Drop:
    return Drop({dropped.path: dropped.content}, [dropped])


def _beside(dropped: Dropped, prefix: str) -> str:
    parent, _, name = dropped.path.rpartition("/")
    return f"{parent}/{prefix}-{name}".lstrip("/")
