"""ZIP archives as people, mail programs and attackers make them. Member names are data."""

import io
import struct
import zipfile
from collections.abc import Sequence

from ingestd import samples
from tests.traps.squeezing import raw_zeros

EVIL_NAMES = (
    "../../etc/passwd.jpg",
    "/etc/cron.d/receipt.jpg",
    "..\\..\\windows\\receipt.jpg",
    "C:\\receipt.jpg",
    "...",
)


def plain() -> bytes:
    """Three receipts, a folder, an empty file and what macOS adds."""
    return packed(
        [
            ("taxi.jpg", samples.small_jpeg(1)),
            ("hotel/", b""),
            ("hotel/bill.pdf", samples.small_pdf(2)),
            ("hotel/bar.png", samples.small_png(3)),
            ("hotel/empty.txt", b""),
            ("__MACOSX/._taxi.jpg", b"\0\5\x16\7" + bytes(50)),
        ]
    )


def nested(depth: int) -> bytes:
    """One receipt in so many archives, one in the other."""
    document = packed([("taxi.jpg", samples.small_jpeg(1))])
    for level in range(1, depth):
        document = packed([(f"level{level}.zip", document)])
    return document


def with_evil_names() -> bytes:
    return packed([(name, samples.small_jpeg(number)) for number, name in enumerate(EVIL_NAMES)])


def with_undecodable_name() -> bytes:
    """Bytes that are no UTF-8 under a flag that says they are (APPNOTE.TXT appendix D)."""
    name = b"re\xe7u-\xff.jpg"
    document = bytearray(packed([("x" * len(name), samples.small_jpeg(1))]))
    for signature, flags_at, name_at in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        at = document.index(signature)
        document[at + flags_at : at + flags_at + 2] = struct.pack("<H", 0x800)
        document[at + name_at : at + name_at + len(name)] = name
    return bytes(document)


def with_password() -> bytes:
    """Traditional encryption (APPNOTE.TXT 6.1); the bytes are not worth decrypting, the flag says it."""
    document = bytearray(packed([("taxi.jpg", samples.small_jpeg(1))]))
    for signature, flags_at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        document[document.index(signature) + flags_at] |= 1
    return bytes(document)


def broken() -> bytes:
    """The member's bytes are not those its checksum was made of."""
    document = bytearray(packed([("taxi.jpg", samples.small_jpeg(1))], method=zipfile.ZIP_STORED))
    document[len(document) // 2] ^= 0x55
    return bytes(document)


def empty() -> bytes:
    return packed([])


# --- bombs -------------------------------------------------------------------------------------------------


def bomb_by_ratio(unpacked_bytes: int = 2_000_000_000) -> bytes:
    """Zeros, a thousand to one, told to be a small picture by their head."""
    body = raw_zeros(unpacked_bytes, head=b"\xff\xd8\xff\xe0")
    return _raw([("photo.jpg", body, unpacked_bytes + 4)])


def bomb_by_overlap(members: int = 150) -> bytes:
    """Every entry of the directory points at the same bytes: 150 members of 10 MB in a file of 30 KB."""
    body = raw_zeros(10_000_000, head=b"\xff\xd8\xff\xe0")
    return _raw([("a.jpg", body, 10_000_004)], repeat=members)


def bomb_by_count(members: int = 20_000) -> bytes:
    """So many names, each of nothing."""
    return packed([(f"{number:06}.jpg", b"\xff") for number in range(members)], method=zipfile.ZIP_STORED)


def zip_of_zips(width: int = 10, depth: int = 6) -> bytes:
    """Ten archives in each of ten archives …: a million pictures."""
    document = packed([("taxi.jpg", bytes(1 << 20))])
    for _ in range(depth):
        document = packed([(f"{number}.zip", document) for number in range(width)])
    return document


def packed(members: Sequence[tuple[str, bytes]], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            entry = zipfile.ZipInfo()  # carries a fixed date; takes the name as it is
            entry.filename = name
            archive.writestr(entry, content, method)
    return buffer.getvalue()


def _raw(members: Sequence[tuple[str, bytes, int]], *, repeat: int = 1) -> bytes:
    """An archive of deflated bodies that may lie about their size; `repeat` lists each so many times."""
    document, directory, listed = bytearray(), bytearray(), 0
    for name, body, claimed in members:
        offset, raw = len(document), name.encode()
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, 0, len(body), claimed, len(raw), 0)
        document += b"PK\3\4" + fields + raw + body
        for _ in range(repeat):
            directory += b"PK\1\2\x14\0" + fields + struct.pack("<HHHII", 0, 0, 0, 0, offset) + raw
            listed += 1
    end = struct.pack("<HHHHIIH", 0, 0, listed, listed, len(directory), len(document), 0)
    return bytes(document + directory + b"PK\5\6" + end)
