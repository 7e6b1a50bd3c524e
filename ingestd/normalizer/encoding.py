"""Plain pictures (modes 1, L, RGB) into bytes: JPEG for photos, and lossless forms for everything drawn.

What a picture is decides how it is packed: text and drawings are never made a JPEG while they fit without.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from ingestd.normalizer import colours, png
from ingestd.normalizer.sheets import Sheet

PHOTO_QUALITY: Final = 92
"""No visible change at 100 %: with full colour resolution, for text on coloured paper."""

_OPTIMISED_PIXELS = 30_000_000
"""Above it, Huffman tables are not fitted to the picture: that takes a buffer as large as the picture."""


class Look(Enum):
    """What kind of picture it is."""

    BILEVEL = "black and white"
    DRAWN = "few colours, or large even areas: a screenshot, a clean scan"
    PHOTO = "noise everywhere"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """How a JPEG was quantized, to do it again the same way: natural order, brightness first."""

    quantization: Sequence[Sequence[int]]
    subsampling: int

    @classmethod
    def of(cls, image: JpegImageFile) -> "Tables | None":
        """None for what can't be written again in the same way: four colours, or a table that is missing."""
        if image.layers not in (1, 3):
            return None
        named = [layer[3] for layer in image.layer[: 2 if image.layers == 3 else 1]]
        if not image.quantization.keys() >= set(named):
            return None  # the decoder says of it what there is to be said
        used = [image.quantization[number] for number in named]
        factors = tuple(factor for layer in image.layer for factor in layer[1:3])
        return cls(
            quantization=[[min(step, 255) for step in table] for table in used],
            subsampling=_SUBSAMPLINGS.get(factors, 0),
        )

    def turned(self) -> "Tables":
        """For the picture turned by 90 degrees: rows become columns."""
        return Tables(
            quantization=[
                [table[column * 8 + row] for row in range(8) for column in range(8)]
                for table in self.quantization
            ],
            # 4:2:2 would become 4:4:0, which the encoder can't write: full resolution loses nothing.
            subsampling=0 if self.subsampling == 1 else self.subsampling,
        )


_SUBSAMPLINGS: Mapping[tuple[int, ...], int] = {
    (1, 1, 1, 1, 1, 1): 0,
    (2, 1, 1, 1, 1, 1): 1,
    (2, 2, 1, 1, 1, 1): 2,
}


def look_of(image: Image.Image) -> Look:
    if image.mode == "1":
        return Look.BILEVEL
    if _is_black_and_white(image):
        return Look.BILEVEL
    few = image.getcolors(_FEW_COLOURS[image.mode])
    return Look.DRAWN if few is not None or _evenness(image) >= _EVEN_SHARE else Look.PHOTO


def jpeg_of(
    image: Image.Image,
    *,
    quality: int = PHOTO_QUALITY,
    tables: Tables | None = None,
    profile: bytes | None = None,
    dpi: float | None = None,
    exif: bytes | None = None,
) -> bytes:
    """A baseline JPEG. `tables` count more than `quality`."""
    image = image.convert("L") if image.mode == "1" else image
    options: dict[str, object] = {}
    if tables is None:
        options |= {"quality": quality, "subsampling": 0 if quality >= _FULL_COLOUR_QUALITY else 2}
    else:
        options |= {"qtables": tables.quantization, "subsampling": tables.subsampling}
    if profile:
        options["icc_profile"] = profile
    if dpi:
        options["dpi"] = (round(dpi), round(dpi))
    if exif:
        options["exif"] = b"Exif\0\0" + exif
    image = _bare(image)
    if image.width * image.height <= _OPTIMISED_PIXELS:
        # With fitted tables Pillow gives libjpeg one buffer for the whole file, of a guessed size: pure noise
        # does not fit in.
        with contextlib.suppress(OSError):
            return _saved(image, "JPEG", optimize=True, **options)
    return _saved(image, "JPEG", **options)


def png_of(
    image: Image.Image,
    *,
    profile: bytes | None = None,
    dpi: float | None = None,
    exif: bytes | None = None,
    small: bool = False,
) -> bytes:
    """A PNG with the fewest bits a pixel that lose nothing. `small`: take the time to pack well."""
    reduced = _with_fewest_bits(image)
    options: dict[str, object] = {"compress_level": 9 if small else 6}
    if profile and (reduced.mode == "P" or reduced.mode == image.mode):
        options["icc_profile"] = profile
    if dpi:
        options["dpi"] = (dpi, dpi)
    if exif:
        options["exif"] = exif
    return _saved(reduced, "PNG", **options)


def bilevel(image: Image.Image, threshold: int = 128) -> Image.Image:
    """In mode 1: pixels from `threshold` on are white."""
    if image.mode == "1":
        return image
    levels = [255 if level >= threshold else 0 for level in range(256)]
    return image.convert("L").point(levels, "1")


def g4_sheet(image: Image.Image, dpi: float) -> Sheet:
    """Of a black and white picture (ITU-T T.6), made by libtiff as one strip of a TIFF file."""
    # libtiff codes bits that are 1 as black, whatever the tag beside them says.
    ink = bilevel(image).convert("L").point([255] + [0] * 255, "1")
    packed = _saved(ink, "TIFF", compression="group4", tiffinfo={TiffImagePlugin.ROWSPERSTRIP: ink.height})
    with TiffImagePlugin.TiffImageFile(BytesIO(packed)) as file:
        (offset,), (length,) = (
            file.tag_v2[TiffImagePlugin.STRIPOFFSETS],
            file.tag_v2[TiffImagePlugin.STRIPBYTECOUNTS],
        )
    strip = packed[offset : offset + length]
    return Sheet(encoding="g4", data=strip, mode="1", width=image.width, height=image.height, dpi=dpi)


def flate_sheet(image: Image.Image, dpi: float, *, small: bool = False) -> Sheet:
    """Lossless: what lies in the IDAT chunks of a PNG is what PDF calls predictor 15."""
    if image.mode == "RGB" and colours.is_grey(image):
        image = image.convert("L")
    packed = _saved(_bare(image), "PNG", compress_level=9 if small else 6)
    return flate_sheet_of_png(packed, png.read(packed), dpi)


def flate_sheet_of_png(data: bytes, facts: png.Png, dpi: float) -> Sheet:
    """Of a PNG in grey (1 or 8 bits) or RGB (8 bits), neither interlaced nor transparent, as it is packed."""
    return Sheet(
        encoding="flate",
        data=png.samples(data, facts),
        mode="RGB" if facts.colour_type == png.RGB else "1" if facts.bit_depth == 1 else "L",
        width=facts.width,
        height=facts.height,
        dpi=dpi,
    )


def jpeg_sheet(image: Image.Image, dpi: float, *, quality: int = PHOTO_QUALITY) -> Sheet:
    data = jpeg_of(image, quality=quality, dpi=dpi)
    return jpeg_sheet_of(data, "RGB" if image.mode == "RGB" else "L", image.size, dpi)


def jpeg_sheet_of(data: bytes, mode: str, size: tuple[int, int], dpi: float) -> Sheet:
    """Of a whole JPEG file in grey or RGB, as it is."""
    return Sheet(
        encoding="jpeg",
        data=data,
        mode="RGB" if mode == "RGB" else "L",
        width=size[0],
        height=size[1],
        dpi=dpi,
    )


def sheet_of(image: Image.Image, dpi: float) -> Sheet:
    """The smallest form in which nothing visible changes."""
    match look_of(image):
        case Look.BILEVEL:
            return g4_sheet(image, dpi)
        case Look.DRAWN:
            return flate_sheet(image, dpi)
        case Look.PHOTO:
            return jpeg_sheet(image, dpi)


# --- what kind of picture -----------------------------------------------------------------------------------

_FEW_COLOURS = {"L": 16, "RGB": 256}
_FULL_COLOUR_QUALITY = 82
_EVEN_SHARE = 0.5
_BANDS, _BAND_ROWS = 16, 16


def _is_black_and_white(image: Image.Image) -> bool:
    found = image.getcolors(2) if image.mode == "RGB" else _levels(image)
    if found is None:
        return False
    return {colour for _count, colour in found} <= {0, 255, (0, 0, 0), (255, 255, 255)}


def _levels(image: Image.Image) -> list[tuple[int, int]]:
    return [(count, level) for level, count in enumerate(image.histogram()) if count]


def _evenness(image: Image.Image) -> float:
    """The share of pixels that are exactly like their left neighbour, in bands all over the picture."""
    same = total = 0
    for band in range(_BANDS):
        top = (image.height - _BAND_ROWS) * band // (_BANDS - 1) if image.height > _BAND_ROWS else 0
        rows = np.asarray(image.crop((0, top, image.width, min(top + _BAND_ROWS, image.height))))
        equal = rows[:, 1:] == rows[:, :-1]
        same += int((equal.all(axis=2) if rows.ndim == 3 else equal).sum())
        total += rows.shape[0] * (rows.shape[1] - 1)
    return same / total if total else 1.0


# --- packing ------------------------------------------------------------------------------------------------


def _with_fewest_bits(image: Image.Image) -> Image.Image:
    """Without any info, so that nothing is written that was not asked for."""
    if image.mode != "1" and _is_black_and_white(image):
        return _bare(bilevel(image))
    if image.mode == "RGB" and image.getcolors(256) is None:
        return _bare(image.convert("L") if colours.is_grey(image) else image)
    if image.mode == "1" or (image.mode == "L" and len(_levels(image)) > 16):
        return _bare(image)
    indexed = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    exact = indexed.convert("RGB").tobytes() == image.convert("RGB").tobytes()
    return _bare(indexed if exact else image)


def _bare(image: Image.Image) -> Image.Image:
    """Without info, which would follow the picture into files (comments, EXIF, profiles)."""
    if image.info:
        image = image.copy()
        image.info = {}
    return image


def _saved(image: Image.Image, picture_format: str, **options: object) -> bytes:
    if isinstance(image, ImageFile.ImageFile):
        image = image.copy()  # Pillow asks for the working directory to save one, which is forbidden here
    buffer = BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()
