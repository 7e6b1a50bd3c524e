"""PNG files taken apart without a decoder (PNG specification, third edition; APNG included).

Every chunk's length and checksum is looked at. Personal data and animations go by leaving chunks out: no
sample is touched.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ingestd.normalizer import metadata
from ingestd.normalizer.exchange import Found, Problem

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OVERHEAD_BYTES = 12  # length, type, CRC
GREY, RGB = 0, 2
_GREY_ALPHA, _RGBA = 4, 6

_ANIMATION = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PICTURE = frozenset(
    {
        *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"pHYs"),
        *(b"bKGD", b"hIST", b"sPLT", b"cICP", b"mDCV", b"cLLI", b"tIME", b"oFFs", b"sTER", b"iDOT"),
        *_ANIMATION,
    }
)
"""Chunks that say how the picture looks, or nothing about a person. iDOT helps Apple's decoder."""
_TECHNICAL_KEYWORDS = frozenset({b"Software", b"Creation Time", b"date:create", b"date:modify"})
_PADDING = b"\0\t\n\r "


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """data[start:end] holds it all; its content starts 8 bytes later and ends 4 bytes earlier."""

    kind: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Png:
    """What the walk found out. Sizes in pixels; `frames` of an animation, 1 for a still."""

    width: int
    height: int
    bit_depth: int
    colour_type: int
    interlaced: bool
    transparent: bool
    frames: int
    orientation: int
    dpi: float | None
    exif: bytes | None
    chunks: tuple[Chunk, ...]

    @property
    def end(self) -> int:
        return self.chunks[-1].end


def read(data: bytes) -> Png:
    """Raises Found: TRUNCATED, CORRUPT."""
    chunks: list[Chunk] = []
    for chunk in _chunks(data):
        if not chunks and chunk.kind != b"IHDR":
            raise Found(Problem.CORRUPT)
        chunks.append(chunk)
        if chunk.kind == b"IEND":
            return _png(data, tuple(chunks))
    raise Found(Problem.TRUNCATED)


def has_personal_data(data: bytes, png: Png) -> bool:
    return any(_is_personal(data, chunk) for chunk in png.chunks) or bool(data[png.end :].strip(_PADDING))


def without_personal_data(data: bytes, png: Png) -> bytes:
    """The same file without the chunks that may tell more than the picture does, and without what follows its
    end (a picture cropped in place leaves its old rest there); `data` itself where there is none.
    """
    if not has_personal_data(data, png):
        return data
    return _joined(data, [chunk for chunk in png.chunks if not _is_personal(data, chunk)])


def still(data: bytes, png: Png) -> bytes:
    """Only the picture that viewers show which know no animations."""
    keep = [chunk for chunk in png.chunks if chunk.kind not in _ANIMATION]
    return _joined(data, keep)


def without_trailer(data: bytes, png: Png) -> bytes:
    return data[: png.end]


def samples(data: bytes, png: Png) -> bytes:
    """The packed samples: zlib, each line behind the number of its filter."""
    return b"".join(data[c.start + 8 : c.end - 4] for c in png.chunks if c.kind == b"IDAT")


def profile(data: bytes) -> bytes | None:
    """The ICC profile (11.3.2.3: a name, 0, the method, zlib); None where there is none that can be read."""
    for chunk in read(data).chunks:
        if chunk.kind == b"iCCP":
            packed = _content(data, chunk).partition(b"\0")[2][1:]
            try:
                return zlib.decompressobj().decompress(packed, _PROFILE_BYTES)
            except zlib.error:
                return None
    return None


_PROFILE_BYTES = 4 << 20


def _chunks(data: bytes) -> Iterator[Chunk]:
    view = memoryview(data)
    position = len(_SIGNATURE)
    while position + _OVERHEAD_BYTES <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _OVERHEAD_BYTES + length
        if end > len(data):
            # A length of gigabytes was not cut off, it was overwritten.
            raise Found(Problem.TRUNCATED if length < 1 << 31 and kind.isalpha() else Problem.CORRUPT)
        if zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise Found(Problem.CORRUPT)
        yield Chunk(kind=kind, start=position, end=end)
        position = end


def _png(data: bytes, chunks: tuple[Chunk, ...]) -> Png:
    header = _content(data, chunks[0])
    by_kind = {chunk.kind: chunk for chunk in reversed(chunks)}
    if len(header) != 13 or b"IDAT" not in by_kind:
        raise Found(Problem.CORRUPT)
    width, height, depth, colour_type, _packing, _filter, interlace = struct.unpack(">IIBBBBB", header)
    if not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise Found(Problem.CORRUPT)
    exif = _content(data, by_kind[b"eXIf"]) if b"eXIf" in by_kind else None
    frames = int.from_bytes(_content(data, by_kind[b"acTL"])[:4], "big") if b"acTL" in by_kind else 1
    return Png(
        width=width,
        height=height,
        bit_depth=depth,
        colour_type=colour_type,
        interlaced=bool(interlace),
        transparent=colour_type in (_GREY_ALPHA, _RGBA) or b"tRNS" in by_kind,
        frames=max(frames, 1),
        orientation=metadata.orientation(exif),
        dpi=_dpi(_content(data, by_kind[b"pHYs"])) if b"pHYs" in by_kind else None,
        exif=exif,
        chunks=chunks,
    )


def _dpi(physical: bytes) -> float | None:
    """pHYs: pixels per unit across and down, and the unit: 1 is the metre."""
    if len(physical) != 9 or physical[8] != 1:
        return None
    return int.from_bytes(physical[4:8], "big") * 0.0254 or None


def _is_personal(data: bytes, chunk: Chunk) -> bool:
    if chunk.kind in _PICTURE:
        return False
    match chunk.kind:
        case b"eXIf":
            return metadata.is_personal_exif(_content(data, chunk))
        case b"tEXt":
            keyword, _, text = _content(data, chunk).partition(b"\0")
            if keyword == b"Comment":
                return metadata.is_personal_text(text)
            return keyword not in _TECHNICAL_KEYWORDS or not metadata.is_short_and_plain(text)
    return True


def _content(data: bytes, chunk: Chunk) -> bytes:
    return data[chunk.start + 8 : chunk.end - 4]


def _joined(data: bytes, chunks: list[Chunk]) -> bytes:
    return b"".join([_SIGNATURE, *(data[chunk.start : chunk.end] for chunk in chunks)])
