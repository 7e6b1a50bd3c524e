"""Pages that carry a number anyone can see, so that a merged PDF tells which pages it is made of, in order.

The number is drawn as two columns of blocks, and is read from what another reader (pdfium) shows of a page.
"""

import io

import numpy as np
import pypdfium2
from PIL import Image, ImageDraw

_SIZE = (300, 420)
_COLUMNS, _ROWS = 2, 10
_BLOCK = 36
NUMBERS = 1 << (_COLUMNS * _ROWS)
"""A mark is less than this."""
FORMATS = {".jpg": "JPEG", ".png": "PNG", ".pdf": "PDF"}


def marked_page(mark: int, suffix: str) -> bytes:
    """A page in the format of that suffix. The same bytes for the same mark."""
    page = Image.new("RGB", _SIZE, "white")
    pen = ImageDraw.Draw(page)
    for bit in range(_COLUMNS * _ROWS):
        if mark >> bit & 1:
            pen.rectangle(_block(bit), fill="black")
    pen.rectangle((130, 20, 280, 400), outline=(20, 60, 160), width=4)
    pen.text((150, 40), f"Receipt {mark}\n\nTaxi   12.80\nTotal  12.80", fill="black")
    buffer = io.BytesIO()
    fixed = {"creationDate": None, "modDate": None} if suffix == ".pdf" else {}
    page.save(buffer, FORMATS[suffix], **fixed)
    return buffer.getvalue()


def marks_of(document: bytes) -> tuple[int, ...]:
    """The marks of all pages of a PDF, or of the one picture, in order."""
    if document.startswith(b"%PDF"):
        with pypdfium2.PdfDocument(document) as pages:
            return tuple(_mark(page.render(scale=1).to_pil()) for page in pages)
    with Image.open(io.BytesIO(document)) as picture:
        return (_mark(picture),)


def _mark(page: Image.Image) -> int:
    grey = np.asarray(page.convert("L").resize(_SIZE, Image.Resampling.BOX))
    mark = 0
    for bit in range(_COLUMNS * _ROWS):
        left, top, right, bottom = _block(bit)
        mark |= int(grey[(top + bottom) // 2, (left + right) // 2] < 128) << bit
    return mark


def _block(bit: int) -> tuple[int, int, int, int]:
    column, row = divmod(bit, _ROWS)
    left, top = 20 + column * (_BLOCK + 8), 20 + row * (_BLOCK + 2)
    return left, top, left + _BLOCK - 1, top + _BLOCK - 1
