"""Letters: how tall they are in a picture, and whether two inks show the same ones.

Both inks lie over one another already. A letter of one is the same as what the other has there, or one of
them has a stroke more; that decides, however alike the rest is.
"""

from collections.abc import Iterator
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from ingestd.normalizer.aligning import best_shift
from ingestd.normalizer.paper import Ink, quantile

MAX_DIFFERENCE: Final = 1.0
"""Of `worst_place`: what is in the nature of pictures."""


def letter_height(ink: Ink) -> float:
    """The usual height of what looks like letters, in pixels; 0.0 where hardly anything does."""
    count, tall = letters_of(ink)
    return float(np.median(tall)) if count >= 20 else 0.0


def letters_of(ink: Ink) -> tuple[int, npt.NDArray[Any]]:
    """How many marks have the shape of letters, and their heights in pixels."""
    dark = ink[ink > 0.08]
    level = 0.45 * quantile(dark, 0.95) if dark.size else 1.0
    count, _, stats, _ = cv2.connectedComponentsWithStats((ink > level).astype(np.uint8), connectivity=8)
    width, tall, area = stats[1:count, 2], stats[1:count, 3], stats[1:count, 4]
    letters = (tall >= 5) & (width >= 2) & (width < 3 * tall) & (tall < 8 * width)
    letters &= (area < 0.85 * width * tall) & (tall < 0.12 * max(ink.shape))
    return int(letters.sum()), tall[letters]


def worst_place(fixed: Ink, moved: Ink, height: float, *, enough: float) -> float:
    """In parts of what is allowed: 1.0 and less is nothing. More than `enough` ends the search."""
    mine, theirs = _evened(fixed, height), _evened(moved, height)
    worst = _unexplained_most(mine, theirs, height) / _MAX_UNEXPLAINED
    strokes = np.abs(cv2.GaussianBlur(mine - theirs, (0, 0), _SMOOTH * height))
    for one, other in ((mine, theirs), (theirs, mine)):
        padded = cv2.copyMakeBorder(other, _NUDGE, _NUDGE, _NUDGE, _NUDGE, cv2.BORDER_CONSTANT, value=(0,))
        for cell in _cells(one, height):
            if worst > enough:
                return worst
            x, y, wide, tall = cell
            if strokes[y : y + tall, x : x + wide].max() > _FAINT_STROKE:
                worst = max(worst, _unlikeness(one, padded, cell, height))
    return worst


# --- cell by cell -----------------------------------------------------------------------------------------
# A letter of one is laid over what the other has there as well as that goes. One letter is then the same but
# for blur and noise; of two, one has a stroke more, be it as little as between 5 and 6.

_MAX_STROKE: Final = 0.45
"""Darkness of a stroke that one has more, after strokes as thin as edges were smoothed away. Measured for one
digit: 0.46 and more."""
_CLEAR_STROKE: Final = 0.28
_FAINT_STROKE: Final = 0.2
"""Where there is no more than this as they lie, they need not be moved to agree."""
_SMOOTH: Final = 0.07
"""Of a letter's height: as thin as edges."""
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
    stroke = float(np.abs(cv2.GaussianBlur(piece - over, (0, 0), _SMOOTH * height)).max())
    loss = (1 - likeness) / _MAX_LOSS
    # Flat or empty pieces correlate with nothing: only where a stroke is in question does that count.
    return max(stroke / _MAX_STROKE, min(loss, stroke / _CLEAR_STROKE))


# --- place by place ---------------------------------------------------------------------------------------
# What no letter's cell holds: points, lines, and what lies between letters.

_MAX_UNEXPLAINED: Final = 0.018
"""Of a letter's height squared. Measured: nearly nothing for one receipt, 0.025 and more for most digits."""


_ALONE: Final = 0.4


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
