"""The pictures that pages of a PDF draw: found, decoded, and put back lighter in the same place.

Only pictures whose samples mean plain grey or RGB are touched; masks, four colours, JBIG2 and JPEG 2000
stay as they are.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from pypdf import PageObject
from pypdf.generic import (
    ArrayObject,
    ContentStream,
    DictionaryObject,
    NameObject,
    NumberObject,
    PdfObject,
    StreamObject,
)

from ingestd.normalizer.exchange import Found
from ingestd.normalizer.image import decoding
from ingestd.normalizer.pdf import filters, forgiving, packed, repack, resolved, unpacked
from ingestd.normalizer.sheets import Sheet

_POINTS_PER_INCH = 72
_FORM_DEPTH = 8
_PICTURES = 2_000
_CONTENT_BYTES = 2_000_000  # pypdf takes its time: longer content is not searched for places
_WORTH_BYTES = 4_000
_KEPT = ("/SMask", "/Mask", "/Intent", "/Interpolate", "/OC")

_Matrix = tuple[float, float, float, float, float, float]
_UNIT: _Matrix = (1, 0, 0, 1, 0, 0)


@dataclass(slots=True, kw_only=True, eq=False)
class Drawn:
    """A picture and its pixels for each inch of paper where it is drawn largest (or fewer, never more)."""

    stream: StreamObject
    width: int
    height: int
    dpi: float

    @property
    def size(self) -> int:
        """In bytes, as it is packed."""
        return len(packed(self.stream))


def pictures_of(pages: Sequence[DictionaryObject]) -> list[Drawn]:
    """Each picture once, however often it is drawn; those that are worth making lighter, largest first."""
    found: dict[int, Drawn] = {}
    for page in pages:
        inches = _page_inches(page)
        places = forgiving(lambda page=page: _places(page)) or {}  # type: ignore[misc] # mypy does not infer a lambda's default
        for stream in _pictures(resolved(page.get("/Resources")), depth=0):
            if len(found) >= _PICTURES:
                break
            _note(found, stream, places.get(id(stream), inches))
    return sorted(found.values(), key=lambda drawn: drawn.size, reverse=True)


def decoded(drawn: Drawn, *, max_pixels: int) -> Image.Image | None:
    """In mode 1, L or RGB; None for a picture that is left alone."""
    if drawn.width * drawn.height > max_pixels or not _is_plain(drawn.stream):
        return None
    try:
        with decoding(max_pixels):
            return _decoded(drawn)
    except Found:
        return None


def put_back(drawn: Drawn, sheet: Sheet) -> None:
    """The same picture from now on with these samples; its masks stay."""
    entries: dict[str, PdfObject] = {
        "/Type": NameObject("/XObject"),
        "/Subtype": NameObject("/Image"),
        "/Width": NumberObject(sheet.width),
        "/Height": NumberObject(sheet.height),
        "/BitsPerComponent": NumberObject(1 if sheet.mode == "1" else 8),
        "/ColorSpace": _colour_space(drawn.stream, sheet),
        **_packing(sheet),
    }
    for name in _KEPT:
        if name in drawn.stream:
            entries[name] = drawn.stream.raw_get(name)
    repack(drawn.stream, entries, sheet.data)


# --- found --------------------------------------------------------------------------------------------------


def _note(found: dict[int, Drawn], stream: StreamObject, inches: tuple[float, float]) -> None:
    width, height = resolved(stream.get("/Width")), resolved(stream.get("/Height"))
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        return
    if len(packed(stream)) < _WORTH_BYTES:
        return
    dpi = min(width / max(inches[0], 0.01), height / max(inches[1], 0.01))
    known = found.get(id(stream))
    if known is None:
        found[id(stream)] = Drawn(stream=stream, width=int(width), height=int(height), dpi=dpi)
    else:
        known.dpi = min(known.dpi, dpi)


def _pictures(resources: object, *, depth: int) -> Iterator[StreamObject]:
    named = resolved(resources.get("/XObject")) if isinstance(resources, DictionaryObject) else None
    if not isinstance(named, DictionaryObject):
        return
    for name in named:
        xobject = forgiving(lambda name=name: resolved(named.raw_get(name)))  # type: ignore[misc] # as above
        if not isinstance(xobject, StreamObject):
            continue
        if xobject.get("/Subtype") == "/Image":
            yield xobject
        elif depth < _FORM_DEPTH:
            yield from _pictures(resolved(xobject.get("/Resources")), depth=depth + 1)


def _page_inches(page: DictionaryObject) -> tuple[float, float]:
    box = resolved(page.get("/MediaBox"))
    numbers = [resolved(item) for item in box] if isinstance(box, ArrayObject) else []
    sides = [float(item) for item in numbers if isinstance(item, int | float)]
    if len(sides) != 4:
        return 8.5, 11.0
    return abs(sides[2] - sides[0]) / _POINTS_PER_INCH, abs(sides[3] - sides[1]) / _POINTS_PER_INCH


def _places(page: DictionaryObject) -> dict[int, tuple[float, float]]:
    """For the pictures that the page itself draws: the largest width and height, in inches."""
    contents = page.get_contents() if isinstance(page, PageObject) else None
    resources = resolved(page.get("/Resources"))
    named = resolved(resources.get("/XObject")) if isinstance(resources, DictionaryObject) else None
    if (
        contents is None
        or not isinstance(named, DictionaryObject)
        or len(contents.get_data()) > _CONTENT_BYTES
    ):
        return {}
    places: dict[int, tuple[float, float]] = {}
    for name, matrix in _drawings(contents):
        picture = resolved(named.get(name))
        a, b, c, d, _, _ = matrix
        width, height = ((a * a + b * b) ** 0.5, (c * c + d * d) ** 0.5)
        before = places.get(id(picture), (0.0, 0.0))
        places[id(picture)] = (
            max(before[0], width / _POINTS_PER_INCH),
            max(before[1], height / _POINTS_PER_INCH),
        )
    return places


def _drawings(contents: ContentStream) -> Iterator[tuple[str, _Matrix]]:
    """What `Do` names, with the matrix it is drawn under."""
    current, stack = _UNIT, list[_Matrix]()
    for operands, operator in contents.operations:
        if operator == b"q":
            stack.append(current)
        elif operator == b"Q" and stack:
            current = stack.pop()
        elif operator == b"cm" and len(operands) == 6:
            a, b, c, d, e, f = map(float, operands)
            current = _multiplied((a, b, c, d, e, f), current)
        elif operator == b"Do" and operands:
            yield str(operands[0]), current


def _multiplied(first: _Matrix, second: _Matrix) -> _Matrix:
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)


# --- decoded ------------------------------------------------------------------------------------------------


def _is_plain(stream: StreamObject) -> bool:
    """No colour is transparent, no sample is turned round, and no mask was multiplied into the samples."""
    mask = resolved(stream.get("/SMask"))
    return (
        not isinstance(resolved(stream.get("/Mask")), ArrayObject)
        and not (isinstance(mask, DictionaryObject) and "/Matte" in mask)
        and "/Decode" not in stream
        and "/SMaskInData" not in stream
        and str(resolved(stream.get("/ImageMask"))).lower() != "true"
    )


def _decoded(drawn: Drawn) -> Image.Image | None:
    stream = drawn.stream
    names = filters(stream)
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
        if image.size != (drawn.width, drawn.height) or image.mode != _MODES.get(
            _components(drawn.stream) or 0
        ):
            return None
        image.load()
        return Image.Image.copy(image)


_MODES = {1: "L", 3: "RGB"}


def _decoded_flate(drawn: Drawn) -> Image.Image | None:
    """What PDF calls predictor 15 is what lies in the IDAT chunk of a PNG: Pillow decodes it as one."""
    stream = drawn.stream
    bits = resolved(stream.get("/BitsPerComponent"))
    palette = _palette(stream)
    components = 1 if palette is not None else _components(stream)
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


def _components(stream: StreamObject) -> int | None:
    """Of a colour space whose samples are grey or RGB; None for any other."""
    return _components_of(resolved(stream.get("/ColorSpace")))


def _components_of(space: object) -> int | None:
    if isinstance(space, NameObject):
        return {"/DeviceGray": 1, "/DeviceRGB": 3, "/CalRGB": 3, "/G": 1, "/RGB": 3}.get(str(space))
    if not isinstance(space, ArrayObject) or len(space) < 2:
        return None
    family = str(resolved(space[0]))
    if family == "/ICCBased":
        profile = resolved(space[1])
        count = resolved(profile.get("/N")) if isinstance(profile, DictionaryObject) else None
        return int(count) if count in (1, 3) and isinstance(count, int) else None
    return {"/CalGray": 1, "/CalRGB": 3}.get(family)


def _palette(stream: StreamObject) -> bytes | None:
    """As a PNG has it, for an indexed colour space over grey or RGB (ISO 32000-2 section 8.6.6.3)."""
    space = resolved(stream.get("/ColorSpace"))
    if not isinstance(space, ArrayObject) or len(space) != 4 or str(resolved(space[0])) != "/Indexed":
        return None
    components = _components_of(resolved(space[1]))
    table = resolved(space[3])
    if isinstance(table, StreamObject):
        colours = forgiving(table.get_data) or b""
    else:
        colours = bytes(getattr(table, "original_bytes", b""))
    if components == 1:
        colours = bytes(level for level in colours for _ in range(3))
    return colours[: min(256, len(colours) // 3) * 3] if components and colours else None


def _entry(parameters: object, name: str, default: int) -> int:
    if isinstance(parameters, ArrayObject):
        parameters = resolved(parameters[0]) if parameters else None
    value = resolved(parameters.get(name)) if isinstance(parameters, DictionaryObject) else None
    return int(value) if isinstance(value, int) else default


# --- put back -----------------------------------------------------------------------------------------------


def _colour_space(stream: StreamObject, sheet: Sheet) -> PdfObject:
    """The picture's own, with its profile, while the samples are of that kind."""
    components = {"1": 0, "L": 1, "RGB": 3}[sheet.mode]
    if _components(stream) == components:
        own: PdfObject = stream.raw_get("/ColorSpace")
        return own
    return NameObject("/DeviceRGB" if sheet.mode == "RGB" else "/DeviceGray")


def _packing(sheet: Sheet) -> dict[str, PdfObject]:
    if sheet.encoding == "jpeg":
        return {"/Filter": NameObject("/DCTDecode")}
    if sheet.encoding == "g4":
        parameters = {"/K": -1, "/Columns": sheet.width, "/Rows": sheet.height}
        name = "/CCITTFaxDecode"
    else:
        bits, colours = (1, 1) if sheet.mode == "1" else (8, 3 if sheet.mode == "RGB" else 1)
        parameters = {
            "/Predictor": 15,
            "/Colors": colours,
            "/BitsPerComponent": bits,
            "/Columns": sheet.width,
        }
        name = "/FlateDecode"
    entries = DictionaryObject({NameObject(key): NumberObject(value) for key, value in parameters.items()})
    return {"/Filter": NameObject(name), "/DecodeParms": entries}
