"""Small files that ask for gigabytes: each is refused with a reason and costs only its own process."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.traps import archives, bombs

ROOT = Path(__file__).parents[4]

BOMBS: Mapping[str, Callable[[], bytes]] = {
    "png of 50,000 by 50,000": bombs.png_pixels,
    "png with a gigabyte of text": bombs.png_text,
    "png with a gigabyte of colour profile": bombs.png_colour_profile,
    "tiff of 60,000 by 60,000": bombs.tiff_pixels,
    "tiff with a strip of 4 GB": bombs.tiff_one_strip,
    "tiff with an endless fax": bombs.tiff_fax,
    "tiff of 60,000 pages": bombs.tiff_of_pages,
    "gif without end": bombs.gif_endless,
    "gif on a canvas of 65,535 by 65,535": bombs.gif_canvas,
    "webp on a canvas of 16,383 by 16,383": bombs.webp_canvas,
    "jpeg of 65,500 by 65,500": bombs.jpeg_pixels,
    "jpeg 2000 of 45,000 by 45,000": bombs.jpeg2000_pixels,
    "heic of 60,000 by 60,000": bombs.heic_grid,
    "bmp of 200,000 by 200,000": bombs.bmp_pixels,
    "pdf that inflates to 10 GB": bombs.pdf_inflating,
    "pdf with a picture of 6 GB": bombs.pdf_inflating_picture,
    "pdf with a page tree 100,000 deep": bombs.pdf_deep_tree,
    "pdf with a circular page tree": bombs.pdf_circular_tree,
    "pdf with circular cross-references": bombs.pdf_circular_xref,
    "pdf of 100,000 pages": bombs.pdf_wide,
    "zip by ratio": archives.bomb_by_ratio,
    "zip by overlap": archives.bomb_by_overlap,
    "zip by count": archives.bomb_by_count,
    "zip of zips": archives.zip_of_zips,
}
RIDDLES: Mapping[str, Callable[[], bytes]] = {
    "jpeg of many scans": bombs.jpeg_scans,
    "tiff with a circle of pages": bombs.tiff_circle,
    "pdf that draws itself": bombs.pdf_recursive_form,
    "pdf that draws a million million things": bombs.pdf_billion_laughs,
    "pdf page of 200 by 200 metres": bombs.pdf_huge_page,
}
"""Not refused by everybody: readers differ in how they untie these. They must only not do harm."""


@pytest.fixture(scope="module")
def aftermath(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("bombs")
    for name, make in (*BOMBS.items(), *RIDDLES.items()):
        (directory / name).write_bytes(make())
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.normalizer.table.bombing", directory],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(told, indent=1))
    return told


pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("bombs")]


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_with_a_reason(aftermath: dict[str, Any], name: str) -> None:
    assert aftermath["files"][name]["reason"]
    assert not aftermath["files"][name]["unpacked"]


def test_bombs_and_riddles_cost_the_daemon_no_memory_no_process_and_no_file(
    aftermath: dict[str, Any],
) -> None:
    assert len(aftermath["files"]) == len(BOMBS) + len(RIDDLES)
    assert aftermath["grown_mb"] < 50
    assert aftermath["workers"] <= 2
    assert aftermath["leftovers"] == []
