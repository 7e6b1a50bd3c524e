"""Images compared by a limited process: of two receipts, and of what was sent with what a target gives back.

In the daemon. The bytes alone decide where they are the same; everything else is a stranger's until then.
"""

import asyncio
import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from ingestd import sniff
from ingestd.domain.document import ReceiptImage
from ingestd.normalizer.asking import Offload
from ingestd.normalizer.exchange import (
    CompareRequest,
    Input,
    MalformedAnswer,
    RecogniseRequest,
    Recognition,
    read_compared,
    read_recognised,
)
from ingestd.offload.errors import WorkerLost
from ingestd.settings import PreparationSettings

_MOST_BYTES = 120_000_000
"""Of both images together: they lie in the memory of one limited process. A download has its own bound."""
_RECOGNISABLE = frozenset({sniff.JPEG, sniff.PNG, sniff.PDF})


class Comparisons:
    """Raises OSError when a file can't be read, OffloadBroken: broken machinery."""

    def __init__(self, offload: Offload, settings: PreparationSettings) -> None:
        self._offload = offload
        self._settings = settings

    async def same(self, first: ReceiptImage, second: ReceiptImage) -> bool | None:
        """As interfaces.Normalizer has it."""
        asked = CompareRequest(
            images=(
                Input(mime_type=first.mime_type, size=first.size),
                Input(mime_type=second.mime_type, size=second.size),
            ),
            max_pixels=self._settings.max_pixels,
        )
        try:
            answer = await self._offload.run(asked.write(), [first.path, second.path])
            return read_compared(answer).same
        except (WorkerLost, MalformedAnswer):
            return None

    async def returned(self, sent: ReceiptImage, path: Path) -> Recognition:
        """What a server declared the bytes in `path` to be is not asked for: they are sniffed."""
        # One open file from here on: what was looked at is what is handed over, and it may have no name.
        with path.open("rb") as file:
            return await self._returned(sent, file)

    async def _returned(self, sent: ReceiptImage, file: BinaryIO) -> Recognition:
        size, sha256, mime_type = await asyncio.to_thread(_facts_of, file)
        if (size, sha256) == (sent.size, sent.sha256):
            return "same"
        if mime_type not in _RECOGNISABLE or size + sent.size > _MOST_BYTES:
            return "unclear"
        asked = RecogniseRequest(
            images=(
                Input(mime_type=sent.mime_type, size=sent.size),
                Input(mime_type=mime_type, size=size),
            ),
            max_pixels=self._settings.max_pixels,
        )
        try:
            return read_recognised(await self._offload.run(asked.write(), [sent.path, file.fileno()]))
        except (WorkerLost, MalformedAnswer):  # a bomb in what came back says nothing about what was sent
            return "unclear"


def _facts_of(file: BinaryIO) -> tuple[int, str, str]:
    """Size, sha256 and MIME type. Blocks."""
    descriptor = file.fileno()
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type] # any file will do
    size = os.fstat(descriptor).st_size
    head = os.pread(descriptor, sniff.HEAD_BYTES, 0)
    tail = os.pread(descriptor, sniff.TAIL_BYTES, max(0, size - sniff.TAIL_BYTES))
    return size, digest, sniff.sniff(head, tail)
