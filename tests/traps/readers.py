"""Readers that share nothing with the normalizer: qpdf and poppler for PDF, OpenCV's decoders for pictures.

And a measure of how alike two pages look, which tells an upright page from one that is turned or mirrored.
"""

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageStat

_RENDERED_LONG_SIDE = 540
_COMPARED = (90, 135)
_QPDF_WARNED = 3
_TURNS = tuple(Image.Transpose)


class Unreadable(AssertionError):
    """Another program can't read this."""


def pages_of(document: bytes, mime_type: str, *, strict: bool = True) -> list[Image.Image]:
    """RGB pictures of all pages. Raises Unreadable; also for a PDF that is encrypted.

    `strict`: also for a PDF about which another reader has anything to complain.
    """
    return pdf_pages(document, strict=strict) if mime_type == "application/pdf" else [picture(document)]


def pdf_pages(document: bytes, *, strict: bool = True) -> list[Image.Image]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.pdf")
        path.write_bytes(document)
        count = _checked(path, strict=strict)
        drawn = _run("pdftoppm", "-scale-to", str(_RENDERED_LONG_SIDE), path)
    if drawn.returncode != 0 or (strict and b"Error" in drawn.stderr):
        raise Unreadable("pdftoppm: " + drawn.stderr.decode(errors="replace"))
    pages = _portable_pixmaps(drawn.stdout)
    if len(pages) != count:
        raise Unreadable(f"poppler draws {len(pages)} of {count} pages")
    return pages


def checked_pdf(document: bytes, *, made_of: bytes = b"") -> int:
    """How many pages it has. Raises Unreadable if it is encrypted, or qpdf has anything to complain.

    But for damage that it took over from the document it is made of: pictures and the operators of a page
    go from one to the other as they are.
    """
    with tempfile.TemporaryDirectory() as directory:
        path, source = Path(directory, "x.pdf"), Path(directory, "source.pdf")
        path.write_bytes(document)
        try:
            return _checked(path, strict=True)
        except Unreadable:
            source.write_bytes(made_of)
            if _warnings(path) - _warnings(source) - _IN_A_PICTURE:
                raise
            return _checked(path, strict=False)


_IN_A_PICTURE = frozenset(
    {
        "error decoding stream data for object N N: invalid jpeg data reading from buffer",
        "error decoding stream data for object N N: Unsupported marker type NxNd",
        "stream will be re-processed without filtering to avoid data loss",
    }
)


def _warnings(path: Path) -> set[str]:
    """What qpdf warns of, without places and numbers."""
    told = _run("qpdf", "--check", path).stderr.decode(errors="replace").splitlines()
    warnings = (line for line in told if line.startswith("WARNING: "))
    plain = (re.sub(r"^WARNING: .*?(\([^)]*offset \d+\)|\.pdf)?: ", "", line) for line in warnings)
    return {re.sub(r"\d+", "N", line) for line in plain}


def pdf_text(document: bytes) -> str:
    """What a person can mark and copy, in reading order."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.pdf")
        path.write_bytes(document)
        return _run("pdftotext", path, "-").stdout.decode()


def pdf_unpacked(document: bytes) -> bytes:
    """The PDF with all streams inflated, to search for words in it."""
    with tempfile.TemporaryDirectory() as directory:
        source, target = Path(directory, "x.pdf"), Path(directory, "y.pdf")
        source.write_bytes(document)
        _run("qpdf", "--qdf", "--object-streams=disable", source, target)
        return target.read_bytes()


def pdf_page_sizes(document: bytes) -> list[tuple[float, float]]:
    """Width and height of each page in points, turned as it is shown."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "x.pdf")
        path.write_bytes(document)
        lines = _run("pdfinfo", "-l", "1000", path).stdout.decode().splitlines()
    sizes = []
    for line in lines:
        if line.startswith("Page") and " size:" in line:
            width, _, height = line.split("size:")[1].split()[:3]
            sizes.append((float(width), float(height)))
    return sizes


def picture(document: bytes) -> Image.Image:
    """A JPEG or PNG as a viewer that ignores Exif shows it, which must be as one that obeys Exif does."""
    samples = np.frombuffer(document, np.uint8)
    plain = cv2.imdecode(samples, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    obeying = cv2.imdecode(samples, cv2.IMREAD_COLOR)
    if plain is None or obeying is None:
        raise Unreadable("OpenCV can't decode the picture")
    if plain.shape != obeying.shape or not np.array_equal(plain, obeying):
        raise Unreadable("the picture depends on an orientation in its metadata")
    return Image.fromarray(cv2.cvtColor(plain, cv2.COLOR_BGR2RGB))


def difference(first: Image.Image, second: Image.Image) -> float:
    """Mean difference of two pages in levels of 0 to 255, once both have the same small size."""
    one, other = (page.convert("RGB").resize(_COMPARED, Image.Resampling.BOX) for page in (first, second))
    means: Sequence[float] = ImageStat.Stat(ImageChops.difference(one, other)).mean
    return sum(means) / len(means)


def nearest_turn(page: Image.Image, upright: Image.Image) -> Image.Transpose | None:
    """The turn or mirror of `upright` that `page` looks like most; None: upright itself."""
    best, found = difference(page, upright), None
    for turn in _TURNS:
        distance = difference(page, upright.transpose(turn))
        if distance < best:
            best, found = distance, turn
    return found


def _checked(path: Path, *, strict: bool) -> int:
    checked = _run("qpdf", "--check", "--show-npages", path)
    if checked.returncode not in ((0,) if strict else (0, _QPDF_WARNED)):
        raise Unreadable("qpdf: " + (checked.stdout + checked.stderr).decode(errors="replace"))
    lines = checked.stdout.splitlines()
    if b"File is not encrypted" not in lines:
        raise Unreadable("the PDF is encrypted")
    return int(lines[-1])


def _run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, timeout=60, check=False)


def _portable_pixmaps(data: bytes) -> list[Image.Image]:
    """Binary PPM files, one behind the other, as pdftoppm writes them to its output."""
    pages, position = [], 0
    while position < len(data):
        magic, size, levels, _ = data[position : position + 60].split(b"\n", 3)
        assert (magic, levels) == (b"P6", b"255"), "not what pdftoppm writes"
        width, height = map(int, size.split())
        position += len(magic) + len(size) + len(levels) + 3
        pages.append(Image.frombytes("RGB", (width, height), data[position : position + width * height * 3]))
        position += width * height * 3
    return pages
