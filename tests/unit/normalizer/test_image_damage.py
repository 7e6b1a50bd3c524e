"""Cut, damaged and hostile pictures: a finding each, quickly, and never another exception."""

import random
import resource
import struct
import zlib
from collections.abc import Callable, Mapping
from io import BytesIO

import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from ingestd import samples
from ingestd.normalizer.exchange import Level, Problem
from tests.unit.normalizer.preparing import JPEG, PNG, finding, problem
from tests.unit.normalizer.samples_of_pictures import (
    every_format,
    exif,
    lying,
    page,
    photo,
    png_of_chunks,
    saved,
    with_chunk,
)

BOTH = pytest.mark.parametrize("level", ["light", "full"])
FORMATS = every_format()
TIFF, GIF, WEBP, BMP = "image/tiff", "image/gif", "image/webp", "image/bmp"
MAX_PIXELS = 100_000_000

# --- what is missing ----------------------------------------------------------------------------------------


def test_a_jpeg_to_be_turned_that_lacks_a_quantization_table_is_damaged() -> None:
    whole = saved(lying(photo(), 6), "JPEG", exif=exif(6))
    assert problem(without_tables(whole), JPEG) is Problem.CORRUPT


def without_tables(jpeg: bytes) -> bytes:
    """Every table is given a number that no component asks for (ITU-T T.81 section B.2.4.1)."""
    changed, position = bytearray(jpeg), jpeg.find(b"\xff\xdb")
    while position >= 0:
        changed[position + 4] = changed[position + 4] & 0xF0 | 3
        position = jpeg.find(b"\xff\xdb", position + 2)
    return bytes(changed)


# --- cut off -----------------------------------------------------------------------------------------------

CUTS: Mapping[str, Callable[[bytes], bytes]] = {
    "2 bytes lost": lambda whole: whole[:-2],
    "30% lost": lambda whole: samples.truncated(whole, 0.7),
    "70% lost": lambda whole: samples.truncated(whole, 0.3),
    "only the head": lambda whole: whole[:30],
    "second half still zeros": lambda whole: whole[: len(whole) // 2] + bytes(len(whole) // 2),
}
WALKED = {
    "jpeg": (JPEG, samples.jpeg()),
    "progressive jpeg": (JPEG, samples.progressive_jpeg()),
    "small jpeg": (JPEG, samples.small_jpeg(1)),
    "png": (PNG, samples.png()),
    "small png": (PNG, samples.small_png(1)),
}


@BOTH
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", WALKED)
def test_a_picture_without_its_end_is_found_at_any_level(name: str, cut: str, level: Level) -> None:
    mime_type, whole = WALKED[name]
    assert problem(CUTS[cut](whole), mime_type, level=level) in (Problem.TRUNCATED, Problem.CORRUPT)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "jpeg 2000"])
def test_half_a_picture_of_any_format_is_found(name: str) -> None:
    mime_type, whole = FORMATS[name]
    found = problem(whole[: len(whole) // 2], mime_type)
    assert found in (Problem.TRUNCATED, Problem.CORRUPT, Problem.DAMAGED_PAGE)


@BOTH
@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.99])
def test_one_flipped_byte_anywhere_in_a_png_is_found(share: float, level: Level) -> None:
    document = bytearray(samples.png())
    document[8 + int((len(document) - 9) * share)] ^= 0x40
    assert problem(bytes(document), PNG, level=level) in (Problem.CORRUPT, Problem.TRUNCATED)


def grey_png(width: int, height: int, packed: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return png_of_chunks((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))


def test_only_decoding_finds_samples_that_are_garbled_behind_good_checksums() -> None:
    too_few = grey_png(100, 100, zlib.compress(random.Random(1).randbytes(100 * 101))[:5000])
    garbled = grey_png(100, 100, b"\x78\x9c" + b"garbage" * 30)
    for document in (too_few, garbled):
        assert problem(document, PNG, level="light") is None
        assert problem(document, PNG) is Problem.CORRUPT


@BOTH
def test_a_png_without_samples_or_with_an_odd_header_is_corrupt(level: Level) -> None:
    no_samples = png_of_chunks((b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)), (b"IEND", b""))
    for document in (no_samples, grey_png(0, 10, b""), grey_png(1 << 31, 1, b"")):
        assert problem(document, PNG, level=level) is Problem.CORRUPT


@BOTH
def test_a_jpeg_that_ends_before_any_picture_is_corrupt(level: Level) -> None:
    assert problem(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", JPEG, level=level) is Problem.CORRUPT


def test_a_jpeg_whose_tables_are_gone_fails_to_decode() -> None:
    document = samples.jpeg()
    table = document.index(b"\xff\xdb")
    assert problem(document[:table] + b"\xff\xfe" + document[table + 2 :], JPEG) is Problem.CORRUPT


@BOTH
@pytest.mark.parametrize(
    ("marker", "precision"), [(0xC1, 12), (0xC3, 8), (0xC3, 16), (0xC9, 8), (0xCA, 8), (0xC5, 8)]
)
def test_rare_kinds_of_jpeg_are_unsupported_and_not_damaged(
    marker: int, precision: int, level: Level
) -> None:
    document = bytearray(samples.jpeg())
    frame = document.index(b"\xff\xc0")
    document[frame + 1], document[frame + 4] = marker, precision
    assert problem(bytes(document), JPEG, level=level) is Problem.UNSUPPORTED


# --- bombs -------------------------------------------------------------------------------------------------


@BOTH
def test_a_pixel_bomb_is_found_by_its_header(level: Level) -> None:
    found = finding(samples.pixel_bomb(), PNG, level=level)
    assert found.problem is Problem.TOO_MANY_PIXELS
    assert found.numbers == {"width": 50_000, "height": 50_000, "limit": MAX_PIXELS}


def patched(document: bytes, marker: bytes, offset: int, value: bytes) -> bytes:
    at = document.index(marker) + offset
    return document[:at] + value + document[at + len(value) :]


def tiff(*entries: tuple[int, int, int, int], next_directory: int = 0) -> bytes:
    """One directory of (tag, type, count, value), little-endian."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + struct.pack("<I", next_directory)


SHORT, LONG = 3, 4
LARGE_SIDES = ((256, LONG, 1, 60_000), (257, LONG, 1, 60_000))
SMALL_SIDES = ((256, LONG, 1, 64), (257, LONG, 1, 64), (258, SHORT, 1, 8), (262, SHORT, 1, 1))
BOMBS = {
    "jpeg": (JPEG, patched(samples.jpeg(), b"\xff\xc0", 5, struct.pack(">HH", 65_000, 65_000))),
    "gif": (GIF, patched(FORMATS["gif"][1], b"GIF8", 6, struct.pack("<HH", 65_000, 65_000))),
    "gif with a large frame": (GIF, b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0" + b"\xff\xff\xff\xff\0\2\1\0\0;"),
    "webp": (WEBP, b"RIFF\x30\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0" + bytes(30)),
    "bmp": (BMP, patched(FORMATS["bmp"][1], b"BM", 18, struct.pack("<ii", 60_000, 60_000))),
    "jpeg 2000": (
        "image/jp2",
        patched(FORMATS["jpeg 2000"][1], b"ihdr", 4, struct.pack(">II", 60_000, 60_000)),
    ),
    "tiff": (TIFF, tiff(*LARGE_SIDES)),
    "tiff with tiles of gigabytes": (
        TIFF,
        tiff(*SMALL_SIDES, (322, LONG, 1, 60_000), (323, LONG, 1, 60_000), (324, LONG, 1, 8)),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_every_format_are_found_by_their_headers(name: str) -> None:
    mime_type, data = BOMBS[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert problem(data, mime_type) is Problem.TOO_MANY_PIXELS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # in KB


def test_a_chain_of_directories_without_end_is_found() -> None:
    one = struct.pack("<H", 1) + struct.pack("<HHII", 256, LONG, 1, 10)
    directories = [one + struct.pack("<I", 8 + 18 * (n + 1)) for n in range(6_000)]
    assert problem(b"II*\0\x08\0\0\0" + b"".join(directories), TIFF) is Problem.TOO_COMPLEX


def test_a_circle_of_directories_is_corrupt() -> None:
    whole = saved(page(), "TIFF", compression="group4")
    first = int.from_bytes(whole[4:8], "little")
    end = first + 2 + 12 * int.from_bytes(whole[first : first + 2], "little")
    circle = whole[:end] + first.to_bytes(4, "little") + whole[end + 4 :]
    assert problem(circle, TIFF) is Problem.CORRUPT


def test_more_strips_than_rows_are_found() -> None:
    strips = (273, LONG, 60_000, 8)
    data = tiff(*SMALL_SIDES, strips, (278, LONG, 1, 63), (277, SHORT, 1, 1)) + bytes(300_000)
    assert problem(data, TIFF) is Problem.CORRUPT


def one_strip(compression: str) -> tuple[bytes, int, int]:
    """A TIFF page in one strip; where the strip begins, and how many bytes it has."""
    shot = page() if compression.startswith("group") else photo()
    data = saved(shot, "TIFF", compression=compression, tiffinfo={278: shot.height})
    with TiffImageFile(BytesIO(data)) as file:
        return data, file.tag_v2[273][0], file.tag_v2[279][0]


PACKINGS = ["group3", "group4", "jpeg", "tiff_lzw", "tiff_adobe_deflate", "packbits"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("compression", PACKINGS)
def test_what_is_missing_of_a_strip_is_not_silently_white(compression: str, share: float) -> None:
    data, start, size = one_strip(compression)
    rest = start + int(size * share)
    zeroed = data[:rest] + bytes(start + size - rest) + data[start + size :]
    shorter = patched(data, struct.pack("<I", size), 0, struct.pack("<I", int(size * share)))
    for damaged in (zeroed, shorter):
        assert problem(damaged, TIFF) in (Problem.TRUNCATED, Problem.CORRUPT)


@pytest.mark.parametrize("shot", ["white", "black", "text", "text on its head"])
@pytest.mark.parametrize("tags", [{}, {278: 600}, {278: 600, 266: 2}, {262: 0}, {262: 1}], ids=str)
@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_sound_faxes_are_not_taken_for_cut_ones(compression: str, tags: dict[int, int], shot: str) -> None:
    shots = {
        "white": Image.new("1", (400, 600), 1),
        "black": Image.new("1", (400, 600), 0),
        "text": page(),
        "text on its head": page().transpose(Image.Transpose.ROTATE_180),
    }
    assert problem(saved(shots[shot], "TIFF", compression=compression, tiffinfo=tags), TIFF) is None


def test_a_strip_that_unpacks_to_more_than_its_page_is_corrupt() -> None:
    data, start, size = one_strip("tiff_adobe_deflate")
    more = zlib.compress(zlib.decompress(data[start : start + size]) + bytes(10_000_000))
    at = len(data) + len(data) % 2
    moved = patched(data, struct.pack("<I", size), 0, struct.pack("<I", len(more)))
    entry = struct.pack("<HHII", 273, 4, 1, start)
    moved = patched(moved, entry, 8, struct.pack("<I", at))
    assert problem(moved.ljust(at, b"\0") + more, TIFF) is Problem.CORRUPT


def test_many_large_pages_together_are_too_complex() -> None:
    shot = Image.new("L", (1000, 1000), 100)
    data = saved(shot, "TIFF", save_all=True, append_images=[shot] * 5)
    assert problem(data, TIFF, max_pixels=1_000_000) is Problem.TOO_COMPLEX


@BOTH
def test_a_picture_of_exactly_the_limit_passes(level: Level) -> None:
    document = saved(Image.new("L", (100, 100), 200), "PNG")
    assert problem(document, PNG, level=level, max_pixels=10_000) is None
    assert problem(document, PNG, level=level, max_pixels=9_999) is Problem.TOO_MANY_PIXELS


def test_a_text_chunk_that_unpacks_without_end_is_corrupt() -> None:
    bomb = b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
    assert problem(with_chunk(samples.png(), b"zTXt", bomb), PNG) is Problem.CORRUPT


# --- anything ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_no_damage_brings_anything_but_a_verdict(name: str) -> None:
    mime_type, whole = FORMATS[name]
    chance = random.Random(len(whole))
    for _ in range(12):
        document = bytearray(whole)
        for _ in range(chance.choice((1, 3, 30))):
            near = chance.choice((200, len(document)))
            document[chance.randrange(8, min(near, len(document)))] = chance.randrange(256)
        if chance.random() < 0.3:
            start = chance.randrange(8, len(document))
            del document[start : start + chance.randrange(len(document) // 4)]
        problem(bytes(document), mime_type, max_pixels=2_000_000)  # another exception costs a process


def test_a_photo_is_not_needed_to_be_whole_behind_its_end() -> None:
    assert problem(saved(photo(), "JPEG") + b"\xff\xd8\xff", JPEG, strip_location=False) is None
