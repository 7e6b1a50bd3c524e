"""A report of several images as one PDF, the way Concur gives it back ("bundled into one PDF").

PDFs give their pages. JPEG and PNG data go into the PDF as they are, undecoded (ISO 32000-1, 7.4.4 and
7.4.8). What can't be shown that way (alpha, interlacing, a damaged file) gets a page that says so and is
attached to the PDF, byte for byte. Blocking: call it in a thread.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    ByteStringObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    PdfObject,
    StreamObject,
)

MAX_BYTES = 100 * 2**20
"""A report larger than this is not bundled: it would have to be held in memory several times."""

_LONGEST_SIDE_POINTS = 842.0
_COLOUR_SPACES = {1: "/DeviceGray", 3: "/DeviceRGB", 4: "/DeviceCMYK"}
_NO_FRAME_HEADER = frozenset({0xC4, 0xC8, 0xCC})


class _Undrawable(Exception):
    """This image can't go into a PDF without being decoded."""


@dataclass(frozen=True, slots=True)
class _Picture:
    width: int
    height: int
    bits: int
    colour_space: PdfObject
    filter: str
    parameters: DictionaryObject | None
    data: bytes


def merge(images: Sequence[tuple[str, bytes]]) -> bytes:
    """One PDF of (Content-Type, bytes) in order."""
    writer = PdfWriter()
    for number, (content_type, content) in enumerate(images, 1):
        try:
            _append(writer, content_type, content)
        except Exception as error:  # the parsers may raise anything on bytes that strangers sent
            _notice(writer, f"Image {number}, {content_type}, is attached: {error}"[:200])
            writer.add_attachment(f"image-{number}", content)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def page(text: str) -> bytes:
    """A PDF of one page with a line of ASCII."""
    writer, out = PdfWriter(), BytesIO()
    _notice(writer, text)
    writer.write(out)
    return out.getvalue()


def _append(writer: PdfWriter, content_type: str, content: bytes) -> None:
    if content_type == "application/pdf":
        pages = list(PdfReader(BytesIO(content)).pages)
        for page in pages:
            writer.add_page(page)
    elif content_type == "image/png":
        _draw(writer, _png(content))
    else:
        _draw(writer, _jpeg(content))


def _draw(writer: PdfWriter, picture: _Picture) -> None:
    scale = _LONGEST_SIDE_POINTS / max(picture.width, picture.height)
    width, height = picture.width * scale, picture.height * scale
    stream = StreamObject()
    stream.set_data(picture.data)
    stream.update(
        _dictionary(
            {
                "/Type": NameObject("/XObject"),
                "/Subtype": NameObject("/Image"),
                "/Width": NumberObject(picture.width),
                "/Height": NumberObject(picture.height),
                "/BitsPerComponent": NumberObject(picture.bits),
                "/ColorSpace": picture.colour_space,
                "/Filter": NameObject(picture.filter),
            }
        )
    )
    if picture.parameters is not None:
        stream[NameObject("/DecodeParms")] = picture.parameters
    commands = f"q {width:.2f} 0 0 {height:.2f} 0 0 cm /Image Do Q"
    _page(writer, width, height, commands, "/XObject", {"/Image": stream})


def _notice(writer: PdfWriter, text: str) -> None:
    printable = "".join(c if c.isascii() and c.isprintable() and c not in "()\\" else " " for c in text)
    font = {
        "/Type": NameObject("/Font"),
        "/Subtype": NameObject("/Type1"),
        "/BaseFont": NameObject("/Helvetica"),
    }
    commands = f"BT /Text 9 Tf 36 400 Td ({printable}) Tj ET"
    _page(writer, 842, 595, commands, "/Font", {"/Text": _dictionary(font)})


def _page(
    writer: PdfWriter,
    width: float,
    height: float,
    commands: str,
    kind: str,
    resources: Mapping[str, PdfObject],
) -> None:
    page = writer.add_blank_page(width, height)
    named = {name: writer._add_object(value) for name, value in resources.items()}  # noqa: SLF001 - pypdf documents it for exactly this
    page[NameObject("/Resources")] = _dictionary({kind: _dictionary(named)})
    drawing = StreamObject()
    drawing.set_data(commands.encode())
    page[NameObject("/Contents")] = writer._add_object(drawing)  # noqa: SLF001 - as above


def _dictionary(entries: Mapping[str, PdfObject]) -> DictionaryObject:
    return DictionaryObject({NameObject(name): value for name, value in entries.items()})


def _jpeg(content: bytes) -> _Picture:
    for marker, segment in _jpeg_segments(content):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER:
            bits, height, width, components = struct.unpack_from(">BHHB", segment)
            if components not in _COLOUR_SPACES or not width or not height:
                break
            colour_space = NameObject(_COLOUR_SPACES[components])
            return _Picture(width, height, bits, colour_space, "/DCTDecode", None, content)
    raise _Undrawable("no usable frame header")


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and payload of each segment before the scan (ITU-T T.81, B.1.1)."""
    position = 2
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker, length = content[position + 1], int.from_bytes(content[position + 2 : position + 4])
        if marker == 0xFF:
            position += 1
            continue
        yield marker, content[position + 4 : position + 2 + length]
        position += 2 + length


def _png(content: bytes) -> _Picture:
    chunks = list(_png_chunks(content))
    header = next((data for name, data in chunks if name == b"IHDR"), b"")
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if interlaced or colour not in (0, 2, 3) or any(name == b"tRNS" for name, _ in chunks):
        raise _Undrawable("alpha or interlacing")
    palette = next((data for name, data in chunks if name == b"PLTE"), b"")
    parameters = {
        "/Predictor": NumberObject(15),
        "/Colors": NumberObject(3 if colour == 2 else 1),
        "/BitsPerComponent": NumberObject(bits),
        "/Columns": NumberObject(width),
    }
    data = b"".join(data for name, data in chunks if name == b"IDAT")
    space = _png_colours(colour, palette)
    return _Picture(width, height, bits, space, "/FlateDecode", _dictionary(parameters), data)


def _png_colours(colour: int, palette: bytes) -> PdfObject:
    if colour != 3:
        return NameObject("/DeviceRGB" if colour == 2 else "/DeviceGray")
    indexed: Iterable[PdfObject] = (
        NameObject("/Indexed"),
        NameObject("/DeviceRGB"),
        NumberObject(len(palette) // 3 - 1),
        ByteStringObject(palette),
    )
    return ArrayObject(indexed)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each chunk (PNG specification, 5.3); the checksums are not looked at."""
    position = 8
    while position + 12 <= len(content):
        length = int.from_bytes(content[position : position + 4])
        yield content[position + 4 : position + 8], content[position + 8 : position + 8 + length]
        position += 12 + length
