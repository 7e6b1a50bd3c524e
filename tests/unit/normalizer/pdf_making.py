"""PDFs written by hand, object by object, and independent readers to judge what became of them."""

import subprocess
import tempfile
import zlib
from pathlib import Path

from PIL import Image

from ingestd import sniff
from ingestd.normalizer import documents
from ingestd.normalizer.exchange import Found, Level, Problem
from ingestd.normalizer.sheets import Bounds, Draft

MAX_PIXELS = 100_000_000
CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
ONE_PAGE = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R %s >>"
SHOWS = b"/Resources << /XObject << /Im 5 0 R >> >>"


def pdf(*objects: bytes, trailer: bytes = b"") -> bytes:
    """Objects 1, 2, 3 … as a PDF with a right cross-reference table."""
    whole = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(whole))
        whole += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(whole)
    document = bytes(whole)
    document += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    document += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(objects) + 1, trailer)
    return document + b"startxref\n%d\n%%%%EOF\n" % start


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), entries, content)


def picture(
    content: bytes,
    *,
    width: int = 10,
    height: int = 10,
    bits: int = 8,
    packing: bytes,
    space: bytes = b"/DeviceGray",
    more: bytes = b"",
) -> bytes:
    entries = (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent %d "
        b"/ColorSpace %b /Filter %b %b" % (width, height, bits, space, packing, more)
    )
    return stream(content, entries)


def page_with(xobject: bytes, *more: bytes) -> bytes:
    return pdf(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"90 0 0 90 4 4 cm /Im Do"), xobject, *more)


def packed_noise(width: int, height: int, *, colours: int = 3) -> bytes:
    """Samples that nothing packs, as zlib data without a predictor."""
    mode = "RGB" if colours == 3 else "L"
    noise = Image.effect_noise((width, height), 80)
    return zlib.compress(noise.convert(mode).tobytes())


def bounds(
    level: Level = "full",
    *,
    max_bytes: int = 10_000_000,
    max_pages: int | None = None,
    max_pixels: int = MAX_PIXELS,
    passwords: tuple[str, ...] = (),
) -> Bounds:
    return Bounds(
        types=frozenset({sniff.PDF, sniff.JPEG, sniff.PNG}),
        max_bytes=max_bytes,
        max_pages=max_pages,
        max_pixels=max_pixels,
        level=level,
        strip_location=True,
        passwords=passwords,
    )


def problem(document: bytes, level: Level = "full", *, max_pixels: int = MAX_PIXELS) -> Problem | None:
    try:
        documents.prepare_pdf(document, bounds(level, max_pixels=max_pixels))
    except Found as found:
        return found.finding.problem
    return None


def prepared(document: bytes, given: Bounds | None = None) -> tuple[Draft, bytes]:
    """The draft, and what the target gets; judged by qpdf."""
    draft = documents.prepare_pdf(document, given or bounds())
    result = document if draft.data is None else draft.data
    assert_sound(result)
    return draft, result


def assert_sound(document: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "document.pdf")
        path.write_bytes(document)
        checked = subprocess.run(["qpdf", "--check", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "not encrypted" in checked.stdout


def drawn(document: bytes, *, page: int = 1, dpi: int = 72) -> Image.Image:
    """A page as Poppler draws it, in grey."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "document.pdf")
        path.write_bytes(document)
        which = ["-r", str(dpi), "-f", str(page), "-l", str(page), "-gray"]
        command = ["pdftoppm", *which, str(path), str(Path(folder, "p"))]
        subprocess.run(command, check=True, capture_output=True)
        (result,) = Path(folder).glob("p*.pgm")
        with Image.open(result) as image:
            image.load()
            return image.convert("L")


def ink_in(image: Image.Image, box: tuple[int, int, int, int]) -> int:
    """Dark pixels within left, top, right, bottom."""
    return sum(image.crop(box).histogram()[:128])


def text_of(document: bytes) -> str:
    """As Poppler reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "document.pdf")
        path.write_bytes(document)
        found = subprocess.run(["pdftotext", path, "-"], check=True, capture_output=True)
    return found.stdout.decode()
