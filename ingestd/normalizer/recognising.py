"""Is what a target gave back what it was sent? It may have been saved again, scaled, turned, put into a PDF.

Three answers, two of them sure. `same`: the bytes are, or every page looks the same when it is compared in
full. `other`: the number of pages differs, or a page can't be the one that was sent: whichever way up and
with or without margins, neither its details nor its ink nor its light and dark are found again. All else is
unclear: two receipts of one printed form are, and so is whatever can't be decoded.
"""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from ingestd import sniff
from ingestd.domain.likeness import distance
from ingestd.normalizer import look
from ingestd.normalizer.aligning import common_points, features_of
from ingestd.normalizer.comparing import (
    DAMAGE,
    LONG_SIDE,
    MAX_PAGES,
    page_count,
    page_plane,
    same_page,
)
from ingestd.normalizer.exchange import Found, Recognition
from ingestd.normalizer.paper import Plane, smaller

FEW_POINTS: Final = 50
"""Measured: one picture saved in eleven ways, even at 400 pixels, shares 87 and more; receipts of two shops,
on tables of their own, at most 46.
"""
FAR_BITS: Final = 84
"""Of the 256 bits of a fingerprint. Alone it would not do: the paper may be found in one picture only."""
UNLIKE: Final = 0.7
"""A correlation. Measured: 0.65 for a scan turned on an A4 page, 0.85 and more for every other copy."""
_ENOUGH_POINTS: Final = 40

_TYPES: Final = frozenset({sniff.JPEG, sniff.PNG, sniff.PDF})
_LOOK_SIDE: Final = 1_200
_DETAIL_SIDE: Final = 1_000
_GRID: Final = 48
_TURNS: Final = (0, 1, 2, 3)
"""Quarters of a turn."""


def recognise(sent: tuple[str, bytes], returned: tuple[str, bytes], *, max_pixels: int) -> Recognition:
    """Both as (MIME type, bytes). Deterministic; raises nothing for what the bytes are."""
    if sent[1] == returned[1]:
        return "same"
    if not {sent[0], returned[0]} <= _TYPES:
        return "unclear"
    try:
        pages = page_count(sent)
        if page_count(returned) != pages:
            return "other"
        verdicts = {
            recognise_page(*(page_plane(image, index, LONG_SIDE, max_pixels) for image in (sent, returned)))
            for index in range(min(pages, MAX_PAGES))
        }
    except (Found, *DAMAGE):
        return "unclear"
    if "other" in verdicts:
        return "other"
    return "same" if verdicts == {"same"} and pages <= MAX_PAGES else "unclear"


def recognise_page(sent: Plane, returned: Plane) -> Recognition:
    if same_page(sent, returned):
        return "same"
    views = [_View(frame) for frame in _frames(sent)]
    turned = [np.ascontiguousarray(np.rot90(returned, turns)) for turns in _TURNS]
    seen = [[_View(frame) for frame in _frames(plane)] for plane in turned]
    bits = [min(_distance(one, other) for one in views for other in others) for others in seen]
    nearest = min(_TURNS, key=lambda turns: bits[turns])
    if nearest and same_page(sent, turned[nearest]):
        return "same"
    likeness = max(
        float((one.tones * other.tones).sum()) for one in views for others in seen for other in others
    )
    if bits[nearest] < FAR_BITS or likeness >= UNLIKE or _may_share_details(sent, returned):
        return "unclear"
    return "other"


class _View:
    """`fingerprint` None: there is nothing on the page, so it can't be told apart from anything.

    `tones`: light and dark on a coarse grid, stretched over the frame; the sum of a product is a correlation.
    """

    def __init__(self, plane: Plane) -> None:
        self.fingerprint = look.look_at([Image.fromarray(smaller(plane, _LOOK_SIDE))]).fingerprint
        grid: npt.NDArray[Any] = cv2.resize(plane, (_GRID, _GRID), interpolation=cv2.INTER_AREA)
        grid = cv2.GaussianBlur(grid.astype(np.float32), (0, 0), 1.0)
        grid = grid - grid.mean()
        self.tones = grid / max(float(np.linalg.norm(grid)), 1e-6)


def _distance(first: _View, second: _View) -> int:
    if first.fingerprint is None or second.fingerprint is None:
        return 0
    return distance(first.fingerprint, second.fingerprint)


def _may_share_details(first: Plane, second: Plane) -> bool:
    """Whether points of one picture lie in the other as they do here, but for turn, scale and slant."""
    one, other = (features_of(smaller(plane, _DETAIL_SIDE), None) for plane in (first, second))
    known = min(len(one.points), len(other.points))
    shared = common_points(one, other, shape=smaller(first, _DETAIL_SIDE).shape)
    return known < _ENOUGH_POINTS or shared >= min(FEW_POINTS, known // 4)


# --- margins ----------------------------------------------------------------------------------------------

_EDGE: Final = 3
_MARGIN_LEVELS: Final = 24
"""Grey levels within which a margin is even."""
_SOME_INK: Final = 0.01


def _frames(plane: Plane) -> list[Plane]:
    """The picture, and what is within its even margin: a page of a PDF is larger than what lies on it."""
    edge = np.concatenate(
        [plane[:_EDGE].ravel(), plane[-_EDGE:].ravel(), plane[:, :_EDGE].ravel(), plane[:, -_EDGE:].ravel()]
    )
    differs = (np.abs(plane.astype(np.int16) - int(np.median(edge))) > _MARGIN_LEVELS).astype(np.uint8)
    differs = np.asarray(cv2.morphologyEx(differs, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    rows = np.flatnonzero(differs.mean(1) > _SOME_INK)
    columns = np.flatnonzero(differs.mean(0) > _SOME_INK)
    if len(rows) < plane.shape[0] // 10 or len(columns) < plane.shape[1] // 10:
        return [plane]
    within = plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return [plane] if within.shape == plane.shape else [plane, np.ascontiguousarray(within)]
