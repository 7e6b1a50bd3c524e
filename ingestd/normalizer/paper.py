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
    return _darker_than(np.asarray(cv2.GaussianBlur(paper, (0, 0), 6), np.uint8), plane)


def roughly_ink_of(plane: Plane) -> Ink:
    """As `ink_of`, for where ink lies and not for its strokes: the paper is followed half as finely."""
    small = reduced(cv2.medianBlur(plane, 3), max(1, round(max(plane.shape) / 250)))
    paper = _without_text(small, 13)
    return _darker_than(np.asarray(cv2.GaussianBlur(paper, (0, 0), 3), np.uint8), plane)


def quantile(ink: Ink, share: float) -> float:
    """The level that this share of the pixels does not exceed, to 1/2000: counted, not sorted."""
    counts = cv2.calcHist([np.ascontiguousarray(ink)], [0], None, [2_000], [0.0, 1.0005]).ravel()
    return float(np.searchsorted(np.cumsum(counts), share * ink.size) / 2_000)


def skew_of(ink: Ink) -> float:
    """Degrees by which lines of print rise to the right; 0.0 where there are none. Within 6 degrees."""
    factor = 300 / max(ink.shape)
    # Within 6 degrees a line rises by less than a pixel over a strip of eight: one column stands for it.
    size = (max(1, round(ink.shape[1] * factor / _STRIP)), max(1, round(ink.shape[0] * factor)))
    strips = np.asarray(cv2.resize(ink, size, interpolation=cv2.INTER_AREA), np.float32)
    sharpness = {angle: _sharpness_of_rows(strips, angle) for angle in np.arange(-6, 6.1, 1.0).tolist()}
    coarse = max(sharpness, key=sharpness.__getitem__)
    for angle in (coarse + np.arange(-0.75, 0.76, 0.25)).tolist():
        if angle not in sharpness:
            sharpness[angle] = _sharpness_of_rows(strips, angle)
    fine = max(sharpness, key=sharpness.__getitem__)
    return fine if sharpness[fine] > 1.15 * sharpness[0.0] else 0.0


def turned(ink: Ink, degrees: float) -> Ink:
    """Turned clockwise about its middle."""
    if not degrees:
        return ink
    height, width = ink.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    return np.asarray(cv2.warpAffine(ink, matrix, (width, height)), np.float32)


def _darker_than(paper: Plane, plane: Plane) -> Ink:
    paper = np.asarray(cv2.resize(paper, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
    ink = plane.astype(np.float32)
    ink /= np.maximum(paper, 16).astype(np.float32)
    np.subtract(1, ink, out=ink)
    return np.maximum(ink, 0, out=ink)


def _without_text(plane: Plane, size: int) -> Plane:
    kernel = np.ones((size, size), np.uint8)  # a rectangle: its two directions are worked on one by one
    return np.asarray(cv2.morphologyEx(plane, cv2.MORPH_CLOSE, kernel), np.uint8)


def _sheet_above(smooth: Plane, level: float) -> Quad | None:
    """The largest bright area, if it has four corners and is nearly all that is bright."""
    _, bright = cv2.threshold(smooth, level, 1, cv2.THRESH_BINARY)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((7, 7), np.uint8))
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    contour = max(contours, key=cv2.contourArea)
    area = cv2.contourArea(contour)
    hull = cv2.convexHull(contour)
    # Another bright part of some size may be the rest of the receipt, behind a black bar or a shadow.
    everything = float(cv2.countNonZero(bright))
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
    sides = []
    for number, found in enumerate(_edge_points(smooth, corners)):
        ends = corners.take((number, number + 1), axis=0, mode="wrap")
        edge = found if len(found) >= 15 else ends  # there is none along the edge of the picture
        sides.append(cv2.fitLine(edge, cv2.DIST_HUBER, 0, 0.01, 0.01).flatten())
    moved = [_crossing(sides[number - 1], sides[number]) for number in range(4)]
    if any(corner is None for corner in moved):
        return corners
    drawn = np.array(moved, np.float32)
    far = np.abs(drawn - corners).max() > 0.15 * max(smooth.shape)
    return corners if far or not cv2.isContourConvex(drawn) else drawn


_ALONG: Final = np.linspace(0.05, 0.95, 40)[:, None]
_REACH: Final = np.arange(-30, 31)


def _edge_points(smooth: Plane, corners: Quad) -> list[Points]:
    """Across each side at 40 places: the point of the steepest fall from the inside to the outside."""
    start, end = corners, np.roll(corners, -1, axis=0)
    outwards = _outwards_of(corners)[:, None]
    along = start[:, None] + (end - start)[:, None] * _ALONG
    x, y = np.moveaxis(along[:, :, None] + _REACH[:, None] * outwards[:, None], -1, 0).round().astype(np.intp)
    height, width = smooth.shape
    within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    levels = smooth[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)].astype(np.int16)
    fall = np.where(within[..., :-4] & within[..., 4:], levels[..., :-4] - levels[..., 4:], 0)
    found = (along + (_REACH[fall.argmax(2)] + 2)[..., None] * outwards).astype(np.float32)
    clear = fall.max(2) >= _STEP_LEVELS
    return [points[steep] for points, steep in zip(found, clear, strict=True)]


def _crossing(first: Points, second: Points) -> tuple[float, float] | None:
    """Of two lines, each (direction x, y, point x, y)."""
    (ux, uy, px, py), (vx, vy, qx, qy) = first.tolist(), second.tolist()
    across = ux * vy - uy * vx
    if abs(across) < 0.3:
        return None
    step = ((qx - px) * vy - (qy - py) * vx) / across
    return px + step * ux, py + step * uy


def _outwards_of(corners: Quad) -> Points:
    """Of each side, from a corner to the next: the direction, one long, that leads away from the middle."""
    middle = corners.mean(0)
    return np.array([_outwards(a, b, middle) for a, b in itertools.pairwise([*corners, corners[0]])])


def _outwards(start: Points, end: Points, middle: Points) -> Points:
    normal = np.array([end[1] - start[1], start[0] - end[0]], np.float32)
    normal /= max(float(np.linalg.norm(normal)), 1e-6)
    return -normal if np.dot(normal, middle - start) > 0 else normal


_BESIDE: Final = np.linspace(0.06, 0.94, 40)[:, None]


def _weakest_step(smooth: Plane, corners: Quad) -> float:
    """Grey levels between paper and table on the side where it is least clear; 0.0: this is no paper.

    A side along the edge of the picture is no side. There may be two of them.
    """
    height, width = smooth.shape
    steps = []
    directions = _outwards_of(corners)
    for (start, end), normal in zip(itertools.pairwise([*corners, corners[0]]), directions, strict=True):
        along = start + (end - start) * _BESIDE
        outside, inside = along + 7 * normal, along - 7 * normal
        within = ((outside >= 0) & (outside < (width, height))).all(1)
        within &= ((inside >= 0) & (inside < (width, height))).all(1)
        if within.mean() < 0.6:
            continue
        (ox, oy), (ix, iy) = outside[within].astype(int).T, inside[within].astype(int).T
        difference = smooth[iy, ix].astype(int) - smooth[oy, ox]
        steps.append(float(np.percentile(difference, 15)))
        if steps[-1] < _STEP_LEVELS:
            return 0.0
    return min(steps) if len(steps) >= 2 else 0.0


_STRIP: Final = 8


def _sharpness_of_rows(strips: Ink, degrees: float) -> float:
    height, width = strips.shape
    # A shear is as good as a turn for small angles, and keeps every row's length.
    rise = _STRIP * np.tan(np.deg2rad(degrees))
    matrix = np.array([(1, 0, 0), (rise, 1, -rise * width / 2)], np.float32)
    rows = cv2.reduce(cv2.warpAffine(strips, matrix, (width, height)), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32F)
    return float(np.square(np.diff(rows, axis=0)).sum())
