"""The pages of a PDF looked at before anybody draws them. Runs in a limited process.

Content and pictures of each page are unpacked, within limits: pictures packed by zlib are unpacked, JPEG ones
decoded; CCITT, JBIG2, JPEG 2000 and LZW pictures are left alone. Whatever else a page draws with (fonts,
patterns, colour profiles) is only weighed: PDFium, which has no limits of its own, will unpack it.
"""

import zlib
from collections.abc import Iterator, Sequence

from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, StreamObject

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.image import decode_jpeg
from ingestd.normalizer.pdf import (
    FILTERS,
    PYPDF_ERRORS,
    check_fit,
    filters,
    forgiving,
    packed,
    resolved,
    room_after,
)
from ingestd.normalizer.pdf_content import Contents

_PICTURE_BYTES = 400_000_000
"""Of all pictures of a document together; those beyond it are not unpacked."""
_OTHER_BYTES = 100_000_000
"""Of all fonts, patterns, profiles and appearances together."""
_WEIGHED = 50_000
_UPWARDS = frozenset({"/Parent", "/P", "/Dest", "/A", "/AA", "/Popup", "/IRT", "/StructParent"})
_XOBJECTS = 2_000
_FORM_DEPTH = 8


def inspect_pages(pages: Sequence[DictionaryObject], *, max_pixels: int, repaired: bool = False) -> None:
    """The content of every page. Raises Found: DAMAGED_PAGE, TOO_MANY_PIXELS, TOO_COMPLEX.

    `repaired`: objects were searched for, so what is cut off or can't be found was lost.
    """
    _PageInspection(max_pixels, repaired=repaired).inspect_all(pages)


class _PageInspection:
    """One pass over the content of all pages; what pages share (logos, letterheads) is looked at once."""

    def __init__(self, max_pixels: int, *, repaired: bool) -> None:
        self._max_pixels = max_pixels
        self._repaired = repaired
        self._contents = Contents(whole=repaired)
        self._seen: set[tuple[int, int]] = set()
        self._xobjects_left = _XOBJECTS
        self._picture_bytes_left = _PICTURE_BYTES
        self._other_bytes_left = _OTHER_BYTES
        self._weighed: set[tuple[int, int]] = set()

    def inspect_all(self, pages: Sequence[DictionaryObject]) -> None:
        for number, page in enumerate(pages, 1):
            try:
                self._inspect_page(page)
            except PYPDF_ERRORS as error:
                check_fit(error)
                raise Found(Problem.DAMAGED_PAGE, page=number) from error
            except Found as found:
                if found.finding.problem is not Problem.CORRUPT:
                    raise
                raise Found(Problem.DAMAGED_PAGE, page=number) from found

    def _inspect_page(self, page: DictionaryObject) -> None:
        self._inspect_resources(resolved(page.get("/Resources")), depth=0)
        self._weigh(page)
        self._contents.check(page)

    def _inspect_resources(self, resources: object, *, depth: int) -> None:
        for xobject in self._new_xobjects(resources):
            match xobject.get("/Subtype"):
                case "/Image":
                    self._inspect_picture(xobject)
                case "/Form" if depth < _FORM_DEPTH:
                    self._inspect_resources(resolved(xobject.get("/Resources")), depth=depth + 1)

    def _new_xobjects(self, resources: object) -> Iterator[StreamObject]:
        named = resolved(resources.get("/XObject")) if isinstance(resources, DictionaryObject) else None
        for entry in (named.raw_get(name) for name in named) if isinstance(named, DictionaryObject) else ():
            if isinstance(entry, IndirectObject):
                identity = (entry.idnum, entry.generation)
                if identity in self._seen or self._xobjects_left <= 0:
                    continue
                self._seen.add(identity)
                self._xobjects_left -= 1
            xobject = resolved(entry)
            if isinstance(xobject, StreamObject):
                yield xobject

    def _weigh(self, page: DictionaryObject) -> None:
        """What else drawing this page may unpack; damage there costs a glyph, not the page."""
        waiting: list[object] = [page.get(name) for name in ("/Resources", "/Annots", "/Group")]
        while waiting:
            value = waiting.pop()
            if isinstance(value, IndirectObject):
                identity = (value.idnum, value.generation)
                if identity in self._weighed:
                    continue
                self._weighed.add(identity)
                if len(self._weighed) > _WEIGHED:
                    raise Found(Problem.TOO_COMPLEX)
                value = forgiving(value.get_object)
            if isinstance(value, StreamObject):
                if value.get("/Subtype") == "/Image":
                    self._check_pixels(value)
                else:
                    self._weigh_stream(value)
            if isinstance(value, DictionaryObject):
                waiting += [value.raw_get(name) for name in value if name not in _UPWARDS]
            elif isinstance(value, ArrayObject):
                waiting += list.__iter__(value)

    def _weigh_stream(self, stream: StreamObject) -> None:
        if len(filters(stream)) > FILTERS:
            raise Found(Problem.TOO_COMPLEX)
        try:
            self._other_bytes_left = room_after(stream, self._other_bytes_left)
        except zlib.error:
            return
        if self._other_bytes_left < 0:
            raise Found(Problem.TOO_COMPLEX)

    def _inspect_picture(self, picture: StreamObject) -> None:
        if not self._check_pixels(picture):
            return  # viewers draw nothing there
        if filters(picture) == ["/DCTDecode"]:
            decode_jpeg(_from_start_of_image(packed(picture)), max_pixels=self._max_pixels)
        elif self._picture_bytes_left > 0:
            left = self._picture_bytes_left
            self._picture_bytes_left = room_after(picture, left, whole=self._repaired)

    def _check_pixels(self, picture: StreamObject) -> bool:
        """Whether it has any. Raises Found: TOO_MANY_PIXELS."""
        width, height = resolved(picture.get("/Width")), resolved(picture.get("/Height"))
        if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
            return False
        # Scans in black and white are large in pixels and small in memory: eight of theirs count as one.
        weight = 8 if picture.get("/BitsPerComponent") == 1 or picture.get("/ImageMask") else 1
        if width * height > self._max_pixels * weight:
            raise Found(Problem.TOO_MANY_PIXELS, width=int(width), height=int(height), limit=self._max_pixels)
        return True


def _from_start_of_image(packed: bytes) -> bytes:
    """Some producers put a line break before the JPEG data."""
    return packed[max(0, packed.find(b"\xff\xd8", 0, 16)) :]
