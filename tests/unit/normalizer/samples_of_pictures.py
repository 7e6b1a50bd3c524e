"""Pictures of every format and trap, made when a test asks for them; and what they must look like."""

import struct
import zlib
from functools import cache
from io import BytesIO

import numpy as np
import pillow_heif
from PIL import Image, ImageDraw

pillow_heif.register_heif_opener()


def photo(width: int = 480, height: int = 640, seed: int = 1) -> Image.Image:
    """No side, no corner and no half like another: any turn and any mirroring shows. With grain."""
    noise = np.random.default_rng(seed).normal(0, 5, (height, width, 1))
    picture = np.asarray(drawing(width, height), dtype=np.float64)
    return Image.fromarray(np.clip(picture * 0.8 + 20 + noise, 0, 255).astype(np.uint8))


def drawing(width: int = 480, height: int = 640) -> Image.Image:
    """Few colours."""
    picture = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 0, width // 3, height // 4), fill=(200, 30, 30))
    pen.rectangle((width * 2 // 3, 0, width, height // 3), fill=(30, 60, 190))
    pen.polygon([(0, height), (width // 2, height), (0, height // 2)], fill=(20, 140, 40))
    for line in range(8):
        y = height // 2 + line * height // 20
        pen.text((width // 2, y), f"Item {line}   {line * 7 % 10}.90", fill="black")
    return picture


def page(width: int = 400, height: int = 600) -> Image.Image:
    """Black text on white, in mode 1."""
    return drawing(width, height).convert("L").point([0] * 128 + [255] * 128, "1")


def saved(image: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def exif(orientation: int | None = None, *, personal: bool = False) -> Image.Exif:
    block = Image.Exif()
    if orientation is not None:
        block[0x0112] = orientation
    if personal:
        block[0x010F] = "Phone Maker"
        block.get_ifd(0x8825)[1] = "N"
        block.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    return block


_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def lying(image: Image.Image, orientation: int) -> Image.Image:
    """As a camera stores it that notes this orientation."""
    return image.transpose(_STORED[orientation]) if orientation in _STORED else image


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean over all samples, in levels of 255. Raises AssertionError for other sizes."""
    assert first.size == second.size, (first.size, second.size)
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (first, second))
    return float(np.abs(a - b).mean())


def png_of_16_bits(colour_type: int, samples: np.ndarray) -> bytes:
    """`samples`: height x width x channels of 16 bits; Pillow writes no such colours."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return png_of_chunks((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def png_of_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in chunks)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(document: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return document[:33] + chunk(kind, content) + document[33:]


def with_segment(document: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with one more segment at its start."""
    segment = b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content
    return document[:2] + segment + document[2:]


@cache
def every_format() -> dict[str, tuple[str, bytes]]:
    """MIME type and bytes, each showing `photo()` or, where it is drawn, `drawing()` or `page()`."""
    shot, drawn, text = photo(), drawing(), page()
    return {
        "jpeg": ("image/jpeg", saved(shot, "JPEG", quality=90)),
        "progressive jpeg": ("image/jpeg", saved(shot, "JPEG", quality=90, progressive=True)),
        "cmyk jpeg": ("image/jpeg", saved(shot.convert("CMYK"), "JPEG", quality=90)),
        "lying jpeg": ("image/jpeg", saved(lying(shot, 6), "JPEG", quality=90, exif=exif(6))),
        "png": ("image/png", saved(drawn, "PNG")),
        "png with alpha": ("image/png", saved(with_hole(drawn), "PNG")),
        "lying png": ("image/png", saved(lying(drawn, 8), "PNG", exif=exif(8))),
        "apng": ("image/png", saved(drawn, "PNG", save_all=True, append_images=[shot])),
        "heic": ("image/heic", saved(shot, "HEIF", quality=80)),
        "avif": ("image/avif", saved(shot, "AVIF", quality=80)),
        "webp": ("image/webp", saved(shot, "WEBP", quality=90)),
        "gif": ("image/gif", saved(drawn, "GIF")),
        "bmp": ("image/bmp", saved(drawn, "BMP")),
        "jpeg 2000": ("image/jp2", saved(shot, "JPEG2000")),
        "tiff": ("image/tiff", saved(drawn, "TIFF", compression="tiff_lzw")),
        "fax": ("image/tiff", saved(text, "TIFF", compression="group4")),
        "jpeg in tiff": ("image/tiff", saved(shot, "TIFF", compression="jpeg", quality=90)),
        "tiff of pages": ("image/tiff", saved(text, "TIFF", save_all=True, append_images=[drawn, shot])),
    }


def with_hole(image: Image.Image) -> Image.Image:
    """Its middle is transparent, over black."""
    result = image.convert("RGBA")
    width, height = image.size
    result.paste((0, 0, 0, 0), (width // 3, height // 3, width // 2, height // 2))
    return result


def display_p3() -> bytes:
    """An ICC profile as phones write it (matrix and curves; ICC.1:2001): Display P3, its gamma simplified."""

    def fixed(*numbers: float) -> bytes:
        return b"".join(struct.pack(">i", round(number * 65536)) for number in numbers)

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(2.2 * 256)) + bytes(2)
    name = b"Display P3\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78 + 1),
        b"wtpt": b"XYZ " + bytes(4) + fixed(0.9642, 1.0, 0.8249),
        b"rXYZ": b"XYZ " + bytes(4) + fixed(0.5151, 0.2412, -0.0011),
        b"gXYZ": b"XYZ " + bytes(4) + fixed(0.2920, 0.6922, 0.0419),
        b"bXYZ": b"XYZ " + bytes(4) + fixed(0.1571, 0.0666, 0.7841),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, content in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(content))
        body += content.ljust(len(content) + -len(content) % 4, b"\0")
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2026, 1, 2, 0, 0, 0) + b"acsp" + bytes(28) + fixed(0.9642, 1.0, 0.8249)
    return header.ljust(128, b"\0") + table + body
