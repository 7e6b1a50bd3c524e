"""What every decoder of pictures is held to: the limit of pixels, and errors that end as a finding.

Plugins of Pillow are called directly: Image.open would try others, and import them all when it fails. The
size is checked from the header, before samples are unpacked.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

# TiffImagePlugin (EXIF) and ImagePalette are what Pillow would import while decoding, when it is too late.
from PIL import Image, ImageFile, ImagePalette, TiffImagePlugin  # noqa: F401
from PIL.JpegImagePlugin import JpegImageFile

from ingestd.normalizer.exchange import Found, Problem

# What the decoders raise on bad files, measured over public corpora. MemoryError passes: it is a limit.
_DECODER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@contextmanager
def decoding(max_pixels: int) -> Iterator[None]:
    """Around every call of a decoder. Raises Found: CORRUPT, TOO_MANY_PIXELS."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    usual = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels  # the second line: sizes are checked from the header before
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow only warns about, viewers show
            yield
    except Image.DecompressionBombError as error:
        raise Found(Problem.TOO_MANY_PIXELS, limit=max_pixels) from error
    except _DECODER_ERRORS as error:
        raise Found(Problem.CORRUPT) from error
    finally:
        Image.MAX_IMAGE_PIXELS = usual


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raises Found: CORRUPT for a side of no pixels, TOO_MANY_PIXELS."""
    if width < 1 or height < 1:
        raise Found(Problem.CORRUPT)
    if width * height > max_pixels:
        raise Found(Problem.TOO_MANY_PIXELS, width=width, height=height, limit=max_pixels)


def decode_jpeg(data: bytes, *, max_pixels: int, short_side: int = 0) -> Image.Image:
    """Every block of the first picture, as L, RGB or CMYK; scaled down to 1/2, 1/4 or 1/8 where its shorter
    side keeps `short_side` pixels. Raises Found: CORRUPT, TOO_MANY_PIXELS.

    The entropy decoding, where damage shows, is complete at any size; a small result costs half the time and
    1/64 of the memory.
    """
    with decoding(max_pixels):
        image = JpegImageFile(BytesIO(data))
        check_pixels(image.width, image.height, max_pixels)
        scale = max(1, min(image.size) // max(short_side, 1))
        image.draft(None, (max(1, image.width // scale), max(1, image.height // scale)))
        image.load()
    return image
