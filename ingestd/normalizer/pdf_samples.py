"""The samples of pictures in a PDF, decoded in one of two ways.

What is plain grey or RGB keeps its own colour space: its numbers are taken as they are. Everything else (four
colours, spot colours, JPEG 2000, fax …) is decoded as PDFium shows it, so that it looks as it did before.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from PIL import Image
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from pypdf.generic import ArrayObject, DictionaryObject, PdfObject, StreamObject

from ingestd.normalizer.exchange import Found
from ingestd.normalizer.image import decoding
from ingestd.normalizer.pdf import filters, packed, resolved, unpacked
from ingestd.normalizer.pdf_placing import Drawn
from ingestd.normalizer.pdf_shown import picture_shown
from ingestd.normalizer.pdf_spaces import components_of, palette_of, space_of

_JPEG_2000_PIXELS = 40_000_000
"""OpenJPEG needs 12 bytes for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """`image` has mode 1, L or RGB. `space`: what its numbers mean; None: the device's grey or RGB."""

    image: Image.Image
    space: PdfObject | None


def decoded(drawn: Drawn, *, max_pixels: int) -> Samples | None:
    """None for a picture that is left alone. Called within `pdf.judging()`."""
    stream = drawn.stream
    if drawn.width * drawn.height > max_pixels or _is_see_through(stream):
        return None
    try:
        with decoding(max_pixels):
            plain = _plain(drawn) if is_plain(stream) else None
            if plain is not None:
                return Samples(image=plain, space=space_of(stream))
            shown = None if drawn.remapped or _is_huge(drawn) else picture_shown(stream)
    except Found:
        return None
    if shown is None or shown.size != (drawn.width, drawn.height):
        return None
    return Samples(image=shown, space=None)


def is_plain(stream: StreamObject) -> bool:
    """Whether its samples may be plain grey or RGB, which is quick; PDFium takes 0.1 s a megapixel."""
    if "/Decode" in stream or filters(stream) not in _PLAIN_PACKINGS:
        return False
    return palette_of(stream) is not None or components_of(resolved(stream.get("/ColorSpace"))) is not None


_PLAIN_PACKINGS = (["/DCTDecode"], ["/FlateDecode"], ["/FlateDecode", "/DCTDecode"])


def _is_see_through(stream: StreamObject) -> bool:
    """It is a stencil, some of its colours are transparent, or a mask was multiplied into its samples."""
    mask = resolved(stream.get("/SMask"))
    return (
        isinstance(resolved(stream.get("/Mask")), ArrayObject)
        or (isinstance(mask, DictionaryObject) and "/Matte" in mask)
        or resolved(stream.get("/SMaskInData", 0)) != 0
        or str(resolved(stream.get("/ImageMask"))).lower() == "true"
    )


def _is_huge(drawn: Drawn) -> bool:
    """JPEG 2000 that is too large to unpack, or that has another size than the document says."""
    names = filters(drawn.stream)
    if "/JPXDecode" not in names:
        return False
    data = packed(drawn.stream) if len(names) == 1 else unpacked(drawn.stream)
    if data is None or names not in (["/JPXDecode"], ["/FlateDecode", "/JPXDecode"]):
        return True
    with Jpeg2KImageFile(BytesIO(data)) as image:
        return image.size != (drawn.width, drawn.height) or drawn.width * drawn.height > _JPEG_2000_PIXELS


# --- plain grey and RGB -------------------------------------------------------------------------------------


def _plain(drawn: Drawn) -> Image.Image | None:
    stream = drawn.stream
    names = filters(stream)
    if "/DCTDecode" in names and _entry(resolved(stream.get("/DecodeParms")), "/ColorTransform", -1) >= 0:
        return None  # another meaning than the file itself says
    if names == ["/DCTDecode"]:
        return _decoded_jpeg(packed(stream), drawn)
    if names == ["/FlateDecode"]:
        return _decoded_flate(drawn)
    if names == ["/FlateDecode", "/DCTDecode"] and (jpeg := unpacked(stream)) is not None:
        return _decoded_jpeg(jpeg, drawn)
    return None


def _decoded_jpeg(data: bytes, drawn: Drawn) -> Image.Image | None:
    start = max(0, data.find(b"\xff\xd8", 0, 16))
    with JpegImageFile(BytesIO(data[start:])) as image:
        mode = _MODES.get(components_of(resolved(drawn.stream.get("/ColorSpace"))) or 0)
        if image.size != (drawn.width, drawn.height) or image.mode != mode:
            return None
        image.load()
        return Image.Image.copy(image)


_MODES = {1: "L", 3: "RGB"}


def _decoded_flate(drawn: Drawn) -> Image.Image | None:
    """What PDF calls predictor 15 is what lies in the IDAT chunk of a PNG: Pillow decodes it as one."""
    stream = drawn.stream
    bits = resolved(stream.get("/BitsPerComponent"))
    palette = palette_of(stream)
    components = 1 if palette is not None else components_of(resolved(stream.get("/ColorSpace")))
    if components is None or (bits, components) not in _PNG_KINDS[palette is not None]:
        return None
    assert isinstance(bits, int)
    row_bytes = (drawn.width * components * bits + 7) // 8
    parameters = resolved(stream.get("/DecodeParms"))
    predictor = _entry(parameters, "/Predictor", 1)
    if predictor >= 10:
        if (_entry(parameters, "/Columns", 1), _entry(parameters, "/Colors", 1)) != (drawn.width, components):
            return None
        if _entry(parameters, "/BitsPerComponent", 8) != bits:
            return None
        samples = packed(stream)
    elif predictor == 1:
        plain = unpacked(stream, limit=(row_bytes + 1) * drawn.height + 64)
        if plain is None or len(plain) < row_bytes * drawn.height:
            return None
        if palette is None and bits == 8:
            size = (drawn.width, drawn.height)
            return Image.frombytes(_MODES[components], size, plain[: row_bytes * drawn.height])
        rows = (plain[y * row_bytes : (y + 1) * row_bytes] for y in range(drawn.height))
        samples = zlib.compress(b"".join(b"\0" + row for row in rows), 1)
    else:
        return None
    return _as_png(samples, drawn, bits=bits, components=components, palette=palette)


# With and without a palette: what a PNG can be, and what stays within modes 1, L and RGB.
_PNG_KINDS = {True: {(1, 1), (2, 1), (4, 1), (8, 1)}, False: {(1, 1), (8, 1), (8, 3)}}


def _as_png(
    samples: bytes, drawn: Drawn, *, bits: int, components: int, palette: bytes | None
) -> Image.Image:
    colour_type = 3 if palette is not None else 2 if components == 3 else 0
    header = struct.pack(">IIBBBBB", drawn.width, drawn.height, bits, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", palette or b""), (b"IDAT", samples), (b"IEND", b"")]
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, content in chunks:
        if kind != b"PLTE" or palette is not None:
            check = zlib.crc32(content, zlib.crc32(kind))
            parts.append(struct.pack(">I4s", len(content), kind) + content + struct.pack(">I", check))
    with PngImageFile(BytesIO(b"".join(parts))) as image:
        image.load()
        return image.convert("RGB") if image.mode == "P" else Image.Image.copy(image)


def _entry(parameters: object, name: str, default: int) -> int:
    if isinstance(parameters, ArrayObject):
        parameters = resolved(parameters[0]) if parameters else None
    value = resolved(parameters.get(name)) if isinstance(parameters, DictionaryObject) else None
    return int(value) if isinstance(value, int) else default
