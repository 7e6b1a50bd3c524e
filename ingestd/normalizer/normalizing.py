"""The normalizer: does this document become a receipt image as it is?

Cheap questions first, here in the daemon: how many documents, how large, which type by its first bytes. Then
the document goes to a limited process, by path, and only a verdict comes back. A document that is sound is
sent unchanged: the receipt image is the spool file itself.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ingestd import sniff
from ingestd.domain.document import Document, InvalidDocument, ReceiptImage
from ingestd.interfaces import Limits
from ingestd.normalizer import reasons
from ingestd.normalizer.exchange import Finding, InspectionRequest, MalformedAnswer, read_answer
from ingestd.offload.errors import WorkerLost
from ingestd.settings import PreparationSettings

INSPECTABLE = frozenset({sniff.PDF, sniff.JPEG, sniff.PNG})


class Offload(Protocol):
    """Runs `inspection.inspect` in a limited process."""

    async def run(self, request: Mapping[str, object], inputs: Sequence[Path]) -> Mapping[str, object]:
        """Raises WorkerLost when the process was ended by its limits or ended itself."""
        ...


class InspectingNormalizer:
    """Accepts sound PDF, JPEG and PNG documents, one for each receipt."""

    def __init__(self, offload: Offload, settings: PreparationSettings) -> None:
        self._offload = offload
        self._settings = settings

    async def normalize(
        self, documents: Sequence[Document], limits: Limits
    ) -> ReceiptImage | InvalidDocument:
        """The document itself as a ReceiptImage, or why it is none.

        Raises OSError when the spool can't be read, and OffloadBroken: broken machinery.
        """
        if not documents:
            return reasons.nothing_to_send()
        if len(documents) > 1:
            return reasons.several_documents([document.filename for document in documents])
        document = documents[0]
        if document.size == 0:
            return reasons.empty(document)
        if document.size > limits.max_bytes:
            return reasons.too_large(document, limits)
        head, tail = await asyncio.to_thread(_ends, document.path)
        mime_type = sniff.sniff(head, tail)
        if mime_type not in limits.types or mime_type not in INSPECTABLE:
            if not head.strip(b"\0"):
                return reasons.only_zeros(document)
            return reasons.wrong_format(document, mime_type, limits)
        return await self._inspected(document, mime_type, limits)

    async def _inspected(
        self, document: Document, mime_type: str, limits: Limits
    ) -> ReceiptImage | InvalidDocument:
        request = InspectionRequest(
            mime_type=mime_type,
            size=document.size,
            level=self._settings.inspect,
            max_pixels=self._settings.max_pixels,
            max_pages=limits.max_pages,
        )
        try:
            answer = read_answer(await self._offload.run(request.write(), [document.path]))
        except WorkerLost as lost:
            return reasons.inspection_died(document, lost.kind)
        except MalformedAnswer:  # a parser that was taken over costs its own document only
            return reasons.inspection_died(document, "crash")
        if isinstance(answer, Finding):
            return reasons.unsound(document, mime_type, answer)
        return ReceiptImage(
            path=document.path,
            mime_type=mime_type,
            size=document.size,
            pages=answer.pages,
            sha256=document.sha256,
        )


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(sniff.HEAD_BYTES)
        size = file.seek(0, 2)
        file.seek(max(0, size - sniff.TAIL_BYTES))
        return head, file.read(sniff.TAIL_BYTES)
