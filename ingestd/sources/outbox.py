"""uploaded/ and rejected/: the file goes where the person who dropped it can see how it ended.

Nothing there is ever overwritten, no symlink is followed, and telling the same thing twice changes nothing:
a file of ours is known by its inode or its bytes, a text of ours by the receipt ID in it. Blocking.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import assert_never

from ingestd.domain.document import Instant
from ingestd.domain.states import State
from ingestd.interfaces import Report
from ingestd.settings import FolderSettings
from ingestd.sources.claims import Claim
from ingestd.sources.desk import PIECE_BYTES, Desk
from ingestd.sources.filesystem import Directory, marked, rename_new, split_path
from ingestd.sources.junk import OWN_DIRECTORY, REJECTED, UPLOADED
from ingestd.sources.notes import REASON_SUFFIX, REPEAT_SUFFIX, reason_text, refusal_text, repeat_text
from ingestd.sources.tidying import forget_old, remember

_REFUSED = "refused"


class Outbox:
    """Places the originals of one folder. Every method raises OSError when the folder does not let it."""

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings

    def deliver(self, report: Report) -> str | None:
        """Show how the receipt stands. Returns where its file is now, relative to the folder.

        An arrival of a folder has one document; its first one is what is placed.
        """
        if not report.documents:
            return report.place
        match report.state:
            case State.UPLOADED:
                tree = UPLOADED if self._settings.uploaded else None
            case State.REJECTED | State.FAILED | State.HELD | State.UNCONFIRMED | State.DROPPED:
                tree = REJECTED if self._settings.rejected else None
            case State.RECEIVED | State.READY | State.CLAIMED | State.UPLOADING:
                return report.place
            case _:
                assert_never(report.state)
        desk = Desk(self._settings.path)
        old = _Place.parse(report.place)
        new = None if tree is None else _Delivery(desk, report, tree, old).place()
        if old is not None and old != new:
            self._take_away(desk, report, old)
        return None if new is None else str(new)

    def refuse(self, claim: Claim, reason: str, at: Instant) -> str:
        """Put a file aside that was never copied: the only one there is, so it is moved, not removed.

        With `rejected` switched off it goes to `.ingestd/refused/`, without a text.
        """
        desk = Desk(self._settings.path)
        relative = printable(claim.path)
        parents, name = split_path(relative)
        if self._settings.rejected:
            directory = desk.directory([REJECTED, *parents])
        else:
            directory = desk.own.make(_REFUSED).make(claim.id)
        source, original = claim.where()
        for candidate in _candidates(name, claim.id):
            if self._settings.rejected and directory.look(candidate + REASON_SUFFIX) is not None:
                continue
            with suppress(FileExistsError):
                rename_new(source, original, directory, candidate)
                break
        directory.sync()
        if not self._settings.rejected:
            return f"{OWN_DIRECTORY}/{_REFUSED}/{claim.id}/{candidate}"
        text = refusal_text(candidate, relative, reason, claim.id, at)
        desk.write_note(directory, candidate + REASON_SUFFIX, text)
        return "/".join((REJECTED, *parents, candidate))

    def tidy(self, now: Instant) -> int:
        """Remove from uploaded/ what was put there longer than `keep_uploaded` ago. Returns how many."""
        desk = Desk(self._settings.path)
        desk.clear_tmp()
        return forget_old(desk.root, desk.own, self._settings.keep_uploaded, now)

    def _take_away(self, desk: Desk, report: Report, old: "_Place") -> None:
        """Remove what an earlier report placed: the file if it is still ours, and its text."""
        with suppress(FileNotFoundError):
            directory = desk.root.below([old.tree, *old.parents])
            if desk.holds(directory, old.name, report.documents[0]):
                directory.remove(old.name)
            for suffix in (REASON_SUFFIX, REPEAT_SUFFIX):
                if desk.is_note_on(directory, old.name + suffix, report.receipt):
                    directory.remove(old.name + suffix)
            directory.sync()
            desk.root.child(old.tree).remove_empty(old.parents)


def printable(path: str) -> str:
    """The path as text that can be stored: undecodable bytes become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Place:
    """A file in one of our two trees."""

    tree: str
    parents: tuple[str, ...]
    name: str

    @classmethod
    def parse(cls, text: str | None) -> "_Place | None":
        """None for what does not lie in our trees: it came back from a ledger, and is data."""
        if not text:
            return None
        tree, *parts = text.split("/")
        if tree not in (UPLOADED, REJECTED) or not parts or not _are_names(parts):
            return None
        return cls(tree, tuple(parts[:-1]), parts[-1])

    def __str__(self) -> str:
        return "/".join((self.tree, *self.parents, self.name))


class _Delivery:
    """One file on its way to its place."""

    def __init__(self, desk: Desk, report: Report, tree: str, old: _Place | None) -> None:
        self._desk = desk
        self._report = report
        self._tree = tree
        self._old = old
        self._document = report.documents[0]
        text: Callable[[Report, str], str] | None = reason_text if tree == REJECTED else None
        self._suffix = REASON_SUFFIX
        if tree == UPLOADED and report.repeat:
            text, self._suffix = repeat_text, REPEAT_SUFFIX
        self._text = text

    def place(self) -> _Place | None:
        """None when the file is nowhere any more: not where it was, and purged from the spool."""
        parts = self._report.origin.path.split("/")
        if not _are_names(parts):
            parts = [self._document.filename]
        place = self._where_it_is() or self._bring(parts[:-1], parts[-1])
        if place is None:
            return None
        directory = self._desk.directory([place.tree, *place.parents])
        if self._text is not None:
            name = place.name + self._suffix
            inode = self._desk.write_note(directory, name, self._text(self._report, place.name))
            self._remember("/".join((place.tree, *place.parents, name)), inode)
        directory.sync()
        return place

    def _where_it_is(self) -> _Place | None:
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

    def _bring(self, parents: list[str], name: str) -> _Place | None:
        try:
            directory = self._desk.directory([self._tree, *parents])
        except NotADirectoryError:
            # A receipt is named like this one's directory (or somebody planted a link): one flat name then.
            name, parents = "__".join([*parents, name]), []
            directory = self._desk.directory([self._tree])
        for candidate in _candidates(name, self._document.sha256[:8]):
            place = _Place(self._tree, tuple(parents), candidate)
            if not self._may_have_note(directory, candidate):
                continue
            if directory.look(candidate) is None:
                with suppress(FileExistsError):
                    return place if self._put(directory, place) else None
            elif self._desk.holds(directory, candidate, self._document):
                return place
        raise AssertionError("candidates never end")

    def _may_have_note(self, directory: Directory, name: str) -> bool:
        note = name + self._suffix
        return (
            self._text is None
            or directory.look(note) is None
            or self._desk.is_note_on(directory, note, self._report.receipt)
        )

    def _put(self, directory: Directory, place: _Place) -> bool:
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

    def _link(self, directory: Directory, place: _Place) -> bool:
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

    def _copy(self, directory: Directory, place: _Place) -> None:
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


def _candidates(name: str, mark: str) -> Iterator[str]:
    """name, "name (2)" … "name (9)", then with a mark nobody else has; the first that is free is taken."""
    for number in range(1, 10):
        yield marked(name, str(number) if number > 1 else "")
    yield marked(name, mark)
    number = 1
    while True:
        number += 1
        yield marked(name, f"{mark}-{number}")


def _are_names(parts: list[str]) -> bool:
    return all(part not in ("", ".", "..") and "\0" not in part for part in parts)
