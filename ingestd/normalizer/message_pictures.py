"""Logos and trackers, told from receipts by their size: a photo or a scan has far more pixels.

Only pictures shown within the text are ever taken for logos. A wrong guess costs the sender a second mail, as
the answer says what was left out; a banner taken for a receipt would keep the real one, the text, at home.
"""

from collections.abc import Callable
from io import BytesIO

from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ingestd import sniff
from ingestd.normalizer.exchange import Found
from ingestd.normalizer.image import decoding

TINY_SIDE = 40
"""Pixels. Trackers have 1, bullets and icons 16 to 32; nobody reads a receipt in 40."""
_LOGO_SIDE = 200  # phones shrink a photo to 640 x 480 for a mail at the least
_LOGO_AREA = 60_000  # 300 x 200
_LIGHT_BYTES, _LIGHT_AREA = 30_000, 160_000  # a photo of 400 x 400 takes more bytes than a drawn emblem
_BANNER_RATIO, _BANNER_HEIGHT = 2.5, 400  # a letterhead is wide; a receipt is high
_MOST_PIXELS = 1_000_000_000  # nothing is unpacked here
_READERS: dict[str, Callable[[BytesIO], ImageFile]] = {
    sniff.PNG: PngImageFile,
    sniff.JPEG: JpegImageFile,
    "image/gif": GifImageFile,
    "image/webp": WebPImageFile,
    "image/bmp": BmpImageFile,
}


def is_tiny(picture: bytes, mime_type: str) -> bool:
    size = _size(picture, mime_type)
    return size is not None and max(size) <= TINY_SIDE


def is_small(picture: bytes, mime_type: str) -> bool:
    """Of the size of logos, letterheads and signatures. A drawing (SVG) within a text always is."""
    if mime_type == "image/svg+xml":
        return True
    size = _size(picture, mime_type)
    if size is None:
        return False
    width, height = size
    return (
        min(size) < _LOGO_SIDE
        or width * height < _LOGO_AREA
        or (len(picture) < _LIGHT_BYTES and width * height < _LIGHT_AREA)
        or (width >= _BANNER_RATIO * height and height < _BANNER_HEIGHT)
    )


def _size(picture: bytes, mime_type: str) -> tuple[int, int] | None:
    """Width and height as its header says, nothing is decoded. None when it can't be told."""
    reader = _READERS.get(mime_type)
    if reader is None:
        return None
    try:
        with decoding(_MOST_PIXELS):
            return reader(BytesIO(picture)).size
    except Found:
        return None
