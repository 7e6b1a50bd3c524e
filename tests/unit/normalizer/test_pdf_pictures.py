"""Pictures of every packing and colour space made lighter within a PDF: the page looks as before."""

import zlib
from collections.abc import Callable, Mapping
from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageCms, ImageStat

from ingestd.normalizer import documents, pdf_fitting, rendering
from ingestd.normalizer.encoding import bilevel, g4_sheet
from tests.unit.normalizer.pdf_making import (
    CATALOG,
    MAX_PIXELS,
    ONE_PAGE,
    PAGE,
    SHOWS,
    bounds,
    drawn,
    packed_noise,
    pdf,
    picture,
    prepared,
    stream,
    text_of,
)
from tests.unit.normalizer.samples_of_pictures import photo

WIDTH, HEIGHT = 900, 1200
TEXT = b"BT /F 9 Tf 10 90 Td (Total 42.50) Tj ET"
FONT = b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >>"


def page_of(xobject: bytes, *more: bytes, resources: bytes = b"", size: tuple[int, int] = (99, 99)) -> bytes:
    """The picture on half a page, below a line of text: object 5, and what it needs from object 6 on."""
    entries = SHOWS.replace(b">> >>", b">> %b %b >>" % (FONT, resources))
    width, height = size
    content = stream(b"q %d 0 0 %d 4 4 cm /Im Do Q " % (width - 9, height - 29) + TEXT)
    sized = (PAGE % entries).replace(b"99 99", b"%d %d" % size)
    return pdf(CATALOG, ONE_PAGE, sized, content, xobject, *more)


def four_colours() -> Image.Image:
    """A photo in CMYK, with black of its own."""
    cyan, magenta, yellow = ImageChops.invert(photo(WIDTH, HEIGHT)).split()
    black = Image.linear_gradient("L").resize((WIDTH, HEIGHT)).point([level // 3 for level in range(256)])
    return Image.merge("CMYK", (cyan, magenta, yellow, black))


def jpeg(image: Image.Image) -> bytes:
    return saved(image, "JPEG", quality=97, subsampling=0)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def in_pdf(content: bytes, packing: bytes, space: bytes, more: bytes = b"", bits: int = 8) -> bytes:
    return picture(content, width=WIDTH, height=HEIGHT, bits=bits, packing=packing, space=space, more=more)


def flate(image: Image.Image, space: bytes, more: bytes = b"") -> bytes:
    return in_pdf(zlib.compress(image.tobytes(), 1), b"/FlateDecode", space, more)


def with_adobe_marker_inverted() -> bytes:
    """As Photoshop writes four colours: Pillow inverts and marks them, /Decode turns them round again."""
    data = jpeg(four_colours())
    assert b"Adobe" in data
    return page_of(in_pdf(data, b"/DCTDecode", b"/DeviceCMYK", b"/Decode [1 0 1 0 1 0 1 0]"))


def with_profile() -> bytes:
    return page_of(
        flate(four_colours(), b"[/ICCBased 6 0 R]"), stream(b"not a profile", b"/N 4 /Alternate /DeviceCMYK")
    )


def with_palette_of_four_colours() -> bytes:
    small = photo(WIDTH, HEIGHT).quantize(256)
    colours = small.getpalette() or []
    inks = bytearray()
    for at in range(0, len(colours), 3):
        inks += bytes([*(255 - level for level in colours[at : at + 3]), 0])
    space = b"[/Indexed /DeviceCMYK %d <%b>]" % (len(inks) // 4 - 1, inks.hex().encode())
    return page_of(in_pdf(zlib.compress(small.tobytes(), 1), b"/FlateDecode", space))


SPOT = (
    b"[/Separation /Spot /DeviceCMYK << /FunctionType 2 /Domain [0 1] /N 1 "
    b"/C0 [0 0 0 0] /C1 [0.1 0.9 0.8 0.1] >>]"
)
TRANSFORMED = b"/DecodeParms << /ColorTransform 1 >>"
TIFF_PREDICTOR = b"/DecodeParms << /Predictor 2 /Colors 3 /BitsPerComponent 8 /Columns %d >>" % WIDTH


def with_differences() -> bytes:
    """Each sample as the difference to the one on its left (predictor 2)."""
    image = photo(WIDTH, HEIGHT)
    left = ImageChops.offset(image, 1, 0)
    left.paste((0, 0, 0), (0, 0, 1, HEIGHT))
    return page_of(flate(ImageChops.subtract_modulo(image, left), b"/DeviceRGB", TIFF_PREDICTOR))


CASES: Mapping[str, Callable[[], bytes]] = {
    "four colours, jpeg": lambda: page_of(in_pdf(jpeg(four_colours()), b"/DCTDecode", b"/DeviceCMYK")),
    "four colours, jpeg with Adobe's marker, inverted": with_adobe_marker_inverted,
    "four colours, packed": lambda: page_of(flate(four_colours(), b"/DeviceCMYK")),
    "four colours, packed, with a profile": with_profile,
    "a palette of four colours": with_palette_of_four_colours,
    "a spot colour": lambda: page_of(flate(photo(WIDTH, HEIGHT).convert("L"), SPOT)),
    "inverted": lambda: page_of(flate(photo(WIDTH, HEIGHT), b"/DeviceRGB", b"/Decode [1 0 1 0 1 0]")),
    "another predictor": with_differences,
    "jpeg 2000": lambda: page_of(
        in_pdf(saved(photo(WIDTH, HEIGHT), "JPEG2000"), b"/JPXDecode", b"/DeviceRGB")
    ),
    "jpeg with its colours told beside it": lambda: page_of(
        in_pdf(jpeg(photo(WIDTH, HEIGHT)), b"/DCTDecode", b"/DeviceRGB", TRANSFORMED)
    ),
}


def seen(document: bytes) -> Image.Image:
    """As PDFium shows it."""
    return rendering.render_page(document, 0, long_side=500, max_pixels=MAX_PIXELS)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean of all pixels and colours, of 255."""
    assert one.size == other.size
    return max(ImageStat.Stat(ImageChops.difference(one, other)).mean)


@pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
def test_a_picture_is_made_lighter_and_looks_as_before(make: Callable[[], bytes]) -> None:
    document = make()
    draft, result = prepared(document, bounds(max_bytes=len(document) // 2))
    assert "rasterised" not in [step.what for step in draft.steps]
    assert len(result) <= len(document) // 2
    assert text_of(result).strip() == "Total 42.50"
    assert difference(seen(document), seen(result)) < 2
    # Another reader, with other tables for four colours.
    assert difference(drawn(document, dpi=200), drawn(result, dpi=200)) < 16


def test_a_fax_loses_pixels_before_its_page_becomes_a_picture() -> None:
    blots = Image.effect_noise((310, 438), 80).resize((2480, 3508), Image.Resampling.BICUBIC)
    fax = bilevel(blots, threshold=90)
    sheet = g4_sheet(fax, 300)
    parameters = b"/DecodeParms << /K -1 /Columns %d /Rows %d >>" % fax.size
    xobject = picture(
        sheet.data, width=fax.width, height=fax.height, bits=1, packing=b"/CCITTFaxDecode", more=parameters
    )
    document = page_of(xobject, size=(595, 842))
    draft, result = prepared(document, bounds(max_bytes=len(document) * 8 // 10))
    assert "scaled" in [step.what for step in draft.steps]
    assert b"/CCITTFaxDecode" in result
    assert text_of(result).strip() == "Total 42.50"
    assert difference(seen(document), seen(result)) < 4


def swapping_profile() -> bytes:
    """A profile of RGB in which red and blue change places."""
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tags = {plain[at : at + 4]: at for at in range(132, 132 + 12 * plain[131], 12)}
    swapped = bytearray(plain)
    for one, other in ((b"rXYZ", b"bXYZ"), (b"bXYZ", b"rXYZ")):
        swapped[tags[one] + 4 : tags[one] + 12] = plain[tags[other] + 4 : tags[other] + 12]
    return bytes(swapped)


def test_a_palette_keeps_the_profile_of_its_colours() -> None:
    small = photo(WIDTH, HEIGHT).quantize(256)
    colours = bytes(small.getpalette() or [])
    space = b"[/Indexed [/ICCBased 6 0 R] %d <%b>]" % (len(colours) // 3 - 1, colours.hex().encode())
    xobject = in_pdf(zlib.compress(small.tobytes(), 1), b"/FlateDecode", space)
    document = page_of(xobject, stream(swapping_profile(), b"/N 3"))
    draft, result = prepared(document, bounds(max_bytes=len(document) // 2))
    assert "rasterised" not in [step.what for step in draft.steps]
    without = page_of(flate(small.convert("RGB"), b"/DeviceRGB"))
    assert difference(seen(document), seen(without)) > 10, "the profile says something"
    assert difference(seen(document), seen(result)) < 2


def test_a_soft_mask_over_four_colours_stays() -> None:
    mask = picture(zlib.compress(bytes([0] * 50 + [255] * 50)), packing=b"/FlateDecode")
    document = page_of(flate(four_colours(), b"/DeviceCMYK", b"/SMask 6 0 R"), mask)
    _, result = prepared(document, bounds(max_bytes=len(document) // 2))
    assert b"/SMask" in result
    assert difference(seen(document), seen(result)) < 2


LEFT_ALONE = {
    "where four colours stand for others": page_of(
        flate(four_colours(), b"/DeviceCMYK"), resources=b"/ColorSpace << /DefaultCMYK /DeviceCMYK >>"
    ),
    "with a transparent colour": page_of(flate(four_colours(), b"/DeviceCMYK", b"/Mask [0 9 0 9 0 9 0 9]")),
    "with its mask in its samples": page_of(
        flate(four_colours(), b"/DeviceCMYK", b"/SMask 6 0 R"),
        picture(zlib.compress(bytes(100)), packing=b"/FlateDecode", more=b"/Matte [0 0 0 0]"),
    ),
    "as JPEG 2000 of another size than the document says": page_of(
        picture(
            saved(photo(WIDTH, HEIGHT), "JPEG2000"),
            width=90,
            height=120,
            packing=b"/JPXDecode",
            space=b"/DeviceRGB",
        )
    ),
}


@pytest.mark.parametrize("document", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_a_picture_that_means_more_than_its_samples_is_left_alone(document: bytes) -> None:
    draft = documents.prepare_pdf(document, bounds(max_bytes=len(document) // 3))
    assert [step.what for step in draft.steps if step.what in PICTURES] == ["rasterised"]


PICTURES = ("recompressed", "scaled", "rasterised")


def test_what_would_take_too_long_to_decode_on_each_rung_becomes_drawn_pages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    document = page_of(flate(four_colours(), b"/DeviceCMYK"))
    given = bounds(max_bytes=len(document) // 3)
    assert "rasterised" not in [step.what for step in documents.prepare_pdf(document, given).steps]
    monkeypatch.setattr(pdf_fitting, "_SHOWN_PIXELS", WIDTH * HEIGHT - 1)
    assert "rasterised" in [step.what for step in documents.prepare_pdf(document, given).steps]


@pytest.mark.timeout(60)
def test_forms_that_name_each_other_a_million_times_are_searched_once() -> None:
    form = b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << %b >> >>"
    names = [b" ".join(b"/X%d %d 0 R" % (n, 7 + level) for n in range(40)) for level in range(8)]
    forms = [stream(b"", form % named) for named in names]
    document = page_of(stream(b"", form % b"/X 6 0 R"), *forms, stream(packed_noise(100, 100)))
    draft = documents.prepare_pdf(document, bounds("light", max_bytes=len(document) // 2))
    assert draft.data is not None
