"""JPEG files taken apart without a decoder: ITU-T T.81 annex B, and the APPn segments that hold metadata.

The walk finds what was cut off and how large the picture is before anything is unpacked. Personal data goes
by leaving segments out: no sample is touched. What phones append after the picture (a gain map, the second
picture of an MPO, a motion photo) is not shown by viewers, and the receipt is the first picture.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from ingestd.normalizer import metadata
from ingestd.normalizer.exchange import Found, Problem

# Inside entropy-coded data FF is followed by 00 or RSTn (D0-D7); before a marker any number of fill bytes FF
# may stand. So one search finds the next segment and skips coded data. (With a `+` for the fill bytes it
# would be nine times slower.)
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2 = 0xE0, 0xE1, 0xE2
_APPLICATION = range(0xE0, 0xF0)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODABLE_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive with Huffman codes: what every viewer and libjpeg decode."""

_JFIF, _ICC, _EXIF = b"JFIF\0", b"ICC_PROFILE\0", b"Exif\0\0"
_ICC_HEADER_BYTES = 14
_JFIF_BYTES_WITHOUT_THUMBNAIL = 14
_PADDING = b"\0\t\n\r "


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A marker segment: data[start:end] holds it all, `content` is what follows its length."""

    marker: int
    content: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """What the walk found out. Sizes in pixels; `end` is where the first picture ends, in bytes."""

    width: int
    height: int
    components: int
    segments: tuple[Segment, ...]
    end: int

    @property
    def exif(self) -> bytes | None:
        """The TIFF structure of the first EXIF block."""
        return next(
            (s.content[6:] for s in self.segments if s.marker == _APP1 and s.content.startswith(_EXIF)), None
        )

    @property
    def profile(self) -> bytes | None:
        """The ICC profile, which lies in segments with numbers (ICC.1 annex B.4)."""
        parts = sorted(
            (s.content[12], s.content[14:])
            for s in self.segments
            if s.marker == _APP2 and s.content.startswith(_ICC) and len(s.content) > _ICC_HEADER_BYTES
        )
        return b"".join(part for _number, part in parts) or None

    @property
    def dpi(self) -> float | None:
        """Of the JFIF header (version 1.02): units 1 are inches, 2 centimetres."""
        for segment in self.segments:
            if segment.marker == _APP0 and segment.content.startswith(_JFIF) and len(segment.content) >= 12:
                units, _across, down = struct.unpack(">BHH", segment.content[7:12])
                return {1: 1.0, 2: 2.54}.get(units, 0.0) * down or None
        return None

    @property
    def orientation(self) -> int:
        return metadata.orientation(self.exif)


def read(data: bytes) -> Jpeg:
    """Raises Found: TRUNCATED, CORRUPT, UNSUPPORTED."""
    segments: list[Segment] = []
    frame: Segment | None = None
    scans = 0
    for segment in _segments(data):
        if segment.marker == _EOI:
            if frame is None or scans == 0:
                raise Found(Problem.CORRUPT)
            return _jpeg(frame, tuple(segments), segment.end)
        if segment.marker in _FRAMES and frame is None:
            frame = segment
        scans += segment.marker == _SOS
        if segment.marker in _APPLICATION or segment.marker == _COM:
            segments.append(segment)
    raise Found(Problem.TRUNCATED)


def has_personal_data(data: bytes, jpeg: Jpeg) -> bool:
    return any(map(_is_personal, jpeg.segments)) or bool(data[jpeg.end :].strip(_PADDING))


def without_personal_data(data: bytes, jpeg: Jpeg) -> bytes:
    """The same file without the segments that may tell more than the picture does; `data` itself where there
    are none. When one goes, all EXIF goes. What the samples need to look right stays: ICC, JFIF, Adobe.
    """
    if not has_personal_data(data, jpeg):
        return data
    pieces = []
    position = 0
    for segment in jpeg.segments:
        is_exif = segment.marker == _APP1
        if is_exif or _is_personal(segment):
            pieces.append(data[position : segment.start])
            position = segment.end
            if segment.marker == _APP0 and segment.content.startswith(_JFIF):
                pieces.append(_jfif_without_thumbnail(segment))
    return b"".join([*pieces, data[position : jpeg.end]])


def without_trailer(data: bytes, jpeg: Jpeg) -> bytes:
    """Only the first picture."""
    return data[: jpeg.end]


def _segments(data: bytes) -> Iterator[Segment]:
    """Up to and with the end of the image, or until there is no whole segment any more."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, start = found[1][0], found.start()
        if marker == _EOI:
            yield Segment(marker=marker, content=b"", start=start, end=found.end())
            return
        length = int.from_bytes(data[found.end() : found.end() + 2], "big")
        end = found.end() + length
        if found.end() + max(length, 2) > len(data):
            return
        if length < 2 or marker == _SOI:
            raise Found(Problem.CORRUPT)
        yield Segment(marker=marker, content=data[found.end() + 2 : end], start=start, end=end)
        position = end


def _jpeg(frame: Segment, segments: tuple[Segment, ...], end: int) -> Jpeg:
    """T.81 B.2.2: precision, lines, samples per line, components."""
    if len(frame.content) < 6:
        raise Found(Problem.CORRUPT)
    precision, height, width, components = struct.unpack(">BHHB", frame.content[:6])
    if not width or not height:
        raise Found(Problem.CORRUPT)
    if precision != 8 or frame.marker not in _DECODABLE_FRAMES or components not in (1, 3, 4):
        raise Found(Problem.UNSUPPORTED)
    return Jpeg(width=width, height=height, components=components, segments=segments, end=end)


def _is_personal(segment: Segment) -> bool:
    match segment.marker:
        case 0xE0:  # _APP0; JFXX holds a thumbnail and nothing else
            return (
                not segment.content.startswith(_JFIF) or len(segment.content) > _JFIF_BYTES_WITHOUT_THUMBNAIL
            )
        case 0xE1:  # _APP1; what is not EXIF is XMP
            return not segment.content.startswith(_EXIF) or metadata.is_personal_exif(segment.content[6:])
        case 0xE2:  # _APP2; the others are indexes of further pictures
            return not segment.content.startswith(_ICC)
        case 0xEC:  # _APP12
            return not segment.content.startswith(b"Ducky")
        case 0xEE:  # _APP14
            return not segment.content.startswith(b"Adobe")
        case 0xFE:  # _COM
            return metadata.is_personal_text(segment.content)
    return True


def _jfif_without_thumbnail(segment: Segment) -> bytes:
    """JFIF 1.02: version, units, densities stay; the thumbnail is of no size."""
    header = segment.content[: _JFIF_BYTES_WITHOUT_THUMBNAIL - 2].ljust(12, b"\0") + b"\0\0"
    return b"\xff\xe0" + struct.pack(">H", len(header) + 2) + header
