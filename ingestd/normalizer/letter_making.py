"""Mails whose text is the receipt: the daemon's side. Each becomes a PDF that takes the mail's place.

The PDF is spooled, so that what follows finds a document like any other; when it is not the image in the end,
nobody refers to it, and the spool's sweep removes it. The same mail gives the same PDF.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.domain.errors import StorageExhausted
from ingestd.domain.mail import MESSAGE_TYPE
from ingestd.normalizer import reasons
from ingestd.normalizer.asking import Offload
from ingestd.normalizer.exchange import Finding, MalformedAnswer, OutputFull, Problem
from ingestd.normalizer.letter_exchange import Lettered, LetterRequest, read_lettered
from ingestd.offload.errors import WorkerLost
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool

JOB = "ingestd.normalizer.letter_work:letter"
"""What a pool for letters runs (offload.pool.Offload)."""

MOST_PAGES = 100
MADE = "The text of the mail was made into a PDF."
_PLAIN = "The layout of the mail could not be kept; only its words are shown, without its pictures."
_REMOTE = (
    "Pictures that the mail only refers to ({count}) are not shown, because nothing is fetched from the "
    "internet."
)
_UNREADABLE = (
    "Pictures in the mail can't be shown ({count}): they are missing, damaged, or of an unusual format."
)
_UNKNOWN = (
    "Some characters of the mail ({count} different ones) are not shown, because no font here has them; "
    "whoever looks after ingestd can install more fonts."
)
_CUT = "The mail is much wider than a page, and its right side is cut off."
_READ_AS = frozenset({MESSAGE_TYPE, "text/plain", "text/html", sniff.UNKNOWN})
"""What the bytes of a message look like: its first lines may be any header fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Documents and their types, with PDFs in the place of mails; what was done, and what to look at."""

    documents: tuple[Document, ...]
    types: tuple[str, ...]
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def noted_in(self, image: ReceiptImage | InvalidDocument) -> ReceiptImage | InvalidDocument:
        """What was done here comes before what was done to the image."""
        if isinstance(image, InvalidDocument):
            return image
        return replace(image, steps=self.steps + image.steps, warnings=self.warnings + image.warnings)


class Letters:
    """Makes them. `offload` None: this installation can't, and each mail is refused with what to do."""

    def __init__(self, offload: Offload | None, spool: Spool, settings: PreparationSettings) -> None:
        self._offload = offload
        self._spool = spool
        self._settings = settings

    async def made_of(self, documents: Sequence[Document], types: Sequence[str]) -> Made | InvalidDocument:
        """Raises StorageExhausted; OSError and OffloadBroken for broken machinery."""
        made = Made(documents=tuple(documents), types=tuple(types))
        for index, document in enumerate(documents):
            if not is_letter(document, types[index]):
                continue
            letter = await self._letter_of(document)
            if isinstance(letter, InvalidDocument):
                return letter
            about = f"{document.filename}: " if len(documents) > 1 else ""
            made = Made(
                documents=(*made.documents[:index], letter.document, *made.documents[index + 1 :]),
                types=(*made.types[:index], sniff.PDF, *made.types[index + 1 :]),
                steps=(*made.steps, about + MADE),
                warnings=(*made.warnings, *(about + warning for warning in letter.warnings)),
            )
        return made

    async def _letter_of(self, message: Document) -> "_Letter | InvalidDocument":
        if self._offload is None:
            return no_letters(message)
        with self._spool.scratch() as pdf:
            try:
                return await self._made(self._offload, message, pdf)
            except WorkerLost as lost:
                return reasons.inspection_died(message, lost.kind)
            except MalformedAnswer:
                return reasons.inspection_died(message, "crash")

    async def _made(self, offload: Offload, message: Document, pdf: BinaryIO) -> "_Letter | InvalidDocument":
        """With its layout, or its words alone when that is too much. Raises WorkerLost, MalformedAnswer."""
        plain = False
        try:
            answer = await self._asked(offload, message, pdf, plain=False)
        except (WorkerLost, MalformedAnswer):
            answer = Finding(problem=Problem.TOO_COMPLEX)
        if isinstance(answer, Finding) and answer.problem is Problem.TOO_COMPLEX:
            plain = True
            answer = await self._asked(offload, message, pdf, plain=True)
        if isinstance(answer, Finding):
            return reasons.unsound(message, MESSAGE_TYPE, answer)
        return await asyncio.to_thread(self._kept, message, answer, pdf, plain=plain)

    async def _asked(
        self, offload: Offload, message: Document, pdf: BinaryIO, *, plain: bool
    ) -> Lettered | Finding:
        """Raises WorkerLost, MalformedAnswer, StorageExhausted."""
        asked = LetterRequest(
            size=message.size, max_pages=MOST_PAGES, max_pixels=self._settings.max_pixels, plain=plain
        )
        answer = await offload.run(asked.write(), [message.path], [pdf.fileno()])
        try:
            return read_lettered(answer)
        except OutputFull:
            raise StorageExhausted(
                f"no room left in {self._spool.directory} for what is made there"
            ) from None

    def _kept(self, message: Document, answer: Lettered, pdf: BinaryIO, *, plain: bool) -> "_Letter":
        """Blocks. Raises StorageExhausted, and MalformedAnswer for what is no PDF."""
        if sniff.sniff(os.pread(pdf.fileno(), sniff.HEAD_BYTES, 0)) != sniff.PDF:
            raise MalformedAnswer("the letter is not what it says")
        pdf.seek(0)  # the process shares its place in the file, and stands at the end
        spooled = self._spool.write(pdf)
        document = replace(
            message, path=spooled.path, size=spooled.size, sha256=spooled.sha256, declared_type=sniff.PDF
        )
        return _Letter(document, tuple(_warnings(answer, plain=plain)))


@dataclass(frozen=True, slots=True)
class _Letter:
    document: Document
    warnings: tuple[str, ...]


def is_letter(document: Document, mime_type: str) -> bool:
    """Whether the text of this message is the receipt; `mime_type` is what its bytes look like."""
    return document.declared_type == MESSAGE_TYPE and mime_type in _READ_AS


def no_letters(message: Document) -> InvalidDocument:
    """This installation makes no PDFs of mails."""
    return InvalidDocument(
        reason="This mail has nothing attached, and its text can't be made into a PDF here, because "
        "WeasyPrint, or the Pango and the fonts that it works with, isn't installed.",
        fix="Attach the receipt to the mail, or print the mail to a PDF and attach that; or ask whoever "
        'looks after ingestd to install them (pip install "ingestd[html]", Pango, a font), and to try the '
        "receipt again.",
        filename=message.filename,
    )


def _warnings(answer: Lettered, *, plain: bool) -> Iterator[str]:
    if plain:
        yield _PLAIN
    if answer.remote:
        yield _REMOTE.format(count=answer.remote)
    if answer.unreadable:
        yield _UNREADABLE.format(count=answer.unreadable)
    if answer.unknown:
        yield _UNKNOWN.format(count=answer.unknown)
    if answer.cut:
        yield _CUT
