"""A first look at what was decoded: a fingerprint, a thumbnail, and whether there is anything to read.

A warning must be rare to be read: blank, blurred and small are said only of what no person could read either.
The same pixels give the same answer.
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ingestd.domain.likeness import FINGERPRINT_DIGITS
from ingestd.normalizer import opencv
from ingestd.normalizer.exchange import Caution, Noted
from ingestd.normalizer.paper import (
    Ink,
    Plane,
    Quad,
    find_paper,
    flattened,
    frame_of,
    quantile,
    reduced,
    roughly_ink_of,
    skew_of,
    turned,
)

THUMBNAIL_SIDE: Final = 400
THUMBNAIL_BYTES: Final = 40_000
TINY_SIDE: Final = 40
"""A longer side below this shows no receipt: a tracking pixel, a bullet, an icon."""

_SHORT_ENOUGH, _LONG_ENOUGH = 300, 600
"""Pixels: 80 mm of till roll at 95 dpi. With both sides below, no print of a common size can be read."""
_VIEW_SHORT, _VIEW_LONG = 1_000, 2_400
"""Views are judged at this size: the shorter side, unless the longer one is too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """`fingerprint` as domain.likeness has it, `thumbnail` a JPEG: both of the first page, None without one.

    `blank`: there is nothing on any page that was seen. `tiny`: the only page is an icon or less.
    """

    fingerprint: str | None
    thumbnail: bytes | None
    cautions: list[Noted]
    blank: bool
    tiny: bool = False


def look_at(views: Sequence[Image.Image]) -> Look:
    """Looks at upright RGB or L pictures of the first pages, in order. Pages count from 1 in the cautions."""
    if not views:
        return Look(fingerprint=None, thumbnail=None, cautions=[], blank=False)
    # Pillow hands its samples out at a price: once for each view.
    samples = [np.asarray(view if view.mode in ("L", "RGB") else view.convert("RGB")) for view in views]
    pages = [_page(array) for array in samples]
    blank = [_is_blank(page) for page in pages]
    cautions = []
    for number, (view, page) in enumerate(zip(views, pages, strict=True), start=1):
        if blank[number - 1]:
            if not all(blank):
                cautions.append(Noted(what=Caution.BLANK_PAGE, numbers={"page": number}))
        elif _is_small(view):
            cautions.append(Noted(what=Caution.SMALL, numbers={"width": view.width, "height": view.height}))
        elif _is_blurred(page):
            cautions.append(Noted(what=Caution.BLURRED, numbers={"page": number}))
    return Look(
        fingerprint=None if blank[0] else fingerprint_of(pages[0]),
        thumbnail=_thumbnail(samples[0]),
        cautions=cautions,
        blank=all(blank),
        tiny=all(max(view.size) < TINY_SIDE for view in views),
    )


def warm_up() -> None:
    """Looks at one drawn page, so that nothing is left to be loaded."""
    opencv.tame()
    canvas = np.full((300, 200), 250, np.uint8)
    for y in range(30, 280, 25):
        cv2.putText(canvas, "Total 12,50", (20, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 20, 1)
    seen = look_at([Image.fromarray(canvas).convert("RGB")])
    if seen.fingerprint is None or seen.thumbnail is None or seen.blank:
        raise RuntimeError("OpenCV or Pillow does not work here: a drawn page looks blank")


# --- the page as it is judged -------------------------------------------------------------------------------

_SHEET_LONG: Final = 640
_SHEET_SHORT: Final = 350
"""Where ink lies can be told at about this size, the smaller of the two. Only blur is judged at the view's,
and only in places.
"""


@dataclass(frozen=True, slots=True)
class _Page:
    view: Plane  # as large as blur is judged
    corners: Quad  # of what is looked at in the view: the paper where it was found, else the whole picture
    sheet: Plane  # that, straightened and small
    ink: Ink  # of the sheet


def _page(samples: npt.NDArray[Any]) -> _Page:
    plane = _judged_at(cv2.cvtColor(samples, cv2.COLOR_RGB2GRAY) if samples.ndim == 3 else samples)
    times = max(1, round(max(max(plane.shape) / _SHEET_LONG, min(plane.shape) / _SHEET_SHORT)))
    small = reduced(plane, times)
    corners = find_paper(small)
    if corners is None:
        return _Page(plane, frame_of(plane), small, roughly_ink_of(small))
    corners = _without_edge(corners)
    sheet = flattened(small, corners, long_side=2 * _SHEET_LONG)
    in_view = np.asarray((corners + 0.5) * times - 0.5, np.float32)
    return _Page(plane, in_view, sheet, roughly_ink_of(sheet))


def _judged_at(plane: Plane) -> Plane:
    """No larger than views are judged at."""
    return _scaled(plane, min(1.0, _VIEW_SHORT / min(plane.shape), _VIEW_LONG / max(plane.shape)))


def _scaled(plane: Plane, factor: float) -> Plane:
    """Halved, which costs a fifth of other boxes of pixels, and the rest of the way by what lies between two:
    no pixel is passed over.
    """
    if factor >= 1:
        return plane
    size = (max(1, round(plane.shape[1] * factor)), max(1, round(plane.shape[0] * factor)))
    while min(plane.shape[:2]) >= 2 and max(plane.shape[:2]) >= 2 * max(size):
        plane = reduced(plane, 2)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _without_edge(corners: Quad) -> Quad:
    middle = corners.mean(0)
    return np.asarray(middle + (corners - middle) * 0.976, np.float32)


# --- fingerprint --------------------------------------------------------------------------------------------

_GRID: Final = 64
_WAVES: Final = 16


def fingerprint_of(page: _Page) -> str:
    """Where the ink lies, as the signs of its slowest waves: neither light, frame nor size come into it."""
    ink = _printed(turned(page.ink, skew_of(page.ink)))
    left, right = _extent(ink.sum(0))
    top, bottom = _extent(ink.sum(1))
    layout = cv2.resize(ink[top:bottom, left:right], (_GRID, _GRID), interpolation=cv2.INTER_AREA)
    layout = cv2.GaussianBlur(np.sqrt(layout), (0, 0), 1.2)
    waves = cv2.dct(np.asarray(layout, np.float32))[:_WAVES, :_WAVES].flatten()
    waves[0] = 0  # the mean says how much ink there is, not where
    bits = waves > np.median(waves)
    return f"{int(''.join('1' if bit else '0' for bit in bits), 2):0{FINGERPRINT_DIGITS}x}"


def _printed(ink: Ink) -> Ink:
    """Ink that stands out, as 0 or 1; nothing within a hair of the edge, where shadows and cut paper are."""
    level = max(0.06, 0.4 * quantile(_some(ink), 0.995))
    mask = np.asarray(ink > level, np.float32)
    margin = max(1, round(0.015 * max(ink.shape)))
    mask[:margin], mask[-margin:] = 0, 0
    mask[:, :margin], mask[:, -margin:] = 0, 0
    return mask


def _some(ink: Ink) -> Ink:
    """One pixel of nine tells as much about how dark they are."""
    return ink[::3, ::3] if min(ink.shape) >= _ENOUGH_TO_CHOOSE_FROM else ink


_ENOUGH_TO_CHOOSE_FROM: Final = 100


def _extent(profile: npt.NDArray[Any]) -> tuple[int, int]:
    """The stretch that holds the ink but for single specks: at least a part of the picture."""
    size = len(profile)
    mass = np.cumsum(profile)
    if mass[-1] <= 0:
        return 0, size
    start = int(np.searchsorted(mass, 0.004 * mass[-1]))
    end = int(np.searchsorted(mass, 0.996 * mass[-1])) + 1
    return (start, end) if end - start >= size // 10 else (0, size)


# --- thumbnail ----------------------------------------------------------------------------------------------


def _thumbnail(samples: npt.NDArray[Any]) -> bytes:
    """Made from the samples alone: no profile, no comment, no EXIF."""
    small = Image.fromarray(_scaled(samples, THUMBNAIL_SIDE / max(samples.shape[:2])))
    for quality in (75, 60, 45, 30, 15):
        file = io.BytesIO()
        small.save(file, "JPEG", quality=quality)
        if file.tell() <= THUMBNAIL_BYTES:
            break
    return file.getvalue()


# --- is there anything to read? -----------------------------------------------------------------------------


_FAINTEST: Final = 0.035
_TEXTURE: Final = 0.2


def _is_blank(page: _Page) -> bool:
    """No mark as long as a word. Dust is shorter, shadows lie along the edge, noise is fainter."""
    ink = page.ink
    if min(ink.shape) < 8:
        return True
    if float(cv2.blur(page.sheet, (3, 3)).max()) < 40:
        return True  # the lens was covered
    smooth = cv2.GaussianBlur(ink, (3, 3), 0.6)
    margin = max(2, round(0.02 * max(ink.shape)))
    inner = smooth[margin:-margin, margin:-margin]
    if inner.size == 0:
        return True
    some = _some(inner)
    usual = quantile(some, 0.5)
    noise = 1.4826 * quantile(np.abs(some - usual), 0.5)
    # The cap: what is as rough as a table top is a picture of something, not an empty page.
    level = min(_TEXTURE, max(_FAINTEST, usual + 6 * noise))
    marks = (inner > level).astype(np.uint8)
    return not _has_word(marks, short_side=min(ink.shape))


def _has_word(marks: npt.NDArray[Any], *, short_side: int) -> bool:
    count, _, stats, _ = cv2.connectedComponentsWithStats(marks, connectivity=8)
    width, height, area = stats[1:count, 2], stats[1:count, 3], stats[1:count, 4]
    longer = np.maximum(width, height)
    kept = (longer > max(2.0, 0.004 * short_side)) & (area >= 1.5 * longer)
    if longer[kept].max(initial=0) >= 0.03 * short_side:
        return True
    near = np.zeros(marks.shape, np.uint8)
    gap = max(1, round(0.008 * short_side))
    for x, y, w, h in stats[1:count, :4][kept].tolist():
        near[max(0, y - 1) : y + h + 1, max(0, x - gap) : x + w + gap] = 1
    count, _, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    return bool((np.maximum(stats[1:count, 2] - 2 * gap, stats[1:count, 3]) >= 0.03 * short_side).any())


def _is_small(view: Image.Image) -> bool:
    return min(view.size) < _SHORT_ENOUGH and max(view.size) < _LONG_ENOUGH


def _is_blurred(page: _Page) -> bool:
    """Whether hardly any edge is steep. It ends when the tiles that are left can't change the answer."""
    edges = steep = 0
    for left, tile in _places(page):
        found = _steepness(tile)
        edges += found.size
        steep += int((found >= _STEEP).sum())
        if edges >= _FEWEST_EDGES and steep >= _STEEP_SHARE * (edges + left * tile.size):
            return False
    return (
        edges >= _FEWEST_EDGES and steep < _STEEP_SHARE * edges
    )  # without edges there is nothing to judge by


_HOPELESS_SIGMA: Final = 4.0
_STEEP: Final = 1 / (_HOPELESS_SIGMA * math.sqrt(2 * math.pi))
"""An edge of height c, blurred by sigma pixels, is c / (sigma sqrt(2 pi)) steep in its middle."""
_STEEP_SHARE: Final = 0.03
_FEWEST_EDGES: Final = 200
_TILE: Final = 208
_TILES: Final = 5
_WINDOW: Final = 31


def _places(page: _Page) -> Iterator[tuple[int, Plane]]:
    """Where there is most ink, as it is in the view: tiles of the paper, straightened, all of one size.

    With each: how many are left.
    """
    size = _size_of(page.corners)
    shape = (max(1, round(size[1] / _TILE)), max(1, round(size[0] / _TILE)))
    amounts = cv2.resize(np.minimum(page.ink, 0.5), shape[::-1], interpolation=cv2.INTER_AREA)
    fullest = np.argsort(-amounts, axis=None, kind="stable")[:_TILES]
    frame = np.array([(0, 0), (size[0], 0), (size[0], size[1]), (0, size[1])], np.float32)
    matrix = cv2.getPerspectiveTransform(frame, page.corners)
    width, height = round(size[0] / shape[1]), round(size[1] / shape[0])
    for number, place in enumerate(fullest, start=1):
        row, column = divmod(int(place), shape[1])
        moved = np.array([(1, 0, column * width), (0, 1, row * height), (0, 0, 1)], np.float64)
        tile = cv2.warpPerspective(
            page.view,
            matrix @ moved,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        yield len(fullest) - number, np.asarray(tile, np.uint8)


def _size_of(corners: Quad) -> tuple[float, float]:
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    return float(max(sides[0], sides[2], 1.0)), float(max(sides[1], sides[3], 1.0))


def _steepness(tile: Plane) -> npt.NDArray[Any]:
    """Of the clear edges in a tile: how steep, per pixel, for their height."""
    grey = cv2.GaussianBlur(tile, (5, 5), 0.8)
    across, down = (
        cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    window = np.ones((_WINDOW, _WINDOW), np.uint8)
    height = cv2.subtract(cv2.dilate(grey, window), cv2.erode(grey, window))
    strong = height > max(12.0, 0.35 * float(np.percentile(height[::4, ::4], 99)))
    return np.asarray(cv2.magnitude(across, down)[strong] / height[strong], np.float32)
