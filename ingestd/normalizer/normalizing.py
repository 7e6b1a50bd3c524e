"""The normalizer: from documents to the one image that is sent, with the help of a limited process.

Cheap questions first, here in the daemon: how many documents, how large, which types by their first bytes.
Then the documents go to a limited process, by path, and a verdict comes back. A document that is accepted as
it is becomes the image itself; else the image comes through a file of the spool, and is looked at before it
is believed: its type, its size, its place in the spool by its own hash.
"""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage, display_name
from ingestd.domain.errors import StorageExhausted
from ingestd.interfaces import Limits, Refusal, Unpacked
from ingestd.normalizer import reasons, remarks
from ingestd.normalizer.asking import Offload, stretch
from ingestd.normalizer.comparisons import Comparisons
from ingestd.normalizer.exchange import (
    Finding,
    Input,
    Listing,
    MalformedAnswer,
    OutputFull,
    Prepared,
    PrepareRequest,
    UnpackRequest,
    read_listing,
    read_prepared,
)
from ingestd.normalizer.letter_making import Letters
from ingestd.offload.errors import WorkerLost
from ingestd.settings import MEGABYTE, PreparationSettings
from ingestd.spool import Spool

PICTURES = frozenset(
    {
        sniff.JPEG,
        sniff.PNG,
        *("image/heic", "image/heif", "image/avif", "image/tiff", "image/webp", "image/gif"),
        *("image/bmp", "image/jp2"),
    }
)
CONVERTIBLE = PICTURES | {sniff.PDF}
MOST_BYTES = 200 * MEGABYTE
"""Of all documents of one receipt together: they lie in the memory of one limited process."""

MOST_MEMBERS = 200
MOST_UNPACKED_BYTES = 400 * MEGABYTE
MOST_RATIO = 100
MOST_DEPTH = 3
_THUMBNAIL_BYTES = 200_000


class PreparingNormalizer:
    """interfaces.Normalizer. Raises OSError when the spool can't be read, OffloadBroken: broken machinery."""

    def __init__(
        self, offload: Offload, spool: Spool, settings: PreparationSettings, letters: Offload | None = None
    ) -> None:
        """`letters` makes PDFs of mails (letter_making.JOB); None where that is not installed."""
        self._offload = offload
        self._spool = spool
        self._settings = settings
        self._comparisons = Comparisons(offload, settings)
        self._letters = Letters(letters, spool, settings)

    async def unpack(self, document: Document, path: str) -> Unpacked | None:
        if document.size == 0 or await asyncio.to_thread(_type_of, document.path) != sniff.ZIP:
            return None
        with self._spool.scratch() as members:
            try:
                listing = await self._listing(document, members)
                if isinstance(listing, Finding):
                    return None
                return await asyncio.to_thread(self._spool_members, listing, members, path)
            except (WorkerLost, MalformedAnswer):
                return None

    async def normalize(
        self, documents: Sequence[Document], limits: Limits, *, passwords: Sequence[str] = ()
    ) -> ReceiptImage | InvalidDocument:
        if not documents:
            return reasons.nothing_to_send()
        types = await asyncio.to_thread(lambda: [_type_of(document.path) for document in documents])
        made = await self._letters.made_of(documents, types)
        if isinstance(made, InvalidDocument):
            return made
        return made.noted_in(await self._normalized(made.documents, made.types, limits, passwords))

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool | None:
        return await self._comparisons.same(first, second)

    async def compare_returned(
        self, sent: ReceiptImage, returned: Path, declared_type: str
    ) -> Literal["same", "other", "unclear"]:
        return await self._comparisons.returned(sent, returned)

    # --- archives

    async def _listing(self, document: Document, members: BinaryIO) -> Listing | Finding:
        """Raises WorkerLost, MalformedAnswer, StorageExhausted."""
        asked = UnpackRequest(
            size=document.size,
            max_members=MOST_MEMBERS,
            max_bytes=MOST_UNPACKED_BYTES,
            max_ratio=MOST_RATIO,
            max_depth=MOST_DEPTH,
        )
        answer = await self._offload.run(asked.write(), [document.path], [members.fileno()])
        with _waiting_for_room(self._spool):
            return read_listing(answer, max_members=MOST_MEMBERS, max_bytes=MOST_UNPACKED_BYTES)

    def _spool_members(self, listing: Listing, members: BinaryIO, path: str) -> Unpacked:
        documents = []
        for member in listing.members:
            spooled = self._spool.write(stretch(members.fileno(), member.offset, member.size))
            if spooled.size != member.size:
                raise MalformedAnswer("the members are not where it says")
            name = _member_path(member.name)
            documents.append(
                Document(
                    path=spooled.path,
                    filename=name.rpartition("/")[2],
                    size=spooled.size,
                    sha256=spooled.sha256,
                    declared_type=None,
                    arrived_as=f"{path}/{name}",
                )
            )
        passed_over = [Refusal(filename=name, reason=reasons.PASSED_OVER) for name in listing.passed_over]
        return Unpacked(documents=tuple(documents), refused=tuple(passed_over))

    # --- preparing

    async def _normalized(
        self, documents: Sequence[Document], types: Sequence[str], limits: Limits, passwords: Sequence[str]
    ) -> ReceiptImage | InvalidDocument:
        for document, mime_type in zip(documents, types, strict=True):
            refused = await self._refused_unopened(document, mime_type, limits)
            if refused is not None:
                return refused
        total_bytes = sum(document.size for document in documents)
        if total_bytes > MOST_BYTES:
            return reasons.too_much(documents, total_bytes, MOST_BYTES)
        if len(documents) > 1 and sniff.PDF not in limits.types:
            return reasons.several_documents(documents)
        return await self._prepared(documents, types, limits, passwords)

    async def _refused_unopened(
        self, document: Document, mime_type: str, limits: Limits
    ) -> InvalidDocument | None:
        if document.size == 0:
            return reasons.empty(document)
        if mime_type in CONVERTIBLE:
            return None
        if mime_type == sniff.ZIP:
            return await self._refused_archive(document, limits)
        if mime_type == sniff.UNKNOWN and await asyncio.to_thread(_begins_with_zeros, document.path):
            return reasons.only_zeros(document)
        return reasons.wrong_format(document, mime_type, limits)

    async def _refused_archive(self, document: Document, limits: Limits) -> InvalidDocument:
        """An archive that intake left as a document: what is wrong with it is found out again."""
        with self._spool.scratch() as members:
            try:
                listing = await self._listing(document, members)
            except WorkerLost as lost:
                return reasons.inspection_died(document, lost.kind)
            except MalformedAnswer:
                return reasons.inspection_died(document, "crash")
        if isinstance(listing, Finding):
            return reasons.unsound(document, sniff.ZIP, listing)
        return reasons.wrong_format(document, sniff.ZIP, limits)

    async def _prepared(
        self, documents: Sequence[Document], types: Sequence[str], limits: Limits, passwords: Sequence[str]
    ) -> ReceiptImage | InvalidDocument:
        asked = PrepareRequest(
            documents=tuple(
                Input(mime_type=mime_type, size=document.size)
                for document, mime_type in zip(documents, types, strict=True)
            ),
            types=limits.types,
            max_bytes=limits.max_bytes,
            max_pages=limits.max_pages,
            level=self._settings.inspect,
            max_pixels=self._settings.max_pixels,
            strip_location=self._settings.strip_location,
            passwords=tuple(passwords) if sniff.PDF in types else (),
        )
        with ExitStack() as stack:
            image, thumbnail = (stack.enter_context(self._spool.scratch()) for _ in range(2))
            try:
                told = await self._offload.run(
                    asked.write(),
                    [document.path for document in documents],
                    [image.fileno(), thumbnail.fileno()],
                )
                with _waiting_for_room(self._spool):
                    answer = read_prepared(told)
                if isinstance(answer, Finding):
                    return self._refused(documents, types, answer)
                return await asyncio.to_thread(self._keep, documents, limits, answer, image, thumbnail)
            except WorkerLost as lost:
                return reasons.inspection_died(documents[0], lost.kind)
            except MalformedAnswer:  # a parser that was taken over costs its own documents only
                return reasons.inspection_died(documents[0], "crash")

    def _refused(
        self, documents: Sequence[Document], types: Sequence[str], finding: Finding
    ) -> InvalidDocument:
        if finding.document >= len(documents):
            raise MalformedAnswer("there is no such document")
        document = documents[finding.document]
        return reasons.unsound(document, types[finding.document], finding, of=len(documents))

    def _keep(
        self,
        documents: Sequence[Document],
        limits: Limits,
        answer: Prepared,
        image: BinaryIO,
        thumbnail: BinaryIO,
    ) -> ReceiptImage:
        """Blocks. Raises StorageExhausted, and MalformedAnswer for an image that was not asked for."""
        if answer.mime_type not in limits.types:
            raise MalformedAnswer("the image has a type that is not taken")
        if answer.as_is and len(documents) == 1:
            path, sha256, size = documents[0].path, documents[0].sha256, documents[0].size
            found = _type_of(path)
        else:
            found = _type_at(image.fileno())
            image.seek(0)  # the process shares its place in the file, and stands at the end
            spooled = self._spool.write(image)
            path, sha256, size = spooled.path, spooled.sha256, spooled.size
        if found != answer.mime_type or not 0 < size <= limits.max_bytes:
            raise MalformedAnswer("the image is not what it says")
        if answer.thumbnail:
            self._keep_thumbnail(sha256, thumbnail)
        return ReceiptImage(
            path=path,
            mime_type=answer.mime_type,
            size=size,
            pages=answer.pages,
            sha256=sha256,
            steps=remarks.sentences(answer.steps, documents),
            warnings=remarks.sentences(answer.cautions, documents),
            fingerprint=answer.fingerprint,
        )

    def _keep_thumbnail(self, sha256: str, thumbnail: BinaryIO) -> None:
        data = os.pread(thumbnail.fileno(), _THUMBNAIL_BYTES + 1, 0)
        if len(data) <= _THUMBNAIL_BYTES and sniff.sniff(data) == sniff.JPEG:
            self._spool.write_thumbnail(sha256, data)


@contextmanager
def _waiting_for_room(spool: Spool) -> Iterator[None]:
    """The documents are good, and wait."""
    try:
        yield
    except OutputFull:
        raise StorageExhausted(f"no room left in {spool.directory} for what is made there") from None


def _member_path(name: str) -> str:
    """A member's own path, made presentable: no part of it leads anywhere."""
    parts = [display_name(part) for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts[-8:]) or "unnamed"


def _type_of(path: Path) -> str:
    with path.open("rb") as file:
        return _type_at(file.fileno())


def _type_at(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, sniff.HEAD_BYTES, 0)
    return sniff.sniff(head, os.pread(descriptor, sniff.TAIL_BYTES, max(0, size - sniff.TAIL_BYTES)))


def _begins_with_zeros(path: Path) -> bool:
    with path.open("rb") as file:
        return not file.read(sniff.HEAD_BYTES).strip(b"\0")
