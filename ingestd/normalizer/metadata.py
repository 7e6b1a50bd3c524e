"""What files say beside the picture: EXIF (CIPA DC-008, a TIFF structure) and comments.

Two questions: which way up is the picture, and does it tell about a person or a place? Everything that is not
known to be harmless counts as personal: a phone maker's new tag must not pass because nobody had heard of it.
Of texts only these stay: the signature of a known encoder, and a counter (one word in small letters and a
number: "page 3"); both at most 64 bytes of plain ASCII, without addresses, paths and coordinates. Any other
comment may be a name.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_SHORT = 3

# Technical facts: size, resolution, colour, exposure, date, make and model of the camera and the lens.
_HARMLESS_TAGS = frozenset(
    {
        *range(0x0100, 0x0104), 0x0106, 0x010A, 0x010F, 0x0110, 0x0111, 0x0112, 0x0115, 0x0116, 0x0117,
        0x011A, 0x011B, 0x011C, 0x0128, 0x0131, 0x0132, 0x013E, 0x013F, 0x0211, 0x0212, 0x0213, 0x0214,
        _EXIF_IFD, 0x829A, 0x829D, 0x8822, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004,
        *range(0x9010, 0x9013), 0x9101, 0x9102, *range(0x9201, 0x9206), *range(0x9207, 0x920B),
        *range(0x9290, 0x9293), *range(0xA000, 0xA004), 0xA005, 0xA20B, 0xA20E, 0xA20F, 0xA210, 0xA215,
        0xA217, 0xA300, 0xA301, *range(0xA401, 0xA40B), 0xA40C, 0xA432, 0xA433, 0xA434, 0xA500,
    }
)  # fmt: skip
_ENTRIES = 1_000


def orientation(exif: bytes | None) -> int:
    """1 to 8 (CIPA DC-008 section 4.6.4); 1 for what says nothing, or nonsense."""
    for entry in _directory(exif or b"", _first_directory(exif or b"")):
        if entry.tag == _ORIENTATION and entry.kind == _SHORT and entry.count == 1:
            return entry.value if 1 <= entry.value <= 8 else 1
    return 1


def turned_upright(exif: bytes) -> bytes:
    """The same block, saying that the picture stands upright."""
    patched = bytearray(exif)
    for entry in _directory(exif, _first_directory(exif)):
        if entry.tag == _ORIENTATION:
            struct.pack_into(_order(exif) + "H", patched, entry.position + 8, 1)
    return bytes(patched)


def is_personal_exif(exif: bytes) -> bool:
    """Anything but the harmless: a place, a name, a serial number, a maker's note, a thumbnail, nonsense."""
    start = _first_directory(exif)
    entries = list(_directory(exif, start))
    if not entries or _next_directory(exif, start):
        return bool(exif.strip(b"\0"))  # a second directory describes a thumbnail
    nested = [entry for e in entries if e.tag == _EXIF_IFD for entry in _directory(exif, e.value)]
    return not {entry.tag for entry in (*entries, *nested)} <= _HARMLESS_TAGS


_ADDRESS = re.compile(rb"@|://|\\|/(?:home|users)/|-?\d{1,3}[.,]\d{4,}", re.IGNORECASE)
_TEXT_BYTES = 64
_SIGNATURE = re.compile(
    rb"(?:CREATOR: (?:gd-jpeg|XV|JasPer|The GIMP)|Created with (?:The )?GIMP|Lavc\d|LEAD Technologies Inc\."
    rb"|Intel\(R\) (?:JPEG Library|IPP)|AppleMark$|Optimized by JPEGmini|Compressed by jpeg-recompress$"
    rb"|Processed By eBay|File written by Adobe Photoshop|ImageMagick|GraphicsMagick|libjpeg|mozjpeg|Ducky)"
    rb"[\w .,:;()=+-]*$"
)
_COUNTER = re.compile(rb"[a-z]{1,16} \d{1,12}$")


def is_personal_text(text: bytes) -> bool:
    """Of a comment, where anything may stand."""
    line = text.strip(b"\0\r\n\t ")
    known = not line or _SIGNATURE.match(line) or _COUNTER.match(line)
    return not known or not is_short_and_plain(line)


def is_short_and_plain(text: bytes) -> bool:
    """Enough for a place where only programs write: the name of a program, a date."""
    line = text.strip(b"\0\r\n\t ")
    is_ascii = len(line) <= _TEXT_BYTES and all(32 <= byte < 127 for byte in line)
    return is_ascii and _ADDRESS.search(line) is None


@dataclass(frozen=True, slots=True)
class _Entry:
    """Of a directory. `value` is read as a SHORT for that type, else as the offset of what it points to."""

    tag: int
    kind: int
    count: int
    value: int
    position: int


def _order(exif: bytes) -> str:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4], "")


def _first_directory(exif: bytes) -> int:
    order = _order(exif)
    return struct.unpack_from(order + "I", exif, 4)[0] if order and len(exif) >= 8 else 0


def _directory(exif: bytes, start: int) -> Iterator[_Entry]:
    order = _order(exif)
    if not order or start < 8 or start + 2 > len(exif):
        return
    (count,) = struct.unpack_from(order + "H", exif, start)
    for position in range(start + 2, start + 2 + 12 * min(count, _ENTRIES), 12):
        if position + 12 > len(exif):
            return
        tag, kind, number, value = struct.unpack_from(order + "HHII", exif, position)
        if kind == _SHORT:
            (value,) = struct.unpack_from(order + "H", exif, position + 8)
        yield _Entry(tag, kind, number, value, position)


def _next_directory(exif: bytes, start: int) -> int:
    order = _order(exif)
    (count,) = struct.unpack_from(order + "H", exif, start)
    end = start + 2 + 12 * count
    return struct.unpack_from(order + "I", exif, end)[0] if end + 4 <= len(exif) else 0
