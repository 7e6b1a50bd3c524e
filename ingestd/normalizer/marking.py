"""Marks: small points of a picture, found and matched far faster than those of `aligning`.

They are enough to lay most pictures over one another. Where they are few, or agree with more than one place,
there is no plan, and it is for the slower points to find one: in doubt none.
"""

from dataclasses import dataclass
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from ingestd.normalizer.aligning import ON, Plan, is_plausible, zones
from ingestd.normalizer.paper import Plane, Quad, smaller

_LETTER_HEIGHT: Final = 5.5
"""A mark's surroundings, 31 pixels, are then some letters wide: one letter is found on every line."""
_SIDES: Final = (300, 1_000)
_MARKS: Final = 500
_REACH: Final = 0.008
_SURE_MATCHES: Final = 24
_CLEARER: Final = 0.85
_NEAR_BITS: Final = 60
"""Of 256: so close a mark is to its like in another picture, mostly. Two other marks are about 100 apart."""
_BEYOND: Final = 3


@dataclass(frozen=True, slots=True)
class Marks:
    """Where they are, in the picture's own pixels, and the bits that say what is around them."""

    points: npt.NDArray[Any]
    bits: npt.NDArray[Any]


def marks_of(plane: Plane, corners: Quad | None, *, height: float, zone: int = ON) -> Marks:
    """Those in one zone: on its paper, or off it. `height`: of the picture's letters."""
    side = round(max(plane.shape) * _LETTER_HEIGHT / height)
    small = smaller(plane, min(max(side, _SIDES[0]), _SIDES[1]))
    factor = np.array([plane.shape[1] / small.shape[1], plane.shape[0] / small.shape[0]], np.float32)
    where = zones(small.shape, None if corners is None else corners / factor) == zone
    orb = cv2.ORB.create(_MARKS, 1.3, 5, edgeThreshold=16, fastThreshold=8)
    points, computed = orb.detectAndCompute(small, where.astype(np.uint8))
    bits = cast("npt.NDArray[Any] | None", computed)  # None without a point, whatever the stubs say
    if bits is None:
        return Marks(np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8))
    return Marks((np.array([point.pt for point in points], np.float32) + 0.5) * factor - 0.5, bits)


def quick_plan(first: Marks, second: Marks, *, shape: tuple[int, int]) -> Plan | None:
    """`shape` is the first picture's. None: the marks on both papers show no common plane beyond doubt."""
    pairs = _matches(first.bits, second.bits)
    if len(pairs) < _SURE_MATCHES:
        return None
    source, target = first.points[pairs[:, 0]], second.points[pairs[:, 1]]
    reach = _REACH * max(shape)
    cv2.setRNGSeed(1)
    estimate, inliers = cv2.findHomography(
        source, target, cv2.USAC_MAGSAC, reach, maxIters=2_000, confidence=0.999
    )
    matrix = cast("npt.NDArray[Any] | None", estimate)  # None without a model, whatever the stubs say
    if matrix is None or int(inliers.sum()) < max(_SURE_MATCHES, 0.3 * len(pairs)):
        return None
    if not is_plausible(matrix, shape):
        return None
    return Plan(matrix, beyond=False)


def agree_beyond(first: Marks, second: Marks, plan: Plan, *, shape: tuple[int, int]) -> bool:
    """Whether what is off both papers may agree, too: then paper goes on there, or both lie on one table.

    Any likeness counts here, not only a clear match: this must miss nothing, and may be wrong.
    """
    if not len(first.points) or not len(second.points):
        return False
    moved = cv2.perspectiveTransform(first.points[None].astype(np.float64), plan.matrix)[0]
    away = np.linalg.norm(moved[:, None] - second.points[None], axis=2)
    like = (away < 2 * _REACH * max(shape)) & (_bits_apart(first.bits, second.bits) < _NEAR_BITS)
    return int(like.any(1).sum()) >= _BEYOND


def _matches(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Pairs that are each other's nearest, clearly before the next one."""
    if min(len(first), len(second)) < _SURE_MATCHES:
        return np.zeros((0, 2), np.int64)
    apart = _bits_apart(first, second)
    best = apart.argmin(1)
    rows = np.arange(len(first))
    mutual = apart.argmin(0)[best] == rows
    nearest = apart[rows, best]
    apart[rows, best] = 256
    clear = nearest < _CLEARER * apart.min(1)
    chosen = rows[mutual & clear]
    return np.column_stack([chosen, best[chosen]])


def _bits_apart(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Hamming distances, first x second: by a product of signs, which BLAS makes fast."""
    mine, theirs = (np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1 for bits in (first, second))
    return np.asarray((256 - mine @ theirs.T) / 2, np.float32)
