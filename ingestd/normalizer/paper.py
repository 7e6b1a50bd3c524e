"""The paper in a picture: where it lies, what is printed on it, and how straight it is.

Paper is found only where it clearly differs from what it lies on, on every side; in doubt the whole picture
is taken. Ink is darkness relative to the paper around it, so that light and shade do not count.
"""

import itertools
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

# OpenCV's stubs promise no type of element; the comments do.
Plane = npt.NDArray[Any]
"""Grey levels, uint8, height x width."""
Ink = npt.NDArray[Any]
"""float32, height x width: 0.0 paper, 1.0 black."""
Quad = npt.NDArray[Any]
"""float32, four corners (x, y): top left, top right, bottom right, bottom left."""
Points = npt.NDArray[Any]
"""float32, any number of positions (x, y), or one."""

_SEARCH_SIDE: Final = 480
_SURE_STEP: Final = 40
"""No other level finds a sheet that stands out more clearly."""
_STEP_LEVELS: Final = 12
"""The paper is brighter than the table by so many grey levels at least."""


def plane_of(image: Image.Image, *, long_side: int) -> Plane:
    """Grey levels, made smaller where a side is longer than `long_side`."""
    grey = np.asarray(image if image.mode == "L" else image.convert("L"))
    return smaller(grey, long_side)


def smaller(plane: Plane, long_side: int) -> Plane:
    factor = long_side / max(plane.shape)
    if factor >= 1:
        return plane
    size = (max(1, round(plane.shape[1] * factor)), max(1, round(plane.shape[0] * factor)))
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)


def reduced(plane: Plane, times: int) -> Plane:
    """Each box of so many pixels squared becomes one, which is far cheaper than another factor."""
    height, width = (side // times * times for side in plane.shape[:2])
    if times < 2 or not height or not width:
        return plane
    whole, size = plane[:height, :width], (width // times, height // times)
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)


def frame_of(plane: Plane) -> Quad:
    """The corners of the whole picture."""
    height, width = plane.shape
    return np.array([(0, 0), (width - 1, 0), (width - 1, height - 1), (0, height - 1)], np.float32)


def find_paper(plane: Plane) -> Quad | None:
    """Its corners, where one bright sheet lies on something darker; None: take the whole picture."""
    small = smaller(plane, _SEARCH_SIDE)
    if min(small.shape) < 40:
        return None
    smooth = cv2.medianBlur(_without_text(small, 15), 5)
    otsu, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    best: Quad | None = None
    best_step = 0.0
    for offset in (0, -15, 15, -30, 30, 45):
        candidate = _sheet_above(smooth, otsu + offset)
        if candidate is None:
            continue
        candidate = _drawn_to_edges(smooth, candidate)
        step = _weakest_step(smooth, candidate)
        if step > best_step:
            best, best_step = candidate, step
        if best_step >= _SURE_STEP:
            break
    if best is None:
        return None
    back = np.array([plane.shape[1] / small.shape[1], plane.shape[0] / small.shape[0]], np.float32)
    return np.asarray((best + 0.5) * back - 0.5, np.float32)


def flattened(plane: Plane, corners: Quad, *, long_side: int) -> Plane:
    """The sheet between the corners as if seen from above, at most `long_side` long."""
    sides = [float(np.linalg.norm(a - b)) for a, b in itertools.pairwise([*corners, corners[0]])]
    width, height = max(sides[0], sides[2]), max(sides[1], sides[3])
    factor = min(1.0, long_side / max(width, height))
    size = (max(8, round(width * factor)), max(8, round(height * factor)))
    target = np.array([(0, 0), (size[0] - 1, 0), (size[0] - 1, size[1] - 1), (0, size[1] - 1)], np.float32)
    if factor < 0.7:
        plane = np.asarray(cv2.GaussianBlur(plane, (0, 0), 0.4 / factor), np.uint8)
    matrix = cv2.getPerspectiveTransform(corners, target)
    return np.asarray(cv2.warpPerspective(plane, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def ink_of(plane: Plane) -> Ink:
    """How much darker than the paper around it each pixel is."""
    small = smaller(plane, 500)
    paper = _without_text(cv2.medianBlur(small, 3), 25)
    paper = cv2.GaussianBlur(paper, (0, 0), 6)
    paper = cv2.resize(paper, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
    ink = 1 - plane.astype(np.float32) / np.maximum(paper.astype(np.float32), 16)
    return np.asarray(np.clip(ink, 0, 1), np.float32)


def quantile(ink: Ink, share: float) -> float:
    """The level that this share of the pixels does not exceed, to 1/2000: counted, not sorted."""
    counts = cv2.calcHist([np.ascontiguousarray(ink)], [0], None, [2_000], [0.0, 1.0005]).ravel()
    return float(np.searchsorted(np.cumsum(counts), share * ink.size) / 2_000)


def skew_of(ink: Ink) -> float:
    """Degrees by which lines of print rise to the right; 0.0 where there are none. Within 6 degrees."""
    factor = 300 / max(ink.shape)
    small = cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    small = np.asarray(small * 255, np.uint8)
    coarse = max(np.arange(-6, 6.1, 1.0), key=lambda angle: _sharpness_of_rows(small, angle))
    fine = max(coarse + np.arange(-0.75, 0.76, 0.25), key=lambda angle: _sharpness_of_rows(small, angle))
    return float(fine) if _sharpness_of_rows(small, fine) > 1.15 * _sharpness_of_rows(small, 0.0) else 0.0


def turned(ink: Ink, degrees: float) -> Ink:
    """Turned clockwise about its middle."""
    if not degrees:
        return ink
    height, width = ink.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    return np.asarray(cv2.warpAffine(ink, matrix, (width, height)), np.float32)


def _without_text(plane: Plane, size: int) -> Plane:
    kernel = np.ones((size, size), np.uint8)  # a rectangle: its two directions are worked on one by one
    return np.asarray(cv2.morphologyEx(plane, cv2.MORPH_CLOSE, kernel), np.uint8)


def _sheet_above(smooth: Plane, level: float) -> Quad | None:
    """The largest bright area, if it has four corners and is nearly all that is bright."""
    bright: Plane = (smooth > level).astype(np.uint8)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    area = cv2.contourArea(contour)
    hull = cv2.convexHull(contour)
    # Another bright part of some size may be the rest of the receipt, behind a black bar or a shadow.
    everything = float(bright.sum())
    if area < 0.08 * smooth.size or area < 0.88 * cv2.contourArea(hull) or area < 0.85 * everything:
        return None
    return _four_corners(hull)


def _four_corners(hull: Points) -> Quad | None:
    length = cv2.arcLength(hull, True)
    for tolerance in np.arange(0.01, 0.09, 0.01):
        corners = cv2.approxPolyDP(hull, tolerance * length, True).reshape(-1, 2)
        if len(corners) <= 4:
            break
    if len(corners) != 4:
        return None
    ratio = cv2.contourArea(corners) / max(cv2.contourArea(hull), 1)
    return _in_order(corners.astype(np.float32)) if 0.9 < ratio < 1.1 else None


def _in_order(corners: Quad) -> Quad:
    """Clockwise from the top left one."""
    middle = corners.mean(0)
    angles = np.arctan2(corners[:, 1] - middle[1], corners[:, 0] - middle[0])
    corners = corners[np.argsort(angles)]
    start = int(np.argmin(corners.sum(1)))
    return np.asarray(np.roll(corners, -start, axis=0), np.float32)


def _drawn_to_edges(smooth: Plane, corners: Quad) -> Quad:
    """Each side moved to where brightness falls off most, and the corners to where the sides meet."""
    middle = corners.mean(0)
    sides = []
    for start, end in itertools.pairwise([*corners, corners[0]]):
        edge = _edge_points(smooth, start, end, middle)
        if len(edge) < 15:  # along the edge of the picture
            edge = np.array([start, end], np.float32)
        sides.append(cv2.fitLine(edge, cv2.DIST_HUBER, 0, 0.01, 0.01).flatten())
    moved = [_crossing(sides[number - 1], sides[number]) for number in range(4)]
    if any(corner is None for corner in moved):
        return corners
    drawn = np.array(moved, np.float32)
    far = np.abs(drawn - corners).max() > 0.15 * max(smooth.shape)
    return corners if far or not cv2.isContourConvex(drawn) else drawn


def _edge_points(
    smooth: Plane,
    start: Points,
    end: Points,
    middle: Points,
) -> Points:
    """Across the side at 40 places: the point of the steepest fall from the inside to the outside."""
    along = start + (end - start) * np.linspace(0.05, 0.95, 40)[:, None]
    outwards = _outwards(start, end, middle)
    reach = np.arange(-30, 31)
    x, y = (along[:, None] + reach[None, :, None] * outwards).transpose(2, 0, 1).round().astype(int)
    within = (x >= 0) & (y >= 0) & (x < smooth.shape[1]) & (y < smooth.shape[0])
    levels = smooth[np.clip(y, 0, smooth.shape[0] - 1), np.clip(x, 0, smooth.shape[1] - 1)].astype(np.float32)
    fall = np.where(within[:, :-4] & within[:, 4:], levels[:, :-4] - levels[:, 4:], 0)
    steepest = fall.argmax(1)
    clear = fall.max(1) >= _STEP_LEVELS
    found: Points = along + (reach[steepest] + 2)[:, None] * outwards
    return np.asarray(found[clear], np.float32)


def _crossing(first: Points, second: Points) -> tuple[float, float] | None:
    """Of two lines, each (direction x, y, point x, y)."""
    (ux, uy, px, py), (vx, vy, qx, qy) = first.tolist(), second.tolist()
    across = ux * vy - uy * vx
    if abs(across) < 0.3:
        return None
    step = ((qx - px) * vy - (qy - py) * vx) / across
    return px + step * ux, py + step * uy


def _outwards(start: Points, end: Points, middle: Points) -> Points:
    normal = np.array([end[1] - start[1], start[0] - end[0]], np.float32)
    normal /= max(float(np.linalg.norm(normal)), 1e-6)
    return -normal if np.dot(normal, middle - start) > 0 else normal


def _weakest_step(smooth: Plane, corners: Quad) -> float:
    """Grey levels between paper and table on the side where it is least clear; 0.0: this is no paper.

    A side along the edge of the picture is no side. There may be two of them.
    """
    height, width = smooth.shape
    middle = corners.mean(0)
    steps = []
    for start, end in itertools.pairwise([*corners, corners[0]]):
        along = start + (end - start) * np.linspace(0.06, 0.94, 40)[:, None]
        normal = _outwards(start, end, middle)
        outside, inside = along + 7 * normal, along - 7 * normal
        within = ((outside >= 0) & (outside < (width, height))).all(1)
        within &= ((inside >= 0) & (inside < (width, height))).all(1)
        if within.mean() < 0.6:
            continue
        (ox, oy), (ix, iy) = outside[within].astype(int).T, inside[within].astype(int).T
        difference = smooth[iy, ix].astype(int) - smooth[oy, ox]
        steps.append(float(np.percentile(difference, 15)))
    return min(steps) if len(steps) >= 2 and min(steps) >= _STEP_LEVELS else 0.0


def _sharpness_of_rows(ink: Plane, degrees: float) -> float:
    height, width = ink.shape
    # A shear is as good as a turn for small angles, and keeps every row's length.
    rise = np.tan(np.deg2rad(degrees))
    matrix = np.array([(1, 0, 0), (rise, 1, -rise * width / 2)], np.float32)
    rows = cv2.reduce(cv2.warpAffine(ink, matrix, (width, height)), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32F)
    return float(np.square(np.diff(rows, axis=0)).sum())
