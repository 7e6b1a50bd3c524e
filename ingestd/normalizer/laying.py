"""Decoded pictures as pages of a PDF, each in the smallest form in which nothing visible changes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from ingestd import sniff
from ingestd.normalizer.decoding import Picture
from ingestd.normalizer.encoding import jpeg_of, jpeg_sheet_of, sheet_of
from ingestd.normalizer.exchange import Noted, Step
from ingestd.normalizer.sheets import VIEW_PIXELS, Bounds, Draft, Sheet
from ingestd.normalizer.sizes import dpi_of

VIEWED_PAGES: Final = 20
"""So many pages are looked at; the others are decoded, and that is all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheets:
    """A document as pages for a PDF; steps, cautions and views as in a Draft."""

    sheets: list[Sheet]
    steps: list[Noted] = field(default_factory=list)
    cautions: list[Noted] = field(default_factory=list)
    views: list[Image.Image] = field(default_factory=list)


def laid(
    pages: Iterable[Picture], bounds: Bounds, *, seen: Callable[[Picture, Sheet], None] | None = None
) -> Sheets:
    """Each page as a sheet. `seen` is told of each, before the next is decoded."""
    result = Sheets(sheets=[])
    for page in pages:
        dpi = dpi_of(page.image.width, page.image.height, page.declared_dpi)
        sheet = sheet_of_picture(page, dpi)
        result.sheets.append(sheet)
        if seen is not None:
            seen(page, sheet)
        result.steps.extend(step for step in steps_of(page, bounds) if step not in result.steps)
        result.cautions.extend(page.cautions)
        if len(result.views) < VIEWED_PAGES:
            result.views.append(view_of(page.image, colour=not result.views))
    return result


def sheet_of_picture(page: Picture, dpi: float) -> Sheet:
    if page.tables is not None:
        mode = "RGB" if page.image.mode == "RGB" else "L"
        data = jpeg_of(page.image, tables=page.tables, profile=page.profile, dpi=page.declared_dpi)
        return jpeg_sheet_of(data, mode, page.image.size, dpi)
    return sheet_of(page.image, dpi)


def steps_of(picture: Picture, bounds: Bounds) -> list[Noted]:
    """What was done to a picture that goes on without its metadata."""
    location = [Noted(what=Step.LOCATION)] if picture.personal and bounds.strip_location else []
    return [*picture.steps, *location]


def view_of(image: Image.Image, *, colour: bool = True) -> Image.Image:
    """A copy, no larger than looking at it needs."""
    if image.mode == "1" or (image.mode == "RGB" and not colour):
        image = image.convert("L")
    factor = min(image.size) // VIEW_PIXELS
    return image.reduce(factor) if factor > 1 else image.copy()


def draft_of(
    data: bytes, steps: list[Noted], cautions: list[Noted], views: list[Image.Image], *, pages: int = 1
) -> Draft:
    """Of new bytes."""
    mime_type = sniff.sniff(data[: sniff.HEAD_BYTES])
    return Draft(data=data, mime_type=mime_type, pages=pages, steps=steps, cautions=cautions, views=views)
