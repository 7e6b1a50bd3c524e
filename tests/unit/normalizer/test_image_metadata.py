"""What a picture tells beside itself is left out, and no sample is touched for it."""

import zlib

import pytest
from PIL import Image

from ingestd import samples
from ingestd.normalizer import jpeg, png
from ingestd.normalizer.exchange import Level, Step
from tests.unit.normalizer.preparing import JPEG, PNG, prepare, problem
from tests.unit.normalizer.samples_of_pictures import (
    drawing,
    exif,
    opened,
    photo,
    saved,
    with_chunk,
    with_segment,
)

BOTH = pytest.mark.parametrize("level", ["light", "full"])
PLAIN_JPEG, PLAIN_PNG = samples.jpeg(), samples.png()
SECRET = b"Jane Roe, 12 Harbour Street"


def serial_number() -> Image.Exif:
    block = Image.Exif()
    block.get_ifd(0x8769)[0xA431] = "SN-0042"
    return block


def maker_note() -> Image.Exif:
    block = Image.Exif()
    block.get_ifd(0x8769)[0x927C] = b"maker's own"
    return block


def owner() -> Image.Exif:
    block = Image.Exif()
    block[0x013B] = "Jane Roe"
    return block


def segment_of(block: Image.Exif) -> bytes:
    return with_segment(PLAIN_JPEG, 0xE1, block.tobytes())


PERSONAL_JPEGS = {
    "a place": segment_of(exif(personal=True)),
    "a serial number": segment_of(serial_number()),
    "a maker's note": segment_of(maker_note()),
    "an owner": segment_of(owner()),
    "exif that can't be read": with_segment(PLAIN_JPEG, 0xE1, b"Exif\0\0II*\0" + b"\xff" * 40),
    "xmp": with_segment(PLAIN_JPEG, 0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta/>"),
    "iptc": with_segment(PLAIN_JPEG, 0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04" + SECRET),
    "an index of more pictures": with_segment(PLAIN_JPEG, 0xE2, b"MPF\0" + bytes(40)),
    "a long comment": with_segment(PLAIN_JPEG, 0xFE, SECRET * 9),
    "a name": with_segment(PLAIN_JPEG, 0xFE, SECRET[:8]),
    "a name in small letters": with_segment(PLAIN_JPEG, 0xFE, SECRET[:8].lower()),
    "a name behind a signature": with_segment(PLAIN_JPEG, 0xFE, b"Lavc58.1 / " + SECRET),
    "a comment with an address": with_segment(PLAIN_JPEG, 0xFE, b"jane@example.com"),
    "a comment with a place": with_segment(PLAIN_JPEG, 0xFE, b"52.51861, 13.40833"),
    "a segment nobody knows": with_segment(PLAIN_JPEG, 0xE7, SECRET),
    "a thumbnail": with_segment(PLAIN_JPEG, 0xE0, b"JFXX\0\x10" + samples.small_jpeg(1)),
    "a second picture": samples.mpo(),
    "a motion photo": PLAIN_JPEG + b"\0\0\0\x18ftypmp42" + SECRET,
}
PERSONAL_PNGS = {
    "a place": with_chunk(PLAIN_PNG, b"eXIf", exif(personal=True).tobytes().removeprefix(b"Exif\0\0")),
    "an author": with_chunk(PLAIN_PNG, b"tEXt", b"Author\0" + SECRET),
    "a long comment": with_chunk(PLAIN_PNG, b"tEXt", b"Comment\0" + SECRET * 9),
    "a name": with_chunk(PLAIN_PNG, b"tEXt", b"Comment\0Jane Roe"),
    "a path of a program": with_chunk(PLAIN_PNG, b"tEXt", b"Software\0/home/jane/shot"),
    "a packed text": with_chunk(PLAIN_PNG, b"zTXt", b"Title\0\0" + zlib.compress(SECRET)),
    "xmp": with_chunk(PLAIN_PNG, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>"),
    "a chunk nobody knows": with_chunk(PLAIN_PNG, b"prIv", SECRET),
    "the rest of what it was cropped from": PLAIN_PNG + SECRET,
}


@BOTH
@pytest.mark.parametrize("name", PERSONAL_JPEGS)
def test_personal_data_leaves_a_jpeg_without_its_samples_being_touched(name: str, level: Level) -> None:
    data = PERSONAL_JPEGS[name]
    draft = prepare(data, JPEG, level=level)
    assert draft.data is not None
    assert [step.what for step in draft.steps] == [Step.LOCATION]
    assert draft.data[draft.data.index(b"\xff\xdb") :] in data, "tables and samples are as they were"
    opened(draft.data)
    for trace in (
        b"Exif",
        SECRET,
        b"Jane Roe",
        b"jane roe",
        b"Lavc",
        b"xmpmeta",
        b"MPF",
        b"JFXX",
        b"example.com",
        b"52.5",
    ):
        assert trace not in draft.data
    assert prepare(draft.data, JPEG).data is None, "a second time there is nothing to remove"


@BOTH
@pytest.mark.parametrize("name", PERSONAL_PNGS)
def test_personal_data_leaves_a_png_without_its_samples_being_touched(name: str, level: Level) -> None:
    data = PERSONAL_PNGS[name]
    draft = prepare(data, PNG, level=level)
    assert draft.data == PLAIN_PNG
    assert [step.what for step in draft.steps] == [Step.LOCATION]


@pytest.mark.parametrize("name", PERSONAL_JPEGS)
def test_it_stays_where_the_setting_says_so(name: str) -> None:
    assert prepare(PERSONAL_JPEGS[name], JPEG, strip_location=False).data is None


@pytest.mark.parametrize(
    "text",
    [
        b"receipt 12",
        b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v80), quality = 90\n",
        b"Lavc58.134.100",
        b"Created with GIMP",
        b"LEAD Technologies Inc. V1.01\0",
        b"",
    ],
)
def test_counters_and_signatures_of_encoders_are_no_reason_to_change_a_file(text: bytes) -> None:
    assert prepare(with_segment(PLAIN_JPEG, 0xFE, text), JPEG).data is None
    assert prepare(with_chunk(PLAIN_PNG, b"tEXt", b"Comment\0" + text), PNG).data is None


def test_what_programs_note_about_themselves_stays() -> None:
    for text in (b"Software\0gnome-screenshot", b"Creation Time\0Fri, 02 Jan 2026 09:30:00 GMT"):
        assert prepare(with_chunk(PLAIN_PNG, b"tEXt", text), PNG).data is None


def test_what_the_samples_need_to_look_right_stays() -> None:
    profile = b"ICC_PROFILE\0\x01\x01" + bytes(300)
    data = with_segment(with_segment(PLAIN_JPEG, 0xE2, profile), 0xEE, b"Adobe\0d\0\0\0\0\1")
    draft = prepare(with_segment(data, 0xE1, exif(personal=True).tobytes()), JPEG)
    assert draft.data == data


def test_facts_about_the_exposure_are_no_reason_to_change_a_file() -> None:
    block = exif(1)
    block[0x010F], block[0x0132] = "Maker", "2026:01:02 03:04:05"
    block.get_ifd(0x8769)[0x829A] = 0.01
    assert prepare(segment_of(block), JPEG).data is None


def test_a_thumbnail_within_exif_is_removed() -> None:
    block = b"II*\0\x08\0\0\0" + b"\1\0" + b"\x12\1\3\0\1\0\0\0\1\0\0\0" + b"\x1a\0\0\0" + bytes(6)
    draft = prepare(with_segment(PLAIN_JPEG, 0xE1, b"Exif\0\0" + block), JPEG)
    assert draft.data == PLAIN_JPEG


def test_the_thumbnail_of_a_jfif_header_is_removed_and_its_density_stays() -> None:
    header = b"JFIF\0\1\2\1" + b"\1\x2c\1\x2c" + b"\2\2" + bytes(12)
    body = PLAIN_JPEG[2 + 18 :] if PLAIN_JPEG[6:10] == b"JFIF" else PLAIN_JPEG[2:]
    draft = prepare(with_segment(b"\xff\xd8" + body, 0xE0, header), JPEG)
    assert draft.data is not None
    assert jpeg.read(draft.data).dpi == 300
    assert len(draft.data) == len(body) + 2 + 18


def test_converted_pictures_carry_nothing_of_it() -> None:
    for kind, mime_type in (("HEIF", "image/heic"), ("WEBP", "image/webp"), ("AVIF", "image/avif")):
        data = saved(photo(), kind, exif=exif(1, personal=True).tobytes())
        draft = prepare(data, mime_type)
        assert b"Phone Maker" in data
        assert b"Phone Maker" not in (draft.data or b"")
        assert Step.LOCATION in [step.what for step in draft.steps], kind


def test_a_turned_picture_carries_nothing_of_it() -> None:
    data = saved(photo(), "JPEG", exif=exif(6, personal=True), comment=SECRET)
    draft = prepare(data, JPEG)
    assert b"Exif" not in (draft.data or b"")
    assert SECRET not in (draft.data or b"")
    assert [step.what for step in draft.steps] == [Step.TURNED, Step.LOCATION]


def test_the_resolution_is_read_without_a_decoder() -> None:
    assert jpeg.read(saved(photo(), "JPEG", dpi=(300, 300))).dpi == 300
    assert png.read(saved(drawing(), "PNG", dpi=(300, 300))).dpi == pytest.approx(300, abs=0.1)
    assert png.read(saved(drawing(), "PNG")).dpi is None


@pytest.mark.parametrize("length", range(0, 60, 3))
def test_a_block_of_exif_cut_anywhere_is_no_trouble(length: int) -> None:
    block = exif(6, personal=True).tobytes()
    assert problem(with_segment(PLAIN_JPEG, 0xE1, block[: 6 + length]), JPEG) is None
