"""A JPEG or PNG that goes byte for byte, or by leaving out metadata: no sample is touched.

Also what such a file gives without being changed: the view to look at, and a sheet for a PDF.
"""

from dataclasses import dataclass, field

from PIL import Image

from ingestd import sniff
from ingestd.normalizer import colours, decoding, jpeg, moving, png
from ingestd.normalizer.decoding import Picture
from ingestd.normalizer.encoding import Look, flate_sheet_of_png, g4_sheet, jpeg_sheet_of, look_of
from ingestd.normalizer.exchange import Caution, Noted, Step
from ingestd.normalizer.image import check_pixels, decode_jpeg
from ingestd.normalizer.laying import view_of
from ingestd.normalizer.sheets import VIEW_PIXELS, Bounds, Draft, Sheet
from ingestd.normalizer.sizes import dpi_of


@dataclass(slots=True, kw_only=True)
class Kept:
    """A JPEG or PNG whose samples need no change: the bytes to send, and what was left out of them.

    `picture`: decoded, where that was needed to know.
    """

    data: bytes
    facts: jpeg.Jpeg | png.Png
    steps: list[Noted] = field(default_factory=list)
    cautions: list[Noted] = field(default_factory=list)
    picture: Picture | None = None


def kept_of(data: bytes, mime_type: str, bounds: Bounds) -> Kept | None:
    """None when samples must change. Raises Found."""
    match mime_type:
        case sniff.JPEG:
            return _kept_jpeg(data, bounds)
        case sniff.PNG:
            return _kept_png(data, bounds)
    return None


def _kept_jpeg(data: bytes, bounds: Bounds) -> Kept | None:
    facts = jpeg.read(data)
    check_pixels(facts.width, facts.height, bounds.max_pixels)
    if facts.orientation != 1 or facts.components == 4:
        return None
    kept = Kept(data=data, facts=facts)
    if bounds.strip_location and jpeg.has_personal_data(data, facts):
        kept.data = jpeg.without_personal_data(data, facts)
        kept.steps.append(Noted(what=Step.LOCATION))
    return kept


def _kept_png(data: bytes, bounds: Bounds) -> Kept | None:
    facts = png.read(data)
    check_pixels(facts.width, facts.height, bounds.max_pixels)
    moving.check_frames(facts.frames)
    if facts.orientation != 1 or facts.bit_depth == 16:
        return None
    kept = Kept(data=data, facts=facts)
    if facts.frames > 1:
        numbers = {"frames": facts.frames}
        kept.data = png.still(data, facts)
        kept.steps.append(Noted(what=Step.STILL, numbers=numbers))
        kept.cautions.append(Noted(what=Caution.SECOND_PICTURE_LEFT_OUT, numbers=numbers))
    if bounds.strip_location and png.has_personal_data(data, facts):
        kept.data = png.without_personal_data(kept.data, png.read(kept.data))
        kept.steps.append(Noted(what=Step.LOCATION))
    if bounds.level == "full" or facts.transparent:
        kept.picture = next(decoding.pictures(data, sniff.PNG, bounds))
    changed = kept.picture is not None and any(step.what is Step.ON_WHITE for step in kept.picture.steps)
    return None if changed else kept


def as_it_came(kept: Kept, data: bytes, mime_type: str, bounds: Bounds) -> Draft | None:
    """None when it is too large."""
    steps = list(kept.steps)
    sent = kept.data
    if len(sent) > bounds.max_bytes:
        sent = _without_trailer(kept)
        steps.append(Noted(what=Step.REPACKED, numbers={"size": len(sent), "limit": bounds.max_bytes}))
    if len(sent) > bounds.max_bytes:
        return None
    return Draft(
        data=None if sent == data else sent,
        mime_type=mime_type,
        pages=1,
        steps=steps,
        cautions=kept.cautions,
        views=kept_views(kept, bounds),
    )


def _without_trailer(kept: Kept) -> bytes:
    if isinstance(kept.facts, jpeg.Jpeg):
        return jpeg.without_trailer(kept.data, jpeg.read(kept.data))
    return png.without_trailer(kept.data, png.read(kept.data))


def kept_views(kept: Kept, bounds: Bounds) -> list[Image.Image]:
    """The check for damage and the view are one decoding."""
    if bounds.level == "light":
        return []
    if kept.picture is not None:
        return [view_of(kept.picture.image)]
    image = decode_jpeg(kept.data, max_pixels=bounds.max_pixels, short_side=VIEW_PIXELS)
    image.info = {}
    return [image]


def kept_sheet(kept: Kept) -> Sheet | None:
    """None for samples that a PDF does not take as they are, or that can lie there in a smaller form."""
    facts = kept.facts
    dpi = dpi_of(facts.width, facts.height, _declared_dpi(kept))
    if colours.is_wide(_profile(kept)):
        return None  # a page of a PDF is drawn without the profile
    if isinstance(facts, jpeg.Jpeg):
        mode = "RGB" if facts.components == 3 else "L"
        return jpeg_sheet_of(kept.data, mode, (facts.width, facts.height), dpi)
    image = kept.picture.image if kept.picture else None
    if image is not None and look_of(image) is Look.BILEVEL:
        return g4_sheet(image, dpi)
    is_plain = facts.colour_type in (png.GREY, png.RGB) and facts.bit_depth == 8
    if is_plain and not facts.interlaced and not facts.transparent:
        return flate_sheet_of_png(kept.data, facts, dpi)
    return None


def _profile(kept: Kept) -> bytes | None:
    return kept.facts.profile if isinstance(kept.facts, jpeg.Jpeg) else png.profile(kept.data)


def _declared_dpi(kept: Kept) -> float | None:
    if kept.picture is not None:
        return kept.picture.declared_dpi
    return kept.facts.dpi
