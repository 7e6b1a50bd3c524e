"""Every format of pictures, decoded: plain, upright, page by page, and looked over before it is unpacked.

Formats are told by their MIME type; each has its own decoder, called directly. A TIFF has pages, an animation
has one picture that counts: the first.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO

from PIL import AvifImagePlugin, Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from pillow_heif import options
from pillow_heif.as_plugin import HeifImageFile

from ingestd import sniff
from ingestd.normalizer import colours, jpeg, metadata, moving, png, tiff, tiff_strips
from ingestd.normalizer.encoding import Tables
from ingestd.normalizer.exchange import Caution, Found, Noted, Problem, Step
from ingestd.normalizer.image import check_pixels, decoding
from ingestd.normalizer.sheets import Bounds
from ingestd.normalizer.sizes import stretched_to_square_pixels

AvifImagePlugin.DEFAULT_MAX_THREADS = 1
options.DECODE_THREADS = 1
# Previews, depth maps and gain maps are not decoded.
options.THUMBNAILS = options.DEPTH_IMAGES = options.AUX_IMAGES = False


@dataclass(slots=True, kw_only=True)
class Picture:
    """One page: an upright picture of mode 1, L or RGB. `declared_dpi`: what the file says, believed or not.

    `tables`: how a JPEG was quantized, for the picture as it stands now. `personal`: its metadata, which
    stays behind, tells more than the picture.
    """

    image: Image.Image
    declared_dpi: float | None
    profile: bytes | None = None
    tables: Tables | None = None
    personal: bool = False
    steps: list[Noted] = field(default_factory=list)
    cautions: list[Noted] = field(default_factory=list)


def can_decode(mime_type: str) -> bool:
    return mime_type in _DECODERS


def count_pages(data: bytes, mime_type: str, bounds: Bounds) -> int:
    """How many pages, within the limits. Raises Found as `pictures` does, without decoding anything."""
    if mime_type != TIFF:
        return 1
    return len(_tiff_pages(data, bounds))


def pictures(data: bytes, mime_type: str, bounds: Bounds) -> Iterator[Picture]:
    """The pages, each decoded when it is asked for; the one before may be overwritten then.

    Raises Found: TRUNCATED, CORRUPT, UNSUPPORTED, ANIMATED, TOO_MANY_PAGES, TOO_MANY_PIXELS, TOO_COMPLEX,
    DAMAGED_PAGE.
    """
    return _DECODERS[mime_type](data, bounds)


# --- one after the other: what is shared --------------------------------------------------------------------

# CIPA DC-008 section 4.6.4: how to get from what is stored to upright; degrees are clockwise.
_UPRIGHT: Mapping[int, tuple[Image.Transpose, int, bool]] = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, 0, True),
    3: (Image.Transpose.ROTATE_180, 180, False),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, 180, True),
    5: (Image.Transpose.TRANSPOSE, 270, True),
    6: (Image.Transpose.ROTATE_270, 90, False),
    7: (Image.Transpose.TRANSVERSE, 90, True),
    8: (Image.Transpose.ROTATE_90, 270, False),
}
_QUARTER_TURNS = (5, 6, 7, 8)


def _opened(plugin: Callable[[BytesIO], Image.Image], data: bytes, max_pixels: int) -> Image.Image:
    with decoding(max_pixels):
        image = plugin(BytesIO(data))
    check_pixels(image.width, image.height, max_pixels)
    return image


def _loaded(image: Image.Image, max_pixels: int, *, orientation: int) -> Picture:
    with decoding(max_pixels):
        image.load()
        dpi = _declared_dpi(image)
        plain = colours.plain(image)
    del image
    picture = Picture(image=plain.image, declared_dpi=dpi[1] if dpi else None, profile=plain.profile)
    picture.steps += [Noted(what=step) for step in plain.steps]
    return _turned(picture, orientation)


def _turned(picture: Picture, orientation: int) -> Picture:
    if orientation not in _UPRIGHT:
        return picture
    method, _degrees, _mirrored = _UPRIGHT[orientation]
    picture.image = picture.image.transpose(method)
    picture.steps += _turning(orientation)
    return picture


def _turning(orientation: int) -> list[Noted]:
    if orientation not in _UPRIGHT:
        return []
    _method, degrees, mirrored = _UPRIGHT[orientation]
    steps = [Noted(what=Step.MIRRORED)] if mirrored else []
    return steps + ([Noted(what=Step.TURNED, numbers={"degrees": degrees})] if degrees else [])


def _declared_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Across and down; None where the file says nothing, or nonsense."""
    try:
        across, down = (float(value) for value in image.info.get("dpi", ()))
    except (ArithmeticError, TypeError, ValueError):
        return None
    return (across, down) if 1 < across < 100_000 and 1 < down < 100_000 else None


def _only_first(picture: Picture, frames: int) -> Picture:
    if frames > 1:
        numbers = {"frames": frames}
        picture.steps.insert(0, Noted(what=Step.STILL, numbers=numbers))
        picture.cautions.append(Noted(what=Caution.SECOND_PICTURE_LEFT_OUT, numbers=numbers))
    return picture


# --- the formats --------------------------------------------------------------------------------------------


def _jpeg(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    facts = jpeg.read(data)
    check_pixels(facts.width, facts.height, bounds.max_pixels)
    image = _opened(JpegImageFile, data, bounds.max_pixels)
    assert isinstance(image, JpegImageFile)
    tables = Tables.of(image)
    picture = _loaded(image, bounds.max_pixels, orientation=facts.orientation)
    picture.personal = jpeg.has_personal_data(data, facts)
    turned = tables is not None and facts.orientation in _QUARTER_TURNS
    picture.tables = tables.turned() if tables and turned else tables
    yield picture


def _png(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    facts = png.read(data)
    check_pixels(facts.width, facts.height, bounds.max_pixels)
    moving.check_frames(facts.frames)
    if facts.frames > 1:
        data = png.still(data, facts)
    image = _opened(PngImageFile, data, bounds.max_pixels)
    picture = _loaded(image, bounds.max_pixels, orientation=facts.orientation)
    picture.personal = png.has_personal_data(data, facts)
    if facts.bit_depth == 16 and not any(step.what is Step.COLOURS for step in picture.steps):
        # Pillow hands over colours of 16 bits as plain RGB: it took their upper bytes while decoding.
        picture.steps.append(Noted(what=Step.COLOURS))
    yield _only_first(picture, facts.frames)


def _webp(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    check_pixels(*moving.webp_size(data), bounds.max_pixels)
    yield from _with_exif(WebPImageFile, data, bounds)


def _with_exif(plugin: Callable[[BytesIO], Image.Image], data: bytes, bounds: Bounds) -> Iterator[Picture]:
    """Formats whose decoder hands over EXIF as it is, and leaves the turning to us."""
    image = _opened(plugin, data, bounds.max_pixels)
    frames = getattr(image, "n_frames", 1)
    moving.check_frames(frames)
    exif, personal = _exif_of(image)
    picture = _loaded(image, bounds.max_pixels, orientation=metadata.orientation(exif))
    picture.personal = personal
    yield _only_first(picture, frames)


def _exif_of(image: Image.Image) -> tuple[bytes, bool]:
    """The EXIF block, and whether it or other metadata is personal."""
    exif = image.info.get("exif")
    exif = exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) else b""
    return exif, metadata.is_personal_exif(exif) or bool(image.info.get("xmp"))


_HEIF_PROPERTIES_BYTES = 1 << 16


def _heif(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    """libheif applies the container's own turns; its EXIF must not turn the picture again (ISO 23008-12)."""
    image = _opened(HeifImageFile, data, bounds.max_pixels)
    frames = getattr(image, "n_frames", 1)
    moving.check_frames(frames)
    _exif, personal = _exif_of(image)
    noted = image.info.get("original_orientation")
    picture = _loaded(image, bounds.max_pixels, orientation=1)
    picture.personal = personal
    if isinstance(noted, int) and any(turn in data[:_HEIF_PROPERTIES_BYTES] for turn in (b"irot", b"imir")):
        picture.steps += _turning(noted)
    if frames > 1:  # an album, not an animation: the decoder took its main picture
        picture.cautions.append(Noted(what=Caution.SECOND_PICTURE_LEFT_OUT, numbers={"frames": frames}))
    yield picture


def _gif(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    frames = moving.gif_frames(data, max_pixels=bounds.max_pixels)
    image = _opened(GifImageFile, data, bounds.max_pixels)
    yield _only_first(_loaded(image, bounds.max_pixels, orientation=1), frames)


def _plain_format(plugin: Callable[[BytesIO], Image.Image], data: bytes, bounds: Bounds) -> Iterator[Picture]:
    image = _opened(plugin, data, bounds.max_pixels)
    yield _loaded(image, bounds.max_pixels, orientation=1)


_JPEG_2000_PIXELS = 50_000_000
"""OpenJPEG needs 16 bytes for each."""


def _jpeg_2000(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    image = _opened(Jpeg2KImageFile, data, min(bounds.max_pixels, _JPEG_2000_PIXELS))
    yield _loaded(image, bounds.max_pixels, orientation=1)


# --- TIFF ---------------------------------------------------------------------------------------------------

TIFF = "image/tiff"
_ALL_PAGES = 4
"""All pages of a file together may have so many times the pixels of the largest allowed picture."""
_BILEVEL_WEIGHT = 4
"""Fax pages are quick to decode: so many of their pixels count as one."""


def _tiff_pages(data: bytes, bounds: Bounds) -> list[tiff.Page]:
    pages = tiff.pages_of(data, max_pixels=bounds.max_pixels)
    if bounds.max_pages is not None and len(pages) > bounds.max_pages:
        raise Found(Problem.TOO_MANY_PAGES, pages=len(pages), limit=bounds.max_pages)
    work = sum(p.width * p.height // (_BILEVEL_WEIGHT if p.bits == 1 else 1) for p in pages)
    if work > _ALL_PAGES * bounds.max_pixels:
        raise Found(Problem.TOO_COMPLEX)
    return pages


def _tiff(data: bytes, bounds: Bounds) -> Iterator[Picture]:
    pages = _tiff_pages(data, bounds)
    try:
        with decoding(bounds.max_pixels):
            image = TiffImageFile(BytesIO(data))
    except Found as found:
        raise _unknown_kind(found) from found
    for number, page in enumerate(pages, 1):
        try:
            tiff_strips.check_pieces(data, page)
            yield _tiff_page(data, image, page, bounds)
        except Found as found:
            if len(pages) > 1 and found.finding.problem in (Problem.CORRUPT, Problem.TRUNCATED):
                raise Found(Problem.DAMAGED_PAGE, page=number) from found
            raise


def _tiff_page(data: bytes, image: TiffImageFile, page: tiff.Page, bounds: Bounds) -> Picture:
    try:
        with decoding(bounds.max_pixels):
            image.seek(page.index)
    except Found as found:
        raise _unknown_kind(found) from found
    check_pixels(image.width, image.height, bounds.max_pixels)
    orientation = image.tag_v2.get(_ORIENTATION_TAG, 1)
    dpi = _declared_dpi(image)
    picture = _loaded(image, bounds.max_pixels, orientation=1)  # the decoder turns it
    if orientation not in _UPRIGHT:
        tiff_strips.check_fax(data, page, picture.image)
    picture.steps += _turning(orientation) if isinstance(orientation, int) else []
    if dpi is not None:
        across, down = dpi[::-1] if orientation in _QUARTER_TURNS else dpi
        picture.image, picture.declared_dpi = stretched_to_square_pixels(picture.image, across, down)
    check_pixels(picture.image.width, picture.image.height, bounds.max_pixels)
    return picture


_ORIENTATION_TAG = 274


def _unknown_kind(found: Found) -> Found:
    """The directories were sound: what the decoder does not know there is a variant, not damage."""
    is_damage = found.finding.problem is Problem.CORRUPT and isinstance(
        found.__cause__, (SyntaxError, KeyError)
    )
    return Found(Problem.UNSUPPORTED) if is_damage else found


_DECODERS: Mapping[str, Callable[[bytes, Bounds], Iterator[Picture]]] = {
    sniff.JPEG: _jpeg,
    sniff.PNG: _png,
    TIFF: _tiff,
    "image/heic": _heif,
    "image/heif": _heif,
    "image/avif": partial(_with_exif, AvifImageFile),
    "image/webp": _webp,
    "image/gif": _gif,
    "image/bmp": partial(_plain_format, BmpImageFile),
    "image/jp2": _jpeg_2000,
}
