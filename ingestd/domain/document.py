"""What goes through the flow: a Payload as it arrived, a Document in the spool, a ReceiptImage as it is sent.

File names are data: they are shown and recorded, never used as a path.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, NewType, Protocol

from ingestd.domain.mail import MessageOrigin

Instant = NewType("Instant", int)
"""Microseconds since 1970-01-01 UTC."""

MICROSECONDS = 1_000_000

FILENAME_BYTES = 120


class OriginKind(StrEnum):
    FILE = "file"
    MAIL = "mail"
    SUBMISSION = "submission"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an arrival came from: enough for routing it, and for reporting its end to the person there.

    `path` is relative to the watched folder, with `/` between its parts; for a submission the path as typed,
    for a mail its subject made presentable. `sender` is empty for files; `mail` is set for mails.
    """

    kind: OriginKind
    source: str
    path: str
    sender: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    """More for routing (mail: from, address, subject). Routing adds source, path and filename itself."""
    mail: MessageOrigin | None = None


class Content(Protocol):
    """The bytes of a payload, read once into the spool."""

    def open(self) -> BinaryIO:
        """A fresh stream from the first byte. Raises ContentUnavailable."""
        ...

    def recheck(self) -> None:
        """After the last byte was read: raises ContentChanged when what was read may be half a file."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """One document as it arrived, not read yet. `arrived_as`: its own path when the arrival has several."""

    filename: str
    declared_type: str | None
    content: Content
    arrived_as: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document in the spool: its original bytes, fsynced, found by their sha256 (hex).

    `arrived_as` is its own path, written like Origin.path, when it is not that of the arrival: a page of a
    group (`entries/E1/page2.jpg`), a member of an archive (`batch.zip/taxi.jpg`). Data, like every name.
    """

    path: Path
    filename: str
    size: int
    sha256: str
    declared_type: str | None
    arrived_as: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptImage:
    """What will be sent: a spool file the target accepts. `path` holds `size` bytes with this sha256.

    `steps` says what was done to the documents to get it, `warnings` what a person may want to look at: plain
    sentences, in order. `fingerprint` is that of its first page (domain.likeness), None when not looked at.
    """

    path: Path
    mime_type: str
    size: int
    pages: int
    sha256: str
    steps: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidDocument:
    """Why a document can't become a receipt image, and what a clerk can do about it. Plain sentences."""

    reason: str
    fix: str
    filename: str = ""

    def __str__(self) -> str:
        return f"{self.reason} {self.fix}".strip()


def display_name(raw: str) -> str:
    """A file name fit to be shown and stored: NFC, one line, no control or bidi characters, <= 120 bytes.

    The extension survives shortening. Never empty. Undecodable bytes (surrogates) become U+FFFD.
    """
    text = raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    text = unicodedata.normalize("NFC", text).replace("/", "_").replace("\\", "_")
    text = "".join(c for c in text if unicodedata.category(c)[0] != "C").strip()
    if text in ("", ".", ".."):
        return "unnamed"
    stem, dot, extension = text.rpartition(".")
    if not stem or len(extension.encode()) > 10:
        stem, dot, extension = text, "", ""
    room = FILENAME_BYTES - len((dot + extension).encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + dot + extension
