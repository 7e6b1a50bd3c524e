"""Sheets as pages of a PDF: every encoding, any size, the same bytes every time."""

import zlib
from io import BytesIO

import pytest
from PIL import Image, ImageChops

from ingestd import samples
from ingestd.normalizer.encoding import flate_sheet, g4_sheet, jpeg_sheet
from ingestd.normalizer.pdf_writing import page_points, pdf_of
from ingestd.normalizer.sheets import Sheet
from tests.unit.normalizer.pdf_making import assert_sound, drawn


def receipt() -> Image.Image:
    with Image.open(BytesIO(samples.png())) as image:
        return image.convert("RGB")


SHEETS = {
    "jpeg, colour": jpeg_sheet(receipt(), 72),
    "jpeg, grey": jpeg_sheet(receipt().convert("L"), 72),
    "flate, colour": flate_sheet(receipt(), 72),
    "flate, grey": flate_sheet(receipt().convert("L"), 72),
    "g4": g4_sheet(receipt().convert("L").point([0] * 128 + [255] * 128, "1"), 72),
}


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS.keys())
def test_a_page_shows_what_its_sheet_holds(sheet: Sheet) -> None:
    document = pdf_of([sheet])
    assert_sound(document)
    page = drawn(document)
    assert page.size == (sheet.width, sheet.height)
    expected = receipt().convert("L")
    if sheet.mode == "1":
        expected = expected.point([0] * 128 + [255] * 128)
    difference = ImageChops.difference(page.reduce(8), expected.reduce(8))
    assert not any(difference.histogram()[40:])


def test_encoded_samples_are_laid_in_as_they_are() -> None:
    for sheet in SHEETS.values():
        assert sheet.data in pdf_of([sheet])


def test_the_same_sheets_give_the_same_bytes() -> None:
    sheets = list(SHEETS.values())
    assert pdf_of(sheets) == pdf_of(sheets)
    assert pdf_of(sheets) != pdf_of(sheets[::-1])


def test_pages_stand_in_the_order_of_their_sheets() -> None:
    sheets = [
        Sheet(
            encoding="flate",
            data=zlib.compress(bytes(11 * height)),
            mode="L",
            width=10,
            height=height,
            dpi=72,
        )
        for height in (10, 20, 30)
    ]
    document = pdf_of(sheets)
    assert_sound(document)
    assert [drawn(document, page=page).height for page in (1, 2, 3)] == [10, 20, 30]


def test_pages_are_as_large_as_their_dots_say_within_what_viewers_take() -> None:
    assert page_points(1240, 1754, 150) == pytest.approx((595.2, 841.92))
    assert page_points(100, 200, 0.001) == pytest.approx((7200, 14400))
    assert page_points(1000, 2000, 1e9) == pytest.approx((3, 6))
    assert page_points(1, 65_000, 300) == pytest.approx((3, 14_400))
    assert page_points(100, 100, 0) == (100, 100)


def test_no_sheets_make_no_pdf() -> None:
    with pytest.raises(ValueError, match="needs a page"):
        pdf_of([])
