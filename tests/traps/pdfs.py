"""PDFs as banks, hotels, tax offices and broken programs make them.

Where a page shows a receipt it is `pictures.upright(seed=n)`, n counted from 1.
"""

import io
import random
import struct
import zlib

from PIL import Image, ImageChops
from pypdf import PdfReader, PdfWriter
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    TextStringObject,
)

from ingestd import samples
from tests.traps import pictures

ALGORITHMS = ("RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256")
PASSWORD = "hunter2"
UNICODE_PASSWORD = "pässwörd-Ω-€"
FORM_VALUE = "4711.50 EUR"
_NAME = NameObject


# --- sound -------------------------------------------------------------------------------------------------


def pages(count: int = 1) -> bytes:
    """Photos of receipts, 100 dots an inch."""
    first, *others = (pictures.upright(seed=n) for n in range(1, count + 1))
    return pictures.encoded(
        first, "PDF", save_all=True, append_images=others, resolution=100, quality=90, **_NO_DATES
    )


def fax(count: int = 1) -> bytes:
    """Black and white, CCITT group 4 (Pillow's choice for bilevel pages)."""
    first, *others = (pictures.scan(n) for n in range(1, count + 1))
    return pictures.encoded(first, "PDF", save_all=True, append_images=others, resolution=100, **_NO_DATES)


def with_object_streams() -> bytes:
    """What most programs write today: objects packed together, and a cross-reference stream (PDF 1.5)."""
    packed = (
        (1, b"<< /Type /Catalog /Pages 2 0 R >>"),
        (2, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"),
        (3, b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 200] /Contents 6 0 R "
            b"/Resources << /Font << /F1 4 0 R >> >> >>"),
        (4, b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"),
    )  # fmt: skip
    bodies = b"\n".join(body for _, body in packed)
    starts = [bodies.index(body) for _, body in packed]
    index = (
        b" ".join(b"%d %d" % (number, start) for (number, _), start in zip(packed, starts, strict=True))
        + b"\n"
    )
    content = b"BT /F1 24 Tf 20 100 Td (Receipt 1) Tj ET"
    document = bytearray(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")
    offsets = {}
    for number, body in (
        (5, _stream(index + bodies, b"/Type /ObjStm /N %d /First %d " % (len(packed), len(index)))),
        (6, _stream(content)),
    ):
        offsets[number] = len(document)
        document += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(document)
    rows = [
        (0, 0, 65535),
        *((2, 5, n) for n in range(4)),
        (1, offsets[5], 0),
        (1, offsets[6], 0),
        (1, start, 0),
    ]
    table = b"".join(struct.pack(">BIH", *row) for row in rows)
    document += b"7 0 obj\n%b\nendobj\n" % _stream(
        zlib.compress(table), b"/Type /XRef /Size 8 /W [1 4 2] /Root 1 0 R /Filter /FlateDecode "
    )
    return bytes(document + b"startxref\n%d\n%%%%EOF\n" % start)


def rotated() -> bytes:
    """Four pages stored at each quarter turn, with /Rotate to bring them upright."""
    writer = PdfWriter()
    stored = {
        0: None,
        90: Image.Transpose.ROTATE_90,
        180: Image.Transpose.ROTATE_180,
        270: Image.Transpose.ROTATE_270,
    }
    for number, (degrees, turn) in enumerate(stored.items(), 1):
        page = pictures.upright(seed=number)
        lying = page if turn is None else page.transpose(turn)
        writer.append(_reader(pictures.encoded(lying, "PDF", resolution=100, quality=90, **_NO_DATES)))
        writer.pages[-1][_NAME("/Rotate")] = NumberObject(degrees)
    return _written(writer)


def updated() -> bytes:
    """With an incremental update behind it that adds nothing."""
    first = pages(1)
    start = first.rindex(b"startxref") + 9
    before = int(first[start:].split()[0])
    trailer = _reader(first).trailer
    root = trailer.raw_get("/Root").idnum
    size = len(_reader(first).xref[0]) + 1
    here = len(first) + 1
    return first + b"\nxref\n0 0\ntrailer\n<< /Size %d /Root %d 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (
        size, root, before, here,
    )  # fmt: skip


# --- encrypted ---------------------------------------------------------------------------------------------


def owner_locked(algorithm: str = "AES-256") -> bytes:
    """Anybody may open it; printing and copying is for the owner."""
    return samples.encrypted_pdf(algorithm=algorithm, document=pages(2))


def user_locked(algorithm: str = "AES-256", password: str = PASSWORD) -> bytes:
    return samples.encrypted_pdf(password=password, algorithm=algorithm, document=pages(2))


# --- forms -------------------------------------------------------------------------------------------------


def form(*, xfa: bytes | None = None) -> bytes:
    """A text field with a value, a ticked box, and no appearance streams: many viewers show an empty form.

    `xfa`: beside the fields lies a static XFA form with the same values.
    """
    more = b"" if xfa is None else b"/XFA 8 0 R"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R 7 0 R] /NeedAppearances true "
        b"/DA (/Helv 18 Tf 0 g) /DR << /Font << /Helv 5 0 R /ZaDb 9 0 R >> >> %b >> >>" % more,
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] /Contents 4 0 R /Annots [6 0 R 7 0 R] "
        b"/Resources << /Font << /Helv 5 0 R >> >> >>",
        _stream(b"BT /Helv 18 Tf 20 250 Td (Travel expenses of Ann) Tj ET"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (amount) /V (%b) /DA (/Helv 18 Tf 0 g) "
        b"/Rect [20 150 300 190] /P 3 0 R /F 4 >>" % FORM_VALUE.encode(),
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /Ff 4096 /T (purpose) /V (Fair in Lyon) "
        b"/DA (/Helv 18 Tf 0 g) /Rect [20 50 300 120] /P 3 0 R /F 4 >>",
        _stream(xfa or b""),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /ZapfDingbats >>",
    ]
    return samples.assembled_pdf(objects)


def static_xfa() -> bytes:
    return form(xfa=_XFA % (b"", FORM_VALUE.encode()))


def dynamic_xfa() -> bytes:
    """A form that only Adobe's own programs draw; the page says so, and the values are nowhere else."""
    template = (
        b'<template xmlns="http://www.xfa.org/schema/xfa-template/3.3/">'
        b'<subform name="f" layout="tb"/></template>'
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /NeedsRendering true /AcroForm << /Fields [] /XFA 6 0 R >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        _stream(b"BT /F1 18 Tf 20 250 Td (Please wait... Your viewer can not show this document.) Tj ET"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        _stream(_XFA % (template, FORM_VALUE.encode())),
    ]
    return samples.assembled_pdf(objects)


# --- portfolios, attachments, scripts ----------------------------------------------------------------------


def portfolio(*members: tuple[str, bytes]) -> bytes:
    """A cover sheet and embedded files that are the real content (ISO 32000-2 section 12.3.5)."""
    writer = PdfWriter(clone_from=_reader(_cover()))
    for name, content in members:
        writer.add_attachment(name, content)
    writer.root_object[_NAME("/Collection")] = DictionaryObject({_NAME("/View"): _NAME("/D")})
    return _written(writer)


def portfolio_of_pages() -> bytes:
    return portfolio(
        ("hotel.pdf", pages(2)), ("taxi.jpg", pictures.encoded(pictures.upright(seed=3), "JPEG", quality=90))
    )


def portfolio_with_office_file() -> bytes:
    return portfolio(("hotel.pdf", pages(1)), ("expenses.docx", samples.docx()))


def active() -> bytes:
    """A script at opening, one by name, a launch action, a hidden attachment: and two sound pages."""
    writer = PdfWriter(clone_from=_reader(pages(2)))
    script = _action("/JavaScript", "/JS", "app.alert('MALICE-SCRIPT')")
    named = ArrayObject([TextStringObject("start"), script])
    writer.root_object[_NAME("/Names")] = DictionaryObject(
        {_NAME("/JavaScript"): DictionaryObject({_NAME("/Names"): named})}
    )
    writer.root_object[_NAME("/OpenAction")] = _action("/JavaScript", "/JS", "app.alert('MALICE-OPEN')")
    writer.root_object[_NAME("/AA")] = DictionaryObject(
        {_NAME("/WC"): _action("/JavaScript", "/JS", "app.alert('MALICE-CLOSE')")}
    )
    writer.add_attachment("MALICE.exe", b"MZ" + b"MALICE-FILE" * 9)
    link = DictionaryObject(
        {
            _NAME("/Type"): _NAME("/Annot"),
            _NAME("/Subtype"): _NAME("/Link"),
            _NAME("/Rect"): ArrayObject(map(NumberObject, (0, 0, 100, 100))),
            _NAME("/A"): _action("/Launch", "/F", "MALICE-LAUNCH"),
        }
    )
    writer.pages[0][_NAME("/Annots")] = ArrayObject([link])
    return _written(writer)


# --- broken ------------------------------------------------------------------------------------------------


def wrong_startxref() -> bytes:
    whole = pages(2)
    head, _, _ = whole.rpartition(b"startxref")
    return head + b"startxref\n7\n%%EOF\n"


def shifted_xref() -> bytes:
    """Somebody put a line before the header, or a mail gateway changed line ends: every offset is wrong."""
    return b"Content-Type: application/pdf\r\n\r\n" + pages(2)


def no_xref() -> bytes:
    whole = pages(2)
    return (
        whole[: whole.rindex(b"xref\n0")]
        + whole[whole.rindex(b"trailer") : whole.rindex(b"startxref")]
        + b"%%EOF\n"
    )


def missing_page() -> bytes:
    """The tree counts two pages, one of them is a reference to nothing."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 99 0 R] /Count 2 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        _stream(b"BT /F1 24 Tf 20 100 Td (Receipt 1) Tj ET"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    return samples.assembled_pdf(objects)


def blank(count: int = 1) -> bytes:
    """Pages with nothing on them."""
    writer = PdfWriter()
    for _ in range(count):
        writer.add_blank_page(595, 842)
    return _written(writer)


def with_blank_page() -> bytes:
    """A receipt, and the empty back side the scanner took as well."""
    writer = PdfWriter(clone_from=_reader(pages(1)))
    writer.add_blank_page(518.4, 777.6)
    return _written(writer)


# --- too large ---------------------------------------------------------------------------------------------


def heavy_scan(count: int = 5, width: int = 1654) -> bytes:
    """A4 at 200 dpi, grainy, each page a JPEG of about 2.5 MB."""
    first, *others = (grainy(n, width) for n in range(1, count + 1))
    return pictures.encoded(
        first, "PDF", save_all=True, append_images=others, resolution=200, quality=98, **_NO_DATES
    )


def grainy(seed: int, width: int = 1654) -> Image.Image:
    page = pictures.upright(width, seed)
    fibres = random.Random(seed).randbytes(page.width * page.height * 3)
    paler = bytes(level * 24 // 256 for level in range(256))
    return ImageChops.subtract(page, Image.frombytes("RGB", page.size, fibres.translate(paler)))


# --- making ------------------------------------------------------------------------------------------------

_NO_DATES = {"creationDate": samples.SCANNED_AT, "modDate": samples.SCANNED_AT}
_XFA = (
    b'<?xml version="1.0"?><xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/">%b<xfa:datasets '
    b'xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><f><amount>%b</amount></f></xfa:data>'
    b"</xfa:datasets></xdp:xdp>"
)


def _cover() -> bytes:
    """What a program without support for portfolios shows."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 300] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        _stream(
            b"BT /F1 14 Tf 20 150 Td (For the best experience, open this PDF portfolio in Acrobat) Tj ET"
        ),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    return samples.assembled_pdf(objects)


def _action(kind: str, key: str, value: str) -> DictionaryObject:
    return DictionaryObject(
        {_NAME("/Type"): _NAME("/Action"), _NAME("/S"): _NAME(kind), _NAME(key): TextStringObject(value)}
    )


def _stream(content: bytes, more: bytes = b"") -> bytes:
    return b"<< /Length %d %b>>\nstream\n%b\nendstream" % (len(content), more, content)


def _reader(document: bytes) -> PdfReader:
    return PdfReader(io.BytesIO(document))


def _written(writer: PdfWriter) -> bytes:
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()
