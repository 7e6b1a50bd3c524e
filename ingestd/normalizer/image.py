"""JPEG and PNG: the structure walked by hand, every sample decoded by Pillow. Runs in a limited process.

The walk needs no decoder: it finds what was cut off, and how large the picture is, before anything is
unpacked. What phones append after the end of the picture (a gain map, the second picture of an MPO, a motion
photo, zeros) is not looked at: viewers don't either, and the receipt is the first picture.
"""

import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO

# TiffImagePlugin (EXIF) and ImagePalette are what Pillow would import while decoding, when it is too late.
from PIL import ImageFile, ImagePalette, TiffImagePlugin  # noqa: F401
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from ingestd.normalizer.exchange import Found, Level, Problem

# What Pillow's plugins raise on bad files, measured over public corpora. MemoryError passes: it is a limit.
_PILLOW_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What the walk found out. Width and height in pixels, both at least 1."""

    width: int
    height: int


def inspect_jpeg(data: bytes, *, level: Level, max_pixels: int) -> Picture:
    """Raises Found: TRUNCATED, CORRUPT, TOO_MANY_PIXELS."""
    picture = _walk_jpeg(data)
    _check_pixels(picture, max_pixels)
    if level == "full":
        decode_jpeg(data, max_pixels=max_pixels)
    return picture


def inspect_png(data: bytes, *, level: Level, max_pixels: int) -> Picture:
    """Raises Found: TRUNCATED, CORRUPT, ANIMATED, TOO_MANY_PIXELS."""
    picture = _walk_png(data)
    _check_pixels(picture, max_pixels)
    if level == "full":
        _decode(PngImageFile, data, max_pixels)
    return picture


def decode_jpeg(data: bytes, *, max_pixels: int) -> None:
    """Decodes every block of the first picture, at 1/8 of its size. Raises Found: CORRUPT, TOO_MANY_PIXELS.

    The entropy decoding, where damage shows, is complete at any size; a small result costs half the time and
    1/64 of the memory.
    """
    _decode(JpegImageFile, data, max_pixels)


def _decode(plugin: type[JpegImageFile | PngImageFile], data: bytes, max_pixels: int) -> None:
    # The plugin is called directly: Image.open would try others, and import them all when it fails.
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        with warnings.catch_warnings(), plugin(BytesIO(data)) as image:
            warnings.simplefilter("ignore")  # what Pillow only warns about, viewers show
            _check_pixels(Picture(width=image.width, height=image.height), max_pixels)
            image.draft("L", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
    except _PILLOW_ERRORS as error:
        raise Found(Problem.CORRUPT) from error


def _check_pixels(picture: Picture, max_pixels: int) -> None:
    if picture.width * picture.height > max_pixels:
        raise Found(Problem.TOO_MANY_PIXELS, width=picture.width, height=picture.height, limit=max_pixels)


# ITU-T T.81 annex B. Inside entropy-coded data FF is followed by 00 or RSTn (D0-D7); before a marker any
# number of fill bytes FF may stand. So one search finds the next segment and skips coded data. (With a `+`
# for the fill bytes it would be nine times slower.)
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def _walk_jpeg(data: bytes) -> Picture:
    picture: Picture | None = None
    scans = 0
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker = found[1][0]
        position = found.end()
        if marker == _EOI:
            if picture is None or scans == 0:
                raise Found(Problem.CORRUPT)
            return picture
        length = int.from_bytes(data[position : position + 2], "big")
        segment = data[position + 2 : position + length]
        if position + max(length, 2) > len(data):
            break
        if length < 2 or marker == _SOI:
            raise Found(Problem.CORRUPT)
        if marker in _FRAMES and picture is None:
            picture = _jpeg_frame(segment)
        scans += marker == _SOS
        position += length
    raise Found(Problem.TRUNCATED)


def _jpeg_frame(segment: bytes) -> Picture:
    """T.81 B.2.2: precision, lines, samples per line, components."""
    if len(segment) < 6:
        raise Found(Problem.CORRUPT)
    _precision, height, width, _components = struct.unpack(">BHHB", segment[:6])
    if not width or not height:
        raise Found(Problem.CORRUPT)
    return Picture(width=width, height=height)


_PNG_SIGNATURE_BYTES = 8
_PNG_CHUNK_OVERHEAD = 12  # length, type, CRC


def _walk_png(data: bytes) -> Picture:
    """PNG specification (third edition) section 5: every chunk's length and CRC, IHDR first, IEND last."""
    view = memoryview(data)
    picture: Picture | None = None
    has_samples = False
    position = _PNG_SIGNATURE_BYTES
    while position + _PNG_CHUNK_OVERHEAD <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + _PNG_CHUNK_OVERHEAD + length
        if end > len(data):
            # A length of gigabytes was not cut off, it was overwritten.
            raise Found(Problem.TRUNCATED if length < 1 << 31 and kind.isalpha() else Problem.CORRUPT)
        content = view[position + 8 : end - 4]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(view[end - 4 : end], "big"):
            raise Found(Problem.CORRUPT)
        if picture is None:
            picture = _png_header(kind, content)
        elif kind == b"acTL":
            _check_still(content)
        elif kind == b"IDAT":
            has_samples = True
        elif kind == b"IEND":
            if not has_samples:
                raise Found(Problem.CORRUPT)
            return picture
        position = end
    raise Found(Problem.TRUNCATED)


def _png_header(kind: bytes, content: memoryview) -> Picture:
    if kind != b"IHDR" or len(content) != 13:
        raise Found(Problem.CORRUPT)
    width, height = struct.unpack(">II", content[:8])
    if not 0 < width < 1 << 31 or not 0 < height < 1 << 31:
        raise Found(Problem.CORRUPT)
    return Picture(width=width, height=height)


def _check_still(animation_control: memoryview) -> None:
    frames = int.from_bytes(animation_control[:4], "big")
    if frames > 1:
        raise Found(Problem.ANIMATED, frames=frames)
