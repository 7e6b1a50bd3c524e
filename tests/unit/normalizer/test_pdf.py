"""PDF: what is refused, and what viewers forgive and we do too."""

import tracemalloc
import zlib
from collections.abc import Sequence

import pytest

from ingestd import samples
from ingestd.normalizer.exchange import Finding, Level, Problem, Sound
from tests.unit.normalizer.inspecting import BOTH, MAX_PIXELS, inspect, problem

CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
ONE_PAGE = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R %s >>"
SHOWS = b"/Resources << /XObject << /Im 5 0 R >> >>"


def pdf(*objects: bytes, trailer: bytes = b"") -> bytes:
    """Objects 1, 2, 3 … as a PDF with a right cross-reference table."""
    document = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, 1):
        offsets.append(len(document))
        document += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    start = len(document)
    document += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    document += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    document += b"trailer\n<< /Size %d /Root 1 0 R %b >>\n" % (len(objects) + 1, trailer)
    return document + b"startxref\n%d\n%%%%EOF\n" % start


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %b >>\nstream\n%b\nendstream" % (len(content), entries, content)


def picture(content: bytes, *, width: int = 10, height: int = 10, bits: int = 8, packing: bytes) -> bytes:
    entries = (
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /BitsPerComponent %d "
        b"/ColorSpace /DeviceGray /Filter %b" % (width, height, bits, packing)
    )
    return stream(content, entries)


def page_with(xobject: bytes, *more: bytes) -> bytes:
    return pdf(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/Im Do"), xobject, *more)


# --- encrypted ---------------------------------------------------------------------------------------------

ENCRYPTED = {
    f"{algorithm}, {kind}": samples.encrypted_pdf(password=password, algorithm=algorithm)
    for algorithm in ("AES-256", "AES-128", "RC4-128", "RC4-40")
    for kind, password in (("password", "secret"), ("owner only", ""))
}
ENCRYPTED["by certificate"] = pdf(
    CATALOG, ONE_PAGE, PAGE % b"", trailer=b"/Encrypt << /Filter /Adobe.PubSec >>"
)
ENCRYPTED["by something unknown"] = pdf(CATALOG, ONE_PAGE, PAGE % b"", trailer=b"/Encrypt << /V 99 >>")


@BOTH
@pytest.mark.parametrize("document", ENCRYPTED.values(), ids=ENCRYPTED.keys())
def test_an_encrypted_pdf_is_found_whatever_encrypts_it(document: bytes, level: Level) -> None:
    assert problem(document, level) == Problem.ENCRYPTED


# --- the page tree -----------------------------------------------------------------------------------------

BROKEN_TREES: dict[str, tuple[Sequence[bytes], Problem]] = {
    "no pages": ((CATALOG, b"<< /Type /Pages /Kids [] /Count 0 >>"), Problem.NO_PAGES),
    "no page tree": ((b"<< /Type /Catalog >>",), Problem.CORRUPT),
    "page tree is a number": ((CATALOG, b"42"), Problem.CORRUPT),
    "no catalog": ((b"<< >>",), Problem.CORRUPT),
    "a tree that holds itself": ((CATALOG, b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"), Problem.CORRUPT),
    "a longer circle": (
        (
            CATALOG,
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Pages /Kids [4 0 R] >>",
            b"<< /Type /Pages /Kids [2 0 R] >>",
        ),
        Problem.CORRUPT,
    ),
    "a page that is gone": (
        (CATALOG, b"<< /Type /Pages /Kids [3 0 R 9 0 R] /Count 2 >>", PAGE % b"", stream(b"")),
        Problem.MISSING_PAGES,
    ),
    "doubling at each of 60 levels": (
        (
            CATALOG,
            *(b"<< /Type /Pages /Kids [%d 0 R %d 0 R] /Count 2 >>" % (n + 3, n + 3) for n in range(60)),
            b"<< /Type /Page >>",
        ),
        Problem.CORRUPT,
    ),
    "5,000 deep": (
        (CATALOG, *(b"<< /Type /Pages /Kids [%d 0 R] >>" % (n + 3) for n in range(5000)), PAGE % b""),
        Problem.CORRUPT,
    ),
}


@BOTH
@pytest.mark.parametrize(("objects", "expected"), BROKEN_TREES.values(), ids=BROKEN_TREES.keys())
def test_a_broken_page_tree_is_found(objects: Sequence[bytes], expected: Problem, level: Level) -> None:
    assert problem(pdf(*objects), level) == expected


def test_the_sample_without_pages_has_none() -> None:
    assert problem(samples.pageless_pdf(), "light") == Problem.NO_PAGES


# --- forgiven ----------------------------------------------------------------------------------------------


@BOTH
def test_what_viewers_repair_is_no_reason_to_refuse(level: Level) -> None:
    whole = samples.small_pdf(1)
    wrong_offset = whole.replace(b"startxref\n", b"startxref\n1")
    table = whole.index(b"xref\n0 ")
    without_table = whole[:table] + whole[whole.index(b"trailer") :]
    for document in (
        wrong_offset,
        without_table,
        whole.rstrip(b"\n"),
        whole.replace(b"%%EOF\n", b"%%EOF\r\n\r\n"),
    ):
        assert inspect(document, level) == Sound(pages=1)


@BOTH
def test_a_page_without_content_is_a_blank_page(level: Level) -> None:
    blank = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>"
    assert inspect(pdf(CATALOG, ONE_PAGE, blank), level) == Sound(pages=1)


def test_a_short_length_that_loses_the_checksum_is_forgiven() -> None:
    packed = zlib.compress(b"BT ET " * 100)[:-4]
    document = pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(packed, b"/Filter /FlateDecode"))
    assert inspect(document, "full") == Sound(pages=1)


# --- the content of pages: full only -----------------------------------------------------------------------


def damaged_packing() -> bytes:
    packed = bytearray(zlib.compress(samples.text() * 50))
    packed[len(packed) // 2] ^= 0xFF
    return bytes(packed)


DAMAGED_PAGES = {
    "content": pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(damaged_packing(), b"/Filter /FlateDecode")),
    "second part of the content": pdf(
        CATALOG,
        ONE_PAGE,
        b"<< /Type /Page /Parent 2 0 R /Contents [4 0 R 5 0 R] >>",
        stream(b"BT ET"),
        stream(damaged_packing(), b"/Filter [/FlateDecode]"),
    ),
    "packed picture": page_with(picture(damaged_packing(), packing=b"/FlateDecode")),
    "cut off jpeg": page_with(picture(samples.truncated(samples.jpeg()), packing=b"/DCTDecode")),
    "no jpeg at all": page_with(picture(samples.text(), packing=b"/DCTDecode")),
    "picture within a form": page_with(
        stream(b"/Im Do", b"/Type /XObject /Subtype /Form /Resources << /XObject << /Im 6 0 R >> >>"),
        picture(samples.truncated(samples.jpeg()), packing=b"[/DCTDecode]"),
    ),
}


@pytest.mark.parametrize("document", DAMAGED_PAGES.values(), ids=DAMAGED_PAGES.keys())
def test_full_finds_damage_within_a_page_and_names_the_page(document: bytes) -> None:
    assert inspect(document, "light") == Sound(pages=1)
    assert inspect(document, "full") == Finding(problem=Problem.DAMAGED_PAGE, numbers={"page": 1})


def test_pictures_that_pages_draw_are_sound_in_every_packing() -> None:
    for drawn in (
        picture(samples.jpeg(), packing=b"/DCTDecode"),
        picture(b"\r\n" + samples.jpeg(), packing=b"/DCTDecode"),
        picture(zlib.compress(bytes(100)), packing=b"/FlateDecode"),
        picture(b"left alone", packing=b"/JPXDecode"),
        picture(b"left alone", packing=b"/CCITTFaxDecode"),
    ):
        assert inspect(page_with(drawn), "full") == Sound(pages=1)


def test_a_picture_with_too_many_pixels_is_found_by_its_entries() -> None:
    bomb = picture(zlib.compress(bytes(1000)), width=50_000, height=50_000, packing=b"/FlateDecode")
    assert inspect(page_with(bomb), "full") == Finding(
        problem=Problem.TOO_MANY_PIXELS, numbers={"width": 50_000, "height": 50_000, "limit": MAX_PIXELS}
    )


def test_a_picture_that_lies_about_its_pixels_is_found_by_its_own_header() -> None:
    drawn = picture(samples.jpeg(), width=10, height=10, packing=b"/DCTDecode")
    assert problem(page_with(drawn), "full", max_pixels=500_000) == Problem.TOO_MANY_PIXELS


def test_a_large_scan_in_black_and_white_passes() -> None:
    scan = picture(zlib.compress(bytes(1000)), width=12_000, height=12_000, bits=1, packing=b"/FlateDecode")
    assert inspect(page_with(scan), "full") == Sound(pages=1)


def test_content_that_unpacks_to_far_too_much_is_found() -> None:
    bomb = zlib.compress(bytes(60_000_000), 9)
    document = pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(bomb, b"/Filter /FlateDecode"))
    assert problem(document, "light") is None
    assert problem(document, "full") == Problem.TOO_COMPLEX


def test_forms_that_draw_each_other_for_ever_are_looked_at_once() -> None:
    form = b"/Type /XObject /Subtype /Form /Resources << /XObject << /A 5 0 R /B 6 0 R >> >>"
    assert inspect(page_with(stream(b"/B Do", form), stream(b"/A Do", form)), "full") == Sound(pages=1)


@BOTH
def test_a_cross_reference_stream_that_unpacks_without_end_is_not_unpacked(level: Level) -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    entries = b"/Type /XRef /Size 3 /W [1 2 1] /Root 1 0 R /Filter /FlateDecode"
    body = b"%PDF-1.5\n1 0 obj\n" + CATALOG + b"\nendobj\n"
    document = body + b"9 0 obj\n" + stream(bomb, entries) + b"\nendobj\nstartxref\n%d\n%%%%EOF\n" % len(body)
    tracemalloc.start()
    assert problem(document, level) == Problem.CORRUPT
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 100_000_000
