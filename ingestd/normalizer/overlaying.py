"""Two pictures of a page, one laid over the other: what of their ink must agree, and how much it differs.

A first look at small letters finds most other receipts at a fraction of the cost. What it does not find is
looked for in the pictures as large as their letters ask for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from ingestd.normalizer.aligning import (
    OFF,
    Matrix,
    Plan,
    features_of,
    find_plan,
    follow_paper,
)
from ingestd.normalizer.lettering import MAX_DIFFERENCE, letter_height, letters_of, worst_place
from ingestd.normalizer.marking import Marks, agree_beyond, marks_of, quick_plan
from ingestd.normalizer.paper import Ink, Plane, Quad, find_paper, frame_of, ink_of, smaller

GLANCE_SIDE: Final = 1_000
"""The longer side of the picture that a first look needs, in pixels."""

_LEGIBLE_HEIGHT: Final = 9.0
"""Letters lower than this, in pixels: a 3 can't be told from an 8."""
_WORKING_HEIGHT: Final = 16.0
"""Letters are brought down to this height: more pixels tell no more."""
_SPARE: Final = 1.15

_FIRST_HEIGHT: Final = 8.0
_FIRST_DIFFERENCE: Final = 3.5
"""A first look at letters as low as this finds other words, at a fifth of the cost."""

_EDGE_BAND: Final = 0.06
_SLIVER_INK: Final = 0.15


@dataclass(frozen=True, slots=True)
class Picture:
    """A page, its paper if that was found, and how tall its letters are, about, in its pixels."""

    plane: Plane
    corners: Quad | None
    height: float

    def seen_in(self, plane: Plane) -> "Picture":
        """The same view in more pixels, or in fewer."""
        corners = _scaled(self.corners, self.plane.shape, plane.shape)
        return Picture(plane, corners, self.height * max(plane.shape) / max(self.plane.shape))

    def without_paper(self) -> "Picture":
        return replace(self, corners=None)


@dataclass(frozen=True, slots=True)
class Glance:
    """A page at the size of a first look, its ink at a smaller one, and marks to find it by."""

    picture: Picture
    ink: Ink
    marks: Marks

    @classmethod
    def at(cls, plane: Plane) -> "Glance | None":
        """None: there is hardly a letter."""
        small = smaller(plane, GLANCE_SIDE)
        corners = find_paper(small)
        ink = ink_of(small)
        height = letter_height(ink * _mask(small.shape, corners))
        if not height:
            return None
        factor = min(1.0, _FIRST_HEIGHT / height)
        size = (round(ink.shape[1] * factor), round(ink.shape[0] * factor))
        low = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
        return cls(Picture(small, corners, height), low, marks_of(small, corners, height=height))

    def legible(self, plane: Plane) -> Picture | None:
        """The same view, no larger than its letters ask for. None: they are too small even there."""
        seen = self.picture.seen_in(plane)
        if seen.height < _LEGIBLE_HEIGHT:
            return None
        working = max(plane.shape) * _WORKING_HEIGHT * _SPARE / seen.height
        return seen.seen_in(smaller(plane, max(GLANCE_SIDE, round(working))))


def _scaled(corners: Quad | None, old: Sequence[int], new: Sequence[int]) -> Quad | None:
    if corners is None or old == new:
        return corners
    return np.asarray((corners + 0.5) * np.divide(new[::-1], old[::-1]) - 0.5, np.float32)


def plan_of(first: Glance, second: Glance) -> Plan | None:
    """How the one lies over the other, in pixels of their pictures. None: they differ, or it is in doubt."""
    quick = quick_plan(first.marks, second.marks, shape=first.picture.plane.shape)
    if quick is not None:
        if _differ(first, second, quick):
            return None
        if not _go_on_beyond(first.picture, second.picture, quick):
            return quick
    slower = find_plan(
        *(features_of(one.picture.plane, one.picture.corners) for one in (first, second)),
        shape=first.picture.plane.shape,
    )
    return None if slower is None or _differ(first, second, slower) else slower


def difference_of(first: Picture, second: Picture, plan: Plan) -> float | None:
    """How much they differ where it is worst; 1.0 and less is in the nature of pictures. None: in doubt.

    The first place that differs clearly ends it: there may be worse ones.
    """
    if plan.beyond:
        first, second = first.without_paper(), second.without_paper()
    matrix = plan.matrix
    if _scale(matrix, first.plane.shape) < 1:  # the coarser one stays, the finer one is moved
        first, second, matrix = second, first, np.linalg.inv(matrix)
    overlaid = _overlay(first, second, np.linalg.inv(matrix))
    if overlaid is None:
        return None
    fixed, moved, height = overlaid
    followed = follow_paper(fixed, moved)
    return None if followed is None else worst_place(fixed, followed, height, enough=MAX_DIFFERENCE)


def resized(plan: Plan, old: tuple[Plane, Plane], new: tuple[Plane, Plane]) -> Plan:
    """The plan for the same two views in other sizes."""
    first, second = (
        resizing(*shapes) for shapes in zip([p.shape for p in old], [p.shape for p in new], strict=True)
    )
    return replace(plan, matrix=second @ plan.matrix @ np.linalg.inv(first))


def resizing(old: Sequence[int], new: Sequence[int]) -> Matrix:
    """Takes pixels of the one shape to those of the other."""
    down, across = np.divide(new, old)
    return np.array([(across, 0, (across - 1) / 2), (0, down, (down - 1) / 2), (0, 0, 1)])


def _go_on_beyond(first: Picture, second: Picture, plan: Plan) -> bool:
    if first.corners is None or second.corners is None:
        return False
    mine, theirs = (marks_of(one.plane, one.corners, height=one.height, zone=OFF) for one in (first, second))
    return agree_beyond(mine, theirs, plan, shape=second.plane.shape)


# --- a first look -----------------------------------------------------------------------------------------


def _differ(first: Glance, second: Glance, plan: Plan) -> bool:
    """Whether so much differs that there is no need to look closer. What lies outside one is left out."""
    matrix = resizing(second.picture.plane.shape, second.ink.shape) @ plan.matrix
    matrix = matrix @ np.linalg.inv(resizing(first.picture.plane.shape, first.ink.shape))
    if _scale(matrix, first.ink.shape) < 1:
        first, second, matrix = second, first, np.linalg.inv(matrix)
    back = np.linalg.inv(matrix)
    size = first.ink.shape[::-1]
    corners = [
        None if plan.beyond else _scaled(one.picture.corners, one.picture.plane.shape, one.ink.shape)
        for one in (first, second)
    ]
    theirs = _blurred(second.ink, 1 / _scale(back, second.ink.shape))
    moved = cv2.warpPerspective(theirs, back, size, flags=cv2.INTER_LINEAR)
    there = cv2.warpPerspective(_mask(second.ink.shape, corners[1]), back, size, flags=cv2.INTER_LINEAR)
    region = _region(
        _mask(first.ink.shape, corners[0]), there, whole=(corners[0] is None, corners[1] is None)
    )
    region = _without_edges(region, first.ink, moved)
    fixed, moved = first.ink * region, moved * region
    followed = follow_paper(fixed, moved, closely=False)
    height = first.picture.height * max(first.ink.shape) / max(first.picture.plane.shape)
    return (
        followed is not None
        and worst_place(fixed, followed, height, enough=_FIRST_DIFFERENCE) > _FIRST_DIFFERENCE
    )


# --- a closer look ----------------------------------------------------------------------------------------


def _scale(matrix: Matrix, shape: Sequence[int]) -> float:
    """Pixels of the other picture for one of this, in its middle."""
    y, x = shape[0] / 2, shape[1] / 2
    around = np.array([[(x, y), (x + 10, y), (x, y + 10)]], np.float64)
    middle, right, below = cv2.perspectiveTransform(around, matrix)[0]
    across, down = (right - middle) / 10, (below - middle) / 10
    return float(np.sqrt(abs(across[0] * down[1] - across[1] * down[0])))


def _overlay(first: Picture, second: Picture, back: Matrix) -> tuple[Ink, Ink, float] | None:
    """Both inks in the first picture's pixels, where they must agree; and the height of a letter there."""
    ink = ink_of(first.plane)
    height = letter_height(ink * _mask(first.plane.shape, first.corners))
    if height < _LEGIBLE_HEIGHT:
        return None
    factor = min(1.0, _WORKING_HEIGHT / height)
    size = (round(ink.shape[1] * factor), round(ink.shape[0] * factor))
    total = np.diag([factor, factor, 1.0]) @ back
    theirs = ink_of(second.plane)
    detail = 1 / max(_scale(total, second.plane.shape), 1e-3)
    fixed = cv2.resize(ink, size, interpolation=cv2.INTER_AREA)
    moved = cv2.warpPerspective(_blurred(theirs, detail), total, size, flags=cv2.INTER_LINEAR)
    if _letters_outside(second, theirs, np.linalg.inv(total), size, height / detail * factor):
        return None
    here = cv2.resize(_mask(first.plane.shape, first.corners), size, interpolation=cv2.INTER_AREA)
    there = cv2.warpPerspective(
        _mask(second.plane.shape, second.corners), total, size, flags=cv2.INTER_LINEAR
    )
    region = _region(here, there, whole=(first.corners is None, second.corners is None))
    for picture, all_ink in ((first, fixed), (second, moved)):
        # Taken whole, it may show more paper than was found in the other.
        if picture.corners is None and _letters_beyond(all_ink, region, height * factor):
            return None
    region = _without_edges(region, fixed, moved)
    return fixed * region, moved * region, height * factor


def _blurred(ink: Ink, detail: float) -> Ink:
    """`detail`: how many of its pixels will become one."""
    return cv2.GaussianBlur(ink, (0, 0), 0.45 * detail) if detail > 1.2 else ink


def _region(here: Ink, there: Ink, *, whole: tuple[bool, bool]) -> Ink:
    """Where the inks must agree: wherever one of the pictures shows paper, or both are taken whole.

    Either paper may have been found too small (a shadow, a black bar), so one alone would not do.
    """
    match whole:
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


def _letters_outside(picture: Picture, ink: Ink, onto: Matrix, frame: Sequence[int], height: float) -> bool:
    """Whether there is print on its paper where the other picture, whose frame is given, ends."""
    width, tall = frame
    corners = np.array([[(0, 0), (width, 0), (width, tall), (0, tall)]], np.float64)
    shown = np.zeros(ink.shape, np.float32)
    cv2.fillConvexPoly(shown, np.round(cv2.perspectiveTransform(corners, onto)[0]).astype(np.int32), (1.0,))
    if shown.all():
        return False
    return _letters_beyond(ink * _mask(picture.plane.shape, picture.corners), shown, height)


def _letters_beyond(ink: Ink, region: Ink, height: float) -> bool:
    margin = round(1.5 * height)
    wide = cv2.dilate(region, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    letters, tall = letters_of(ink * (1 - wide))
    return int((np.abs(tall - height) < 0.6 * height).sum()) >= 4 if letters else False


def _mask(shape: Sequence[int], paper: Quad | None) -> Ink:
    """1.0 on paper, 0.0 near its edge and beyond."""
    corners = frame_of(np.empty(shape, np.uint8)) if paper is None else paper
    middle = corners.mean(0)
    inner = middle + (corners - middle) * 0.975
    mask = np.zeros(shape, np.float32)
    cv2.fillConvexPoly(mask, np.round(inner).astype(np.int32), (1.0,))
    return mask
