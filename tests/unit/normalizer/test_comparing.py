"""The same receipt taken twice is found; another one from the same printed form never is."""

import io
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ingestd import sniff
from ingestd.normalizer.comparing import same, same_page
from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.paper import Plane, plane_of
from ingestd.offload.pool import Offload
from tests.unit.normalizer import lookalikes
from tests.unit.normalizer.lookalikes import Shot, photograph, scan, taxi_receipt

PIXELS = 1 << 26


def jpeg(picture: Image.Image) -> tuple[str, bytes]:
    return sniff.JPEG, lookalikes.jpeg_of(picture)


def png(picture: Image.Image) -> tuple[str, bytes]:
    return sniff.PNG, lookalikes.png_of(picture)


def pdf(*pages: Image.Image) -> tuple[str, bytes]:
    file = io.BytesIO()
    pages[0].save(file, "PDF", save_all=True, append_images=list(pages[1:]), resolution=200)
    return sniff.PDF, file.getvalue()


def plane(picture: Image.Image) -> Plane:
    return plane_of(picture, long_side=2_400)


def receipt(seed: int = 1) -> Image.Image:
    return taxi_receipt(lookalikes.ride(seed))


# --- two hundred receipts of one form -----------------------------------------------------------------------


def rides_of_one_firm() -> list[lookalikes.Ride]:
    """200: each with a neighbour that differs in a single digit."""
    first = [lookalikes.ride(seed) for seed in range(100)]
    return [one for seed, ride in enumerate(first) for one in (ride, lookalikes.one_digit_off(ride, seed))]


@pytest.mark.parametrize("part", range(20))
def test_no_two_scans_of_200_receipts_of_one_form_are_the_same(part: int) -> None:
    rides = rides_of_one_firm()
    assert len(set(rides)) == 200
    numbers = range(10 * part, 10 * part + 10)
    taken = {number: plane(scan(taxi_receipt(rides[number]), number)) for number in numbers}
    neighbours = list(zip(numbers[::2], numbers[1::2], strict=True))
    for one, other in (*neighbours, tuple(random.Random(part).sample(numbers, 2))):
        assert not same_page(taken[one], taken[other]), (rides[one], rides[other])


@pytest.mark.parametrize("part", range(20))
def test_no_two_photographs_of_200_receipts_of_one_form_are_the_same(part: int) -> None:
    rides = rides_of_one_firm()[10 * part : 10 * part + 10]
    taken = [hasty_photograph(ride, 10 * part + number) for number, ride in enumerate(rides)]
    for first in range(0, 10, 2):
        assert not same_page(taken[first], taken[first + 1]), rides[first]


def hasty_photograph(ride: lookalikes.Ride, seed: int) -> Plane:
    """With no more pixels than it takes to read it."""
    shot = replace(lookalikes.moderate_shot(seed), scale=0.7)
    return plane(photograph(taxi_receipt(ride), shot, seed))


@pytest.mark.parametrize("pair", [36, 48, 57, 72, 76, 84])  # those that look most alike
def test_no_two_photographs_of_receipts_with_one_other_digit_are_the_same(pair: int) -> None:
    first, second = rides_of_one_firm()[2 * pair : 2 * pair + 2]
    pictures = [
        photograph(taxi_receipt(ride), lookalikes.moderate_shot(seed), seed)
        for seed, ride in ((pair, first), (pair + 500, second))
    ]
    assert not same_page(plane(pictures[0]), plane(pictures[1])), (first, second)


# --- the same receipt ---------------------------------------------------------------------------------------


def test_most_careful_photographs_of_one_receipt_are_found_to_be_the_same() -> None:
    found = 0
    for seed in range(4):
        first = photograph(receipt(seed), lookalikes.moderate_shot(seed), seed)
        second = photograph(receipt(seed), lookalikes.moderate_shot(seed + 1_000), seed + 1_000)
        found += same_page(plane(first), plane(second))
    assert found >= 3


def test_most_scans_are_found_to_be_what_was_photographed() -> None:
    found = 0
    for seed in range(4):
        photo = photograph(receipt(seed), lookalikes.moderate_shot(seed), seed)
        found += same_page(plane(scan(receipt(seed), seed, dust=8)), plane(photo))
    assert found >= 3


@pytest.mark.parametrize(("factor", "quality"), [(1.0, 45), (0.75, 80), (1.3, 60)])
def test_a_scan_saved_again_in_another_size_is_the_same(factor: float, quality: int) -> None:
    first = scan(receipt(), 1, dust=8)
    smaller = first.resize((round(first.width * factor), round(first.height * factor)))
    assert same_page(plane(first), plane(lookalikes.jpeg_again(smaller, quality)))


@pytest.mark.parametrize(
    "shot", [Shot(turn=9), Shot(tilt=0.05), Shot(scale=1.9), Shot(gradient=0.4), Shot(blur=1.2)], ids=str
)
def test_the_camera_may_be_held_otherwise(shot: Shot) -> None:
    first = photograph(receipt(), Shot(table=1), 1)
    assert same_page(plane(first), plane(photograph(receipt(), shot, 2)))


def test_it_does_not_matter_which_comes_first() -> None:
    first, second = photograph(receipt(), Shot(table=1), 1), scan(receipt(), 2, dust=0)
    assert same(jpeg(first), png(second), max_pixels=PIXELS)
    assert same(png(second), jpeg(first), max_pixels=PIXELS)


def test_a_photograph_and_a_pdf_can_show_the_same_receipt() -> None:
    assert same(pdf(receipt()), jpeg(photograph(receipt(), Shot(), 1)), max_pixels=PIXELS)


def test_a_picture_without_a_letter_is_the_same_only_as_itself() -> None:
    blank = Image.new("L", (800, 1_100), 250)
    slope = Image.fromarray(np.tile(np.linspace(90, 250, 800).astype(np.uint8), (1_100, 1)))
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 255, (1_100, 800), dtype=np.uint8))
    for picture in (blank, slope, noise):
        assert same(jpeg(picture), jpeg(picture), max_pixels=PIXELS)
        assert same(png(picture), png(picture.copy()), max_pixels=PIXELS)
    for picture in (slope, noise):
        assert not same(png(picture), jpeg(picture.rotate(1, fillcolor=250)), max_pixels=PIXELS)
    assert not same(png(blank), png(Image.new("L", (800, 1_100), 251)), max_pixels=PIXELS)


# --- not the same -------------------------------------------------------------------------------------------


def test_one_table_under_two_receipts_does_not_make_them_one() -> None:
    shot = Shot(table=2, margin=0.35)
    first, second = (photograph(taxi_receipt(lookalikes.ride(seed)), shot, 7) for seed in (1, 2))
    assert not same_page(plane(first), plane(second))


def test_one_table_under_two_blank_sheets_does_not_make_them_one() -> None:
    blank = Image.new("L", (640, 1_240), 246)
    first = photograph(blank, Shot(table=2, margin=0.35), 7)
    second = photograph(blank, Shot(table=2, margin=0.35, noise=4), 7)
    assert not same_page(plane(first), plane(second))


def test_a_shadow_over_the_half_with_the_digits_does_not_hide_another_ride() -> None:
    def shaded(seed: int) -> Plane:
        picture = np.asarray(photograph(receipt(seed), Shot(table=3), 7).convert("L"), np.float32)
        picture = picture.copy()
        picture[:, picture.shape[1] // 2 :] *= 0.4
        return picture.astype(np.uint8)

    assert not same_page(shaded(1), shaded(2))


def test_a_receipt_whose_lower_half_was_cut_off_is_not_the_same() -> None:
    whole = receipt()
    assert not same_page(plane(whole), plane(whole.crop((0, 0, whole.width, whole.height * 6 // 10))))


def test_a_covered_line_is_in_doubt() -> None:
    covered = receipt()
    ImageDraw.Draw(covered).rectangle((300, 690, 620, 760), fill=246)
    assert not same_page(plane(receipt()), plane(covered))


def test_what_is_too_coarse_to_tell_an_8_from_a_3_is_in_doubt() -> None:
    coarse = receipt().resize((190, 368), Image.Resampling.LANCZOS)
    assert not same_page(plane(coarse), plane(coarse.rotate(0.5, fillcolor=246)))


def test_documents_with_another_number_of_pages_are_not_the_same() -> None:
    assert not same(pdf(receipt()), pdf(receipt(), receipt()), max_pixels=PIXELS)


def test_every_page_must_be_the_same() -> None:
    first = pdf(receipt(1), receipt(2))
    assert same(first, pdf(scan(receipt(1), 1, dust=0), scan(receipt(2), 2, dust=0)), max_pixels=PIXELS)
    assert not same(first, pdf(receipt(1), receipt(3)), max_pixels=PIXELS)


# --- bounds -------------------------------------------------------------------------------------------------


def test_a_picture_with_too_many_pixels_is_not_decoded() -> None:
    with pytest.raises(Found) as found:
        same(png(receipt(1)), png(receipt(2)), max_pixels=1_000)
    assert found.value.finding.problem is Problem.TOO_MANY_PIXELS


@pytest.mark.parametrize("keep", [0, 3, 20, 300, 5_000])
@pytest.mark.parametrize("whole", [jpeg, png, pdf], ids=["jpeg", "png", "pdf"])
def test_what_can_not_be_decoded_is_the_same_only_byte_for_byte(
    whole: Callable[[Image.Image], tuple[str, bytes]], keep: int
) -> None:
    good = whole(small_receipt())
    cut = good[0], good[1][:keep]
    assert not same(good, cut, max_pixels=PIXELS)
    assert not same(cut, good, max_pixels=PIXELS)
    assert same(cut, cut, max_pixels=PIXELS)


@cache
def small_receipt() -> Image.Image:
    return receipt().resize((160, 310))


def test_another_type_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be compared"):
        same(("image/tiff", b"II"), ("image/tiff", b"MM"), max_pixels=PIXELS)


async def test_a_locked_process_can_compare(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(jpeg(photograph(receipt(), Shot(table=1), 1))[1])
    second.write_bytes(jpeg(photograph(receipt(), Shot(turn=4), 2))[1])
    pool = Offload(
        "tests.unit.normalizer.looking_jobs:job",
        workers=1,
        memory_bytes=1_500 << 20,
        cpu=timedelta(seconds=30),
        wall=timedelta(seconds=60),
    )
    pool.start()
    try:
        answer = await pool.run({"type": sniff.JPEG}, [first, second])
    finally:
        await pool.aclose()
    assert answer == {"same": True}
