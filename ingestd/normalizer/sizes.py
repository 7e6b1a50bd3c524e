"""How large a picture is on paper, and how small it may be made: dots per inch, believed or guessed."""

from typing import Final

from PIL import Image

_A4_INCHES: Final = (8.27, 11.69)
_LETTER_RATIO: Final = 11 / 8.5
_A4_RATIO: Final = 297 / 210
_RATIO_TOLERANCE: Final = 0.03
_ROLL_RATIO: Final = 2.0
_ROLL_INCHES: Final = 80 / 25.4
"""A till roll is 80 mm wide."""

PAGE_FLOOR_PIXELS: Final = 1_240
"""Shorter side of an A4 page at 150 dpi: small print can still be read."""
PHOTO_FLOOR_PIXELS: Final = 1_000

_SHORT_INCHES = (1.0, 17.0)
_LONG_INCHES = 80.0
_SCREEN_DPI = (72.0, 96.0)
"""What programs write that know nothing of paper."""


def dpi_of(width: int, height: int, declared: float | None) -> float:
    """The declared one where it makes a page that a scanner can take; else by the shape: a roll, or A4."""
    short, long = sorted((width, height))
    if declared and _is_credible(short / declared, long / declared, declared):
        return declared
    if long >= _ROLL_RATIO * short:
        return max(short / _ROLL_INCHES, 72.0)
    return max(short / _A4_INCHES[0], long / _A4_INCHES[1], 72.0)


def floor_of(width: int, height: int) -> int:
    """The shorter side in pixels below which the picture must not be scaled."""
    short, long = sorted((width, height))
    ratio = long / max(short, 1)
    is_page = any(abs(ratio / page - 1) < _RATIO_TOLERANCE for page in (_A4_RATIO, _LETTER_RATIO))
    return PAGE_FLOOR_PIXELS if is_page else PHOTO_FLOOR_PIXELS


def stretched_to_square_pixels(image: Image.Image, across: float, down: float) -> tuple[Image.Image, float]:
    """Fax pages have 204 dots an inch across and 98 or 196 down; shown dot for dot they would be squashed.

    The picture, and its dpi in both directions.
    """
    if not 1.05 < max(across, down) / min(across, down) < 5:
        return image, max(across, down)
    dpi = max(across, down)
    size = (round(image.width * dpi / across), round(image.height * dpi / down))
    resample = Image.Resampling.NEAREST if image.mode == "1" else Image.Resampling.BICUBIC
    return image.resize(size, resample), dpi


def _is_credible(short_inches: float, long_inches: float, dpi: float) -> bool:
    low, high = _SHORT_INCHES
    if dpi in _SCREEN_DPI and long_inches > _A4_INCHES[1] * 1.1:
        return False
    return low <= short_inches <= high and long_inches <= _LONG_INCHES and dpi >= _SCREEN_DPI[0]
