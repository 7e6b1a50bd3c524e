"""ZIP archives: their members, unpacked one behind the other into one output. Runs in a limited process.

Everything an archive says of itself is a claim: sizes are counted while unpacking, names are passed on as
data and never used. Count, bytes, ratio and depth are bounded; an archive beyond a bound is refused as a
whole, so that nobody has to find out which of its receipts are missing.
"""

import bz2
import io
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, field

from ingestd import samples, sniff
from ingestd.normalizer.exchange import Found, Listing, Member, Problem, UnpackRequest
from ingestd.normalizer.outputs import write

_PIECE_BYTES = 1 << 18
_RATIO_FROM_BYTES = 10_000_000
"""Below this an archive may pack as well as it likes: a blank scan does, and it costs nothing."""
_ENCRYPTED = 0x1  # general purpose bit 0 (APPNOTE.TXT 4.4.4)
_JUNK = frozenset({".ds_store", "thumbs.db", "desktop.ini"})

# What zipfile and the decompressors raise on bad archives. MemoryError passes: it is a limit.
_ZIP_ERRORS = (
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def unpack(archive: bytes, output: int, asked: UnpackRequest) -> Listing:
    """Writes the members to the descriptor `output`.

    Raises Found: CORRUPT, UNSUPPORTED, LOCKED_MEMBERS, TOO_MANY_MEMBERS, UNPACKS_TOO_LARGE, NESTED_TOO_DEEP,
    NO_MEMBERS.
    """
    work = _Unpacking(output, asked, len(archive))
    work.unpack(archive, prefix="", depth=1)
    if not work.members:
        raise Found(Problem.NO_MEMBERS)
    return Listing(members=tuple(work.members), passed_over=tuple(work.passed_over))


def warm_up() -> None:
    """Unpacks a tiny archive, with each way of packing."""
    for data in (bz2.compress(b"x"), lzma.compress(b"x")):
        assert data
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
            archive.writestr(zipfile.ZipInfo(f"{method}.pdf"), samples.small_pdf(method), method)
    with zipfile.ZipFile(buffer) as archive:
        for entry in archive.infolist():
            assert archive.read(entry)


@dataclass(slots=True)
class _Unpacking:
    output: int
    asked: UnpackRequest
    packed_bytes: int
    written_bytes: int = 0
    members: list[Member] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)

    def unpack(self, archive: bytes, *, prefix: str, depth: int) -> None:
        if depth > self.asked.max_depth:
            raise Found(Problem.NESTED_TOO_DEEP, limit=self.asked.max_depth)
        try:
            with zipfile.ZipFile(io.BytesIO(archive)) as opened:
                for entry in opened.infolist():
                    if not entry.is_dir() or entry.file_size:
                        self._take(opened, entry, prefix, depth)
        except NotImplementedError as error:  # a way of packing, or several disks, that zipfile doesn't know
            raise Found(Problem.UNSUPPORTED) from error
        except _ZIP_ERRORS as error:
            raise Found(Problem.CORRUPT) from error

    def _take(self, opened: zipfile.ZipFile, entry: zipfile.ZipInfo, prefix: str, depth: int) -> None:
        name = prefix + entry.filename
        if entry.flag_bits & _ENCRYPTED:
            raise Found(Problem.LOCKED_MEMBERS)
        if _is_junk(entry.filename):
            self._pass_over(name)
            return
        offset = self.written_bytes
        with opened.open(entry) as stream:
            head = stream.read(sniff.HEAD_BYTES)
            if head.startswith(b"PK\3\4") and self._is_archive(opened, entry, head):
                self._unpack_within(self._whole(opened, entry), name, depth)
            else:  # an empty one too: it is refused with a reason, like an empty file
                self._count()
                for piece in (head, *iter(lambda: stream.read(_PIECE_BYTES), b"")):
                    self._write(piece)
                self.members.append(Member(name=name, offset=offset, size=self.written_bytes - offset))

    def _unpack_within(self, archive: bytes, name: str, depth: int) -> None:
        before = len(self.members) + len(self.passed_over)
        self.unpack(archive, prefix=f"{name}/", depth=depth + 1)
        if len(self.members) + len(self.passed_over) == before:
            self._pass_over(name)

    def _is_archive(self, opened: zipfile.ZipFile, entry: zipfile.ZipInfo, head: bytes) -> bool:
        """An Office document is a ZIP file, too; its end tells what kind it is."""
        return sniff.sniff(head, self._whole(opened, entry)[-sniff.TAIL_BYTES :]) == sniff.ZIP

    def _whole(self, opened: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
        """A member in memory, within the bounds of the whole archive."""
        with opened.open(entry) as stream:
            data = stream.read(self.asked.max_bytes - self.written_bytes + 1)
        self._check_room(len(data))
        return data

    def _pass_over(self, name: str) -> None:
        self._count()
        self.passed_over.append(name)

    def _count(self) -> None:
        if len(self.members) + len(self.passed_over) >= self.asked.max_members:
            raise Found(Problem.TOO_MANY_MEMBERS, limit=self.asked.max_members)

    def _write(self, piece: bytes) -> None:
        self._check_room(len(piece))
        write(self.output, piece)
        self.written_bytes += len(piece)

    def _check_room(self, more_bytes: int) -> None:
        total = self.written_bytes + more_bytes
        by_ratio = max(_RATIO_FROM_BYTES, self.packed_bytes * self.asked.max_ratio)
        limit = min(self.asked.max_bytes, by_ratio)
        if total > limit:
            raise Found(Problem.UNPACKS_TOO_LARGE, limit=limit)


def _is_junk(name: str) -> bool:
    """What operating systems put into every archive they make."""
    parts = name.replace("\\", "/").split("/")
    return parts[0] == "__MACOSX" or parts[-1].lower() in _JUNK or parts[-1].startswith("._")
