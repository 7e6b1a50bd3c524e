"""Made to fit the limit: a ladder, cheapest step first, and a floor below which nothing is legible.

Lossless packing, then stronger compression, then fewer pixels, then grey. Text and drawings stay lossless as
long as that is any use.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from ingestd.normalizer import colours
from ingestd.normalizer.encoding import (
    PHOTO_QUALITY,
    Look,
    bilevel,
    flate_sheet,
    g4_sheet,
    jpeg_of,
    jpeg_sheet,
    look_of,
    png_of,
)
from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.sheets import Sheet
from ingestd.normalizer.sizes import floor_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One step of the ladder; each includes what it needs of those before it.

    `quality` None: nothing is lost. `max_dpi` None: all pixels stay.
    """

    quality: int | None = None
    max_dpi: float | None = None
    grey: bool = False


LADDER: Final[Sequence[Rung]] = (
    Rung(),
    Rung(quality=90),
    Rung(quality=82),
    Rung(quality=74),
    Rung(quality=82, max_dpi=300),
    Rung(quality=80, max_dpi=200),
    Rung(quality=76, max_dpi=150),
    Rung(quality=76, max_dpi=150, grey=True),
    Rung(quality=66, max_dpi=150, grey=True),
)

_HOPELESS = 5
"""From quality 90 to 74 a JPEG shrinks to less than half; one so many times too large skips that."""


def lighter(image: Image.Image, rung: Rung, *, dpi: float) -> Sheet:
    """The upright picture (mode 1, L or RGB) as a sheet of this rung, never below the legible floor."""
    smaller, scale = _reduced(image, rung, dpi)
    dpi *= scale
    match look_of(image):
        case Look.BILEVEL:
            return g4_sheet(bilevel(smaller), dpi)
        case Look.DRAWN:
            lossless = flate_sheet(smaller, dpi, small=True)
            return lossless if rung.quality is None else _with_loss(smaller, lossless, rung.quality, dpi)
        case Look.PHOTO:
            return jpeg_sheet(smaller, dpi, quality=rung.quality or PHOTO_QUALITY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An image made by a rung. `lossy`: samples were compressed again; `percent` of its width stayed."""

    data: bytes
    lossy: bool
    percent: int = 100


def lighter_file(
    image: Image.Image, rung: Rung, *, dpi: float, profile: bytes | None, jpeg: bool, png: bool
) -> Attempt | None:
    """As `lighter`, but a file of its own, in the formats that are wanted; None where they can't help."""
    smaller, scale = _reduced(image, rung, dpi)
    profile = profile if smaller.mode == image.mode else None
    look = look_of(image)
    attempts = []
    if png and (rung.quality is None or look is not Look.PHOTO or not jpeg):
        drawn = bilevel(smaller) if look is Look.BILEVEL else smaller
        data = png_of(drawn, profile=profile, dpi=dpi * scale, small=True)
        attempts.append(Attempt(data=data, lossy=False, percent=round(100 * scale)))
    if jpeg and rung.quality is not None and (look is not Look.BILEVEL or not png):
        data = jpeg_of(smaller, quality=rung.quality, profile=profile, dpi=dpi * scale)
        attempts.append(Attempt(data=data, lossy=True, percent=round(100 * scale)))
    return min(attempts, key=lambda attempt: len(attempt.data), default=None)


def is_hopeless_without_loss(image: Image.Image, *, limit: int) -> bool:
    """Whether small parts from all over the picture, packed without loss, say that it will be far too large.

    Packing all of a grainy picture just to know that would take seconds.
    """
    pixels = packed = 0
    for row in range(1, 2 * _PARTS, 2):
        for column in range(1, 2 * _PARTS, 2):
            left = max(0, image.width * column // (2 * _PARTS) - _PART_PIXELS // 2)
            top = max(0, image.height * row // (2 * _PARTS) - _PART_PIXELS // 2)
            right, bottom = min(left + _PART_PIXELS, image.width), min(top + _PART_PIXELS, image.height)
            pixels += (right - left) * (bottom - top)
            packed += len(png_of(image.crop((left, top, right, bottom)))) - _PNG_FRAME_BYTES
    return packed / pixels * image.width * image.height > _FAR * limit


_PARTS, _PART_PIXELS = 4, 128
_PNG_FRAME_BYTES = 57  # signature, header, end, and what frames the samples
_FAR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What fits, and how it was made to."""

    data: bytes
    steps: list[Noted]


def climb(
    attempt: Callable[[Rung], Attempt | None], *, size: int, limit: int, rungs: Sequence[Rung] = LADDER
) -> Fitted:
    """The first attempt within `limit` bytes. `size` is that of the image as it is.

    Raises Found: TOO_LARGE, with the smallest size that was reached.
    """
    smallest, hopeless = size, False
    for rung in rungs:
        if hopeless and rung.quality is not None and rung.max_dpi is None:
            continue
        made = attempt(rung)
        if made is None:
            continue
        reached = len(made.data)
        if reached <= limit:
            return Fitted(data=made.data, steps=_steps_of(rung, made, limit))
        smallest = min(smallest, reached)
        hopeless = rung.quality is not None and reached > _HOPELESS * limit
    raise Found(Problem.TOO_LARGE, size=size, limit=limit, smallest=smallest)


def scale_of(width: int, height: int, rung: Rung, dpi: float) -> float:
    """At most 1.0. Nothing is scaled below the floor, and nothing by a hair."""
    if rung.max_dpi is None or dpi <= rung.max_dpi:
        return 1.0
    scale = max(rung.max_dpi / dpi, floor_of(width, height) / min(width, height))
    return scale if scale < _WORTH_SCALING else 1.0


def _steps_of(rung: Rung, made: Attempt, limit: int) -> list[Noted]:
    numbers = {"size": len(made.data), "limit": limit}
    steps = []
    if made.lossy and rung.quality is not None:
        steps.append(Noted(what=Step.RECOMPRESSED, numbers={"quality": rung.quality, **numbers}))
    if made.percent < 100:
        steps.append(Noted(what=Step.SCALED, numbers={"percent": made.percent, **numbers}))
    if rung.grey:
        steps.append(Noted(what=Step.GREYED, numbers=numbers))
    return steps or [Noted(what=Step.REPACKED, numbers=numbers)]


_WORTH_SCALING = 0.95
_SHARP_ENOUGH = 3.0
"""Made smaller in two steps, the first a box filter: fast, and no difference can be seen."""


def _reduced(image: Image.Image, rung: Rung, dpi: float) -> tuple[Image.Image, float]:
    """Scaled and greyed as the rung says, and by how much it was scaled."""
    if image.mode == "RGB" and (rung.grey or colours.is_grey(image)):
        image = image.convert("L")
    scale = scale_of(image.width, image.height, rung, dpi)
    if scale == 1.0:
        return image, scale
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    image = image.convert("L") if image.mode == "1" else image
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=_SHARP_ENOUGH), scale


def _with_loss(image: Image.Image, lossless: Sheet, quality: int, dpi: float) -> Sheet:
    compressed = jpeg_sheet(image, dpi, quality=quality)
    return compressed if len(compressed.data) < len(lossless.data) else lossless
