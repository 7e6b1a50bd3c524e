"""uploaded/ and rejected/: each file goes where the person who dropped it can see how it ended.

Nothing there is ever overwritten, no symlink is followed, and telling the same thing twice changes nothing:
a file of ours is known by its inode or its bytes, a text of ours by the receipt ID in it. Blocking.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import assert_never

from ingestd.domain.document import Document, Instant
from ingestd.domain.states import State
from ingestd.interfaces import Report
from ingestd.settings import FolderSettings
from ingestd.sources.claims import ClaimedFile
from ingestd.sources.desk import Desk
from ingestd.sources.filesystem import Directory, rename_new, split_path
from ingestd.sources.junk import OWN_DIRECTORY, REJECTED, UPLOADED
from ingestd.sources.notes import REASON_SUFFIX, REPEAT_SUFFIX, refusal_text
from ingestd.sources.placing import Delivery, Place, candidates, directory_for, parse_places, write_places
from ingestd.sources.tidying import forget_old

_REFUSED = "refused"


class Outbox:
    """Places the originals of one folder. Every method raises OSError when the folder does not let it."""

    def __init__(self, settings: FolderSettings) -> None:
        self._settings = settings

    def deliver(self, report: Report) -> str | None:
        """Show how the receipt stands, for each of its documents. Returns where they are now, as one text.

        Each document is placed by itself, so what a crash left half done is done when it is told again.
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
        old = parse_places(report.place)
        new = [] if tree is None else self._place(desk, report, tree, old)
        kept = set(new)
        for index, place in enumerate(old):
            if place is not None and place not in kept:
                documents = report.documents[index : index + 1] or report.documents
                self._take_away(desk, report, place, documents)
        return write_places(new)

    def refuse(self, file: ClaimedFile, reason: str, at: Instant) -> str:
        """Put a file aside that was never copied: the only one there is, so it is moved, not removed.

        With `rejected` switched off it goes to `.ingestd/refused/`, without a text.
        """
        desk = Desk(self._settings.path)
        relative = printable(file.path)
        parents, name = split_path(relative)
        directory: Directory
        if self._settings.rejected:
            directory, placed, name = directory_for(desk, REJECTED, parents, name)
        else:
            directory, placed = desk.own.make(_REFUSED).make(file.arrival), ()
        source, original = file.where()
        for candidate in candidates(name, file.arrival):
            if self._settings.rejected and directory.look(candidate + REASON_SUFFIX) is not None:
                continue
            with suppress(FileExistsError):
                rename_new(source, original, directory, candidate)
                break
        directory.sync()
        if not self._settings.rejected:
            return f"{OWN_DIRECTORY}/{_REFUSED}/{file.arrival}/{candidate}"
        text = refusal_text(candidate, relative, reason, file.arrival, at)
        desk.write_note(directory, candidate + REASON_SUFFIX, text)
        return "/".join((REJECTED, *placed, candidate))

    def tidy(self, now: Instant) -> int:
        """Remove from uploaded/ what was put there longer than `keep_uploaded` ago. Returns how many."""
        desk = Desk(self._settings.path)
        desk.clear_tmp()
        return forget_old(desk.root, desk.own, self._settings.keep_uploaded, now)

    def _place(
        self, desk: Desk, report: Report, tree: str, old: Sequence[Place | None]
    ) -> list[Place | None]:
        new: list[Place | None] = []
        for index, document in enumerate(report.documents):
            before = old[index] if index < len(old) else None
            others = [place for place in new if place is not None]
            delivery = Delivery(desk, report, document, tree=tree, old=before, others=others)
            new.append(delivery.place())
        return new

    def _take_away(self, desk: Desk, report: Report, old: Place, documents: Sequence[Document]) -> None:
        """Remove what an earlier report placed: the file if it is still ours, and its text."""
        with suppress(FileNotFoundError):
            directory = desk.root.below([old.tree, *old.parents])
            if any(desk.holds(directory, old.name, document) for document in documents):
                directory.remove(old.name)
            for suffix in (REASON_SUFFIX, REPEAT_SUFFIX):
                if desk.is_note_on(directory, old.name + suffix, report.receipt):
                    directory.remove(old.name + suffix)
            directory.sync()
            desk.root.child(old.tree).remove_empty(old.parents)


def printable(path: str) -> str:
    """The path as text that can be stored: undecodable bytes become U+FFFD."""
    return os.fsencode(path).decode("utf-8", "replace")
