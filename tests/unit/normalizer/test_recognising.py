"""What came back from a target: saved again and turned it is not another receipt, another is never it."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from ingestd import samples, sniff
from ingestd.domain.document import ReceiptImage
from ingestd.normalizer import JOB
from ingestd.normalizer.exchange import MalformedAnswer, read_recognised
from ingestd.normalizer.normalizing import PreparingNormalizer
from ingestd.normalizer.recognising import recognise, recognise_page
from ingestd.offload.pool import Offload
from ingestd.settings import PreparationSettings
from ingestd.spool import Spool
from tests.unit.normalizer import lookalikes
from tests.unit.normalizer.lookalikes import moderate_shot, photograph, ride, scan, shop_receipt, taxi_receipt
from tests.unit.normalizer.test_comparing import jpeg, pdf, plane, png

PIXELS = 1 << 26


@cache
def photo(seed: int = 1) -> Image.Image:
    return photograph(shop_receipt(seed), moderate_shot(seed), seed).convert("RGB")


@cache
def scanned(seed: int = 1) -> Image.Image:
    return scan(shop_receipt(seed), seed)


def on_a4(picture: Image.Image) -> Image.Image:
    """As a PDF page shows it: in the middle of white paper."""
    page = Image.new("RGB", (1_240, 1_754), "white")
    small = ImageOps.contain(picture.convert("RGB"), (1_000, 1_400))
    page.paste(small, ((page.width - small.width) // 2, 120))
    return page


def turned(quarters: int) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: picture.rotate(90 * quarters, expand=True)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": lambda picture: lookalikes.jpeg_again(picture, 30),
    "scaled to 2200": lambda picture: ImageOps.contain(picture, (2_200, 2_200)),
    "scaled to 500": lambda picture: ImageOps.contain(picture, (500, 500)),
    "turned left": turned(1),
    "upside down": turned(2),
    "turned right": turned(3),
    "on a page": on_a4,
    "turned on a page": lambda picture: on_a4(picture.rotate(90, expand=True)),
    "grey": lambda picture: picture.convert("L"),
    "black and white": lambda picture: picture.convert("1").convert("L"),
    "brighter": lambda picture: picture.point(lambda level: min(255, int(level * 1.25 + 10))),
    "framed in black": lambda picture: ImageOps.expand(picture, picture.width // 20, 0),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("taken", [photo, scanned])
def test_what_was_only_saved_in_another_way_is_never_another(
    taken: Callable[[], Image.Image], change: str
) -> None:
    assert recognise(jpeg(taken()), jpeg(CHANGES[change](taken())), max_pixels=PIXELS) != "other"


@pytest.mark.parametrize("change", ["recompressed", "scaled to 2200", "upside down", "turned right", "grey"])
def test_what_was_only_saved_in_another_way_is_mostly_found_to_be_the_same(change: str) -> None:
    changed = CHANGES[change](scanned())
    assert recognise(jpeg(scanned()), jpeg(changed), max_pixels=PIXELS) == "same"


def test_a_picture_that_came_back_as_a_pdf_is_the_same() -> None:
    assert recognise(jpeg(scanned()), pdf(scanned()), max_pixels=PIXELS) == "same"


def test_the_receipt_of_another_shop_is_another() -> None:
    for first, second in ((scanned(1), scanned(2)), (photo(1), photo(2)), (scanned(3), scanned(4))):
        verdicts = {
            recognise(jpeg(first), jpeg(second), max_pixels=PIXELS),
            recognise(jpeg(second), jpeg(first), max_pixels=PIXELS),
        }
        assert "same" not in verdicts
    assert recognise(jpeg(scanned(1)), jpeg(scanned(2)), max_pixels=PIXELS) == "other"


@pytest.mark.parametrize("seed", range(3))
def test_two_receipts_of_one_form_are_never_the_same(seed: int) -> None:
    first = ride(seed)
    for other in (lookalikes.one_digit_off(first, seed), ride(seed + 50)):
        one, two = (plane(scan(taxi_receipt(each), seed)) for each in (first, other))
        assert recognise_page(one, two) == "unclear"
        assert recognise_page(one, np.ascontiguousarray(np.rot90(two, 2))) == "unclear"


def test_another_number_of_pages_is_another_document() -> None:
    two = pdf(scanned(1), scanned(2))
    assert recognise(two, pdf(scanned(1)), max_pixels=PIXELS) == "other"
    assert recognise(jpeg(scanned(1)), two, max_pixels=PIXELS) == "other"


def test_every_page_has_to_be_the_same_and_one_other_page_is_enough() -> None:
    sent = pdf(scanned(1), scanned(2))
    again = pdf(lookalikes.jpeg_again(scanned(1), 60), lookalikes.jpeg_again(scanned(2), 60))
    assert recognise(sent, again, max_pixels=PIXELS) == "same"
    assert recognise(sent, pdf(scanned(1), scanned(3)), max_pixels=PIXELS) == "other"


def test_a_blank_page_can_not_be_told_apart() -> None:
    blank = Image.new("L", (800, 1_100), 250)
    assert recognise(jpeg(scanned()), jpeg(blank), max_pixels=PIXELS) == "unclear"
    assert recognise(jpeg(blank), jpeg(scanned()), max_pixels=PIXELS) == "unclear"


@pytest.mark.parametrize("keep", [0, 3, 300, 5_000])
@pytest.mark.parametrize("whole", [jpeg, png, pdf], ids=["jpeg", "png", "pdf"])
def test_what_can_not_be_decoded_is_unclear(
    whole: Callable[[Image.Image], tuple[str, bytes]], keep: int
) -> None:
    good = whole(scanned().resize((320, 600)))
    assert recognise(good, (good[0], good[1][:keep]), max_pixels=PIXELS) == "unclear"


def test_too_many_pixels_and_other_types_are_unclear() -> None:
    assert recognise(png(scanned(1)), png(scanned(2)), max_pixels=1_000) == "unclear"
    assert recognise(png(scanned(1)), ("image/tiff", b"II*\0"), max_pixels=PIXELS) == "unclear"


# --- in the limited process --------------------------------------------------------------------------------


def image_of(path: Path, data: bytes, mime_type: str = sniff.JPEG) -> ReceiptImage:
    path.write_bytes(data)
    return ReceiptImage(
        path=path, mime_type=mime_type, size=len(data), pages=1, sha256=hashlib.sha256(data).hexdigest()
    )


async def test_the_same_bytes_are_the_same_without_a_process(tmp_path: Path) -> None:
    class Nobody:
        async def run(self, *_: object, **__: object) -> dict[str, object]:
            raise AssertionError("nobody has to look")

    normalizer = PreparingNormalizer(
        Nobody(), Spool(tmp_path / "spool", min_free_bytes=0), PreparationSettings()
    )
    sent = image_of(tmp_path / "sent", samples.small_jpeg(1))
    back = tmp_path / "back"
    back.write_bytes(samples.small_jpeg(1))
    assert await normalizer.compare_returned(sent, back, "text/html") == "same"
    for stranger in (b"", b"<html>log in</html>", samples.tiff(1)):
        back.write_bytes(stranger)
        assert await normalizer.compare_returned(sent, back, "image/jpeg") == "unclear"
    back.unlink()
    with pytest.raises(OSError, match="back"):
        await normalizer.compare_returned(sent, back, "image/jpeg")


async def test_a_locked_process_decides_and_a_bomb_costs_nothing_but_the_verdict(tmp_path: Path) -> None:
    pool = Offload(
        JOB, workers=1, memory_bytes=1_500 << 20, cpu=timedelta(seconds=40), wall=timedelta(seconds=120)
    )
    pool.start()
    try:
        normalizer = PreparingNormalizer(
            pool, Spool(tmp_path / "spool", min_free_bytes=0), PreparationSettings()
        )
        sent, back = image_of(tmp_path / "sent", jpeg(scanned(1))[1]), tmp_path / "back"
        for data, verdict in (
            (pdf(scanned(1))[1], "same"),
            (jpeg(scanned(2))[1], "other"),
            (samples.pixel_bomb(), "unclear"),
            (pdf(scanned(1), scanned(2))[1], "other"),
            (pdf(scanned(1))[1][:-2_000], "unclear"),
        ):
            back.write_bytes(data)
            assert await normalizer.compare_returned(sent, back, "") == verdict
            with normalizer._spool.scratch() as nameless:  # what is downloaded never has a name
                nameless.write(data)
                there = Path(f"/proc/self/fd/{nameless.fileno()}")
                assert await normalizer.compare_returned(sent, there, "") == verdict
    finally:
        await pool.aclose()


def test_an_answer_is_read_as_nothing_else() -> None:
    assert read_recognised({"answer": "Recognised", "verdict": "other"}) == "other"
    for answer in ({"answer": "Recognised", "verdict": "yes"}, {"answer": "Compared", "same": True}, {}):
        with pytest.raises(MalformedAnswer):
            read_recognised(answer)


def test_recognising_is_deterministic() -> None:
    first, second = jpeg(photo(1)), jpeg(photo(2))
    assert len({recognise(first, second, max_pixels=PIXELS) for _ in range(2)}) == 1
