"""Receipts to try things with: the demo, the tests and the benchmarks drop these. All bytes are made here.

The same arguments give the same bytes, as long as Pillow and pypdf stay the same (encryption excepted: it
draws its own salts). The `small_*` functions make any number of distinct sound documents, in microseconds.
"""

import random
import struct
import time
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import pillow_heif
from PIL import Image, ImageChops, ImageDraw, ImageFont
from pypdf import PdfReader, PdfWriter
from pypdf.generic import NameObject

_FOOD = (
    ("Flat white", 340),
    ("Lunch menu", 1490),
    ("Mineral water", 280),
    ("Soup of the day", 720),
    ("Tip", 200),
)
_STAY = (
    ("Room, 1 night", 11900),
    ("Breakfast", 1650),
    ("City tax", 350),
    ("Garage", 1800),
    ("Laundry", 1240),
)
_RIDES = (
    ("Fare", 2360),
    ("Luggage", 150),
    ("Night surcharge", 400),
    ("Airport fee", 500),
    ("Waiting time", 620),
)
_DESK = (("Printer paper", 625), ("Toner", 6990), ("Envelopes", 480), ("Ball pen", 195), ("Folder", 310))
_SHOPS = (
    ("BLUE HERON CAFE", "12 Harbour Street", _FOOD),
    ("CITY CAB CO-OP", "Rank 4, Central Station", _RIDES),
    ("HOTEL AURORA", "Seafront 1", _STAY),
    ("CORNER STATIONERS", "88 Mill Lane", _DESK),
    ("NOODLE WORKSHOP", "3 Market Square", _FOOD),
)
_A4_WIDTH_INCH = 8.27
_ORIENTATION = 0x0112  # Exif 2.32 section 4.6.4
_TURN_RIGHT = 6  # shown upright after a turn of 90 degrees clockwise
SCANNED_AT = time.struct_time((2026, 1, 2, 9, 30, 0, 4, 2, 0))
_PAPER_SIZE = (720, 1080)
_INK = (38, 38, 46)
_PAPER = (250, 248, 242)
_INK_OR_PAPER = [0] * 128 + [255] * 128
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    name: str
    quantity: int
    cents: int


# --- sound receipts ----------------------------------------------------------------------------------------


def picture(seed: int = 1, *, width: int = _PAPER_SIZE[0], noise: int = 18) -> Image.Image:
    """The receipt all others are made of: upright, RGB, two by three. `noise` in grey levels, 0: none."""
    drawn = _receipt(seed, noise=noise)
    if width == drawn.width:
        return drawn
    return drawn.resize((width, width * drawn.height // drawn.width), Image.Resampling.BICUBIC)


def jpeg(seed: int = 1, *, width: int = _PAPER_SIZE[0]) -> bytes:
    """A till receipt as a photo would show it; `width` in pixels, 2,800 is that of a phone's camera."""
    return _encode(picture(seed, width=width), "JPEG", quality=85)


def progressive_jpeg(seed: int = 1) -> bytes:
    return _encode(_receipt(seed), "JPEG", quality=85, progressive=True)


def cmyk_jpeg(seed: int = 1) -> bytes:
    """As some scanners and print shops make them."""
    return _encode(_receipt(seed).convert("CMYK"), "JPEG", quality=85)


def mpo(seed: int = 1) -> bytes:
    """A JPEG with a second picture behind the first, as many phones and cameras write it."""
    return _encode(_receipt(seed), "MPO", save_all=True, append_images=[_receipt(seed).reduce(4)])


def png(seed: int = 1) -> bytes:
    """The same receipt as a screenshot: few colours, no noise."""
    return _encode(_receipt(seed, noise=0), "PNG")


def heic(seed: int = 1, *, width: int = _PAPER_SIZE[0], lying: bool = False) -> bytes:
    """As an iPhone takes it. `lying`: it was held sideways, and a property of the file says so.

    The property is `irot` (ISO/IEC 23008-12 6.5.10), which the encoder writes for an Exif orientation.
    """
    upright = _speckled(picture(seed, width=width, noise=0), levels=24, seed=seed)
    exif = Image.Exif()
    exif[_ORIENTATION] = _TURN_RIGHT if lying else 1
    stored = upright.transpose(Image.Transpose.ROTATE_90) if lying else upright
    buffer = BytesIO()
    pillow_heif.from_pillow(stored).save(buffer, quality=70, exif=exif.tobytes())
    return buffer.getvalue()


def tiff(seed: int = 1, *, pages: int = 1, compression: str = "tiff_lzw") -> bytes:
    """A scan of several pages. `compression` by Pillow's names; group3 and group4 are black and white."""
    scans = [picture(seed + page, noise=0) for page in range(pages)]
    if compression.startswith("group"):
        scans = [scan.convert("L").point(_INK_OR_PAPER, "1") for scan in scans]
    dpi = scans[0].width / _A4_WIDTH_INCH
    options = {"compression": compression, "dpi": (dpi, dpi)}
    return _encode(scans[0], "TIFF", save_all=True, append_images=scans[1:], **options)


def grainy_scan() -> bytes:
    """A page scanned at 240 dpi with every fibre of the paper: a readable receipt, and a PNG of 12 MB."""
    page = _speckled(picture(8, width=2000, noise=0), levels=17, seed=8)
    return _encode(page, "PNG", compress_level=1)


def pdf(seed: int = 1, pages: int = 1) -> bytes:
    """A scan: one receipt on each page."""
    receipts = [_receipt(seed + page) for page in range(pages)]
    dates = {"creationDate": SCANNED_AT, "modDate": SCANNED_AT}  # else Pillow asks the clock
    return _encode(receipts[0], "PDF", save_all=True, append_images=receipts[1:], **dates)


# --- documents that must be refused ------------------------------------------------------------------------


def encrypted_pdf(*, password: str = "", algorithm: str = "AES-256", document: bytes | None = None) -> bytes:
    """With a password it can't be opened; without, only what its owner allows can be done with it."""
    writer = PdfWriter(clone_from=PdfReader(BytesIO(document or small_pdf(0))))
    writer.encrypt(user_password=password, owner_password="owner", algorithm=algorithm)  # noqa: S106 - a sample
    return _written(writer)


def pageless_pdf() -> bytes:
    writer = PdfWriter()
    writer.root_object[NameObject("/PageMode")] = NameObject("/UseNone")
    return _written(writer)


def large_png(size_bytes: int = 12_000_000, seed: int = 1) -> bytes:
    """A sound scan of a little more than `size_bytes`: paper grain, which nothing packs."""
    side = int((size_bytes / 3) ** 0.5) + 1
    grain = random.Random(seed).randbytes(side * side * 3)
    return _encode(Image.frombytes("RGB", (side, side), grain), "PNG", compress_level=1)


def truncated(document: bytes, keep: float = 0.6) -> bytes:
    """What a copy that broke off leaves; `keep` is the share that arrived."""
    return document[: int(len(document) * keep)]


def pixel_bomb(width: int = 50_000, height: int = 50_000) -> bytes:
    """A PNG of a few hundred bytes whose header asks for gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    samples = zlib.compress(bytes(100_000), 9)
    return _PNG_SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", samples) + _chunk(b"IEND", b"")


def text() -> bytes:
    """Somebody gave it a name that ends in .pdf."""
    return b"Dear accounting,\n\nplease find my receipt attached.\n\nAnn\n"


def html() -> bytes:
    return b"<!DOCTYPE html>\n<html><head><title>Your order</title></head><body>Total: 12.00</body></html>\n"


def docx() -> bytes:
    """The outline of a Word document: enough to be recognised."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("[Content_Types].xml", "_rels/.rels", "word/document.xml"):
            entry = zipfile.ZipInfo(name)  # carries a fixed date, unlike writestr with a name
            archive.writestr(entry, '<?xml version="1.0" encoding="UTF-8"?><x/>')
    return buffer.getvalue()


# --- any number of distinct sound documents ----------------------------------------------------------------


def small_jpeg(number: int) -> bytes:
    """The number is in a comment segment (ITU-T T.81 B.2.4.5)."""
    picture = _small_picture("JPEG")
    comment = f"receipt {number}".encode()
    return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + picture[2:]


def small_png(number: int) -> bytes:
    """The number is in a text chunk before the end."""
    picture = _small_picture("PNG")
    return picture[:-12] + _chunk(b"tEXt", f"Comment\0receipt {number}".encode()) + picture[-12:]


def small_pdf(number: int) -> bytes:
    """One page that shows the number, without pypdf."""
    content = f"BT /F1 24 Tf 20 100 Td (Receipt {number}) Tj ET".encode()
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    return assembled_pdf(objects)


def assembled_pdf(objects: Sequence[bytes]) -> bytes:
    """A PDF of objects 1, 2, 3 …, the first being its catalog (ISO 32000-2 section 7.5)."""
    document = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets: list[int] = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(document)
    document += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for offset in offsets:
        document += b"%010d 00000 n \n" % offset
    document += b"trailer\n<< /Size %d /Root 1 0 R >>\n" % (len(objects) + 1)
    return bytes(document + b"startxref\n%d\n%%%%EOF\n" % start)


@cache
def _small_picture(picture_format: str) -> bytes:
    return _encode(_receipt(7, noise=0).reduce(6), picture_format)


# --- drawing -----------------------------------------------------------------------------------------------


def _receipt(seed: int, *, noise: int = 18) -> Image.Image:
    """`noise` is the paper grain in grey levels; without it a picture packs far better than a photo."""
    chance = random.Random(seed)
    picture = Image.new("RGB", _PAPER_SIZE, _PAPER)
    shop, street, goods = chance.choice(_SHOPS)
    lines = [
        Line(name=name, quantity=chance.randint(1, 3), cents=cents)
        for name, cents in chance.sample(goods, chance.randint(3, 5))
    ]
    bottom = _draw_lines(picture, shop, street, lines)
    _draw_foot(picture, bottom, chance)
    return _with_grain(picture, chance, noise) if noise else picture


def _draw_lines(picture: Image.Image, shop: str, street: str, lines: list[Line]) -> int:
    """The head, one line for each article and the total; returns the height used, in pixels."""
    draw = ImageDraw.Draw(picture)
    middle, left, right = _PAPER_SIZE[0] // 2, 60, _PAPER_SIZE[0] - 60
    draw.text((middle, 70), shop, _INK, _font(52), anchor="mm")
    draw.text((middle, 125), street, _INK, _font(28), anchor="mm")
    y = 190
    for line in lines:
        draw.text((left, y), f"{line.quantity} x {line.name}", _INK, _font(32), anchor="lm")
        draw.text((right, y), _money(line.quantity * line.cents), _INK, _font(32), anchor="rm")
        y += 54
    draw.line((left, y, right, y), _INK, 3)
    draw.text((left, y + 45), "TOTAL", _INK, _font(44), anchor="lm")
    total = sum(line.quantity * line.cents for line in lines)
    draw.text((right, y + 45), f"{_money(total)} EUR", _INK, _font(44), anchor="rm")
    return y + 90


def _draw_foot(picture: Image.Image, y: int, chance: random.Random) -> None:
    """Date, receipt number and a bar code."""
    draw = ImageDraw.Draw(picture)
    day = f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    when = f"{day} {chance.randint(10, 22)}:{chance.randint(10, 59)}"
    number = chance.randint(10_000, 99_999)
    draw.text((60, y + 20), f"{when}   No. {number}   CARD", _INK, _font(26), anchor="lm")
    x = 120
    while x < _PAPER_SIZE[0] - 120:
        bar = chance.randint(2, 9)
        draw.rectangle((x, y + 70, x + bar, y + 170), fill=_INK)
        x += bar + chance.randint(3, 9)
    draw.text((_PAPER_SIZE[0] // 2, y + 210), "Thank you!", _INK, _font(32), anchor="mm")


def _with_grain(picture: Image.Image, chance: random.Random, noise: int) -> Image.Image:
    grain = Image.frombytes("L", picture.size, chance.randbytes(picture.width * picture.height))
    layer = Image.merge("RGB", [grain.point(lambda level: level * noise // 255)] * 3)
    return Image.blend(picture, Image.eval(layer, lambda level: 255 - level), 0.12)


def _speckled(picture: Image.Image, *, levels: int, seed: int) -> Image.Image:
    """With the noise of a sensor in each sample: up to so many levels of 256 darker."""
    noise = random.Random(seed).randbytes(picture.width * picture.height * 3)
    paler = bytes(level * levels // 256 for level in range(256))
    return ImageChops.subtract(picture, Image.frombytes("RGB", picture.size, noise.translate(paler)))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _encode(picture: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, picture_format, **options)
    return buffer.getvalue()


def _written(writer: PdfWriter) -> bytes:
    buffer = BytesIO()
    writer.write(buffer)
    return buffer.getvalue()
