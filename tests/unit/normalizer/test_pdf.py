"""PDF: what is refused, and what viewers forgive and we do too."""

import tracemalloc
import zlib
from collections.abc import Sequence

import pytest

from ingestd import samples
from ingestd.normalizer import documents
from ingestd.normalizer.exchange import Finding, Found, Level, Problem
from tests.unit.normalizer.pdf_making import (
    CATALOG,
    MAX_PIXELS,
    ONE_PAGE,
    PAGE,
    SHOWS,
    bounds,
    page_with,
    pdf,
    picture,
    problem,
    stream,
)

LEVELS: tuple[Level, ...] = ("light", "full")
BOTH = pytest.mark.parametrize("level", LEVELS)


def finding(document: bytes, level: Level = "full") -> Finding:
    with pytest.raises(Found) as found:
        documents.prepare_pdf(document, bounds(level))
    return found.value.finding


def pages(document: bytes, level: Level = "full") -> int:
    """Of a document that goes as it came."""
    draft = documents.prepare_pdf(document, bounds(level))
    assert draft.data is None
    return draft.pages


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
    "100,000 deep": (
        (CATALOG, *(b"<< /Type /Pages /Kids [%d 0 R] >>" % (n + 3) for n in range(100_000)), PAGE % b""),
        Problem.CORRUPT,
    ),
    "a million kids": (
        (CATALOG, b"<< /Type /Pages /Kids [%b] /Count 1000000 >>" % (b"3 0 R " * 1_000_000), PAGE % b""),
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
def test_a_page_without_content_is_a_blank_page(level: Level) -> None:
    blank = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] >>"
    assert pages(pdf(CATALOG, ONE_PAGE, blank), level) == 1


def test_a_short_length_that_loses_the_checksum_is_forgiven() -> None:
    packed = zlib.compress(b"BT ET " * 100)[:-4]
    document = pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(packed, b"/Filter /FlateDecode"))
    assert pages(document) == 1


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
    assert pages(document, "light") == 1
    assert finding(document) == Finding(problem=Problem.DAMAGED_PAGE, numbers={"page": 1})


def test_pictures_that_pages_draw_are_sound_in_every_packing() -> None:
    for drawn in (
        picture(samples.jpeg(), packing=b"/DCTDecode"),
        picture(b"\r\n" + samples.jpeg(), packing=b"/DCTDecode"),
        picture(zlib.compress(bytes(100)), packing=b"/FlateDecode"),
        picture(b"left alone", packing=b"/JPXDecode"),
        picture(b"left alone", packing=b"/CCITTFaxDecode"),
    ):
        assert pages(page_with(drawn)) == 1


def test_a_picture_with_too_many_pixels_is_found_by_its_entries() -> None:
    bomb = picture(zlib.compress(bytes(1000)), width=50_000, height=50_000, packing=b"/FlateDecode")
    assert finding(page_with(bomb)) == Finding(
        problem=Problem.TOO_MANY_PIXELS, numbers={"width": 50_000, "height": 50_000, "limit": MAX_PIXELS}
    )


def test_a_picture_that_lies_about_its_pixels_is_found_by_its_own_header() -> None:
    drawn = picture(samples.jpeg(), width=10, height=10, packing=b"/DCTDecode")
    assert problem(page_with(drawn), "full", max_pixels=500_000) == Problem.TOO_MANY_PIXELS


def test_a_large_scan_in_black_and_white_passes() -> None:
    scan = picture(zlib.compress(bytes(1000)), width=12_000, height=12_000, bits=1, packing=b"/FlateDecode")
    assert pages(page_with(scan)) == 1


def test_content_that_unpacks_to_far_too_much_is_found() -> None:
    bomb = zlib.compress(bytes(60_000_000), 9)
    document = pdf(CATALOG, ONE_PAGE, PAGE % b"", stream(bomb, b"/Filter /FlateDecode"))
    assert problem(document, "light") is None
    assert problem(document, "full") == Problem.TOO_COMPLEX


FORM = b"/Type /XObject /Subtype /Form /BBox [0 0 99 99] "
NEXT = FORM + b"/Resources << /XObject << /Im %d 0 R >> >>"
LAST = stream(b"0 0 9 9 re f", FORM)


def test_drawings_may_lie_in_drawings() -> None:
    assert pages(page_with(stream(b"/Im Do /Im Do", NEXT % 6), LAST)) == 1


ENDLESS = {
    "drawings that draw each other": page_with(stream(b"/Im Do", NEXT % 6), stream(b"/Im Do", NEXT % 5)),
    "ten times ten times ten … drawings": page_with(
        *(stream(b"/Im Do " * 10, NEXT % (6 + level)) for level in range(12)), LAST
    ),
    "the same, with remarks between": page_with(
        *(stream(b"/Im% what\n%else\nDo " * 10, NEXT % (6 + level)) for level in range(12)), LAST
    ),
    "the same, with strings for names": page_with(
        *(stream(b"/Im Do (Im) Do" + b" (Im) Do" * 8, NEXT % (6 + level)) for level in range(12)), LAST
    ),
    "a hundred drawings deep": page_with(
        *(stream(b"/Im Do", NEXT % (6 + level)) for level in range(100)), LAST
    ),
    "the same page of content a million times": page_with(
        stream(b"/Im Do " * 1000, NEXT % 6), stream(b"/Im Do " * 1000, NEXT % 7), LAST
    ),
    "patterns in patterns": pdf(
        CATALOG,
        ONE_PAGE,
        PAGE % b"/Resources << /Pattern << /P 5 0 R >> >>",
        stream(b"/Pattern cs /P scn 0 0 99 99 re f"),
        stream(
            b"/Pattern cs /P scn 0 0 99 99 re f",
            b"/PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 9 9] /XStep 9 /YStep 9 "
            b"/Resources << /Pattern << /P 5 0 R >> >>",
        ),
    ),
    "a note that draws itself": pdf(
        CATALOG,
        ONE_PAGE,
        PAGE % b"/Annots [<< /Subtype /Stamp /Rect [0 0 9 9] /AP << /N 5 0 R >> >>]",
        stream(b""),
        stream(b"/Im Do /Im Do", NEXT % 5),
    ),
    "a large picture again and again": page_with(
        stream(b"/Im Do " * 2000, NEXT % 6),
        picture(zlib.compress(bytes(100)), width=5000, height=5000, packing=b"/FlateDecode"),
    ),
}


@pytest.mark.parametrize("document", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_would_be_drawn_for_ever_is_never_given_to_the_renderer(document: bytes) -> None:
    assert problem(document) is Problem.TOO_COMPLEX


LOST = {
    "a picture that is not there": pdf(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/Im Do")),
    "a picture without samples": page_with(b"<< /Type /XObject /Subtype /Image /Width 9 >>"),
    "a picture without height": page_with(stream(b"", b"/Type /XObject /Subtype /Image /Width 9")),
    "a picture that does not say so": page_with(stream(b"", b"/Type /XObject /Width 9 /Height 9")),
    "a picture within a drawing": page_with(stream(b"/Im Do", NEXT % 9)),
    "a picture with another spelling": pdf(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"/I#6d Do")),
}


@pytest.mark.parametrize("document", LOST.values(), ids=LOST.keys())
def test_a_picture_that_the_page_shows_and_that_is_none_is_found(document: bytes) -> None:
    assert finding(document) == Finding(problem=Problem.DAMAGED_PAGE, numbers={"page": 1})


def test_a_picture_that_no_page_shows_need_not_be_there() -> None:
    assert pages(pdf(CATALOG, ONE_PAGE, PAGE % SHOWS, stream(b"0 0 9 9 re f"))) == 1


@pytest.mark.parametrize("limit", [None, 200])
def test_far_too_many_pages_are_counted_as_the_document_counts_them(limit: int | None) -> None:
    tree = b"<< /Type /Pages /Kids [%b] /Count 100000 >>" % (b"3 0 R " * 100_000)
    with pytest.raises(Found) as found:
        documents.prepare_pdf(pdf(CATALOG, tree, PAGE % b"", stream(b"")), bounds(max_pages=limit))
    numbers = {"pages": 100_000, "limit": limit or 5_000}
    assert found.value.finding == Finding(problem=Problem.TOO_MANY_PAGES, numbers=numbers)


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


def test_a_font_that_unpacks_to_gigabytes_is_never_given_to_the_renderer() -> None:
    layer = zlib.compressobj(9)
    once = b"".join([layer.compress(bytes(1 << 20)) for _ in range(200)] + [layer.flush()])
    font = (
        b"<< /Type /Font /Subtype /TrueType /BaseFont /A /FontDescriptor << /Type /FontDescriptor "
        b"/FontName /A /Flags 4 /FontFile2 6 0 R >> >>"
    )
    document = pdf(
        CATALOG,
        ONE_PAGE,
        PAGE % b"/Resources << /Font << /F 5 0 R >> >>",
        stream(b"BT /F 9 Tf (a) Tj ET"),
        font,
        stream(zlib.compress(once, 9), b"/Filter [/FlateDecode /FlateDecode]"),
    )
    assert len(document) < 10_000
    assert problem(document) == Problem.TOO_COMPLEX


CIRCLES = {
    "cross-references": samples.small_pdf(1).replace(b"/Root 1 0 R", b"/Root 1 0 R /Prev 0000000000"),
    "outline": pdf(
        b"<< /Type /Catalog /Pages 2 0 R /Outlines 5 0 R >>",
        ONE_PAGE,
        PAGE % b"",
        stream(b""),
        b"<< /First 6 0 R /Last 6 0 R /Count 1 >>",
        b"<< /Title (a) /Parent 5 0 R /Next 6 0 R /Prev 6 0 R /First 6 0 R >>",
    ),
    "fields": pdf(
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [5 0 R] >> >>",
        ONE_PAGE,
        PAGE % b"/Annots [5 0 R]",
        stream(b""),
        b"<< /Subtype /Widget /Rect [0 0 9 9] /Parent 6 0 R /Kids [5 0 R] >>",
        b"<< /Parent 5 0 R /Kids [5 0 R] >>",
    ),
    "actions": pdf(
        b"<< /Type /Catalog /Pages 2 0 R /OpenAction 5 0 R >>",
        ONE_PAGE,
        PAGE % b"",
        stream(b""),
        b"<< /S /GoTo /D [3 0 R /Fit] /Next 5 0 R >>",
    ),
    "references": pdf(CATALOG, ONE_PAGE, PAGE % b"/Annots 5 0 R", stream(b""), b"6 0 R", b"5 0 R"),
}


@BOTH
@pytest.mark.parametrize("document", CIRCLES.values(), ids=CIRCLES.keys())
def test_circles_come_to_an_end(document: bytes, level: Level) -> None:
    start = document.rindex(b"xref\n0 ")
    document = document.replace(b"/Prev 0000000000", b"/Prev %010d" % start)
    assert problem(document, level) in (None, Problem.CORRUPT)
