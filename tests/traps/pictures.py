"""Pictures of one receipt in every format and mode, upright or not, some with personal metadata.

All show `upright()`, which no turn and no mirror maps onto itself, not even in black and white.
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import pillow_heif
from PIL import Image, ImageDraw, ImageOps

from ingestd import samples

SIZE = (720, 1080)
ORIENTATION, GPS_DIRECTORY = 0x0112, 0x8825  # Exif 2.32 sections 4.6.4, 4.6.6
PERSONAL_MARKS = (b"ANN-WAS-HERE", b"SERIAL-4711", b"TREASURE-ISLAND", b"52,31.20N")
"""Each picture with metadata has them; none may be left in what is sent."""

# What was done to the upright picture before it was stored; the value in the file undoes it.
_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@cache
def upright(width: int = SIZE[0], seed: int = 1) -> Image.Image:
    """A receipt with a block in three of its corners, each of another shape and colour."""
    page = samples.picture(seed, width=width, noise=0).copy()
    draw = ImageDraw.Draw(page)
    unit = width // 12
    draw.rectangle((0, 0, 2 * unit, 2 * unit), fill=(200, 20, 20))
    draw.rectangle((page.width - 3 * unit, 0, page.width, unit), fill=(20, 120, 20))
    draw.rectangle((0, page.height - 3 * unit, unit, page.height), fill=(20, 20, 200))
    return page


def scan(seed: int = 1, width: int = SIZE[0]) -> Image.Image:
    """The same in black and white, as a fax or an office scanner sees it."""
    return upright(width, seed).convert("L").point([0] * 160 + [255] * 96, "1")


# --- metadata ----------------------------------------------------------------------------------------------


def personal_exif(orientation: int | None = None) -> Image.Exif:
    """Where, when, by whom and with which camera; `orientation` as Exif counts them (1: upright)."""
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    exif[0x013B] = "ANN-WAS-HERE"  # Artist
    gps = exif.get_ifd(GPS_DIRECTORY)
    gps.update(
        {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0), 28: b"ASCII\0\0\0TREASURE-ISLAND"}
    )
    exif.get_ifd(0x8769)[0xA431] = "SERIAL-4711"  # BodySerialNumber
    return exif


def personal_xmp() -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:exif="http://ns.adobe.com/exif/1.0/" exif:GPSLatitude="52,31.20N" '
        b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:creator="ANN-WAS-HERE"/></rdf:RDF></x:xmpmeta>'
    )


# --- JPEG --------------------------------------------------------------------------------------------------


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    """`mode`: RGB, L or CMYK (Pillow writes that with an Adobe marker, inverted, as print shops do)."""
    return encoded(upright().convert(mode), "JPEG", **{"quality": 90, **options})


def turned_jpeg(orientation: int, *, personal: bool = True) -> bytes:
    exif = personal_exif(orientation) if personal else _only_orientation(orientation)
    return encoded(stored(orientation), "JPEG", quality=90, exif=exif)


def personal_jpeg() -> bytes:
    """Upright, with personal data in Exif, XMP and an IPTC record; and a harmless comment."""
    plain = encoded(
        upright(), "JPEG", quality=90, exif=personal_exif(1), xmp=personal_xmp(), comment=b"made by a camera"
    )
    iptc = b"\x1c\x02\x5a" + struct.pack(">H", 15) + b"TREASURE-ISLAND"  # IIM 2:90, city
    resource = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc
    return _with_segment(plain, 0xED, b"Photoshop 3.0\0" + resource)


def ycck_jpeg() -> bytes:
    """CMYK samples stored as YCCK: an Adobe marker with transform 2 (ITU-T T.872 section 6.5.3).

    The planes are turned into YCC and K first, so that who honours the marker sees the picture.
    """
    inverted = ImageOps.invert(upright())
    luma, blue, red = Image.merge("RGB", inverted.split()).convert("YCbCr").split()
    packed = Image.merge("CMYK", [luma, blue, red, Image.new("L", SIZE, 255)])
    # Pillow inverts CMYK on its way out and writes transform 0; only the marker's last byte is changed here,
    # so chroma and luma are inverted once before.
    ready = Image.merge("CMYK", [ImageOps.invert(plane) for plane in packed.split()])
    plain = bytearray(encoded(ready, "JPEG", quality=95))
    marker = plain.index(b"\xff\xee\x00\x0eAdobe")
    plain[marker + 15] = 2
    return bytes(plain)


def rgb_jpeg_with_adobe_marker() -> bytes:
    """Plain RGB samples, no YCbCr: an Adobe marker with transform 0."""
    return encoded(upright(), "JPEG", quality=90, keep_rgb=True)


def twelve_bit_jpeg() -> bytes:
    """A header that announces 12 bits a sample, as medical devices write; ours does not decode those."""
    plain = bytearray(jpeg())
    frame = plain.index(b"\xff\xc0")
    plain[frame + 1] = 0xC1  # extended sequential, the process that has 12 bits
    plain[frame + 4] = 12
    return bytes(plain)


def mpo(orientation: int | None = None) -> bytes:
    """Two pictures in one file: the receipt, and a smaller copy."""
    options = {} if orientation is None else {"exif": _only_orientation(orientation)}
    first = upright() if orientation is None else stored(orientation)
    return encoded(first, "MPO", save_all=True, append_images=[first.reduce(4)], **options)


# --- PNG ---------------------------------------------------------------------------------------------------


def png(mode: str = "RGB") -> bytes:
    """`mode`: RGB, L, LA, RGBA, 1, P or I;16."""
    match mode:
        case "I;16":
            return encoded(_sixteen_bit(), "PNG")
        case "P":
            return encoded(upright().quantize(64), "PNG")
        case "1":
            return encoded(scan(), "PNG")
        case "RGBA" | "LA":
            return encoded(_on_glass(mode), "PNG")
        case _:
            return encoded(upright().convert(mode), "PNG")


def transparent_palette_png() -> bytes:
    """A palette in which the paper's colour is see-through (tRNS), as a logo maker saves it."""
    page = Image.new("RGB", SIZE, (255, 0, 255))
    page.paste(upright(), mask=_ink())
    page = page.quantize(32)
    glass = page.getpixel((SIZE[0] // 2, SIZE[1] - 20))
    return encoded(page, "PNG", transparency=glass)


def sixteen_bit_rgb_png() -> bytes:
    """48 bits a pixel; no writer at hand makes these."""
    rows = b"".join(
        b"\0" + b"".join(bytes((level, level)) for level in upright().crop((0, y, SIZE[0], y + 1)).tobytes())
        for y in range(SIZE[1])
    )
    return _raw_png(*SIZE, depth=16, colour=2, packed=zlib.compress(rows, 6))


def interlaced_png() -> bytes:
    """Adam7 (PNG specification section 8.2): seven passes, each a picture of its own."""
    page = upright()
    passes = (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    )
    data = page.load()
    assert data is not None
    rows = bytearray()
    for left, top, right_step, down_step in passes:
        for y in range(top, page.height, down_step):
            rows += b"\0"
            for x in range(left, page.width, right_step):
                rows += bytes(data[x, y])  # type: ignore[arg-type] # an RGB pixel is a tuple of three
    return _raw_png(*SIZE, depth=8, colour=2, packed=zlib.compress(bytes(rows), 6), interlaced=True)


def personal_png(orientation: int = 1) -> bytes:
    """Exif, XMP and text chunks, as some phones' screenshots have."""
    from PIL.PngImagePlugin import PngInfo

    words = PngInfo()
    words.add_text("Author", "ANN-WAS-HERE")
    words.add_itxt("XML:com.adobe.xmp", personal_xmp().decode())
    page = upright() if orientation == 1 else stored(orientation)
    return encoded(page, "PNG", exif=personal_exif(orientation), pnginfo=words)


def animated_png(frames: int = 3) -> bytes:
    """The receipt first, then it fades."""
    return encoded(upright(), "PNG", save_all=True, append_images=_fading(frames - 1), duration=100)


# --- what phones, scanners and websites write --------------------------------------------------------------


def heic(orientation: int = 1, *, personal: bool = True, in_exif: bool = True) -> bytes:
    """The turn is a property of the picture (irot, imir). Exif repeats it, as with iPhones, and a reader that
    obeys both turns it twice (ISO/IEC 23008-12 annex A.2 tells readers to ignore Exif's); unless `in_exif` is
    False.
    """
    exif = personal_exif(orientation) if personal else _only_orientation(orientation)
    xmp = personal_xmp() if personal else b""
    buffer = io.BytesIO()
    picture = upright() if orientation == 1 else stored(orientation)
    pillow_heif.from_pillow(picture).save(buffer, quality=80, exif=exif.tobytes(), xmp=xmp)
    document = buffer.getvalue()
    if in_exif:
        return document
    entry = struct.pack(">HHIHH", ORIENTATION, 3, 1, orientation, 0)
    assert document.count(entry) == 1
    return document.replace(entry, struct.pack(">HHIHH", ORIENTATION, 3, 1, 1, 0))


def heic_of_two() -> bytes:
    """Two pictures, the second of which the file names as the main one."""
    heif = pillow_heif.from_pillow(samples.picture(2, noise=0))
    heif.add_from_pillow(upright())
    buffer = io.BytesIO()
    heif.save(buffer, quality=80, primary_index=1)
    return buffer.getvalue()


def avif(*, personal: bool = True) -> bytes:
    return encoded(upright(), "AVIF", quality=80, exif=personal_exif(1).tobytes() if personal else b"")


def webp(mode: str = "RGB", *, orientation: int | None = None, lossless: bool = False) -> bytes:
    page = upright() if orientation is None else stored(orientation)
    options = {} if orientation is None else {"exif": personal_exif(orientation), "xmp": personal_xmp()}
    page = _on_glass("RGBA") if mode == "RGBA" else page
    return encoded(page, "WEBP", quality=90, lossless=lossless, **options)


def animated_webp(frames: int = 3) -> bytes:
    return encoded(upright(), "WEBP", save_all=True, append_images=_fading(frames - 1), duration=100)


def gif(frames: int = 1) -> bytes:
    pages = [page.quantize(64) for page in [upright(), *_fading(frames - 1)]]
    return encoded(pages[0], "GIF", save_all=frames > 1, append_images=pages[1:])


def bmp(mode: str = "RGB") -> bytes:
    return encoded(scan() if mode == "1" else upright().convert(mode), "BMP")


def jpeg2000(*, codestream: bool = False) -> bytes:
    """`codestream`: without the boxes around it (.j2k)."""
    return encoded(
        upright(), "JPEG2000", no_jp2=codestream, irreversible=True, quality_mode="rates", quality_layers=[10]
    )


# --- TIFF --------------------------------------------------------------------------------------------------


def tiff(compression: str = "tiff_lzw", *, mode: str = "RGB", pages: int = 1, **options: object) -> bytes:
    """`compression` by Pillow's names. Page n shows `upright(seed=n)`."""
    if mode == "I;16":
        scans = [_sixteen_bit()] * pages
    else:
        scans = [scan(n) if mode == "1" else upright(seed=n).convert(mode) for n in range(1, pages + 1)]
    return encoded(
        scans[0],
        "TIFF",
        save_all=True,
        append_images=scans[1:],
        compression=compression,
        **{"dpi": (100, 100), **options},
    )


def inverted_tiff() -> bytes:
    """Black and white with the photometric interpretation of most fax machines: 0 is white."""
    plain = encoded(
        ImageOps.invert(scan().convert("L")).convert("1"), "TIFF", compression="raw", dpi=(100, 100)
    )
    return _patched_tag(plain, 262, 1, 0)


def tiff_of_many_kinds() -> bytes:
    """A fax page at 204 by 98 dpi, a photo, and a grey page on its side: one file, as a multi-function device
    writes it. All upright when shown.
    """
    fax = scan(1).resize((SIZE[0], SIZE[1] // 2))
    pages: list[tuple[Image.Image, dict[str, object]]] = [
        (fax, {"compression": "group3", "dpi": (100, 50)}),
        (upright(seed=2), {"compression": "jpeg", "dpi": (72, 72)}),
        (upright(seed=3).convert("L"), {"compression": "tiff_adobe_deflate", "dpi": (150, 150)}),
    ]
    return _tiff_of(pages)


def turned_tiff(orientation: int = 6) -> bytes:
    exif = _only_orientation(orientation)
    return encoded(stored(orientation), "TIFF", compression="tiff_lzw", exif=exif, dpi=(100, 100))


def personal_tiff() -> bytes:
    return encoded(upright(), "TIFF", compression="tiff_lzw", exif=personal_exif(1), dpi=(100, 100))


# --- what shows too little ---------------------------------------------------------------------------------


def blank(picture_format: str = "JPEG", grain: int = 6) -> bytes:
    """A sheet of paper, its grain and nothing else."""
    noise = Image.effect_noise(SIZE, grain)
    del noise  # effect_noise draws from an unseeded source
    import random

    paper = Image.frombytes(
        "L", SIZE, bytes(244 + b % grain for b in random.Random(3).randbytes(SIZE[0] * SIZE[1]))
    )
    return encoded(paper.convert("RGB"), picture_format)


def blurred(radius: int = 24) -> bytes:
    """A photo of which nobody can read a word."""
    from PIL import ImageFilter

    return encoded(samples.picture(1).filter(ImageFilter.GaussianBlur(radius)), "JPEG", quality=90)


def tiny() -> bytes:
    """An icon: too small to be a receipt."""
    return encoded(upright().resize((24, 36)), "PNG")


# --- making ------------------------------------------------------------------------------------------------


def stored(orientation: int) -> Image.Image:
    """The upright picture as a camera stores it that records this Exif orientation."""
    return upright() if orientation == 1 else upright().transpose(_STORED[orientation])


def encoded(picture: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, picture_format, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _raw_png(
    width: int, height: int, *, depth: int, colour: int, packed: bytes, interlaced: bool = False
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, content) for kind, content in chunks)


def _only_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _with_segment(jpeg_file: bytes, marker: int, content: bytes) -> bytes:
    return jpeg_file[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg_file[2:]


def _ink() -> Image.Image:
    """A mask: where the upright picture is not paper."""
    return upright().convert("L").point([255] * 200 + [0] * 56)


def _on_glass(mode: str) -> Image.Image:
    """Ink on a see-through ground; under the glass the samples are black, a trap for who drops the alpha."""
    ground = Image.new("RGBA", SIZE, (0, 0, 0, 0))
    ground.paste(upright(), mask=_ink())
    return ground.convert(mode)


def _sixteen_bit() -> Image.Image:
    """The full range: who takes the low byte gets noise, who clips gets white."""
    grey = upright().convert("L").tobytes()
    return Image.frombytes("I;16", SIZE, b"".join(bytes((level, level)) for level in grey))


def _fading(frames: int) -> list[Image.Image]:
    paper = Image.new("RGB", SIZE, "white")
    return [Image.blend(upright(), paper, 0.9 * (n + 1) / frames) for n in range(frames)]


def _patched_tag(tiff_file: bytes, tag: int, old: int, new: int) -> bytes:
    """A little-endian TIFF file with another value for a short tag (TIFF 6.0 section 2)."""
    before, after = (struct.pack("<HHIHH", tag, 3, 1, value, 0) for value in (old, new))
    assert tiff_file.count(before) == 1
    return tiff_file.replace(before, after)


def _tiff_of(pages: list[tuple[Image.Image, dict[str, object]]]) -> bytes:
    """Pages that each have their own compression and resolution."""
    from PIL.TiffImagePlugin import AppendingTiffWriter

    buffer = io.BytesIO()
    with AppendingTiffWriter(buffer, new=True) as writer:
        for page, options in pages:
            page.save(writer, "TIFF", **options)
            writer.newFrame()
    return buffer.getvalue()


Maker = Callable[[], bytes]
