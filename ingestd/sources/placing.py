"""Placing one document of a report in uploaded/ or rejected/, under its own path, with its text beside it.

Names come from people and from archives: they are data. Each part is checked and cut to what a file system
takes, nothing leads out of our trees, and names that differ only in case get different ones.
"""

import json
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingestd.domain.document import Document, display_name
from ingestd.interfaces import Report
from ingestd.sources.desk import PIECE_BYTES, Desk
from ingestd.sources.filesystem import NAME_BYTES, Directory, marked, rename_new
from ingestd.sources.junk import REJECTED, UPLOADED
from ingestd.sources.manifest import are_names
from ingestd.sources.notes import REASON_SUFFIX, REPEAT_SUFFIX, own_path, reason_text, repeat_text
from ingestd.sources.tidying import remember

DEEPEST = 64
"""Directories below one of our trees; a path with more becomes a single name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file in one of our two trees."""

    tree: str
    parents: tuple[str, ...]
    name: str

    @classmethod
    def parse(cls, text: object) -> "Place | None":
        """None for what does not lie in our trees: it came back from a ledger, and is data."""
        if not isinstance(text, str):
            return None
        tree, *parts = text.split("/")
        if tree not in (UPLOADED, REJECTED) or not are_names(parts):
            return None
        return cls(tree, tuple(parts[:-1]), parts[-1])

    def __str__(self) -> str:
        return "/".join((self.tree, *self.parents, self.name))

    @property
    def folded(self) -> str:
        """The same for two places that some systems can't tell apart."""
        return unicodedata.normalize("NFC", str(self)).casefold()


def parse_places(text: str | None) -> list[Place | None]:
    """What `write_places` wrote, one entry for each document."""
    if text is None:
        return []
    if not text.startswith("["):
        return [Place.parse(text)]
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [Place.parse(each) for each in found] if isinstance(found, list) else []


def write_places(places: Sequence[Place | None]) -> str | None:
    """One place as it is, several as a JSON list with null for what is nowhere; None when nothing is."""
    texts = [None if place is None else str(place) for place in places]
    if not any(texts):
        return None
    return texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False)


def directory_for(
    desk: Desk, tree: str, parents: Sequence[str], name: str
) -> tuple[Directory, Sequence[str], str]:
    """The directory for a file, made if need be, its parents below the tree, and the name it shall have."""
    try:
        return desk.directory([tree, *parents]), parents, name
    except NotADirectoryError:
        # A receipt is named like this one's directory (or somebody planted a link): one flat name then.
        return desk.directory([tree]), (), "__".join([*parents, name])


def candidates(name: str, mark: str) -> Iterator[str]:
    """name, "name (2)" … "name (9)", then with a mark nobody else has; the first that is free is taken."""
    for number in range(1, 10):
        yield marked(name, str(number) if number > 1 else "")
    yield marked(name, mark)
    number = 1
    while True:
        number += 1
        yield marked(name, f"{mark}-{number}")


class Delivery:
    """One document on its way to its place. `others` are the places of documents of the same report."""

    def __init__(
        self,
        desk: Desk,
        report: Report,
        document: Document,
        *,
        tree: str,
        old: Place | None,
        others: Sequence[Place],
    ) -> None:
        self._desk = desk
        self._report = report
        self._tree = tree
        self._old = old
        self._document = document
        self._others = {other.folded: other for other in others}
        text: Callable[[Report, Document, str], str] | None = reason_text if tree == REJECTED else None
        self._suffix = REASON_SUFFIX
        if tree == UPLOADED and report.repeat:
            text, self._suffix = repeat_text, REPEAT_SUFFIX
        self._text = text

    def place(self) -> Place | None:
        """None when the file is nowhere any more: not where it was, and purged from the spool."""
        *parents, name = self._wanted()
        place = self._where_it_is() or self._bring(parents, name)
        if place is None:
            return None
        directory = self._desk.directory([place.tree, *place.parents])
        if self._text is not None:
            name = place.name + self._suffix
            inode = self._desk.write_note(
                directory, name, self._text(self._report, self._document, place.name)
            )
            self._remember("/".join((place.tree, *place.parents, name)), inode)
        directory.sync()
        return place

    def _wanted(self) -> list[str]:
        """The parts of its own path, as far as they can be names; else one name."""
        parts = own_path(self._report, self._document).split("/")
        if not are_names(parts) or len(parts) > DEEPEST:
            return [display_name(self._document.filename)]
        return [*(_fitting(part) for part in parts[:-1]), parts[-1]]

    def _where_it_is(self) -> Place | None:
        old = self._old
        if old is None or old.tree != self._tree:
            return None
        with suppress(FileNotFoundError):
            directory = self._desk.root.below([old.tree, *old.parents])
            if self._desk.holds(directory, old.name, self._document) and self._may_have_note(
                directory, old.name
            ):
                return old
        return None

    def _bring(self, parents: Sequence[str], name: str) -> Place | None:
        directory, parents, name = directory_for(self._desk, self._tree, parents, name)
        for candidate in candidates(name, self._document.sha256[:8]):
            place = Place(self._tree, tuple(parents), candidate)
            if self._is_a_twin(place) or not self._may_have_note(directory, candidate):
                continue
            if directory.look(candidate) is None:
                with suppress(FileExistsError):
                    return place if self._put(directory, place) else None
            elif self._desk.holds(directory, candidate, self._document):
                return place
        raise AssertionError("candidates never end")

    def _is_a_twin(self, place: Place) -> bool:
        """Whether a document of this report has a name that is the same but for its case."""
        return self._others.get(place.folded, place) != place

    def _may_have_note(self, directory: Directory, name: str) -> bool:
        note = name + self._suffix
        return (
            self._text is None
            or directory.look(note) is None
            or self._desk.is_note_on(directory, note, self._report.receipt)
        )

    def _put(self, directory: Directory, place: Place) -> bool:
        """Move the file from its old place, else link or copy it from the spool. False: there is none."""
        if self._old is not None:
            with suppress(FileNotFoundError):
                source = self._desk.root.below([self._old.tree, *self._old.parents])
                if self._desk.holds(source, self._old.name, self._document):
                    found = source.look(self._old.name)
                    if found is not None:
                        self._remember(str(place), found.st_ino)
                        rename_new(source, self._old.name, directory, place.name)
                        return True
        try:
            if self._tree == UPLOADED and self._link(directory, place):
                return True
            self._copy(directory, place)
        except FileNotFoundError:
            if self._document.path.exists():
                raise  # the directory went away just now; the next try makes it again
            return False
        return True

    def _link(self, directory: Directory, place: Place) -> bool:
        """Only what is uploaded shares its bytes with the spool; what may be retried gets a copy."""
        spooled = self._document.path
        if spooled.stat().st_dev != directory.stat().st_dev:
            return False
        descriptor = os.open(spooled, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not self._desk.give_manners(descriptor):
                return False
            self._remember(str(place), os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)
        try:
            os.link(spooled, place.name, dst_dir_fd=directory.descriptor, follow_symlinks=False)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError:
            return False  # no hard links here, or too many of this one
        return True

    def _copy(self, directory: Directory, place: Place) -> None:
        with self._document.path.open("rb") as original:
            temporary, inode = self._desk.write_tmp(iter(lambda: original.read(PIECE_BYTES), b""))
        try:
            self._remember(str(place), inode)
            rename_new(self._desk.tmp, temporary, directory, place.name)
        except OSError:
            self._desk.tmp.remove(temporary)
            raise

    def _remember(self, path: str, inode: int) -> None:
        if self._tree == UPLOADED:
            remember(self._desk.own, path, inode, self._report.at)


def _fitting(part: str) -> str:
    """A directory's name, cut if no file system would take it."""
    return part if len(os.fsencode(part)) <= NAME_BYTES else marked(part, "", room_bytes=0)
