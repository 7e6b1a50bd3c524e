"""Small files that ask for gigabytes, or for ever."""

import struct
import zlib

from ingestd import samples
from tests.traps import pictures
from tests.traps.squeezing import zlib_zeros


def png_pixels() -> bytes:
    """50,000 by 50,000 pixels in a few hundred bytes."""
    return samples.pixel_bomb()


def png_text(unpacked_bytes: int = 1_000_000_000) -> bytes:
    """A sound small picture, and a compressed remark of a gigabyte (zTXt)."""
    whole = samples.small_png(0)
    remark = b"Comment\0\0" + zlib_zeros(unpacked_bytes)
    return whole[:-12] + pictures.png_chunk(b"zTXt", remark) + whole[-12:]


def png_colour_profile(unpacked_bytes: int = 1_000_000_000) -> bytes:
    whole = samples.small_png(0)
    profile = pictures.png_chunk(b"iCCP", b"x\0\0" + zlib_zeros(unpacked_bytes))
    return whole[:33] + profile + whole[33:]


def tiff_pixels(side: int = 60_000) -> bytes:
    """One strip of zeros, packed with deflate, said to be 60,000 by 60,000 pixels of colour."""
    return _tiff(width=side, height=side, strip=zlib_zeros(20_000_000), samples_per_pixel=3)


def tiff_one_strip(side: int = 9_900, unpacked_bytes: int = 4_000_000_000) -> bytes:
    """Its pixels are within the limit; its strip unpacks to far more than those."""
    return _tiff(width=side, height=side, strip=zlib_zeros(unpacked_bytes), samples_per_pixel=3)


def tiff_fax(height: int = 4_000_000_000) -> bytes:
    """A fax so long that nobody's paper is."""
    return _tiff(width=20, height=height, strip=bytes(1000), samples_per_pixel=1, bits=1, compression=4)


def tiff_of_pages(pages: int = 60_000) -> bytes:
    """A chain of directories that all use one strip."""
    return _tiff(width=9_000, height=9_000, strip=zlib_zeros(9_000 * 9_000), samples_per_pixel=1, pages=pages)


def tiff_circle() -> bytes:
    """The last directory points back at the first: it has no end."""
    return _tiff(width=200, height=300, strip=zlib_zeros(60_000), samples_per_pixel=1, pages=2, circle=True)


def gif_endless(frames: int = 200_000) -> bytes:
    """A picture, and then small frames without an end: no trailer ever comes."""
    head = pictures.gif()[:-1]
    frame = (
        b"\x21\xf9\x04\x04\x01\x00\x00\x00"
        + b"\x2c"
        + struct.pack("<HHHH", 0, 0, 1, 1)
        + b"\x00\x02\x02\x44\x01\x00"
    )
    return head + frame * frames


def gif_canvas(side: int = 65_535) -> bytes:
    """Its screen is 65,535 by 65,535; its only frame is one pixel."""
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\x00\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + frame + b";"


def webp_canvas() -> bytes:
    """An extended header that claims 16,384 squared, with a tiny picture (RFC 9649 section 2.7)."""
    small = pictures.encoded(pictures.upright().resize((20, 30)), "WEBP", lossless=True)
    size = (16_383).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size + size + small[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def jpeg_pixels() -> bytes:
    """A header of 65,500 by 65,500 over the scan of a small one."""
    whole = bytearray(samples.small_jpeg(0))
    frame = whole.index(b"\xff\xc0")
    whole[frame + 5 : frame + 9] = struct.pack(">HH", 65_500, 65_500)
    return bytes(whole)


def jpeg_scans(scans: int = 100_000) -> bytes:
    """A progressive picture with a hundred thousand refining scans: each costs a pass over all pixels."""
    whole = pictures.jpeg(progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:start] + whole[start:-2] * min(scans, 20_000_000 // (len(whole) - start)) + b"\xff\xd9"


def jpeg2000_pixels() -> bytes:
    """Its size marker (ISO/IEC 15444-1 A.5.1) claims two thousand million pixels in one tile."""
    whole = bytearray(pictures.jpeg2000(codestream=True))
    siz = whole.index(b"\xff\x51")
    for at in (siz + 6, siz + 10, siz + 22, siz + 26):  # Xsiz, Ysiz, XTsiz, YTsiz
        whole[at : at + 4] = struct.pack(">I", 45_000)
    return bytes(whole)


def heic_grid() -> bytes:
    """Its size property (ispe) says 60,000 by 60,000 while the coded picture is small."""
    whole = bytearray(pictures.heic(personal=False))
    ispe = whole.index(b"ispe")
    whole[ispe + 8 : ispe + 16] = struct.pack(">II", 60_000, 60_000)
    return bytes(whole)


def bmp_pixels() -> bytes:
    return pictures.bmp()[:18] + struct.pack("<ii", 200_000, 200_000) + pictures.bmp()[26:54] + bytes(1000)


# --- PDF ---------------------------------------------------------------------------------------------------


def pdf_inflating(unpacked_bytes: int = 10_000_000_000) -> bytes:
    """A small page that inflates to ten gigabytes: zeros, deflated, and that deflated once more."""
    packed = zlib.compress(zlib_zeros(unpacked_bytes), 9)
    return _one_page(packed, b"/Filter [/FlateDecode /FlateDecode] ")


def pdf_inflating_picture(side: int = 45_000) -> bytes:
    """A picture of 45,000 by 45,000 on an ordinary page."""
    body = zlib_zeros(side * side * 3)
    picture = _stream(
        body,
        b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
        b"/Filter /FlateDecode " % (side, side),
    )
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R "
        b"/Resources << /XObject << /Im 5 0 R >> >> >>",
        _stream(b"q 400 0 0 400 0 0 cm /Im Do Q"),
        picture,
    ]
    return samples.assembled_pdf(objects)


def pdf_deep_tree(depth: int = 100_000) -> bytes:
    """A page below a hundred thousand nodes."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    for number in range(2, depth + 2):
        parent = b"/Parent %d 0 R " % (number - 1) if number > 2 else b""
        objects.append(b"<< /Type /Pages %b/Kids [%d 0 R] /Count 1 >>" % (parent, number + 1))
    objects.append(b"<< /Type /Page /Parent %d 0 R /MediaBox [0 0 200 200] >>" % (depth + 1))
    return samples.assembled_pdf(objects)


def pdf_circular_tree() -> bytes:
    """The page tree is its own grandchild."""
    return samples.assembled_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Pages /Parent 2 0 R /Kids [2 0 R] /Count 1 >>",
        ]
    )


def pdf_circular_xref() -> bytes:
    """Two cross-reference tables that each name the other as the one before."""
    head = bytearray(b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n")
    first = len(head)
    table = b"xref\n0 1\n0000000000 65535 f \ntrailer\n<< /Size 3 /Root 1 0 R /Prev %010d >>\n"
    second = first + len(table % 0)
    return bytes(head + table % second + table % first + b"startxref\n%d\n%%%%EOF\n" % second)


def pdf_wide(pages: int = 100_000) -> bytes:
    """So many pages, all one object: the tree is sound, and far over any limit."""
    kids = b"3 0 R " * pages
    return samples.assembled_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [%b] /Count %d >>" % (kids, pages),
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] >>",
        ]
    )


def pdf_recursive_form() -> bytes:
    """A drawing that draws itself, twice each time."""
    return samples.assembled_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R "
            b"/Resources << /XObject << /Fm 5 0 R >> >> >>",
            _stream(b"/Fm Do"),
            _stream(
                b"/Fm Do /Fm Do",
                b"/Type /XObject /Subtype /Form /BBox [0 0 400 400] "
                b"/Resources << /XObject << /Fm 5 0 R >> >> ",
            ),
        ]
    )


def pdf_billion_laughs(levels: int = 12) -> bytes:
    """Each drawing draws the next ten times."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 400 400] /Contents 4 0 R "
        b"/Resources << /XObject << /Fm 5 0 R >> >> >>",
        _stream(b"/Fm Do"),
    ]
    for number in range(5, 5 + levels):
        inner = b"/Resources << /XObject << /Fm %d 0 R >> >> " % (number + 1)
        objects.append(
            _stream(b"/Fm Do " * 10, b"/Type /XObject /Subtype /Form /BBox [0 0 400 400] " + inner)
        )
    objects.append(_stream(b"0 0 10 10 re f", b"/Type /XObject /Subtype /Form /BBox [0 0 400 400] "))
    return samples.assembled_pdf(objects)


def pdf_huge_page() -> bytes:
    """A page of two hundred metres by two hundred metres (with /UserUnit, still a sound PDF)."""
    return samples.assembled_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 14400 14400] /UserUnit 75000 /Contents 4 0 R "
            b"/Resources << >> >>",
            _stream(b"0 0 7200 7200 re f"),
        ]
    )


# --- making ------------------------------------------------------------------------------------------------


def _stream(content: bytes, more: bytes = b"") -> bytes:
    return b"<< /Length %d %b>>\nstream\n%b\nendstream" % (len(content), more, content)


def _one_page(content: bytes, more: bytes) -> bytes:
    return samples.assembled_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 240 200] /Contents 4 0 R /Resources << >> >>",
            _stream(content, more),
        ]
    )


def _tiff(
    *,
    width: int,
    height: int,
    strip: bytes,
    samples_per_pixel: int,
    bits: int = 8,
    compression: int = 8,
    pages: int = 1,
    circle: bool = False,
) -> bytes:
    """Little-endian, one strip that all directories share (TIFF 6.0 section 2)."""
    tags = (
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, compression),
        (262, 3, 2 if samples_per_pixel == 3 else 1), (273, 4, 8), (277, 3, samples_per_pixel),
        (278, 4, height), (279, 4, len(strip)), (284, 3, 1),
    )  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = 8 + len(strip)
    size = 2 + len(entries) + 4
    directories = bytearray()
    for page in range(pages):
        last = page == pages - 1
        following = (start if circle else 0) if last else start + (page + 1) * size
        directories += struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", start) + strip + bytes(directories)
