"""The samples are what they say: the same every time, and as many different ones as wanted."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from ingestd import samples

PRINT_HASHES = """
import hashlib
from ingestd import samples as s
for document in (s.jpeg(3), s.progressive_jpeg(3), s.mpo(3), s.png(3), s.pdf(3, pages=2), s.large_png(50_000),
                 s.pixel_bomb(), s.docx(), s.pageless_pdf(), s.small_jpeg(3), s.small_png(3), s.small_pdf(3),
                 s.heic(3, lying=True), s.tiff(3, pages=2), s.tiff(3, compression="group4"), s.grainy_scan()):
    print(hashlib.sha256(document).hexdigest())
"""


def test_the_same_arguments_give_the_same_bytes_in_every_process() -> None:
    runs = {
        subprocess.run([sys.executable, "-c", PRINT_HASHES], check=True, capture_output=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1
    (hashes,) = runs
    assert len(set(hashes.split())) == 16


def test_another_seed_gives_another_receipt() -> None:
    assert len({samples.jpeg(seed) for seed in range(5)}) == 5


@pytest.mark.parametrize("small", [samples.small_jpeg, samples.small_png, samples.small_pdf])
def test_every_number_gives_other_bytes(small: Callable[[int], bytes]) -> None:
    assert len({small(number) for number in range(1000)}) == 1000
    assert all(len(small(number)) < 10_000 for number in (0, 10**9))


@pytest.mark.parametrize("size_bytes", [100_000, 12_000_000])
def test_a_large_png_is_just_over_the_size_asked_for(size_bytes: int) -> None:
    assert size_bytes < len(samples.large_png(size_bytes)) < size_bytes * 1.1


def test_the_grainy_scan_is_a_little_too_large_for_a_limit_of_10_mb() -> None:
    assert 12_000_000 < len(samples.grainy_scan()) < 12_500_000
