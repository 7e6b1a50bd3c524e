"""Do two images show the same receipt? Decided by what is printed on it, after one was laid over the other.

Two receipts from one printed form are alike but for a few digits, so one clearly different digit decides. In
doubt they are different: a wrong "same" hides a receipt, a wrong "different" only leaves a warning out.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from PIL import Image
from pypdfium2 import PdfiumError

from ingestd import sniff
from ingestd.normalizer import opencv, rendering
from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.lettering import MAX_DIFFERENCE
from ingestd.normalizer.overlaying import GLANCE_SIDE, Glance, difference_of, plan_of, resized
from ingestd.normalizer.paper import Plane, plane_of

MAX_PAGES: Final = 10
"""Longer documents are compared by their bytes alone."""
LONG_SIDE: Final = 2_400

_FORMATS: Final = {sniff.JPEG: "JPEG", sniff.PNG: "PNG"}


def same(first: tuple[str, bytes], second: tuple[str, bytes], *, max_pixels: int) -> bool:
    """Whether both (MIME type, bytes of a JPEG, PNG or PDF) show the same receipt, page by page.

    Deterministic. What can't be decoded is the same only byte for byte. Raises Found(TOO_MANY_PIXELS) for a
    picture with more, ValueError for another type.
    """
    for mime_type, _ in (first, second):
        if mime_type not in (*_FORMATS, sniff.PDF):
            raise ValueError(f"pages of {mime_type} can't be compared")
    if first[1] == second[1]:
        return True
    try:
        pages = page_count(first)
        if pages > MAX_PAGES or pages != page_count(second):
            return False
        return all(
            _same(_Page.of(first, index, max_pixels), _Page.of(second, index, max_pixels))
            for index in range(pages)
        )
    except DAMAGE:
        return False
    except Found as found:
        if found.finding.problem is Problem.TOO_MANY_PIXELS:
            raise
        return False


DAMAGE: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    PdfiumError,
)
"""What Pillow's readers of damaged PNG and JPEG files, and pdfium's of PDF, are known to raise."""


def warm_up() -> None:
    """Compares two drawn pages, so that nothing is left to be loaded."""
    opencv.tame()
    canvas = np.full((300, 360), 245, np.uint8)
    for line in range(6):
        text = f"{line * 7919 % 1000:03} Item {line * 31 % 17} {line * 104729 % 9973}"
        cv2.putText(canvas, text, (20, 40 + 44 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 20, 2)
    turned = cv2.warpAffine(canvas, cv2.getRotationMatrix2D((180, 150), 2, 1), (360, 300), borderValue=(245,))
    if not same_page(canvas, np.asarray(turned, np.uint8)):
        raise RuntimeError("OpenCV does not work here: a drawn page was not found again")


# --- pages ------------------------------------------------------------------------------------------------


def same_page(first: Plane, second: Plane) -> bool:
    """Whether the two pictures show one and the same printed page."""
    return _same(_Page(first, lambda: first), _Page(second, lambda: second))


@dataclass(frozen=True, slots=True)
class _Page:
    """`small` is enough for a first look, with which most comparisons end; the whole is made if need be."""

    small: Plane
    whole: Callable[[], Plane]

    @classmethod
    def of(cls, image: tuple[str, bytes], index: int, max_pixels: int) -> "_Page":
        def plane(long_side: int) -> Plane:
            return page_plane(image, index, long_side, max_pixels)

        return cls(plane(GLANCE_SIDE), lambda: plane(LONG_SIDE))


def _same(first: _Page, second: _Page) -> bool:
    if np.array_equal(first.small, second.small) and np.array_equal(first.whole(), second.whole()):
        return True
    here, there = Glance.at(first.small), Glance.at(second.small)
    if here is None or there is None:
        return False
    plan = plan_of(here, there)
    if plan is None:
        return False
    one, other = here.legible(first.whole()), there.legible(second.whole())
    if one is None or other is None:
        return False
    plan = resized(plan, (here.picture.plane, there.picture.plane), (one.plane, other.plane))
    difference = difference_of(one, other, plan)
    return difference is not None and difference <= MAX_DIFFERENCE


def page_count(image: tuple[str, bytes]) -> int:
    """Raises Found."""
    mime_type, data = image
    return rendering.page_count(data) if mime_type == sniff.PDF else 1


def page_plane(image: tuple[str, bytes], index: int, long_side: int, max_pixels: int) -> Plane:
    """The page in grey, its longer side at most `long_side` pixels. Raises Found, and one of DAMAGE."""
    mime_type, data = image
    if mime_type == sniff.PDF:
        picture = rendering.render_page(data, index, long_side=long_side, max_pixels=max_pixels)
        return plane_of(picture, long_side=long_side)
    with Image.open(io.BytesIO(data), formats=[_FORMATS[mime_type]]) as opened:
        if opened.width * opened.height > max_pixels:
            raise Found(Problem.TOO_MANY_PIXELS, width=opened.width, height=opened.height, limit=max_pixels)
        opened.draft("L", (long_side, long_side))  # JPEG: no more is decoded than is looked at
        return plane_of(_on_white(opened), long_side=long_side)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits: Pillow would cut off, not scale
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture.convert("RGBA"))
