"""The one page of a PDF as a picture, for a target that takes no PDF.

It is drawn as finely as scanners scan; what is too large then goes down the same ladder as any picture.
"""

from dataclasses import dataclass

from PIL import Image

from ingestd import sniff
from ingestd.normalizer import rendering
from ingestd.normalizer.encoding import Look, jpeg_of, look_of, png_of
from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.fitting import LADDER, Attempt, Rung, climb, lighter_file
from ingestd.normalizer.sheets import Bounds

_DPI = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class PagePicture:
    """JPEG or PNG."""

    data: bytes
    mime_type: str
    steps: list[Noted]


def picture_of(document: bytes, bounds: Bounds) -> PagePicture:
    """The first page of a PDF that was judged. Raises Found: DAMAGED_PAGE, TOO_LARGE; UNSUPPORTED where the
    target takes neither JPEG nor PNG.
    """
    if not bounds.types & {sniff.JPEG, sniff.PNG}:
        raise Found(Problem.UNSUPPORTED)
    page = rendering.render_at(document, 0, dpi=_DPI, max_pixels=bounds.max_pixels)
    dpi = page.width / rendering.page_inches(document, 0)[0]
    steps = [Noted(what=Step.CONVERTED), Noted(what=Step.RASTERISED, numbers={"dpi": round(dpi)})]
    data = _encoded(page, dpi, bounds)
    if len(data) > bounds.max_bytes:
        fitted = climb(
            lambda rung: _attempt(page, rung, dpi, bounds),
            size=len(data),
            limit=bounds.max_bytes,
            rungs=LADDER,
        )
        data, steps = fitted.data, [*steps, *fitted.steps]
    return PagePicture(data=data, mime_type=sniff.sniff(data[: sniff.HEAD_BYTES]), steps=steps)


def _encoded(page: Image.Image, dpi: float, bounds: Bounds) -> bytes:
    """A page of text is smaller and sharper as PNG, a scanned photo as JPEG."""
    if sniff.PNG in bounds.types and (sniff.JPEG not in bounds.types or look_of(page) is not Look.PHOTO):
        return png_of(page, dpi=dpi)
    return jpeg_of(page, dpi=dpi)


def _attempt(page: Image.Image, rung: Rung, dpi: float, bounds: Bounds) -> Attempt | None:
    jpeg, png = sniff.JPEG in bounds.types, sniff.PNG in bounds.types
    return lighter_file(page, rung, dpi=dpi, profile=None, jpeg=jpeg, png=png)
