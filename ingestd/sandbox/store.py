"""What the sandbox holds: the images it took, in order, and where each is attached.

The bytes lie in one unlinked temporary file, so that 10,000 images cost disk, not memory, and nothing is
left behind however the process ends. About 1 KB of metadata for each image stays in memory.
"""

import hashlib
import logging
import os
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestd.sandbox.slots import RECEIPT, Slot

KEPT_BYTES = 20 * 2**30
"""Beyond this much on disk only the hash of an image is kept: a benchmark must not fill the disk."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image that was taken. `number` counts from 1; `offset` is None when the bytes were not kept.

    `account` is the fingerprint of the token it came with; `at` is UTC.
    """

    number: int
    slot: str
    identifier: str | None
    image_id: str
    sha256: str
    size: int
    content_type: str
    account: str
    correlation_id: str
    at: datetime
    offset: int | None

    @property
    def place(self) -> str:
        """Where it was sent: `receipt`, `report/ID` …"""
        return str(Slot(self.slot, self.identifier))

    def as_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "slot": self.slot,
            "id": self.identifier,
            "image_id": self.image_id,
            "sha256": self.sha256,
            "size": self.size,
            "content_type": self.content_type,
            "account": self.account,
            "correlation_id": self.correlation_id,
            "at": self.at.isoformat(),
            "kept": self.offset is not None,
        }


class Images:
    """Every call is short and synchronous: what one request decides, no other can undo in between."""

    def __init__(self, directory: Path | None = None, *, kept_bytes: int = KEPT_BYTES) -> None:
        """`directory`: where the temporary file lies; default $TMPDIR, else /var/tmp (/tmp may be memory)."""
        self._file = tempfile.TemporaryFile(dir=directory or _roomy_directory(), buffering=0)  # noqa: SIM115 - lives as long as this object
        self._kept_bytes = kept_bytes
        self._clear()

    def put(
        self, slot: Slot, content: bytes | bytearray, *, content_type: str, account: str, correlation_id: str
    ) -> Image:
        """Store and attach. The image ID is new for `receipt`; other slots echo their own ID."""
        image = Image(
            number=len(self._all) + 1,
            slot=slot.kind,
            identifier=slot.identifier,
            image_id=slot.identifier or _new_image_id(),
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
            content_type=content_type,
            account=account,
            correlation_id=correlation_id,
            at=datetime.now(UTC),
            offset=self._write(content),
        )
        self._all.append(image)
        place = str(Slot(RECEIPT, image.image_id)) if slot.kind == RECEIPT else str(slot)
        self._attached.setdefault(place, []).append(image)
        return image

    def attached(self, slot: Slot) -> Sequence[Image]:
        """The images of a slot in the order they came; `receipt/ID` is the receipt with that image ID."""
        return self._attached.get(str(slot), ())

    def content(self, image: Image) -> bytes | None:
        """The bytes as they came, None when they were not kept or have been reset since."""
        if image.offset is None or self.numbered(image.number) is not image:
            return None
        return os.pread(self._file.fileno(), image.size, image.offset)

    def numbered(self, number: int) -> Image | None:
        return self._all[number - 1] if 0 < number <= len(self._all) else None

    def since(self, number: int) -> Sequence[Image]:
        """All after the first `number`."""
        return self._all[number:]

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Image]:
        return iter(self._all)

    def reset(self) -> None:
        """Forget everything and give the disk space back."""
        self._clear()
        self._file.truncate(0)

    def close(self) -> None:
        self._file.close()

    def _clear(self) -> None:
        self._all: list[Image] = []
        self._attached: dict[str, list[Image]] = {}
        self._end = 0

    def _write(self, content: bytes | bytearray) -> int | None:
        if self._end + len(content) > self._kept_bytes:
            return None
        offset, rest = self._end, memoryview(content)
        try:
            while rest:
                rest = rest[os.pwrite(self._file.fileno(), rest, offset + len(content) - len(rest)) :]
        except OSError as error:
            # A full disk: the sandbox goes on as a judge by hashes, and every listing says `kept: false`.
            _log.warning("sandbox: the bytes of an image were not kept: %s", error)
            return None
        self._end += len(content)
        return offset


def _roomy_directory() -> Path:
    roomy = Path("/var/tmp")  # noqa: S108 - file-hierarchy(7): the place for large temporary files
    if os.environ.get("TMPDIR") or not (roomy.is_dir() and os.access(roomy, os.W_OK)):
        return Path(tempfile.gettempdir())
    return roomy


def _new_image_id() -> str:
    """Opaque, 52 characters of mixed case with `$` in it, like the one in Concur's own example."""
    text = b64encode(os.urandom(39), b"xY").decode()
    return f"{text[:28]}${text[29:35]}${text[36:]}"
