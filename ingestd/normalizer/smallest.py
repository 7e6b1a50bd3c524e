"""The smallest picture of each format: what the decoders are warmed up with.

HEIC and AVIF are kept encoded: their encoders are not needed here, and not present everywhere.
"""

import base64
from io import BytesIO

from PIL import Image

from ingestd import sniff


def pictures() -> list[tuple[str, bytes]]:
    """MIME types and files: every format, and for TIFF and PNG every way samples are packed."""
    grey = Image.linear_gradient("L").resize((64, 64))
    colour = Image.merge("RGB", (grey, grey.rotate(90), grey.rotate(180)))
    page = grey.point([0] * 128 + [255] * 128, "1")
    return [
        (sniff.JPEG, _saved(colour, "JPEG")),
        (sniff.JPEG, _saved(grey, "JPEG", progressive=True)),
        (sniff.JPEG, _saved(colour.convert("CMYK"), "JPEG")),
        (sniff.JPEG, _saved(colour, "JPEG", exif=_lying())),
        *((sniff.PNG, _saved(image, "PNG")) for image in (page, grey, colour, colour.quantize(16))),
        (sniff.PNG, _saved(colour.convert("RGBA"), "PNG", exif=_lying())),
        (sniff.PNG, _saved(Image.new("I;16", (64, 64), 40_000), "PNG")),
        (sniff.PNG, _saved(grey, "PNG", save_all=True, append_images=[page.convert("L")])),
        *(("image/tiff", _saved(page, "TIFF", compression=name)) for name in ("group3", "group4", "raw")),
        *(("image/tiff", _saved(colour, "TIFF", compression=name)) for name in _TIFF_COMPRESSIONS),
        ("image/tiff", _saved(page, "TIFF", save_all=True, append_images=[grey, colour])),
        ("image/webp", _saved(colour, "WEBP")),
        ("image/webp", _saved(colour.convert("RGBA"), "WEBP", lossless=True)),
        ("image/gif", _saved(grey, "GIF", save_all=True, append_images=[page.convert("L")])),
        ("image/bmp", _saved(colour, "BMP")),
        ("image/jp2", _saved(colour, "JPEG2000")),
        ("image/heic", base64.b64decode(_HEIC)),
        ("image/avif", base64.b64decode(_AVIF)),
    ]


_TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")


def _lying() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _saved(image: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


# A grey gradient of 64 x 64 pixels.
_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABegABAAAAAAAAACIAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA1mlwcnAAAAC3aXBjbwAAAHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqSSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xy"
    "bmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMICAgAAAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAACpt"
    "ZGF0AAAAHigBr1j4hwwZmR+myReorHGnAJPxtTlj7KGk4J3/HA=="
)
_AVIF = (
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAA"
    "AAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAANAAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEA"
    "AGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwA"
    "AAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAPG1kYXQSAAoJGBV//aICGg0IMiUax4eF4cwwwwKA"
    "AADPyKJxVuSdivj10UWfxG6PFy9EqAEqTYDY"
)
