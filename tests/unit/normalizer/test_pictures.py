"""What becomes of a picture: it goes as it is, or it is changed no more than the target needs."""

import struct
from collections.abc import Mapping
from functools import cache
from io import BytesIO

import numpy as np
import pillow_heif
import pypdfium2
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from ingestd import samples
from ingestd.normalizer import pictures
from ingestd.normalizer.exchange import Caution, Level, Noted, Problem, Step
from ingestd.normalizer.pdf_writing import pdf_of
from tests.unit.normalizer.preparing import ALL, JPEG, PDF, PNG, bounds, finding, prepare, problem, words
from tests.unit.normalizer.samples_of_pictures import (
    difference,
    display_p3,
    drawing,
    every_format,
    exif,
    lying,
    opened,
    page,
    photo,
    png_of_16_bits,
    saved,
    with_hole,
    with_segment,
)

LEVELS: tuple[Level, ...] = ("light", "full")
BOTH = pytest.mark.parametrize("level", LEVELS)
FORMATS = every_format()
NO_CHANGE_IN_SIGHT = 4.0
"""Mean difference in levels of 255 that compression of noise may make."""
TIFF, GIF = "image/tiff", "image/gif"


def rendered(data: bytes, index: int = 0, width: int = 0) -> Image.Image:
    """By another reader than the one that made it: pdfium for PDF."""
    if not data.startswith(b"%PDF"):
        return opened(data).convert("RGB")
    document = pypdfium2.PdfDocument(data)
    sheet = document[index]
    image: Image.Image = sheet.render(scale=width / sheet.get_width()).to_pil().convert("RGB")
    document.close()
    return image


# --- as it came ---------------------------------------------------------------------------------------------

AS_IT_CAME: Mapping[str, tuple[str, bytes]] = {
    "jpeg": (JPEG, samples.jpeg()),
    "progressive jpeg": (JPEG, samples.progressive_jpeg()),
    "small jpeg with a number": (JPEG, samples.small_jpeg(17)),
    "grey jpeg": (JPEG, saved(Image.new("L", (300, 200), 128), "JPEG")),
    "jpeg with restart markers": (JPEG, saved(photo(), "JPEG", restart_marker_rows=1)),
    "jpeg that says it is upright": (JPEG, saved(photo(), "JPEG", exif=exif(1))),
    "jpeg in adobe's rgb": (JPEG, saved(photo(), "JPEG", keep_rgb=True)),
    "jpeg of one pixel": (JPEG, saved(Image.new("RGB", (1, 1)), "JPEG")),
    "jpeg padded with zeros": (JPEG, samples.jpeg() + bytes(5000)),
    "png": (PNG, samples.png()),
    "small png with a number": (PNG, samples.small_png(17)),
    "png with a palette": (PNG, saved(drawing().quantize(16), "PNG")),
    "png in black and white": (PNG, saved(page(), "PNG")),
    "png with an opaque alpha channel": (PNG, saved(drawing().convert("RGBA"), "PNG")),
    "png padded with zeros": (PNG, samples.png() + bytes(5000)),
}


@BOTH
@pytest.mark.parametrize(("mime_type", "data"), AS_IT_CAME.values(), ids=AS_IT_CAME.keys())
def test_an_accepted_picture_goes_byte_for_byte(mime_type: str, data: bytes, level: Level) -> None:
    draft = prepare(data, mime_type, level=level)
    assert (draft.data, draft.mime_type, draft.pages) == (None, mime_type, 1)
    assert (draft.steps, draft.cautions) == ([], [])


def test_without_looking_nothing_is_decoded() -> None:
    assert not prepare(samples.png(), PNG, level="light").views
    assert not prepare(samples.jpeg(), JPEG, level="light").views


def test_a_passing_jpeg_is_decoded_once_and_no_larger_than_looking_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []
    load = JpegImageFile.load

    def counted(image: JpegImageFile) -> object:
        if image.tile:
            sizes.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImageFile, "load", counted)
    draft = prepare(saved(photo(2000, 2200), "JPEG"), JPEG)
    assert sizes == [(1000, 1100)]
    assert [view.size for view in draft.views] == [(1000, 1100)]


def test_the_view_shows_the_picture_upright_and_large_enough() -> None:
    shot = photo(2000, 2200)
    draft = prepare(saved(lying(shot, 6), "JPEG", quality=90, exif=exif(6)), JPEG)
    (view,) = draft.views
    assert view.size == (1000, 1100)
    assert difference(view, shot.reduce(2)) < NO_CHANGE_IN_SIGHT


# --- upright ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF", "HEIF"])
def test_every_orientation_of_every_format_ends_upright(kind: str, orientation: int) -> None:
    shot = photo(240, 320)
    mime_type = {"HEIF": "image/heic"}.get(kind, f"image/{kind.lower()}")
    # The encoders of HEIF and AVIF note it as properties of the container, too, as phones do.
    options = {"exif": exif(orientation).tobytes()} | ({} if kind in ("PNG", "TIFF") else {"quality": 95})
    data = saved(lying(shot, orientation), kind, **options)
    draft = prepare(data, mime_type)
    assert difference(rendered(draft.data or data), shot) < NO_CHANGE_IN_SIGHT
    assert difference(draft.views[0], shot) < NO_CHANGE_IN_SIGHT
    assert opened(draft.data or data).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_turned_jpeg_is_quantized_as_before(orientation: int, subsampling: int) -> None:
    stored = saved(lying(photo(), orientation), "JPEG", quality=60, subsampling=subsampling)
    with_exif = with_segment(stored, 0xE1, exif(orientation).tobytes())
    draft = prepare(with_exif, JPEG)
    assert draft.data is not None
    before = opened(stored).transpose(_upright(orientation))
    again = saved(before, "JPEG", quality=60, subsampling=subsampling)
    assert difference(opened(draft.data), before) < 0.8
    assert difference(opened(draft.data), before) < difference(opened(again), before) + 0.3
    assert len(draft.data) < len(stored) * 1.25


@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_a_turned_jpeg_has_its_tables_of_quantization_turned_too(orientation: int) -> None:
    # Unlike those of most encoders, these are coarse across and fine down.
    coarse = [[1 + 9 * (n % 8) + shift for n in range(64)] for shift in (0, 1)]
    stored = saved(lying(photo(), orientation), "JPEG", qtables=coarse, subsampling=0)
    draft = prepare(with_segment(stored, 0xE1, exif(orientation).tobytes()), JPEG)
    is_quarter = orientation in (5, 6, 7, 8)
    turned = [[table[n % 8 * 8 + n // 8] for n in range(64)] for table in coarse] if is_quarter else coarse
    upright = opened(draft.data or b"")
    assert isinstance(upright, JpegImageFile)
    assert [list(table) for table in upright.quantization.values()] == turned
    assert difference(upright, opened(stored).transpose(_upright(orientation))) < 0.8


def _upright(orientation: int) -> Image.Transpose:
    back = {6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
    same = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        7: Image.Transpose.TRANSVERSE,
    }
    return {**back, **same}[orientation]


def test_turning_is_recorded_clockwise() -> None:
    draft = prepare(saved(lying(photo(), 6), "JPEG", exif=exif(6)), JPEG)
    assert draft.steps == [Noted(what=Step.TURNED, numbers={"degrees": 90})]
    draft = prepare(saved(lying(photo(), 5), "JPEG", exif=exif(5)), JPEG)
    assert words(draft.steps) == ["mirrored", "turned"]


@pytest.mark.parametrize("value", [0, 9, 60_000])
def test_an_orientation_that_is_none_turns_nothing(value: int) -> None:
    assert prepare(saved(photo(), "JPEG", exif=exif(value)), JPEG).data is None


def test_exif_stays_where_it_may_and_says_upright() -> None:
    data = saved(lying(photo(), 6), "JPEG", exif=exif(6, personal=True))
    kept = prepare(data, JPEG, strip_location=False).data
    assert kept is not None
    block = opened(kept).getexif()
    assert block[0x0112] == 1
    assert block.get_ifd(0x8825)[1] == "N"


# --- colours ------------------------------------------------------------------------------------------------


def ramp(top: int) -> np.ndarray:
    return np.linspace(0, top, 256 * 64).reshape(64, 256).astype(np.uint16)


@pytest.mark.parametrize(("top", "steps"), [(65535, 256), (4095, 16)])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG2000"])
def test_greys_of_16_bits_are_scaled_and_not_clipped(kind: str, top: int, steps: int) -> None:
    levels = ramp(top)
    mime_type = {"PNG": PNG, "TIFF": TIFF, "JPEG2000": "image/jp2"}[kind]
    draft = prepare(saved(Image.fromarray(levels), kind), mime_type)
    assert draft.data is not None
    assert words(draft.steps)[-1] == "colours"
    expected = Image.fromarray((levels // steps).astype(np.uint8))
    assert difference(rendered(draft.data), expected) < 1


def test_a_big_endian_tiff_of_16_bits_is_not_noise() -> None:
    levels = ramp(65535)
    image = Image.frombytes("I;16B", (256, 64), levels.astype(">u2").tobytes())
    draft = prepare(saved(image, "TIFF"), TIFF)
    assert difference(rendered(draft.data or b""), Image.fromarray((levels // 256).astype(np.uint8))) < 1


@pytest.mark.parametrize("colour_type", [2, 4, 6])
def test_a_png_of_16_bits_in_colours_keeps_them(colour_type: int) -> None:
    channels = {2: 3, 4: 2, 6: 4}[colour_type]
    eight = np.asarray(photo(60, 80))[:, :, : min(channels, 3)].astype(np.uint16)
    if colour_type == 4:
        eight = np.dstack([eight[:, :, 0], np.full((80, 60), 255, np.uint16)])
    elif colour_type == 6:
        eight = np.dstack([eight, np.full((80, 60), 255, np.uint16)])
    draft = prepare(png_of_16_bits(colour_type, eight * 257), PNG)
    assert draft.data is not None
    assert words(draft.steps)[-1] == "colours"
    shown = eight[:, :, 0] if colour_type == 4 else eight[:, :, :3]
    assert difference(rendered(draft.data), Image.fromarray(shown.astype(np.uint8))) < NO_CHANGE_IN_SIGHT


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_and_looks_the_same(kind: str) -> None:
    shot = photo()
    draft = prepare(saved(shot.convert("CMYK"), kind), JPEG if kind == "JPEG" else TIFF)
    assert draft.data is not None
    assert opened(draft.data).mode == "RGB"
    assert Step.COLOURS in [step.what for step in draft.steps]
    assert difference(rendered(draft.data), shot) < NO_CHANGE_IN_SIGHT


def test_lab_becomes_rgb() -> None:
    shot = drawing()
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(shot, to_lab)
    assert lab is not None
    draft = prepare(saved(lab, "TIFF"), TIFF)
    assert difference(rendered(draft.data or b""), shot) < 3


def test_the_profile_stays_with_the_samples() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind, mime_type in (("WEBP", "image/webp"), ("AVIF", "image/avif"), ("TIFF", TIFF)):
        draft = prepare(saved(photo(), kind, icc_profile=profile), mime_type)
        assert opened(draft.data or b"").info["icc_profile"] == profile
    turned = prepare(saved(photo(), "JPEG", icc_profile=profile, exif=exif(3)), JPEG)
    assert opened(turned.data or b"").info["icc_profile"] == profile


def as_shown(image: Image.Image, profile: bytes) -> Image.Image:
    """In sRGB, as a viewer that honours profiles shows it."""
    shown = ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
    )
    assert shown is not None
    return shown


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "HEIF"])
@pytest.mark.parametrize("level", LEVELS)
def test_colours_of_a_wide_gamut_do_not_shift_on_a_page_or_in_another_format(kind: str, level: Level) -> None:
    shot = drawing().resize((240, 320))
    data = saved(shot, kind, icc_profile=display_p3(), **({} if kind == "PNG" else {"quality": 95}))
    mime_type = "image/heic" if kind == "HEIF" else f"image/{kind.lower()}"
    expected = as_shown(shot, display_p3())
    assert difference(expected, shot) > 3, "the difference that is looked for"
    laid = pictures.sheets_of(data, mime_type, bounds(level=level))
    assert words(laid.steps) == ["colours"]
    assert difference(rendered(pdf_of(laid.sheets), width=240), expected) < 1.5
    if kind == "HEIF":
        draft = prepare(data, mime_type, level=level)
        assert difference(rendered(draft.data or b""), expected) < 1.5
    else:
        assert prepare(data, mime_type, level=level).data is None, "where a profile is honoured it stays"


def test_a_turned_photo_of_a_wide_gamut_keeps_its_colours() -> None:
    shot = photo(240, 320)
    data = saved(lying(shot, 6), "JPEG", quality=95, icc_profile=display_p3(), exif=exif(6))
    draft = prepare(data, JPEG)
    assert words(draft.steps) == ["colours", "turned"]
    assert "icc_profile" not in opened(draft.data or b"").info
    assert difference(rendered(draft.data or b""), as_shown(shot, display_p3())) < NO_CHANGE_IN_SIGHT


def test_an_srgb_photo_lies_on_a_page_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = saved(photo(), "JPEG", icc_profile=profile)
    (sheet,) = pictures.sheets_of(data, JPEG, bounds()).sheets
    assert sheet.data == data


def test_a_broken_profile_hurts_nobody() -> None:
    header = bytearray(200)
    header[16:20] = b"CMYK"
    draft = prepare(saved(photo().convert("CMYK"), "JPEG", icc_profile=bytes(header)), JPEG)
    assert difference(rendered(draft.data or b""), photo()) < NO_CHANGE_IN_SIGHT


# --- transparency -------------------------------------------------------------------------------------------


@cache
def transparent_forms() -> dict[str, tuple[str, bytes]]:
    hole = with_hole(drawing())
    grey = hole.convert("LA")
    palette = hole.convert("RGB").quantize(16)
    return {
        "rgba png": (PNG, saved(hole, "PNG")),
        "la png": (PNG, saved(grey, "PNG")),
        "palette png": (PNG, saved(palette, "PNG", transparency=palette.getpixel((200, 250)))),
        "rgb png with one transparent colour": (
            PNG,
            saved(with_hole(photo()).convert("RGB"), "PNG", transparency=(0, 0, 0)),
        ),
        "webp": ("image/webp", saved(hole, "WEBP", lossless=True)),
        "avif": ("image/avif", saved(hole, "AVIF", quality=95)),
        "tiff": (TIFF, saved(hole, "TIFF")),
        "gif": (GIF, saved(hole, "GIF")),
        "jpeg 2000": ("image/jp2", saved(hole, "JPEG2000")),
        "heic": ("image/heic", saved(hole, "HEIF", quality=95)),
    }


@BOTH
@pytest.mark.parametrize("name", transparent_forms())
def test_what_is_transparent_lies_on_white(name: str, level: Level) -> None:
    mime_type, data = transparent_forms()[name]
    draft = prepare(data, mime_type, level=level)
    assert draft.data is not None
    assert "on_white" in words(draft.steps)
    shown = rendered(draft.data)
    assert np.asarray(shown)[250, 200].min() > 245
    assert np.asarray(shown)[20, 20].min() < 100


# --- animations ---------------------------------------------------------------------------------------------


def animation(kind: str, frames: int) -> bytes:
    rest = [photo(60, 80, seed) for seed in range(2, frames + 1)]
    return saved(drawing(60, 80), kind, save_all=True, append_images=rest)


@BOTH
@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_of_an_animation_the_first_picture_goes(kind: str, level: Level) -> None:
    draft = prepare(animation(kind, 4), f"image/{kind.lower()}", level=level)
    assert Noted(what=Step.STILL, numbers={"frames": 4}) in draft.steps
    assert draft.cautions == [Noted(what=Caution.SECOND_PICTURE_LEFT_OUT, numbers={"frames": 4})]
    assert difference(rendered(draft.data or b""), drawing(60, 80)) < NO_CHANGE_IN_SIGHT
    assert getattr(opened(draft.data or b""), "n_frames", 1) == 1


def test_the_still_of_an_animated_png_keeps_its_packed_samples() -> None:
    data = animation("PNG", 3)
    draft = prepare(data, PNG)
    first = data[data.index(b"IDAT") :][:200]
    assert draft.data is not None
    assert first in draft.data


def test_of_a_heic_with_two_pictures_the_main_one_goes() -> None:
    album = pillow_heif.from_pillow(photo(60, 80))
    album.add_from_pillow(drawing(60, 80))
    buffer = BytesIO()
    album.save(buffer, quality=95, primary_index=1)
    draft = prepare(buffer.getvalue(), "image/heic")
    assert words(draft.steps) == ["converted"], "it is no animation"
    assert draft.cautions == [Noted(what=Caution.SECOND_PICTURE_LEFT_OUT, numbers={"frames": 2})]
    assert difference(rendered(draft.data or b""), drawing(60, 80)) < NO_CHANGE_IN_SIGHT


@BOTH
@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_a_film_is_no_receipt(kind: str, level: Level) -> None:
    found = finding(animation(kind, 51), f"image/{kind.lower()}", level=level)
    assert found.problem is Problem.ANIMATED
    assert found.numbers["limit"] == 50


# --- many pages ---------------------------------------------------------------------------------------------


def test_every_page_of_a_tiff_becomes_a_page() -> None:
    shots = [page(), drawing(), photo(), lying(photo(), 6)]
    data = saved(shots[0], "TIFF", save_all=True, append_images=shots[1:])
    draft = prepare(data, TIFF)
    assert (draft.mime_type, draft.pages) == (PDF, 4)
    assert draft.steps == [Noted(what=Step.FRAMES, numbers={"pages": 4})]
    assert len(draft.views) == 4
    for index, shot in enumerate(shots):
        shown = rendered(draft.data or b"", index, shot.width)
        assert difference(shown, shot.convert("RGB")) < NO_CHANGE_IN_SIGHT, index


def test_many_pages_need_a_target_that_takes_pdf() -> None:
    data = saved(page(), "TIFF", save_all=True, append_images=[page()])
    assert finding(data, TIFF, types=frozenset({JPEG, PNG})).numbers == {"pages": 2, "limit": 1}
    assert problem(data, TIFF, max_pages=1) is Problem.TOO_MANY_PAGES


@BOTH
@pytest.mark.parametrize("only", [JPEG, PNG])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_taken_or_refused_by_a_target_of_one_type(name: str, only: str, level: Level) -> None:
    mime_type, data = FORMATS[name]
    if name == "tiff of pages":
        assert problem(data, mime_type, types=frozenset({only}), level=level) is Problem.TOO_MANY_PAGES
        return
    draft = prepare(data, mime_type, types=frozenset({only}), level=level)
    assert (draft.mime_type, draft.pages) == (only, 1)


def test_a_preview_in_a_tiff_is_no_page() -> None:
    data = bytearray(saved(page(), "TIFF", save_all=True, append_images=[page().resize((40, 60))]))
    assert prepare(bytes(data), TIFF).pages == 2
    first_entry = _directory_of(bytes(data), 1) + 2
    # NewSubfileType 1, in place of the first entry (TIFF 6.0 section 8): a reduced-resolution version
    data[first_entry : first_entry + 12] = struct.pack("<HHII", 254, 4, 1, 1)
    draft = prepare(bytes(data), TIFF)
    assert (draft.pages, draft.mime_type) == (1, PNG)


def _directory_of(data: bytes, index: int) -> int:
    position = int.from_bytes(data[4:8], "little")
    for _ in range(index):
        end = position + 2 + 12 * int.from_bytes(data[position : position + 2], "little")
        position = int.from_bytes(data[end : end + 4], "little")
    return position


@pytest.mark.parametrize(
    "compression", ["group3", "group4", "packbits", "tiff_lzw", "tiff_adobe_deflate", "raw"]
)
def test_faxes_of_every_packing_stay_black_on_white(compression: str) -> None:
    text = page()
    draft = prepare(saved(text, "TIFF", compression=compression), TIFF)
    assert opened(draft.data or b"").mode == "1"
    assert difference(rendered(draft.data or b""), text) == 0


def test_a_fax_whose_white_is_zero_is_not_inverted() -> None:
    text = page()
    inverted = text.convert("L").point([255] + [0] * 255, "1")
    data = bytearray(saved(inverted, "TIFF", compression="raw"))
    photometric = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01\x00")
    data[photometric + 8] = 0
    draft = prepare(bytes(data), TIFF)
    assert difference(rendered(draft.data or b""), text) == 0


def test_a_fax_of_half_the_lines_is_not_squashed() -> None:
    text = page(400, 600)
    half = text.resize((400, 300), Image.Resampling.NEAREST)
    draft = prepare(saved(half, "TIFF", compression="group3", dpi=(204, 102)), TIFF)
    assert opened(draft.data or b"").size == (400, 600)
    assert difference(rendered(draft.data or b""), text) < 12


@pytest.mark.parametrize("mime_type", [TIFF, PNG])
def test_black_and_white_pages_are_small_and_right_in_a_pdf(mime_type: str) -> None:
    text = page(1240, 1754)
    data = saved(text, "TIFF" if mime_type == TIFF else "PNG")
    draft = prepare(data, mime_type, types=frozenset({PDF}))
    assert b"/CCITTFaxDecode" in (draft.data or b"")
    assert len(draft.data or b"") < 12_000
    shown = rendered(draft.data or b"", width=1240).crop((0, 0, 1240, 1754))
    assert difference(shown, text) < 0.5


def test_a_variant_that_no_decoder_knows_is_unsupported() -> None:
    data = bytearray(saved(drawing(), "TIFF"))
    photometric = data.index(b"\x06\x01\x03\x00\x01\x00\x00\x00")
    data[photometric + 8 : photometric + 10] = (32803).to_bytes(2, "little")  # a camera's raw samples
    assert problem(bytes(data), TIFF) is Problem.UNSUPPORTED


# --- which form ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "types", "expected"),
    [
        ("heic", ALL, JPEG),
        ("gif", ALL, PNG),
        ("heic", {PNG, PDF}, PDF),
        ("heic", {PNG}, PNG),
        ("gif", {JPEG, PDF}, PDF),
        ("gif", {JPEG}, JPEG),
        ("jpeg", {PDF}, PDF),
        ("jpeg", {PNG}, PNG),
        ("png", {PDF}, PDF),
        ("png", {JPEG}, JPEG),
        ("png with alpha", {PDF}, PDF),
        ("lying jpeg", {PDF}, PDF),
    ],
)
def test_photos_become_jpeg_and_drawings_stay_lossless(name: str, types: set[str], expected: str) -> None:
    mime_type, data = FORMATS[name]
    draft = prepare(data, mime_type, types=frozenset(types))
    assert draft.mime_type == expected
    assert draft.steps[0].what is Step.CONVERTED
    original = photo() if "jpeg" in name or name == "heic" else drawing()
    if "alpha" in name:
        original = rendered(prepare(data, mime_type).data or b"")
    assert difference(rendered(draft.data or b"", width=480), original) < NO_CHANGE_IN_SIGHT


def test_a_jpeg_and_a_png_lie_in_a_pdf_as_they_are_packed() -> None:
    shot, grainy = saved(photo(), "JPEG", quality=90), saved(photo(), "PNG")
    (sheet,) = pictures.sheets_of(shot, JPEG, bounds()).sheets
    assert (sheet.encoding, sheet.data) == ("jpeg", shot)
    (sheet,) = pictures.sheets_of(grainy, PNG, bounds()).sheets
    assert sheet.encoding == "flate"
    assert sheet.data[:500] in grainy


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_sheets_that_show_it(name: str) -> None:
    mime_type, data = FORMATS[name]
    result = pictures.sheets_of(data, mime_type, bounds())
    assert len(result.sheets) == len(result.views) == (3 if name == "tiff of pages" else 1)
    for sheet, view in zip(result.sheets, result.views, strict=True):
        assert (sheet.width, sheet.height) == view.size


def test_text_never_becomes_a_jpeg() -> None:
    grey = drawing(1000, 1400).resize((900, 1260), Image.Resampling.LANCZOS)  # smooth edges: many colours
    draft = prepare(saved(grey, "BMP"), "image/bmp")
    assert draft.mime_type == PNG
    assert difference(rendered(draft.data or b""), grey) == 0


def test_what_is_no_picture_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no picture"):
        prepare(b"", "text/plain")
