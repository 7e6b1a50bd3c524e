"""Every format in a real limited process: nothing is imported there, no call that is needed is refused."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from PIL import Image

from ingestd import samples
from ingestd.offload.pool import Offload
from tests.unit.normalizer.samples_of_pictures import display_p3, every_format, exif, lying, photo, saved

FORMATS = every_format()
PAGES = {"tiff of pages": 3}


@pytest.fixture(name="confined")
def started() -> Iterator[Offload]:
    pool = Offload(
        "tests.unit.normalizer.pictures_job:job",
        workers=1,
        memory_bytes=1_500_000_000,
        cpu=timedelta(seconds=30),
        wall=timedelta(seconds=60),
        output_bytes=50_000_000,
    )
    pool.start()
    yield pool
    pool.close()


async def prepare(
    pool: Offload, folder: Path, mime_type: str, data: bytes, *, max_bytes: int = 10_000_000
) -> dict[str, object]:
    source = folder / "picture"
    source.write_bytes(data)
    request = {
        "mime_type": mime_type,
        "types": ["image/jpeg", "image/png", "application/pdf"],
        "max_bytes": max_bytes,
        "max_pixels": 100_000_000,
    }
    return await pool.run(request, [source], [folder / "out"])


async def test_every_format_is_prepared_and_made_to_fit(confined: Offload, tmp_path: Path) -> None:
    for name, (mime_type, data) in FORMATS.items():
        answer = await prepare(confined, tmp_path, mime_type, data)
        assert answer.get("pages") == PAGES.get(name, 1), (name, answer)
        lighter = await prepare(confined, tmp_path, mime_type, data, max_bytes=60_000)
        assert lighter.get("pages") == PAGES.get(name, 1) or lighter == {"found": "too_large"}, (
            name,
            lighter,
        )


async def test_colours_of_another_gamut_are_converted_there(confined: Offload, tmp_path: Path) -> None:
    data = saved(lying(photo(), 6), "JPEG", exif=exif(6), icc_profile=display_p3())
    answer = await prepare(confined, tmp_path, "image/jpeg", data)
    assert answer["pages"] == 1


async def test_broken_pictures_of_every_format_are_findings_and_cost_no_process(
    confined: Offload, tmp_path: Path
) -> None:
    for name, (mime_type, data) in FORMATS.items():
        for broken in (data[: len(data) // 2], data[:40], data[:100] + bytes(2000) + data[2100:]):
            answer = await prepare(confined, tmp_path, mime_type, broken)
            assert answer.keys() in ({"found"}, {"mime_type", "pages", "views"}), (name, answer)


async def test_the_largest_allowed_photo_is_turned_within_the_limits(
    confined: Offload, tmp_path: Path
) -> None:
    shot = Image.effect_noise((2_500, 2_000), 40).resize((10_000, 9_900)).convert("RGB")
    data = saved(lying(shot, 6), "JPEG", quality=60, exif=exif(6))
    answer = await prepare(confined, tmp_path, "image/jpeg", data, max_bytes=60_000_000)
    assert answer["pages"] == 1


async def test_a_pixel_bomb_is_a_finding(confined: Offload, tmp_path: Path) -> None:
    answer = await prepare(confined, tmp_path, "image/png", samples.pixel_bomb())
    assert answer == {"found": "too_many_pixels"}
