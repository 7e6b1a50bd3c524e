"""Pages of a PDF drawn by PDFium: what a person would see, as a picture.

PDFium trusts a document's structure more than pypdf does: pypdf, with its limits, judges every document
first (`pdf.py`). No font of this machine is used: a page looks the same on every node, and in a process that
may open no file.
"""

import ctypes

import cv2
import pypdfium2
from PIL import Image
from pypdfium2 import raw

from ingestd.normalizer import opencv
from ingestd.normalizer.exchange import Found, Problem

_WHITE = (255, 255, 255, 255)
_POINTS_PER_INCH = 72
_ROUNDING = 0.01  # pypdfium2 rounds up: 500.0000001 would become 501


def page_count(data: bytes) -> int:
    """Raises Found: CORRUPT."""
    with _opened(data) as document:
        return len(document)


def render_page(data: bytes, index: int, *, long_side: int, max_pixels: int) -> Image.Image:
    """Page `index` (from 0) upright, as viewers show it: RGB on white, `long_side` pixels its longer side.

    Smaller where that would be more than `max_pixels`. Raises Found: CORRUPT, DAMAGED_PAGE.
    """
    with _opened(data) as document:
        return _rendered(document, index, long_side=long_side, max_pixels=max_pixels)


def render_pages(data: bytes, pages: int, *, short_side: int, max_pixels: int) -> list[Image.Image]:
    """The first `pages` pages as `render_page` draws them, their shorter side `short_side` pixels."""
    with _opened(data) as document:
        return [
            _rendered(
                document,
                index,
                long_side=round(short_side * _elongation(document, index)),
                max_pixels=max_pixels,
            )
            for index in range(min(pages, len(document)))
        ]


def render_at(data: bytes, index: int, *, dpi: float, max_pixels: int) -> Image.Image:
    """Page `index` with `dpi` pixels for each inch of paper; fewer where that is more than `max_pixels`."""
    with _opened(data) as document:
        long_side = round(max(_page_size(document, index)) * dpi / _POINTS_PER_INCH)
        return _rendered(document, index, long_side=long_side, max_pixels=max_pixels)


def page_inches(data: bytes, index: int) -> tuple[float, float]:
    """Width and height of page `index` on paper, upright. Raises Found: CORRUPT, DAMAGED_PAGE."""
    with _opened(data) as document:
        width, height = _page_size(document, index)
    return width / _POINTS_PER_INCH, height / _POINTS_PER_INCH


def warm_up() -> None:
    """Starts PDFium anew without font directories; what fonts it needs beside a document's it has built in.

    In a locked process it would look for fonts that it then can't open. Once for each process: PDFium keeps
    one state, and documents that are open would lose it.
    """
    global _started
    opencv.tame()
    if not _started:
        raw.FPDF_DestroyLibrary()
        raw.FPDF_InitLibraryWithConfig(_CONFIGURATION)
        _started = True


_started = False


# PDFium keeps the pointers: the arrays live as long as the process. The list of directories ends with NULL.
_NO_DIRECTORIES = (ctypes.POINTER(ctypes.c_char) * 1)()
_CONFIGURATION = raw.FPDF_LIBRARY_CONFIG(version=2, m_pUserFontPaths=_NO_DIRECTORIES)


def _opened(data: bytes) -> pypdfium2.PdfDocument:
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise Found(Problem.CORRUPT) from error
    document.init_forms()
    return document


def _rendered(document: pypdfium2.PdfDocument, index: int, *, long_side: int, max_pixels: int) -> Image.Image:
    try:
        page = document[index]
        try:
            width, height = page.get_size()
            scale = (long_side - _ROUNDING) / max(width, height)
            scale = min(scale, (max_pixels / (width * height)) ** 0.5)
            # Four bytes a pixel, in the order PDFium works in; another one takes it longer.
            bitmap = page.render(scale=scale, fill_color=_WHITE, prefer_bgrx=True, maybe_alpha=False)
            try:
                return Image.fromarray(cv2.cvtColor(bitmap.to_numpy(), cv2.COLOR_BGRA2RGB))
            finally:
                bitmap.close()
        finally:
            page.close()
    except (pypdfium2.PdfiumError, ZeroDivisionError) as error:
        raise Found(Problem.DAMAGED_PAGE, page=index + 1) from error


def _page_size(document: pypdfium2.PdfDocument, index: int) -> tuple[float, float]:
    try:
        width, height = document.get_page_size(index)
    except pypdfium2.PdfiumError as error:
        raise Found(Problem.DAMAGED_PAGE, page=index + 1) from error
    if width <= 0 or height <= 0:
        raise Found(Problem.DAMAGED_PAGE, page=index + 1)
    return width, height


def _elongation(document: pypdfium2.PdfDocument, index: int) -> float:
    width, height = _page_size(document, index)
    return max(width, height) / min(width, height)
