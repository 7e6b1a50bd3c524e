"""Do two images show the same receipt? Decided by what is printed on it, after one was laid over the other.

Two receipts from one printed form are alike but for a few digits, so one clearly different digit decides. In
doubt they are different: a wrong "same" hides a receipt, a wrong "different" only leaves a warning out.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pypdfium2 import PdfiumError

from ingestd import sniff
from ingestd.normalizer import rendering
from ingestd.normalizer.aligning import (
    NO_FEATURES,
    Features,
    Matrix,
    best_shift,
    features_of,
    find_plan,
    follow_paper,
)
from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.paper import (
    Ink,
    Plane,
    Quad,
    find_paper,
    frame_of,
    ink_of,
    plane_of,
    quantile,
    smaller,
)

MAX_PAGES: Final = 10
"""Longer documents are compared by their bytes alone."""
_LONG_SIDE: Final = 2_400

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
        pages = _page_count(first)
        if pages > MAX_PAGES or pages != _page_count(second):
            return False
        return all(
            same_page(_page(first, index, max_pixels), _page(second, index, max_pixels))
            for index in range(pages)
        )
    except _DAMAGE:
        return False
    except Found as found:
        if found.finding.problem is Problem.TOO_MANY_PIXELS:
            raise
        return False


_DAMAGE: Final = (
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
    cv2.setNumThreads(1)
    cv2.ocl.setUseOpenCL(False)
    canvas = np.full((300, 360), 245, np.uint8)
    for line in range(6):
        text = f"{line * 7919 % 1000:03} Item {line * 31 % 17} {line * 104729 % 9973}"
        cv2.putText(canvas, text, (20, 40 + 44 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 20, 2)
    turned = cv2.warpAffine(canvas, cv2.getRotationMatrix2D((180, 150), 2, 1), (360, 300), borderValue=(245,))
    if not same_page(canvas, np.asarray(turned, np.uint8)):
        raise RuntimeError("OpenCV does not work here: a drawn page was not found again")


# --- pages ------------------------------------------------------------------------------------------------


def _page_count(image: tuple[str, bytes]) -> int:
    mime_type, data = image
    return rendering.page_count(data) if mime_type == sniff.PDF else 1


def _page(image: tuple[str, bytes], index: int, max_pixels: int) -> Plane:
    mime_type, data = image
    if mime_type == sniff.PDF:
        picture = rendering.render_page(data, index, long_side=_LONG_SIDE, max_pixels=max_pixels)
        return plane_of(picture, long_side=_LONG_SIDE)
    with Image.open(io.BytesIO(data), formats=[_FORMATS[mime_type]]) as opened:
        if opened.width * opened.height > max_pixels:
            raise Found(Problem.TOO_MANY_PIXELS, width=opened.width, height=opened.height, limit=max_pixels)
        opened.draft("L", (_LONG_SIDE, _LONG_SIDE))  # JPEG: no more is decoded than is looked at
        return plane_of(_on_white(opened), long_side=_LONG_SIDE)


def _on_white(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits: Pillow would cut off, not scale
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, picture.convert("RGBA"))


# --- two pages --------------------------------------------------------------------------------------------

_LEGIBLE_HEIGHT: Final = 9.0
"""Letters lower than this, in pixels: a 3 can't be told from an 8."""
_WORKING_HEIGHT: Final = 16.0
"""Letters are brought down to this height: more pixels tell no more."""
_MAX_DIFFERENCE: Final = 1.0

_FIRST_HEIGHT: Final = 8.0
_FIRST_DIFFERENCE: Final = 3.5
"""A first look at letters as low as this finds other words, at a fifth of the cost."""

_ALONE: Final = 0.4
_EDGE_BAND: Final = 0.06
_SLIVER_INK: Final = 0.15


def same_page(first: Plane, second: Plane) -> bool:
    """Whether the two pictures show one and the same printed page."""
    if first.shape == second.shape and np.array_equal(first, second):
        return True
    difference = difference_of(_Picture.of(first), _Picture.of(second))
    return difference is not None and difference <= _MAX_DIFFERENCE


@dataclass(frozen=True, slots=True)
class _Picture:
    plane: Plane  # no larger than its letters ask for
    corners: Quad | None
    features: Features
    height: float  # of its letters, about

    @classmethod
    def of(cls, plane: Plane) -> "_Picture":
        small = smaller(plane, _FIRST_SIDE)
        corners = find_paper(small)
        height = letter_height(ink_of(small) * _mask(small, corners))
        if height * max(plane.shape) / max(small.shape) < _LEGIBLE_HEIGHT:
            return cls(small, corners, NO_FEATURES, 0.0)
        needed = smaller(plane, max(_FIRST_SIDE, round(max(small.shape) * _WORKING_HEIGHT * _SPARE / height)))
        scale = max(needed.shape) / max(small.shape)
        moved = _scaled(corners, small, needed)
        return cls(needed, moved, features_of(needed, moved), height * scale)

    def coarse(self) -> "_Picture":
        plane = smaller(self.plane, round(max(self.plane.shape) * _FIRST_HEIGHT / self.height))
        return replace(self, plane=plane, corners=_scaled(self.corners, self.plane, plane))


def _scaled(corners: Quad | None, old: Plane, new: Plane) -> Quad | None:
    if corners is None or old.shape == new.shape:
        return corners
    return np.asarray((corners + 0.5) * np.divide(new.shape[::-1], old.shape[::-1]) - 0.5, np.float32)


_FIRST_SIDE: Final = 1_000
_SPARE: Final = 1.15


def difference_of(first: _Picture, second: _Picture) -> float | None:
    """How much they differ where it is worst; 1.0 and less is in the nature of pictures. None: in doubt.

    The first place that differs clearly ends it: there may be worse ones.
    """
    plan = find_plan(first.features, second.features, shape=first.plane.shape)
    if plan is None:
        return None
    if plan.beyond:
        first, second = replace(first, corners=None), replace(second, corners=None)
    rough, other = first.coarse(), second.coarse()
    matrix = _reduction(second, other) @ plan.matrix @ np.linalg.inv(_reduction(first, rough))
    coarse = _difference_at(rough, other, matrix)
    if coarse is not None and coarse > _FIRST_DIFFERENCE:
        return coarse
    return _difference_at(first, second, plan.matrix, legible=_LEGIBLE_HEIGHT)


def _reduction(picture: _Picture, coarse: _Picture) -> Matrix:
    """Takes pixels of the one to those of the other."""
    down, across = np.divide(coarse.plane.shape, picture.plane.shape)
    return np.array([(across, 0, (across - 1) / 2), (0, down, (down - 1) / 2), (0, 0, 1)])


def _difference_at(
    first: _Picture, second: _Picture, matrix: Matrix, *, legible: float = 0.0
) -> float | None:
    if _scale(matrix, first.plane) < 1:  # the coarser one stays, the finer one is moved
        first, second, matrix = second, first, np.linalg.inv(matrix)
    overlaid = _overlay(first, second, np.linalg.inv(matrix), legible)
    if overlaid is None:
        return None
    fixed, moved, height = overlaid
    followed = follow_paper(fixed, moved)
    return None if followed is None else _worst_place(fixed, followed, height)


def _scale(matrix: Matrix, plane: Plane) -> float:
    """Pixels of the other picture for one of this, in its middle."""
    y, x = plane.shape[0] / 2, plane.shape[1] / 2
    around = np.array([[(x, y), (x + 10, y), (x, y + 10)]], np.float64)
    middle, right, below = cv2.perspectiveTransform(around, matrix)[0]
    across, down = (right - middle) / 10, (below - middle) / 10
    return float(np.sqrt(abs(across[0] * down[1] - across[1] * down[0])))


def _overlay(
    first: _Picture, second: _Picture, back: Matrix, legible: float
) -> tuple[Ink, Ink, float] | None:
    """Both inks in the first picture's pixels, where they must agree; and the height of a letter there."""
    ink = ink_of(first.plane)
    height = letter_height(ink * _mask(first.plane, first.corners))
    if not height or height < legible:
        return None
    factor = min(1.0, _WORKING_HEIGHT / height)
    size = (round(ink.shape[1] * factor), round(ink.shape[0] * factor))
    total = np.diag([factor, factor, 1.0]) @ back
    theirs = ink_of(second.plane)
    detail = 1 / max(_scale(total, second.plane), 1e-3)
    if detail > 1.2:
        theirs = cv2.GaussianBlur(theirs, (0, 0), 0.45 * detail)
    fixed = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
    moved = cv2.warpPerspective(theirs, total, size, flags=cv2.INTER_LINEAR)
    if _letters_outside(second, theirs, np.linalg.inv(total), size, height / detail * factor):
        return None
    here = cv2.resize(_mask(first.plane, first.corners), size, interpolation=cv2.INTER_AREA)
    there = cv2.warpPerspective(_mask(second.plane, second.corners), total, size, flags=cv2.INTER_LINEAR)
    region = _region(first, second, here, there)
    for picture, all_ink in ((first, fixed), (second, moved)):
        # Taken whole, it may show more paper than was found in the other.
        if picture.corners is None and _letters_beyond(all_ink, region, height * factor):
            return None
    region = _without_edges(region, fixed, moved)
    return fixed * region, moved * region, height * factor


def _region(first: _Picture, second: _Picture, here: Ink, there: Ink) -> Ink:
    """Where the inks must agree: wherever one of the pictures shows paper.

    Either paper may have been found too small (a shadow, a black bar), so one alone would not do.
    """
    match first.corners is None, second.corners is None:
        case True, True:
            return np.minimum(here, there)
        case True, False:
            return there
        case False, True:
            return here
        case _:
            return np.maximum(here, there)


def _without_edges(region: Ink, *inks: Ink) -> Ink:
    """Without the slivers of table, or of shadow under a bent edge, that come in from outside the region.

    They are dark, hang together with the outside, and end within a narrow band.
    """
    outside = region < 0.5
    reach = round(_EDGE_BAND * min(cv2.boundingRect((~outside).astype(np.uint8))[2:]))
    band = cv2.dilate(outside.astype(np.uint8), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0
    slivers = np.zeros(region.shape, np.uint8)
    for ink in inks:
        _, labels = cv2.connectedComponents((outside | (ink > _SLIVER_INK)).astype(np.uint8), connectivity=4)
        hanging = np.zeros(int(labels.max()) + 1, np.bool_)
        hanging[labels[outside]] = True
        slivers |= (hanging[labels] & band).astype(np.uint8)
    return np.asarray(region * (1 - cv2.dilate(slivers, np.ones((7, 7), np.uint8))), np.float32)


def _letters_outside(picture: _Picture, ink: Ink, onto: Matrix, frame: Sequence[int], height: float) -> bool:
    """Whether there is print on its paper where the other picture, whose frame is given, ends."""
    width, tall = frame
    corners = np.array([[(0, 0), (width, 0), (width, tall), (0, tall)]], np.float64)
    shown = np.zeros(ink.shape, np.float32)
    cv2.fillConvexPoly(shown, np.round(cv2.perspectiveTransform(corners, onto)[0]).astype(np.int32), (1.0,))
    if shown.all():
        return False
    return _letters_beyond(ink * _mask(picture.plane, picture.corners), shown, height)


def _letters_beyond(ink: Ink, region: Ink, height: float) -> bool:
    margin = round(1.5 * height)
    wide = cv2.dilate(region, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    letters, tall = _letters(ink * (1 - wide))
    return int((np.abs(tall - height) < 0.6 * height).sum()) >= 4 if letters else False


def _mask(plane: Plane, paper: Quad | None) -> Ink:
    """1.0 on paper, 0.0 near its edge and beyond."""
    corners = frame_of(plane) if paper is None else paper
    middle = corners.mean(0)
    inner = middle + (corners - middle) * 0.975
    mask = np.zeros(plane.shape, np.float32)
    cv2.fillConvexPoly(mask, np.round(inner).astype(np.int32), (1.0,))
    return mask


def letter_height(ink: Ink) -> float:
    """The usual height of what looks like letters, in pixels; 0.0 where hardly anything does."""
    count, tall = _letters(ink)
    return float(np.median(tall)) if count >= 20 else 0.0


def _letters(ink: Ink) -> tuple[int, npt.NDArray[Any]]:
    """How many marks have the shape of letters, and their heights in pixels."""
    dark = ink[ink > 0.08]
    level = 0.45 * quantile(dark, 0.95) if dark.size else 1.0
    count, _, stats, _ = cv2.connectedComponentsWithStats((ink > level).astype(np.uint8), connectivity=8)
    width, tall, area = stats[1:count, 2], stats[1:count, 3], stats[1:count, 4]
    letters = (tall >= 5) & (width >= 2) & (width < 3 * tall) & (tall < 8 * width)
    letters &= (area < 0.85 * width * tall) & (tall < 0.12 * max(ink.shape))
    return int(letters.sum()), tall[letters]


def _worst_place(fixed: Ink, moved: Ink, height: float) -> float:
    """In parts of what is allowed: 1.0 and less is nothing."""
    mine, theirs = _evened(fixed, height), _evened(moved, height)
    worst = _unexplained_most(mine, theirs, height) / _MAX_UNEXPLAINED
    for one, other in ((mine, theirs), (theirs, mine)):
        padded = cv2.copyMakeBorder(other, _NUDGE, _NUDGE, _NUDGE, _NUDGE, cv2.BORDER_CONSTANT, value=(0,))
        for cell in _cells(one, height):
            if worst > _MAX_DIFFERENCE:
                return worst
            worst = max(worst, _unlikeness(one, padded, cell, height))
    return worst


# --- cell by cell -----------------------------------------------------------------------------------------
# A letter of one is laid over what the other has there as well as that goes. One letter is then the same but
# for blur and noise; of two, one has a stroke more, be it as little as between 5 and 6.

_MAX_STROKE: Final = 0.45
"""Darkness of a stroke that one has more, after strokes as thin as edges were smoothed away. Measured for one
digit: 0.46 and more."""
_CLEAR_STROKE: Final = 0.28
_MAX_LOSS: Final = 0.1
"""Of correlation. Measured: mostly below 0.05 for one letter, 0.15 and more for two."""
_NUDGE: Final = 2
_FRINGE: Final = 3

Cell = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


def _cells(ink: Ink, height: float) -> Iterator[Cell]:
    """Marks as large as letters, and larger ones in pieces of that size; without ruled lines."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((ink > 0.45).astype(np.uint8), connectivity=8)
    for x, y, wide, tall, area in stats[1:count].tolist():
        length = max(wide, tall)
        if length < 0.4 * height or (length > 3 * height and area < 0.25 * height * length):
            continue
        columns, rows = max(1, round(wide / (0.8 * height))), max(1, round(tall / (1.3 * height)))
        size = -(-wide // columns), -(-tall // rows)
        for column in range(columns):
            for row in range(rows):
                yield (x + wide * column // columns, y + tall * row // rows, *size)


def _unlikeness(ink: Ink, padded: Ink, cell: Cell, height: float) -> float:
    x, y, wide, tall = cell
    left, top = max(0, x - _FRINGE), max(0, y - _FRINGE)
    piece = ink[top : y + tall + _FRINGE, left : x + wide + _FRINGE]
    around = padded[top : top + piece.shape[0] + 2 * _NUDGE, left : left + piece.shape[1] + 2 * _NUDGE]
    dx, dy, likeness = best_shift(piece, around)
    matrix = np.array([(1, 0, dx), (0, 1, dy)], np.float64)
    over = cv2.warpAffine(
        around,
        matrix,
        piece.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    stroke = float(np.abs(cv2.GaussianBlur(piece - over, (0, 0), 0.07 * height)).max())
    loss = (1 - likeness) / _MAX_LOSS
    # Flat or empty pieces correlate with nothing: only where a stroke is in question does that count.
    return max(stroke / _MAX_STROKE, min(loss, stroke / _CLEAR_STROKE))


# --- place by place ---------------------------------------------------------------------------------------
# What no letter's cell holds: points, lines, and what lies between letters.

_MAX_UNEXPLAINED: Final = 0.018
"""Of a letter's height squared. Measured: nearly nothing for one receipt, 0.025 and more for most digits."""


def _unexplained_most(mine: Ink, theirs: Ink, height: float) -> float:
    """Ink of one that the other has not, where it is most; what stands alone in clear space counts less.

    A changed digit has ink in both. Clear space has dust in one, and no digit is as small as that.
    """
    places = _unexplained(mine, theirs, height) + _unexplained(theirs, mine, height)
    window = max(3, round(0.5 * height))
    return float(cv2.blur(places, (window, window)).max()) * window * window / height**2


def _unexplained(ink: Ink, explanation: Ink, height: float) -> Ink:
    spread = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    left = np.clip(ink - cv2.dilate(explanation, spread) - 0.2, 0, 1)
    around = 2 * round(0.35 * height) + 1
    alone = cv2.dilate(explanation, np.ones((around, around), np.uint8)) < 0.3
    return np.asarray(np.where(alone, _ALONE * left, left), np.float32)


def _evened(ink: Ink, height: float) -> Ink:
    """Ink for the strongest ink nearby: print fades over a page, and is lit differently."""
    reach = 2 * round(height) + 1
    strongest = cv2.dilate(cv2.GaussianBlur(ink, (0, 0), 0.7), np.ones((reach, reach), np.uint8))
    strongest = cv2.blur(strongest, (reach, reach))
    floor = max(0.1, 0.35 * quantile(strongest, 0.95))
    return np.asarray(np.clip(ink / np.maximum(strongest, floor), 0, 1), np.float32)
