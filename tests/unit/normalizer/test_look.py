"""The first look: fingerprints that survive a camera, thumbnails, and warnings that are true."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from ingestd.domain.likeness import NEAR_BITS, distance
from ingestd.normalizer.exchange import Caution, Noted
from ingestd.normalizer.look import THUMBNAIL_BYTES, look_at
from ingestd.offload.pool import Offload
from tests.unit.normalizer import lookalikes
from tests.unit.normalizer.lookalikes import Shot, photograph, scan, shop_receipt, taxi_receipt

WHITE = (820, 1160)


def view_of(picture: Image.Image, short_side: int = 1_000) -> Image.Image:
    """As the normalizer makes one."""
    factor = short_side / min(picture.size)
    if factor >= 1:
        return picture
    return picture.resize((round(picture.width * factor), round(picture.height * factor)))


def fingerprint(picture: Image.Image) -> str:
    found = look_at([view_of(picture)]).fingerprint
    assert found is not None
    return found


def cautions(picture: Image.Image) -> list[Caution]:
    return [Caution(str(noted.what)) for noted in look_at([view_of(picture)]).cautions]


# --- fingerprint --------------------------------------------------------------------------------------------


def test_the_same_pixels_have_the_same_fingerprint() -> None:
    picture = photograph(shop_receipt(1), lookalikes.moderate_shot(1), 1)
    assert fingerprint(picture) == fingerprint(picture.copy())


@pytest.mark.parametrize(
    "shot",
    [
        Shot(turn=5),
        Shot(turn=-9),
        Shot(tilt=0.05),
        Shot(margin=0.03),
        Shot(margin=0.35),
        Shot(scale=0.6),
        Shot(scale=1.9),
        Shot(gradient=0.4),
        Shot(blur=1.5),
        Shot(noise=7),
        Shot(quality=35),
        Shot(grey=True, fade=0.4),
        Shot(bend=0.006),
    ],
    ids=str,
)
def test_a_photograph_has_a_fingerprint_near_that_of_the_scan(shot: Shot) -> None:
    paper = shop_receipt(5)
    assert distance(fingerprint(scan(paper, 1)), fingerprint(photograph(paper, shot, 2))) <= NEAR_BITS


def test_nearly_all_careful_photographs_of_one_receipt_are_near_each_other() -> None:
    near = 0
    for seed in range(12):
        paper = shop_receipt(seed)
        first = fingerprint(photograph(paper, lookalikes.moderate_shot(seed), seed))
        second = fingerprint(photograph(paper, lookalikes.moderate_shot(seed + 50), seed + 50))
        near += distance(first, second) <= NEAR_BITS
    assert near >= 10


def test_receipts_of_different_shops_are_far_apart() -> None:
    prints = [fingerprint(scan(shop_receipt(seed), seed)) for seed in range(14)]
    distances = [distance(a, b) for place, a in enumerate(prints) for b in prints[:place]]
    assert min(distances) > NEAR_BITS


def test_receipts_of_one_form_are_near_so_that_they_get_compared() -> None:
    first, second = (fingerprint(taxi_receipt(lookalikes.ride(seed))) for seed in (1, 2))
    assert distance(first, second) <= NEAR_BITS


# --- thumbnail ----------------------------------------------------------------------------------------------


def test_the_thumbnail_shows_the_first_page_small_and_tells_nothing_else() -> None:
    picture = photograph(taxi_receipt(lookalikes.ride(1)), Shot(), 1)
    picture.info["exif"] = b"Exif\0\0secret"
    picture.info["comment"] = b"secret"
    thumbnail = look_at([picture, Image.new("L", (500, 500), 90)]).thumbnail
    assert thumbnail is not None
    assert len(thumbnail) <= THUMBNAIL_BYTES
    assert b"secret" not in thumbnail
    with Image.open(io.BytesIO(thumbnail), formats=["JPEG"]) as small:
        assert max(small.size) == 400
        shown = np.asarray(small.convert("L"), float)
        meant = np.asarray(picture.convert("L").resize(small.size, Image.Resampling.LANCZOS), float)
    assert np.abs(shown - meant).mean() < 8


def test_a_thumbnail_of_noise_stays_small_too() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1_000, 1_000, 3), dtype=np.uint8)
    thumbnail = look_at([Image.fromarray(noise)]).thumbnail
    assert thumbnail is not None
    assert len(thumbnail) <= THUMBNAIL_BYTES


# --- blank --------------------------------------------------------------------------------------------------


def white_page() -> Image.Image:
    return Image.new("L", WHITE, 250)


def dusty_scan() -> Image.Image:
    return scan(white_page(), 4, dust=60, quality=60)


def covered_lens() -> Image.Image:
    noise = np.abs(np.random.default_rng(1).normal(6, 4, (1_000, 1_400))).astype(np.uint8)
    return Image.fromarray(noise)


def gradient() -> Image.Image:
    return Image.fromarray(np.tile(np.linspace(120, 250, 1_000).astype(np.uint8), (1_300, 1)))


def photographed_blank() -> Image.Image:
    return photograph(Image.new("L", (640, 1_240), 246), Shot(noise=4, gradient=0.3, turn=3), 1)


@pytest.mark.parametrize(
    "make",
    [
        white_page,
        dusty_scan,
        covered_lens,
        gradient,
        photographed_blank,
        lambda: Image.new("RGB", (900, 900), (30, 90, 200)),
        lambda: Image.new("L", (900, 900), 0),
        lambda: Image.new("RGB", (1, 1), (255, 255, 255)),
    ],
)
def test_a_page_with_nothing_on_it_is_blank(make: Callable[[], Image.Image]) -> None:
    seen = look_at([make()])
    assert seen.blank
    assert seen.fingerprint is None
    assert seen.cautions == []


def one_small_line() -> Image.Image:
    page = white_page()
    lookalikes._text(ImageDraw.Draw(page), 500, "Total EUR 7,10", size=14)
    return lookalikes.jpeg_again(page, 40)


def pencil_signature() -> Image.Image:
    page = np.full((1_160, 820), 248, np.uint8)
    along = np.linspace(0, 12, 400)
    points = np.stack([300 + 18 * along + 14 * np.sin(2 * along), 800 + 22 * np.sin(3.1 * along)], 1)
    cv2.polylines(
        page, [points.astype(np.int32)], isClosed=False, color=218, thickness=2, lineType=cv2.LINE_AA
    )
    return lookalikes.jpeg_again(Image.fromarray(page), 75)


def faded_thermal() -> Image.Image:
    return photograph(taxi_receipt(lookalikes.ride(3)), Shot(fade=0.85, noise=2, blur=0.6), 1)


def dark_screenshot() -> Image.Image:
    screen = Image.new("L", (800, 1_400), 12)
    for line in range(6):
        ImageDraw.Draw(screen).text((60, 100 + 70 * line), "Paid EUR 12,40", 225, lookalikes._font(34))
    return screen


@pytest.mark.parametrize("make", [one_small_line, pencil_signature, faded_thermal, dark_screenshot])
def test_a_page_with_little_or_faint_writing_is_not_blank(make: Callable[[], Image.Image]) -> None:
    seen = look_at([make()])
    assert not seen.blank
    assert seen.fingerprint is not None


def test_a_blank_page_among_others_is_named_and_the_document_is_not_blank() -> None:
    page = taxi_receipt(lookalikes.ride(1))
    seen = look_at([page, white_page(), page])
    assert not seen.blank
    assert seen.cautions == [Noted(what=Caution.BLANK_PAGE, numbers={"page": 2})]


def test_all_pages_must_be_blank_for_a_blank_document() -> None:
    assert look_at([white_page(), dusty_scan()]).blank


def test_nothing_seen_is_nothing_said() -> None:
    seen = look_at([])
    assert (seen.fingerprint, seen.thumbnail, seen.cautions, seen.blank, seen.tiny) == (
        None,
        None,
        [],
        False,
        False,
    )


# --- blurred and small --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_letters_that_ran_into_each_other_are_called_blurred(seed: int) -> None:
    sharp = photograph(taxi_receipt(lookalikes.ride(seed)), Shot(scale=1.5, turn=seed), seed)
    assert cautions(sharp.filter(ImageFilter.GaussianBlur(11))) == [Caution.BLURRED]


@pytest.mark.parametrize(
    "make",
    [
        one_small_line,
        pencil_signature,
        faded_thermal,
        lambda: lookalikes.jpeg_again(scan(taxi_receipt(lookalikes.ride(2)), 1), 30),
        lambda: photograph(shop_receipt(2), replace(lookalikes.hard_shot(3), blur=1.6), 1),
        lambda: photograph(shop_receipt(7), Shot(scale=2.0, blur=2.0), 1),
    ],
)
def test_what_a_person_can_read_is_not_called_blurred(make: Callable[[], Image.Image]) -> None:
    assert cautions(make()) == []


def test_a_picture_too_small_to_read_is_called_small_with_its_size() -> None:
    thumbnail = taxi_receipt(lookalikes.ride(1)).resize((130, 252))
    assert look_at([thumbnail]).cautions == [Noted(what=Caution.SMALL, numbers={"width": 130, "height": 252})]


def test_a_long_narrow_receipt_is_not_small() -> None:
    assert Caution.SMALL not in cautions(taxi_receipt(lookalikes.ride(1)).resize((310, 600)))


def test_an_icon_is_tiny_and_a_receipt_is_not() -> None:
    assert look_at([Image.new("RGB", (16, 16), (200, 30, 30))]).tiny
    assert look_at([Image.new("RGB", (39, 2), (200, 30, 30))]).tiny
    assert not look_at([Image.new("RGB", (41, 2), (200, 30, 30))]).tiny


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (3, 3), (9, 2_000), (2_000, 9)])
def test_pictures_of_extreme_shape_are_looked_at_all_the_same(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 255, size[::-1], dtype=np.uint8)
    look_at([Image.fromarray(noise)])


# --- where it runs ------------------------------------------------------------------------------------------


async def test_a_locked_process_can_look_and_sees_the_same(tmp_path: Path) -> None:
    picture = view_of(photograph(shop_receipt(1), lookalikes.moderate_shot(1), 1))
    (tmp_path / "picture").write_bytes(lookalikes.png_of(picture))
    pool = Offload(
        "tests.unit.normalizer.looking_jobs:job",
        workers=1,
        memory_bytes=1_500 << 20,
        cpu=timedelta(seconds=30),
        wall=timedelta(seconds=60),
    )
    pool.start()
    try:
        answer = await pool.run({}, [tmp_path / "picture"])
    finally:
        await pool.aclose()
    assert answer["fingerprint"] == fingerprint(picture)
