"""The zip itself: written in one pass, byte for byte the same for the same receipts.

Nothing is compressed and no time is taken from a clock, so the bytes depend on no version of zlib and on no
hour; originals don't shrink anyway. Memory holds one piece of a file at a time.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import BinaryIO, Literal

from ingestd.domain.errors import IngestdError
from ingestd.evidence.naming import safe_name
from ingestd.evidence.wording import readme

FORMAT = 1
"""Of manifest.json and of what it names."""

PIECE_BYTES = 1 << 20

Kind = Literal["original", "sent", "archive"]
Why = Literal["purged", "missing", "damaged"]

_FOLDERS: Mapping[Kind, str] = {"original": "originals", "sent": "sent", "archive": "archives"}
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can name (APPNOTE.TXT 4.4.6)."""
_UNIX = 3
_FILE_MODE = 0o100644 << 16
_VERIFY = resources.files("ingestd.evidence").joinpath("verify.py").read_bytes()
"""Read when this is loaded: a command that becomes the storage's owner later may not be able to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes of the spool: `size` of them with this sha256 at `path`. `kept` False: they were purged."""

    kind: Kind
    filename: str
    sha256: str
    size: int
    path: Path
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One receipt. `title` is a line for people; `records` are JSON documents by file name.

    One of them is history.json, a list of rows that ends at `version` with the digest `head`. The same
    archive may be a piece of several cases; it is written once.
    """

    receipt: str
    title: str
    version: int
    head: str
    records: Mapping[str, object]
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A piece that is not in the bundle, under the name that it would have there."""

    receipt: str
    name: str
    piece: Piece
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`files` counts the members; what is absent is named in the bundle, too."""

    files: int
    absent: Sequence[Absent]


class ChangedWhileRead(IngestdError):
    """A file of the spool changed while it was copied; try again."""


def write_bundle(file: BinaryIO, cases: Sequence[Case], *, folder: str) -> Written:
    """Write the zip at the beginning of an empty, seekable file; all members are below `folder`.

    Raises ChangedWhileRead, and OSError when `file` can't be written.
    """
    absent = list(_absent(cases))
    missing = {(one.receipt, one.name) for one in absent}
    with zipfile.ZipFile(file, "w") as archive:
        bundle = _Bundle(archive, folder)
        told = [
            f"{one.name}: {one.why}; {one.piece.size:,} bytes, sha256 {one.piece.sha256}" for one in absent
        ]
        titles = [f"{_folder(n)}  {case.receipt}  {case.title}" for n, case in enumerate(cases, 1)]
        bundle.add("README.txt", readme(titles, told).encode(), kind="text")
        bundle.add("verify.py", _VERIFY, kind="text")
        for number, case in enumerate(cases, 1):
            for name, record in case.records.items():
                bundle.add(f"{_folder(number)}/{name}", _json(record), kind="record", receipt=case.receipt)
        for case, name, piece in _named(cases):
            if (case.receipt, name) not in missing:
                bundle.copy(name, piece, receipt=case.receipt)
        files = bundle.close(cases, absent)
    return Written(files=files, absent=absent)


class _Bundle:
    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        self._archive = archive
        self._top = folder
        self._members: list[dict[str, object]] = []

    def add(self, name: str, content: bytes, *, kind: str, receipt: str | None = None) -> None:
        self._archive.writestr(self._entry(name, len(content)), content)
        self._tell(name, len(content), hashlib.sha256(content).hexdigest(), kind, receipt)

    def copy(self, name: str, piece: Piece, *, receipt: str) -> None:
        digest = hashlib.sha256()
        with self._archive.open(self._entry(name, piece.size), "w") as member:
            for part in _parts(piece.path):
                digest.update(part)
                member.write(part)
        if digest.hexdigest() != piece.sha256:
            raise ChangedWhileRead(f"{piece.path} changed while it was copied; try again")
        self._tell(name, piece.size, piece.sha256, piece.kind, receipt)

    def close(self, cases: Sequence[Case], absent: Sequence[Absent]) -> int:
        """The manifest, which names all but itself. How many files there are."""
        manifest = {
            "format": FORMAT,
            "receipts": [
                {"id": case.receipt, "folder": _folder(n), "version": case.version, "head": case.head}
                for n, case in enumerate(cases, 1)
            ],
            "members": self._members,
            "absent": [
                {"name": one.name, "size": one.piece.size, "sha256": one.piece.sha256, "why": one.why,
                 "receipt": one.receipt}
                for one in absent
            ],
        }  # fmt: skip
        content = _json(manifest)
        self._archive.writestr(self._entry("manifest.json", len(content)), content)
        return len(self._members) + 1

    def _entry(self, name: str, size: int) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(f"{self._top}/{name}", date_time=_EPOCH)
        entry.compress_type = zipfile.ZIP_STORED
        entry.create_system = _UNIX
        entry.external_attr = _FILE_MODE
        entry.file_size = size  # so that it is known beforehand whether ZIP64 is needed
        return entry

    def _tell(self, name: str, size: int, sha256: str, kind: str, receipt: str | None) -> None:
        self._members.append({"name": name, "size": size, "sha256": sha256, "kind": kind, "receipt": receipt})


def _named(cases: Sequence[Case]) -> Iterator[tuple[Case, str, Piece]]:
    """Every piece with its name; an archive once, with the first receipt that came out of it."""
    archives: set[str] = set()
    for number, case in enumerate(cases, 1):
        counted = dict.fromkeys(_FOLDERS, 0)
        for piece in case.pieces:
            if piece.kind == "archive":
                if piece.sha256 in archives:
                    continue
                archives.add(piece.sha256)
                yield case, f"archives/{safe_name(piece.filename, len(archives))}", piece
            else:
                counted[piece.kind] += 1
                name = safe_name(piece.filename, counted[piece.kind])
                yield case, f"{_folder(number)}/{_FOLDERS[piece.kind]}/{name}", piece


def _absent(cases: Sequence[Case]) -> Iterator[Absent]:
    for case, name, piece in _named(cases):
        why = _why_absent(piece)
        if why is not None:
            yield Absent(receipt=case.receipt, name=name, piece=piece, why=why)


def _why_absent(piece: Piece) -> Why | None:
    """Read before anything is written: what a zip has begun can't be taken back."""
    if not piece.kept:
        return "purged"
    digest, size = hashlib.sha256(), 0
    try:
        for part in _parts(piece.path):
            digest.update(part)
            size += len(part)
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "damaged"  # EIO: the disk can't give it any more
    return None if (digest.hexdigest(), size) == (piece.sha256, piece.size) else "damaged"


def _parts(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while part := file.read(PIECE_BYTES):
            yield part


def _folder(number: int) -> str:
    return f"receipt-{number:02}"


def _json(document: object) -> bytes:
    """ASCII only: what a stranger's header held may fit no encoding."""
    return (json.dumps(document, indent=2) + "\n").encode()
