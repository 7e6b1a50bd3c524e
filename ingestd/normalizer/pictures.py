"""One picture on its way to the target, or to a page of a PDF. Runs in a limited process.

An accepted JPEG or PNG goes byte for byte, or by leaving out metadata; its samples are only touched where
they must be: to turn it upright, for other colours, to lay it on white, or to fit the limit.
"""

from dataclasses import replace
from typing import Final

from PIL import Image

from ingestd import sniff
from ingestd.normalizer import colours, decoding, fitting, jpeg, metadata, png, smallest
from ingestd.normalizer.decoding import Picture
from ingestd.normalizer.encoding import Look, jpeg_of, look_of, png_of
from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.fitting import Attempt, Rung
from ingestd.normalizer.kept import Kept, as_it_came, kept_of, kept_sheet, kept_views
from ingestd.normalizer.laying import Sheets, draft_of, laid, sheet_of_picture, steps_of, view_of
from ingestd.normalizer.pages import many_pages
from ingestd.normalizer.pdf_writing import pdf_of
from ingestd.normalizer.sheets import Bounds, Draft
from ingestd.normalizer.sizes import dpi_of


def prepare_picture(data: bytes, mime_type: str, bounds: Bounds) -> Draft:
    """The image for the target: `data` itself where it will do. Raises Found; ValueError for no picture."""
    _check_known(mime_type)
    kept = kept_of(data, mime_type, bounds)
    if kept is not None and mime_type in bounds.types:
        fitting_draft = as_it_came(kept, data, mime_type, bounds)
        if fitting_draft is not None:
            return fitting_draft
    if decoding.count_pages(data, mime_type, bounds) > 1:
        return many_pages(data, mime_type, bounds)
    return _one_picture(data, mime_type, bounds, kept)


def sheets_of(data: bytes, mime_type: str, bounds: Bounds) -> Sheets:
    """The picture's pages for a PDF, upright; samples that PDF takes as they are stay as they are.

    `bounds.max_bytes` and `bounds.types` do not count here. Raises Found; ValueError for no picture.
    """
    _check_known(mime_type)
    kept = kept_of(data, mime_type, bounds)
    sheet = kept_sheet(kept) if kept is not None else None
    if kept is not None and sheet is not None:
        return Sheets(
            sheets=[sheet], steps=kept.steps, cautions=kept.cautions, views=kept_views(kept, bounds)
        )
    pages = [kept.picture] if kept is not None and kept.picture else None
    result = laid(pages or decoding.pictures(data, mime_type, bounds), bounds)
    if kept is None:
        return result
    more = [step for step in result.steps if step not in kept.steps]
    return replace(result, steps=kept.steps + more, cautions=kept.cautions)


def warm_up() -> None:
    """Takes a picture of every format through every way, so that nothing is left to be imported."""
    Image.preinit()
    pictures = smallest.pictures()
    for mime_type, data in pictures:
        prepare_picture(data, mime_type, _WARM_UP)
        sheets_of(data, mime_type, _WARM_UP)
    for mime_type, data in dict(pictures).items():
        if mime_type in (
            sniff.JPEG,
            sniff.PNG,
            decoding.TIFF,
        ):  # what was any other format goes as one of these
            _make_to_fit(data, mime_type)
    for rung in (fitting.LADDER[0], fitting.LADDER[-1]):
        for mode in ("1", "L", "RGB"):
            fitting.lighter(Image.effect_noise((64, 64), 60).convert(mode), rung, dpi=400)
    for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "LAB", "I", "F", "I;16"):
        colours.plain(Image.new(mode, (8, 8)))


def _check_known(mime_type: str) -> None:
    if not decoding.can_decode(mime_type):
        raise ValueError(f"{mime_type} is no picture")


# --- one picture, decoded -----------------------------------------------------------------------------------


def _one_picture(data: bytes, mime_type: str, bounds: Bounds, kept: Kept | None) -> Draft:
    """Converted, or made to fit."""
    sheet = kept_sheet(kept) if kept is not None and not bounds.types & {sniff.JPEG, sniff.PNG} else None
    if kept is not None and sheet is not None and sniff.PDF in bounds.types:
        in_pdf = pdf_of([sheet])
        if len(in_pdf) <= bounds.max_bytes:
            steps = [Noted(what=Step.CONVERTED), *kept.steps]
            return draft_of(in_pdf, steps, kept.cautions, kept_views(kept, bounds))
    picture = kept.picture if kept is not None and kept.picture else None
    picture = picture or next(decoding.pictures(data, mime_type, bounds))
    exif = None if bounds.strip_location else _exif_upright(data, mime_type)
    made = None if kept is not None and mime_type in bounds.types else _made(picture, mime_type, bounds, exif)
    steps = steps_of(picture, bounds)
    if made is None or len(made) > bounds.max_bytes:
        size = len(made) if made is not None else len(data)
        fitted = _fitted(picture, mime_type, bounds, size=size)
        made, steps = fitted.data, steps + fitted.steps
    if sniff.sniff(made[: sniff.HEAD_BYTES]) != mime_type:
        steps.insert(0, Noted(what=Step.CONVERTED))
    return draft_of(made, steps, picture.cautions, [view_of(picture.image)])


def _made(picture: Picture, mime_type: str, bounds: Bounds, exif: bytes | None) -> bytes:
    """In the form that loses nothing visible and is the smallest of those."""
    image, types = picture.image, bounds.types
    dpi = dpi_of(image.width, image.height, picture.declared_dpi)
    is_photo = mime_type == sniff.JPEG or look_of(image) is Look.PHOTO
    if sniff.JPEG in types and (is_photo or not types & {sniff.PNG, sniff.PDF}):
        return _jpeg(picture, exif)
    if sniff.PNG in types and (not is_photo or sniff.PDF not in types):
        return png_of(image, profile=picture.profile, dpi=picture.declared_dpi, exif=exif)
    if sniff.PDF in types:
        return pdf_of([sheet_of_picture(picture, dpi)])
    raise Found(Problem.UNSUPPORTED)


def _jpeg(picture: Picture, exif: bytes | None = None) -> bytes:
    return jpeg_of(
        picture.image,
        tables=picture.tables,
        profile=picture.profile,
        dpi=picture.declared_dpi,
        exif=exif,
    )


def _fitted(picture: Picture, mime_type: str, bounds: Bounds, *, size: int) -> fitting.Fitted:
    image = picture.image
    dpi = dpi_of(image.width, image.height, picture.declared_dpi)
    is_photo = look_of(image) is Look.PHOTO

    def attempt(rung: Rung) -> Attempt | None:
        if rung.quality is None and fitting.is_hopeless_without_loss(image, limit=bounds.max_bytes):
            return None
        made = fitting.lighter_file(
            image,
            rung,
            dpi=dpi,
            profile=picture.profile,
            jpeg=sniff.JPEG in bounds.types,
            png=sniff.PNG in bounds.types,
        )
        if sniff.PDF in bounds.types and (made is None or image.mode == "1"):
            sheet = fitting.lighter(image, rung, dpi=dpi)
            percent = round(100 * sheet.width / image.width)
            laid = Attempt(data=pdf_of([sheet]), lossy=sheet.encoding == "jpeg", percent=percent)
            made = min((one for one in (made, laid) if one), key=lambda one: len(one.data))
        return made

    # A photo that was lossy before does not get smaller without another loss.
    rungs = fitting.LADDER[1:] if is_photo and mime_type != sniff.PNG else fitting.LADDER
    return fitting.climb(attempt, size=size, limit=bounds.max_bytes, rungs=rungs)


def _exif_upright(data: bytes, mime_type: str) -> bytes | None:
    exif = None
    if mime_type == sniff.JPEG:
        exif = jpeg.read(data).exif
    elif mime_type == sniff.PNG:
        exif = png.read(data).exif
    return metadata.turned_upright(exif) if exif else None


# --- warm-up ------------------------------------------------------------------------------------------------

_WARM_UP: Final = Bounds(
    types=frozenset({sniff.JPEG, sniff.PNG, sniff.PDF}),
    max_bytes=1 << 20,
    max_pages=10,
    max_pixels=1 << 20,
    level="full",
    strip_location=True,
)


def _make_to_fit(data: bytes, mime_type: str) -> None:
    """As far down the ladder as it goes."""
    try:
        prepare_picture(data, mime_type, replace(_WARM_UP, max_bytes=50))
    except Found as found:
        if found.finding.problem is not Problem.TOO_LARGE:
            raise
