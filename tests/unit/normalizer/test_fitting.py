"""Made to fit: the cheapest rung that helps, what it did is recorded, and nothing goes below the floor."""

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
from PIL import Image, ImageFilter

from ingestd import samples
from ingestd.normalizer import decoding, fitting, pages
from ingestd.normalizer.exchange import Noted, Problem, Step
from ingestd.normalizer.fitting import LADDER, Rung, lighter
from ingestd.normalizer.sheets import Bounds
from ingestd.normalizer.sizes import dpi_of, floor_of
from tests.unit.normalizer.preparing import JPEG, PDF, PNG, finding, prepare, words
from tests.unit.normalizer.samples_of_pictures import difference, drawing, opened, page, photo, saved

LIMIT = 10_000_000


def grain(width: int, height: int, seed: int = 1) -> Image.Image:
    """What nothing packs."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


@cache
def large_scan() -> bytes:
    return samples.large_png(12_000_000)


# --- one picture --------------------------------------------------------------------------------------------


def test_a_grainy_scan_of_12_mb_is_made_to_fit_10_mb() -> None:
    scan = large_scan()
    draft = prepare(scan, PNG)
    assert draft.data is not None
    assert LIMIT * 0.2 < len(draft.data) <= LIMIT
    assert opened(draft.data).size == opened(scan).size
    assert draft.steps[0].what is Step.CONVERTED
    recompressed = draft.steps[-1]
    assert recompressed.what is Step.RECOMPRESSED
    assert recompressed.numbers["size"] == len(draft.data)
    assert recompressed.numbers["limit"] == LIMIT


def test_packing_again_without_loss_comes_first() -> None:
    wasteful = saved(drawing(1200, 1600), "PNG", compress_level=0)
    draft = prepare(wasteful, PNG, max_bytes=1_000_000)
    assert draft.data is not None
    assert draft.steps == [
        Noted(what=Step.REPACKED, numbers={"size": len(draft.data), "limit": 1_000_000}),
    ]
    assert difference(opened(draft.data), drawing(1200, 1600)) == 0


def test_a_second_picture_behind_the_first_goes_before_anything_is_lost() -> None:
    first = saved(photo(), "JPEG")
    draft = prepare(first + first * 9, JPEG, max_bytes=len(first), strip_location=False)
    assert draft.data == first
    assert words(draft.steps) == ["repacked"]


def test_a_photo_is_compressed_more_before_it_loses_pixels() -> None:
    large = saved(photo(1500, 2000), "JPEG", quality=100, subsampling=0)
    draft = prepare(large, JPEG, max_bytes=len(large) * 2 // 3)
    assert opened(draft.data or b"").size == (1500, 2000)
    assert words(draft.steps) == ["recompressed"]


def test_then_pixels_go_and_at_last_colours() -> None:
    data = saved(grain(1350, 1800), "JPEG", quality=95)
    scaled = prepare(data, JPEG, max_bytes=len(data) * 2 // 5)
    assert words(scaled.steps) == ["recompressed", "scaled"]
    percent = scaled.steps[-1].numbers["percent"]
    assert opened(scaled.data or b"").width == pytest.approx(1350 * percent / 100, abs=12)
    smallest = finding(data, JPEG, max_bytes=50_000).numbers["smallest"]
    grey = prepare(data, JPEG, max_bytes=smallest + 1000)
    assert words(grey.steps) == ["recompressed", "scaled", "greyed"]
    assert opened(grey.data or b"").mode == "L"
    assert min(opened(grey.data or b"").size) >= 1000


def test_what_cannot_fit_is_rejected_with_the_numbers() -> None:
    data = saved(grain(1000, 1300), "JPEG", quality=90)
    found = finding(data, JPEG, max_bytes=40_000)
    assert found.problem is Problem.TOO_LARGE
    assert found.numbers["size"] == len(data)
    assert found.numbers["limit"] == 40_000
    assert 40_000 < found.numbers["smallest"] < len(data)


def test_a_target_of_only_pdf_gets_a_pdf_that_fits() -> None:
    draft = prepare(large_scan(), PNG, types=frozenset({PDF}))
    assert draft.mime_type == PDF
    assert len(draft.data or b"") <= LIMIT


def test_text_stays_lossless_while_it_fits() -> None:
    text = drawing(1200, 1600)
    limit = len(saved(text, "PNG")) * 2
    draft = prepare(saved(text, "BMP"), "image/bmp", max_bytes=limit)
    assert draft.mime_type == PNG
    assert difference(opened(draft.data or b""), text) == 0


def test_the_rungs_go_from_cheap_to_dear() -> None:
    assert LADDER[0] == Rung()
    dpis = [rung.max_dpi or 10_000 for rung in LADDER]
    assert dpis == sorted(dpis, reverse=True)
    assert [rung.grey for rung in LADDER] == sorted(rung.grey for rung in LADDER)
    assert min(dpis) >= 150


# --- many pages ---------------------------------------------------------------------------------------------


def test_all_pages_of_a_tiff_are_made_to_fit_and_its_faxes_stay_as_they_are() -> None:
    shots = [page(1240, 1754), grain(900, 1200), grain(900, 1200, 2)]
    data = saved(shots[0], "TIFF", save_all=True, append_images=shots[1:])
    large = prepare(data, "image/tiff")
    draft = prepare(data, "image/tiff", max_bytes=len(large.data or b"") * 2 // 3)
    assert draft.pages == 3
    assert len(draft.data or b"") <= len(large.data or b"") * 2 // 3
    assert words(draft.steps) == ["frames", "recompressed"]
    assert (draft.data or b"").count(b"/CCITTFaxDecode") == 1


def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one with each decoding of all pages that begins."""
    begun: list[int] = []
    decode = decoding.pictures

    def counted(data: bytes, mime_type: str, bounds: Bounds) -> Iterator[decoding.Picture]:
        begun.append(len(begun))
        return decode(data, mime_type, bounds)

    monkeypatch.setattr(decoding, "pictures", counted)
    return begun


def test_the_rung_is_chosen_by_a_sample_and_pages_are_decoded_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = [grain(620, 877, seed) for seed in range(4)]
    data = saved(shots[0], "TIFF", save_all=True, append_images=shots[1:], dpi=(400, 400))
    begun = decodings(monkeypatch)
    draft = prepare(data, "image/tiff", max_bytes=1_400_000)
    assert len(begun) == 2
    assert 700_000 < len(draft.data or b"") <= 1_400_000


def test_what_would_take_too_long_to_fit_is_too_complex(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = [grain(300, 400, seed) for seed in range(4)]
    data = saved(shots[0], "TIFF", save_all=True, append_images=shots[1:])
    monkeypatch.setattr(pages, "_DECODED_PIXELS", 4 * 300 * 400 * 3 // 2)
    assert finding(data, "image/tiff", max_bytes=100_000).problem is Problem.TOO_COMPLEX


def test_grain_is_not_packed_again_just_to_see_that_it_is_too_large() -> None:
    assert fitting.is_hopeless_without_loss(grain(800, 1000), limit=1_000_000)
    assert not fitting.is_hopeless_without_loss(grain(800, 1000), limit=2_400_000)
    assert not fitting.is_hopeless_without_loss(drawing(800, 1000), limit=20_000)


# --- the floor ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "dpi", "floor"),
    [
        ((2480, 3508), 300, 1240),  # A4
        ((2550, 3300), 300, 1240),  # Letter
        ((4000, 3000), 400, 1000),  # a photo
        ((1100, 4000), 400, 1000),  # a till roll
        ((700, 900), 400, 700),  # less than the floor: as it is
    ],
)
@pytest.mark.parametrize("rung", LADDER)
def test_no_rung_goes_below_the_floor(size: tuple[int, int], dpi: float, floor: int, rung: Rung) -> None:
    sheet = lighter(Image.new("RGB", size, "white"), rung, dpi=dpi)
    assert min(sheet.width, sheet.height) >= floor
    assert sheet.width / sheet.dpi == pytest.approx(size[0] / dpi, rel=0.01), "as large on paper as before"


@pytest.mark.parametrize(("mode", "encoding"), [("1", "g4"), ("L", "jpeg"), ("RGB", "jpeg")])
def test_a_lighter_sheet_keeps_to_what_the_picture_is(mode: str, encoding: str) -> None:
    shot = page(1300, 1839) if mode == "1" else photo(1300, 1839).convert(mode)
    for rung in LADDER:
        sheet = lighter(shot, rung, dpi=160)
        assert sheet.encoding == encoding
        assert sheet.mode == ("L" if rung.grey and mode == "RGB" else mode)


def test_a_drawing_becomes_a_jpeg_only_where_that_is_smaller() -> None:
    assert lighter(drawing(600, 840), Rung(quality=82), dpi=150).encoding == "flate"
    busy = photo(600, 840).filter(ImageFilter.BoxBlur(3))
    busy.paste("white", (0, 0, 600, 540))
    assert lighter(busy, Rung(), dpi=150).encoding == "flate"
    assert lighter(busy, Rung(quality=82), dpi=150).encoding == "jpeg"


def test_a_rung_that_cannot_help_is_left_out() -> None:
    tried = []

    def attempt(rung: Rung) -> fitting.Attempt:
        tried.append(rung)
        return fitting.Attempt(data=bytes(1000 if rung.max_dpi is None else 10), lossy=True, percent=50)

    fitted = fitting.climb(attempt, size=2000, limit=100)
    assert tried == [LADDER[0], LADDER[1], next(rung for rung in LADDER if rung.max_dpi)]
    assert words(fitted.steps) == ["recompressed", "scaled"]


# --- sizes on paper -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "declared", "expected"),
    [
        ((2480, 3508), 300.0, 300),  # a scan that says so
        ((2480, 3508), None, 300),  # A4
        ((4032, 3024), 72.0, 366),  # a phone's default: as large as A4 can hold
        ((640, 3000), None, 203),  # a till roll of 80 mm
        ((640, 3000), 203.0, 203),
        ((2480, 3508), 1.0, 300),  # nonsense
        ((2480, 3508), 90_000.0, 300),
        ((595, 842), 72.0, 72),  # a page drawn on a screen
        ((40, 30), None, 72),
    ],
)
def test_dots_per_inch_are_believed_or_guessed(
    size: tuple[int, int], declared: float | None, expected: int
) -> None:
    assert dpi_of(*size, declared) == pytest.approx(expected, abs=1.5)
    assert dpi_of(*size[::-1], declared) == pytest.approx(expected, abs=1.5)


def test_pages_have_a_higher_floor_than_photos() -> None:
    assert floor_of(2480, 3508) == floor_of(2550, 3300) == 1240
    assert floor_of(4032, 3024) == 1000
