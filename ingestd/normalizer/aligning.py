"""Lays one picture of a sheet of paper over another: first the plane, then every part of bent paper.

The second step moves patches of several letters by a few pixels and smooths that over their neighbours, so
that it follows paper, and can't turn one letter into another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import cv2
import numpy as np
import numpy.typing as npt

from ingestd.normalizer.paper import Ink, Plane, Quad, frame_of, smaller

Matrix = npt.NDArray[Any]
"""float64, 3 x 3, takes homogeneous pixel positions of one picture to the other."""

_FEATURE_SIDE: Final = 700
_FEATURES: Final = 1_200
_FEATURES_BEYOND: Final = 400
_SURE_MATCHES: Final = 40
_BEYOND: Final = 5
_FEWEST_FOR_PLANE: Final = 4
_MAX_SHEAR: Final = 2.2
_SCALES: Final = (0.2, 5.0)


@dataclass(frozen=True, slots=True)
class Features:
    """Points of a picture that can be found again, in its own pixels; and which of them lie on its paper."""

    points: npt.NDArray[Any]
    descriptors: npt.NDArray[Any]
    on_paper: npt.NDArray[np.bool_]


NO_FEATURES: Final = Features(
    np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32), np.zeros(0, np.bool_)
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`matrix` takes pixels of the first picture to the second's.

    `beyond`: points off both papers agree with it. Then paper goes on there, or both lie on one table.
    """

    matrix: Matrix
    beyond: bool


def features_of(plane: Plane, corners: Quad | None) -> Features:
    """The clearest of the paper, and fewer of what it lies on."""
    small = smaller(plane, _FEATURE_SIDE)
    factor = np.array([plane.shape[1] / small.shape[1], plane.shape[0] / small.shape[0]], np.float32)
    zone = zones(small.shape, None if corners is None else corners / factor)
    sift = cv2.SIFT.create(contrastThreshold=0.03)
    found = sorted(sift.detect(small), key=lambda point: (-point.response, point.pt))
    on = [point for point in found if zone[pixel(point, zone.shape)] == ON][:_FEATURES]
    off = [point for point in found if zone[pixel(point, zone.shape)] == OFF][:_FEATURES_BEYOND]
    keypoints, computed = sift.compute(small, [*on, *off])
    descriptors = cast("npt.NDArray[Any] | None", computed)  # None without a point, whatever the stubs say
    if descriptors is None:
        return NO_FEATURES
    points = np.array([point.pt for point in keypoints], np.float32)
    on_paper = np.array([zone[pixel(point, zone.shape)] == ON for point in keypoints], np.bool_)
    rooted = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1e-6))
    return Features((points + 0.5) * factor - 0.5, np.asarray(rooted, np.float32), on_paper)


def find_plan(first: Features, second: Features, *, shape: tuple[int, int]) -> Plan | None:
    """`shape` is the first picture's. None: what is on their papers shows no common plane."""
    if min(first.on_paper.sum(), second.on_paper.sum()) < _SURE_MATCHES:
        return None
    pairs = _matches(first.descriptors, second.descriptors)
    # What they lie on must not speak for the papers: one point at least lies on one.
    on_paper = first.on_paper[pairs[:, 0]] | second.on_paper[pairs[:, 1]]
    source, target = first.points[pairs[:, 0]], second.points[pairs[:, 1]]
    if on_paper.sum() < _SURE_MATCHES // 2:
        return None
    reach = 0.006 * max(shape)
    cv2.setRNGSeed(1)
    estimate, inliers = cv2.findHomography(
        source[on_paper], target[on_paper], cv2.USAC_MAGSAC, reach, maxIters=4_000, confidence=0.999
    )
    matrix = cast("Matrix | None", estimate)  # None without a model, whatever the stubs say
    if matrix is None or int(inliers.sum()) < max(_SURE_MATCHES // 2, 0.12 * on_paper.sum()):
        return None
    if not is_plausible(matrix, shape):
        return None
    if on_paper.all():
        return Plan(matrix, beyond=False)
    off = cv2.perspectiveTransform(source[~on_paper][None].astype(np.float64), matrix)[0]
    agreeing = np.linalg.norm(off - target[~on_paper], axis=1) < 2 * reach
    return Plan(matrix, beyond=int(agreeing.sum()) >= _BEYOND)


def common_points(first: Features, second: Features, *, shape: tuple[int, ...]) -> int:
    """How many points lie in both pictures in one and the same plane. `shape` is the first picture's."""
    if min(len(first.points), len(second.points)) < 2:
        return 0
    pairs = _matches(first.descriptors, second.descriptors)
    if len(pairs) < _FEWEST_FOR_PLANE:
        return 0
    source, target = first.points[pairs[:, 0]], second.points[pairs[:, 1]]
    cv2.setRNGSeed(1)
    estimate, inliers = cv2.findHomography(
        source, target, cv2.USAC_MAGSAC, 0.006 * max(shape), maxIters=4_000, confidence=0.999
    )
    matrix = cast("Matrix | None", estimate)  # None without a model, whatever the stubs say
    return 0 if matrix is None else int(inliers.sum())


OFF, EDGE, ON = 0, 1, 2


def zones(shape: tuple[int, ...], corners: Quad | None) -> Plane:
    """On the paper, clearly off it, or at its edge, whose own corners agree with any paper's."""
    if corners is None:
        return np.full(shape, ON, np.uint8)
    zoned = np.full(shape, OFF, np.uint8)
    middle = corners.mean(0)
    for growth, zone in ((1.08, EDGE), (1.0, ON)):
        cv2.fillConvexPoly(zoned, np.round(middle + (corners - middle) * growth).astype(np.int32), (zone,))
    return zoned


def pixel(point: cv2.KeyPoint, shape: tuple[int, ...]) -> tuple[int, int]:
    x, y = point.pt
    return min(round(y), shape[0] - 1), min(round(x), shape[1] - 1)


def is_plausible(matrix: Matrix, shape: tuple[int, int]) -> bool:
    """What a camera held over paper may do: no mirror, no fold, no extreme slant, no extreme scale."""
    height, width = shape
    frame = frame_of(np.zeros((height, width), np.uint8)).astype(np.float64)
    weights = np.column_stack([frame, np.ones(4)]) @ matrix[2]
    if (weights * weights[0] <= 0).any():
        return False
    moved = cv2.perspectiveTransform(frame[None].astype(np.float64), matrix)[0]
    sides = np.roll(moved, -1, axis=0) - moved
    turns = sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1)
    if (turns <= 0).any():
        return False
    scales = np.linalg.norm(sides, axis=1) / np.array([width, height, width, height])
    return bool(
        _SCALES[0] < scales.min() and scales.max() < _SCALES[1] and scales.max() < _MAX_SHEAR * scales.min()
    )


def _matches(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Pairs that are each other's nearest, clearly before the next one: a receipt repeats its letters."""
    nearness = first @ second.T  # cosine: the descriptors have length 1
    best = nearness.argmax(1)
    rows = np.arange(len(first))
    mutual = nearness.argmax(0)[best] == rows
    top = nearness[rows, best]
    nearness[rows, best] = -1
    next_best = nearness.max(1)
    clear = (1 - top) < 0.8**2 * (1 - next_best)
    chosen = rows[mutual & clear]
    return np.column_stack([chosen, best[chosen]])


def follow_paper(fixed: Ink, moving: Ink, *, closely: bool = True) -> Ink | None:
    """The moving ink, patch by patch where the fixed ink is. None: too few patches find their like.

    First at half the size. Not `closely`: only there, which is enough for low letters.
    """
    size = fixed.shape[::-1]
    half = (max(1, size[0] // 2), max(1, size[1] // 2))
    small, other = (cv2.resize(ink, half, interpolation=cv2.INTER_AREA) for ink in (fixed, moving))
    wide = _shifts(small, other, patch=_WIDE_PATCH, reach=_WIDE_REACH)
    if wide is None:
        return None
    if not closely:
        near = _shifts(small, _moved(other, *wide), patch=_CLOSE_PATCH // 2, reach=_CLOSE_REACH // 2)
        return None if near is None else _moved(moving, *_enlarged(np.add(wide, near), size))
    across, down = _enlarged(wide, size)
    close = _shifts(fixed, _moved(moving, across, down), patch=_CLOSE_PATCH, reach=_CLOSE_REACH)
    return None if close is None else _moved(moving, across + close[0], down + close[1])


_WIDE_PATCH: Final = 60
_WIDE_REACH: Final = 11
"""In pixels of half the size."""
_CLOSE_PATCH: Final = 72
_CLOSE_REACH: Final = 6


def _enlarged(shifts: Sequence[Ink] | npt.NDArray[Any], size: tuple[int, ...]) -> tuple[Ink, Ink]:
    """For a picture of another size, given as width and height."""
    across, down = (
        cv2.resize(shift * (side / part), size, interpolation=cv2.INTER_LINEAR)
        for shift, side, part in zip(shifts, size, shifts[0].shape[::-1], strict=True)
    )
    return across, down


def _moved(ink: Ink, across: Ink, down: Ink) -> Ink:
    height, width = ink.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(ink, x + across, y + down, cv2.INTER_LINEAR), np.float32)


def _shifts(fixed: Ink, moved: Ink, *, patch: int, reach: int) -> tuple[Ink, Ink] | None:
    """How far each pixel of the fixed ink lies from its like in the moved one, smooth."""
    step = patch // 2
    height, width = fixed.shape
    rows, columns = max(1, (height - patch) // step + 1), max(1, (width - patch) // step + 1)
    found = np.zeros((rows, columns, 3), np.float32)  # weighted x, weighted y, weight
    padded = cv2.copyMakeBorder(moved, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=(0,))
    inked = 0
    for row in range(rows):
        for column in range(columns):
            y, x = row * step, column * step
            piece = fixed[y : y + patch, x : x + patch]
            if float(piece.mean()) < 0.012:
                continue
            inked += 1
            around = padded[y : y + piece.shape[0] + 2 * reach, x : x + piece.shape[1] + 2 * reach]
            dx, dy, likeness = best_shift(piece, around)
            if likeness > 0.45:
                weight = likeness**4
                found[row, column] = ((dx - reach) * weight, (dy - reach) * weight, weight)
    if not inked or float((found[..., 2] > 0).sum()) < 0.6 * inked:
        return None
    found = _without_strays(found)
    smooth = cv2.GaussianBlur(found, (0, 0), 0.9, borderType=cv2.BORDER_CONSTANT)
    wide = cv2.GaussianBlur(found, (0, 0), 4.0, borderType=cv2.BORDER_CONSTANT)
    total = smooth + 0.02 * wide + 1e-9
    field = total[..., :2] / total[..., 2:]
    return _spread(field, step=step, patch=patch, shape=(height, width))


def best_shift(piece: Ink, around: Ink) -> tuple[float, float, float]:
    """Where in its surroundings the piece is found best: x, y in parts of pixels, and the correlation."""
    scores = cv2.matchTemplate(around, piece, cv2.TM_CCOEFF_NORMED)
    _, best, _, (x, y) = cv2.minMaxLoc(scores)
    return x + _peak(scores[y], x), y + _peak(scores[:, x], y), float(best)


def _peak(line: npt.NDArray[Any], at: int) -> float:
    """Between pixels: the top of the parabola through three of them."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = (float(value) for value in line[at - 1 : at + 2])
    bend = before - 2 * top + after
    return 0.0 if bend >= -1e-6 else 0.5 * (before - after) / bend


def _without_strays(found: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Without patches that moved otherwise than those around them (a repeated line of print)."""
    weights = found[..., 2]
    shifts = found[..., :2] / np.maximum(weights, 1e-9)[..., None]
    kept = found.copy()
    for row, column in np.argwhere(weights > 0):
        around = (slice(max(0, row - 2), row + 3), slice(max(0, column - 2), column + 3))
        near = shifts[around][weights[around] > 0]
        if np.abs(shifts[row, column] - np.median(near, axis=0)).max() > 2.5:
            kept[row, column] = 0
    return kept


def _spread(field: npt.NDArray[Any], *, step: int, patch: int, shape: tuple[int, int]) -> tuple[Ink, Ink]:
    """From the middles of the patches to all pixels."""
    height, width = shape
    x = (np.arange(width, dtype=np.float32) - patch / 2) / step
    y = (np.arange(height, dtype=np.float32) - patch / 2) / step
    grid_x, grid_y = np.meshgrid(np.clip(x, 0, field.shape[1] - 1), np.clip(y, 0, field.shape[0] - 1))
    spread = cv2.remap(np.asarray(field, np.float32), grid_x, grid_y, cv2.INTER_LINEAR)
    return np.asarray(spread[..., 0]), np.asarray(spread[..., 1])
