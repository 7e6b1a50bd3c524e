"""A picture of a PDF as PDFium shows it: every packing and every colour space, in grey or RGB.

PDFium gets a document with nothing but this picture: not its masks, which stay where they are.
"""

import pypdfium2
from PIL import Image
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    StreamObject,
)
from pypdfium2 import raw

from ingestd.normalizer.pdf import packed, repack
from ingestd.normalizer.pdf_assembling import Shelf, assemble

_ENTRIES = (
    *("/Type", "/Subtype", "/Width", "/Height", "/BitsPerComponent", "/ColorSpace", "/Decode", "/Intent"),
    *("/Filter", "/DecodeParms"),
)


def picture_shown(stream: StreamObject) -> Image.Image | None:
    """All its pixels, in mode L or RGB; None where PDFium shows nothing. Raises Found: TOO_COMPLEX."""
    try:
        document = pypdfium2.PdfDocument(_alone(stream))
        try:
            return _only_picture(document)
        finally:
            document.close()
    except pypdfium2.PdfiumError:
        return None


def _only_picture(document: pypdfium2.PdfDocument) -> Image.Image | None:
    page = document[0]
    found = next(page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE]), None)
    if not isinstance(found, pypdfium2.PdfImage):
        return None
    bitmap = found.get_bitmap()
    bitmap.warn_on_close = False  # nothing reads its buffer afterwards: Pillow copies what is no grey
    try:
        image: Image.Image = bitmap.to_pil()
        return image if image.mode == "RGB" else image.convert("L" if image.mode == "L" else "RGB")
    finally:
        bitmap.close()


def _alone(stream: StreamObject) -> bytes:
    """A document of one page that draws it."""
    shelf = Shelf()
    picture = StreamObject()
    repack(picture, {name: stream.raw_get(name) for name in _ENTRIES if name in stream}, packed(stream))
    content = DecodedStreamObject()
    content.set_data(b"/Im Do")
    named = DictionaryObject({NameObject("/Im"): shelf.add(picture)})
    page = DictionaryObject(
        {
            NameObject("/MediaBox"): ArrayObject(map(NumberObject, (0, 0, 1, 1))),
            NameObject("/Resources"): DictionaryObject({NameObject("/XObject"): named}),
            NameObject("/Contents"): shelf.add(content),
        }
    )
    return assemble([page], {}).data
