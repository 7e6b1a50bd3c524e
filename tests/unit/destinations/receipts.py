"""Receipts and images to upload, made on the spot."""

import hashlib
from pathlib import Path

from ingestd.domain.document import Instant, ReceiptImage
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import State

_SIGNATURES = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff\xe0",
    "application/pdf": b"%PDF-1.7\n",
}


def image_in(
    folder: Path, *, mime_type: str = "image/png", size: int = 100_000, seed: int = 0
) -> ReceiptImage:
    head = _SIGNATURES[mime_type]
    filling = hashlib.sha256(f"{mime_type} {size} {seed}".encode()).digest()
    content = (head + filling * (size // len(filling) + 1))[:size]
    digest = hashlib.sha256(content).hexdigest()
    path = folder / digest
    path.write_bytes(content)
    return ReceiptImage(path=path, mime_type=mime_type, size=size, pages=1, sha256=digest)


def receipt_for(slot: str, *, target: str = "concur", account: str | None = None) -> Receipt:
    return Receipt(
        id="0193-made-up",
        key="k",
        arrival="a",
        target=target,
        account=account,
        slot=slot,
        state=State.UPLOADING,
        version=4,
        attempts=0,
        due_at=Instant(0),
        received_at=Instant(0),
        updated_at=Instant(0),
        source="scanner",
        path="a.png",
        filename="a.png",
        sha256="0" * 64,
        documents=1,
    )
