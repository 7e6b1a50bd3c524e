"""A PDF made of sheets, one page each: the encoded samples are laid in as they are, nothing is coded again.

The same sheets give the same bytes: no date, no random identifier.
"""

import hashlib
from collections.abc import Sequence
from typing import assert_never

from ingestd.normalizer.sheets import Sheet

_POINTS_PER_INCH = 72
_MIN_POINTS, _MAX_POINTS = 3.0, 14_400.0
"""Page sizes that every viewer takes (ISO 32000-1 annex C; no limit stands there any more in 32000-2)."""

_CATALOG, _TREE, _FIRST = 1, 2, 3
_OBJECTS_PER_SHEET = 3  # page, content, picture


def pdf_of(sheets: Sequence[Sheet]) -> bytes:
    """One page for each sheet, as large as its pixels and dpi say. Raises ValueError for no sheets."""
    if not sheets:
        raise ValueError("a PDF needs a page")
    pages = [_FIRST + _OBJECTS_PER_SHEET * index for index in range(len(sheets))]
    kids = b" ".join(b"%d 0 R" % number for number in pages)
    objects = [
        b"<< /Type /Catalog /Pages %d 0 R >>" % _TREE,
        b"<< /Type /Pages /Count %d /Kids [%b] >>" % (len(pages), kids),
    ]
    for number, sheet in zip(pages, sheets, strict=True):
        objects += _page_objects(number, sheet)
    return _assembled(objects)


def page_points(width: int, height: int, dpi: float) -> tuple[float, float]:
    """Width and height of the page in points, its sides in the ratio of the pixels.

    A ratio no page can have (1 : 5,000) is given up, not the sheet.
    """
    scale = _POINTS_PER_INCH / dpi if dpi > 0 else 1.0
    scale = max(scale, _MIN_POINTS / min(width, height))
    scale = min(scale, _MAX_POINTS / max(width, height))
    return max(_MIN_POINTS, width * scale), max(_MIN_POINTS, height * scale)


def picture_entries(sheet: Sheet) -> bytes:
    """The entries of the image dictionary (ISO 32000-2 section 8.9.5) but its length, as they are written."""
    head = b"/Type /XObject /Subtype /Image /Width %d /Height %d" % (sheet.width, sheet.height)
    bits = 1 if sheet.mode == "1" else 8
    space = b"/DeviceRGB" if sheet.mode == "RGB" else b"/DeviceGray"
    return b"%b /BitsPerComponent %d /ColorSpace %b %b" % (head, bits, space, _filter_entries(sheet, bits))


def _filter_entries(sheet: Sheet, bits: int) -> bytes:
    match sheet.encoding:
        case "jpeg":
            return b"/Filter /DCTDecode"
        case "flate":
            colours = 3 if sheet.mode == "RGB" else 1
            return (
                b"/Filter /FlateDecode /DecodeParms << /Predictor 15 /Colors %d /BitsPerComponent %d "
                b"/Columns %d >>" % (colours, bits, sheet.width)
            )
        case "g4":
            # In a bilevel sheet 1 is white, as with Pillow; the coder's black pixels are 0 (BlackIs1 false).
            return b"/Filter /CCITTFaxDecode /DecodeParms << /K -1 /Columns %d /Rows %d >>" % (
                sheet.width,
                sheet.height,
            )
        case _:
            assert_never(sheet.encoding)


def _page_objects(number: int, sheet: Sheet) -> tuple[bytes, bytes, bytes]:
    width, height = (_number(points) for points in page_points(sheet.width, sheet.height, sheet.dpi))
    page = (
        b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 %b %b] /Contents %d 0 R "
        b"/Resources << /XObject << /Picture %d 0 R >> >> >>" % (_TREE, width, height, number + 1, number + 2)
    )
    content = b"q %b 0 0 %b 0 0 cm /Picture Do Q" % (width, height)
    return page, _stream(b"", content), _stream(picture_entries(sheet) + b" ", sheet.data)


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<< %b/Length %d >>\nstream\n%b\nendstream" % (entries, len(content), content)


def _number(points: float) -> bytes:
    return f"{points:.3f}".rstrip("0").rstrip(".").encode()


def _assembled(objects: Sequence[bytes]) -> bytes:
    """Objects 1, 2, 3 … with header, cross-reference table and trailer (ISO 32000-2 section 7.5)."""
    parts = [b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"]
    position = len(parts[0])
    table = [b"0000000000 65535 f \n"]
    for number, content in enumerate(objects, 1):
        table.append(b"%010d 00000 n \n" % position)
        parts.append(b"%d 0 obj\n%b\nendobj\n" % (number, content))
        position += len(parts[-1])
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    identifier = digest.hexdigest()[:32].encode()
    parts.append(b"xref\n0 %d\n%b" % (len(table), b"".join(table)))
    parts.append(
        b"trailer\n<< /Size %d /Root %d 0 R /ID [<%b> <%b>] >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(table), _CATALOG, identifier, identifier, position)
    )
    return b"".join(parts)
