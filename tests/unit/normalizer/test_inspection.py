"""What the limited process finds in sound and in broken documents, at both levels."""

import random
import struct
import tempfile
import zlib
from io import BytesIO

import pytest
from PIL import Image

from ingestd import samples, sniff
from ingestd.normalizer import inspection
from ingestd.normalizer.exchange import Finding, InspectionRequest, Level, Problem, Sound
from tests.unit.normalizer.inspecting import BOTH, LEVELS, MAX_PIXELS, inspect, problem

# --- sound documents ---------------------------------------------------------------------------------------


def saved(picture: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, picture_format, **options)
    return buffer.getvalue()


def with_exif() -> bytes:
    picture = Image.new("RGB", (64, 64), "white")
    exif = picture.getexif()
    exif[0x0112], exif[0x011A], exif[0x0128] = 6, 300.0, 2
    return saved(picture, "JPEG", exif=exif)


SOUND = {
    "jpeg": samples.jpeg(),
    "progressive jpeg": samples.progressive_jpeg(),
    "cmyk jpeg": samples.cmyk_jpeg(),
    "grey jpeg": saved(Image.new("L", (300, 200), 128), "JPEG"),
    "jpeg with restart markers": saved(Image.effect_noise((300, 200), 60), "JPEG", restart_marker_rows=1),
    "jpeg turned by exif": with_exif(),
    "jpeg of one pixel": saved(Image.new("RGB", (1, 1)), "JPEG"),
    "mpo": samples.mpo(),
    "jpeg and a motion photo behind it": samples.jpeg() + b"\0\0\0\x18ftypmp42" + bytes(5000),
    "jpeg padded with zeros": samples.jpeg() + bytes(5000),
    "png": samples.png(),
    "png with a palette": saved(Image.new("P", (60, 60), 3), "PNG"),
    "png in black and white": saved(Image.new("1", (60, 60), 1), "PNG"),
    "png of 16 bits": saved(Image.new("I;16", (60, 60), 3000), "PNG"),
    "png with alpha": saved(Image.new("RGBA", (60, 60), (1, 2, 3, 4)), "PNG"),
    "png padded with zeros": samples.png() + bytes(5000),
    "large png": samples.large_png(2_000_000),
    "pdf": samples.pdf(),
    "pdf after junk": b"\r\n\r\n" + samples.pdf(),
    "pdf padded with zeros": samples.pdf() + bytes(5000),
    "small jpeg": samples.small_jpeg(17),
    "small png": samples.small_png(17),
    "small pdf": samples.small_pdf(17),
}


@BOTH
@pytest.mark.parametrize("document", SOUND.values(), ids=SOUND.keys())
def test_a_sound_document_is_sound(document: bytes, level: Level) -> None:
    assert inspect(document, level) == Sound(pages=1)


@BOTH
def test_the_pages_of_a_pdf_are_counted(level: Level) -> None:
    assert inspect(samples.pdf(pages=3), level, max_pages=3) == Sound(pages=3)


@BOTH
def test_a_pdf_with_more_pages_than_the_limit_is_found(level: Level) -> None:
    assert inspect(samples.pdf(pages=3), level, max_pages=2) == Finding(
        problem=Problem.TOO_MANY_PAGES, numbers={"pages": 3, "limit": 2}
    )


# --- cut off -----------------------------------------------------------------------------------------------

WHOLE = {
    "jpeg": samples.jpeg(),
    "progressive jpeg": samples.progressive_jpeg(),
    "small jpeg": samples.small_jpeg(1),
    "png": samples.png(),
    "small png": samples.small_png(1),
    "pdf": samples.pdf(pages=2),
    "small pdf": samples.small_pdf(1),
}
CUTS = {
    "2 bytes lost": lambda whole: whole[:-2],
    "10 bytes lost": lambda whole: whole[:-10],
    "30% lost": lambda whole: samples.truncated(whole, 0.7),
    "70% lost": lambda whole: samples.truncated(whole, 0.3),
    "only the head": lambda whole: whole[:30],
    "second half still zeros": lambda whole: whole[: len(whole) // 2] + bytes(len(whole) // 2),
}


@BOTH
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE.keys())
def test_a_document_without_its_end_is_found_at_any_level(whole: bytes, cut: object, level: Level) -> None:
    assert callable(cut)
    assert problem(cut(whole), level) in (Problem.TRUNCATED, Problem.CORRUPT)


@BOTH
def test_a_pdf_cut_within_its_second_revision_is_not_taken_for_its_first(level: Level) -> None:
    first = samples.small_pdf(1)
    second = b"4 0 obj\n<< /Length 3000 >>\nstream\n" + b"x" * 3000
    assert problem(first + second, level) == Problem.TRUNCATED


# --- damaged -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.99])
def test_one_flipped_byte_anywhere_in_a_png_is_found(share: float, level: Level) -> None:
    document = bytearray(samples.png())
    document[8 + int((len(document) - 9) * share)] ^= 0x40
    assert problem(bytes(document), level) in (Problem.CORRUPT, Problem.TRUNCATED)


def rebuilt_png(width: int, height: int, packed: bytes, *, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body[:25] + extra + body[25:]


def test_only_decoding_finds_samples_that_are_missing_or_garbled_behind_good_checksums() -> None:
    too_few = rebuilt_png(100, 100, zlib.compress(random.Random(1).randbytes(100 * 101))[:5000])
    garbled = rebuilt_png(100, 100, b"\x78\x9c" + b"garbage" * 30)
    for document in (too_few, garbled):
        assert problem(document, "light") is None
        assert problem(document, "full") == Problem.CORRUPT


@BOTH
def test_a_png_without_samples_or_with_an_odd_header_is_corrupt(level: Level) -> None:
    empty_body = rebuilt_png(10, 10, b"")
    no_samples = empty_body[:33] + empty_body[45:]
    for document in (no_samples, rebuilt_png(0, 10, b""), rebuilt_png(1 << 31, 1, b"")):
        assert problem(document, level) == Problem.CORRUPT


@BOTH
def test_an_animation_is_no_receipt(level: Level) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "white", "blue")]
    document = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert inspect(document, level) == Finding(problem=Problem.ANIMATED, numbers={"frames": 3})


@BOTH
def test_a_jpeg_that_ends_before_any_picture_is_corrupt(level: Level) -> None:
    assert problem(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", level) == Problem.CORRUPT


def test_a_jpeg_whose_tables_are_gone_fails_to_decode() -> None:
    document = samples.jpeg()
    table = document.index(b"\xff\xdb")
    without = document[:table] + b"\xff\xfe" + document[table + 2 :]  # the table becomes a comment
    assert problem(without, "full") == Problem.CORRUPT


# --- bombs -------------------------------------------------------------------------------------------------


@BOTH
def test_a_pixel_bomb_is_found_by_its_header(level: Level) -> None:
    bomb = samples.pixel_bomb()
    assert len(bomb) < 1000
    assert inspect(bomb, level) == Finding(
        problem=Problem.TOO_MANY_PIXELS, numbers={"width": 50_000, "height": 50_000, "limit": MAX_PIXELS}
    )


@BOTH
def test_a_jpeg_that_claims_more_pixels_than_allowed_is_found_by_its_header(level: Level) -> None:
    document = bytearray(samples.jpeg())
    frame = document.index(b"\xff\xc0")
    document[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    assert problem(bytes(document), level) == Problem.TOO_MANY_PIXELS


@BOTH
def test_a_picture_of_exactly_the_limit_passes(level: Level) -> None:
    document = saved(Image.new("L", (100, 100), 200), "PNG")
    assert problem(document, level, max_pixels=10_000) is None
    assert problem(document, level, max_pixels=9_999) == Problem.TOO_MANY_PIXELS


def test_a_text_chunk_that_unpacks_without_end_is_corrupt() -> None:
    bomb = b"zTXt" + b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
    chunk = struct.pack(">I", len(bomb) - 4) + bomb + struct.pack(">I", zlib.crc32(bomb))
    document = rebuilt_png(10, 10, zlib.compress(bytes(110)), extra=chunk)
    assert problem(document, "full") == Problem.CORRUPT


# --- anything ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", WHOLE.values(), ids=WHOLE.keys())
def test_no_damage_brings_anything_but_a_verdict(whole: bytes) -> None:
    chance = random.Random(len(whole))
    for _ in range(40):
        document = bytearray(whole)
        for _ in range(chance.choice((1, 3, 30))):
            document[chance.randrange(8, len(document))] = chance.randrange(256)
        if chance.random() < 0.3:
            start = chance.randrange(8, len(document))
            del document[start : start + chance.randrange(len(document) // 4)]
        for level in LEVELS:
            inspect(bytes(document), level)  # any exception would cost a whole process


# --- the process -------------------------------------------------------------------------------------------


def test_warming_up_decodes_every_format() -> None:
    inspection.warm_up()


def test_a_file_that_is_not_what_the_spool_recorded_is_no_verdict() -> None:
    request = InspectionRequest(
        mime_type=sniff.PNG, size=10, level="full", max_pixels=MAX_PIXELS, max_pages=None
    )
    with tempfile.TemporaryFile() as file:
        file.write(samples.small_png(1))
        file.seek(0)
        with pytest.raises(ValueError, match="10 bytes"):
            inspection.inspect(request.write(), [file.fileno()], [])


@pytest.mark.parametrize("wrong", [{}, {"level": "deep"}, {"mime_type": 3}, {"size": "1"}])
def test_a_request_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    good = InspectionRequest(mime_type=sniff.PDF, size=1, level="full", max_pixels=1, max_pages=None).write()
    with pytest.raises(ValueError, match="not a request"):
        InspectionRequest.read(good | wrong if wrong else {})
