"""PDF: readable, not encrypted, every page there. Runs in a limited process.

`light` reads the cross-references and walks the page tree. `full` also unpacks the content and the pictures
of each page, within limits: pictures packed by zlib are unpacked, JPEG ones decoded; CCITT, JBIG2, JPEG 2000
and LZW pictures are left alone, and so are fonts, outlines, metadata, forms and attachments. What viewers
repair in silence (a wrong startxref, junk before the header) is no reason to refuse a receipt.
"""

import logging
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

from pypdf import Configuration, PdfReader, apply_configuration
from pypdf.errors import DependencyError, PyPdfError
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, PdfObject, StreamObject

from ingestd.normalizer.exchange import Found, Level, Problem
from ingestd.normalizer.image import decode_jpeg
from ingestd.sniff import has_end_marker

_STREAM_BYTES = 25_000_000
_PICTURE_BYTES = 400_000_000
"""Of all pictures of a document together; those beyond it are not unpacked."""
_XOBJECTS = 2_000
_FORM_DEPTH = 8
_CHUNK_BYTES = 1 << 16

_CONFIGURATION = Configuration(
    maximum_declared_stream_length=_STREAM_BYTES,
    array_based_stream_maximum_output_length=_STREAM_BYTES,
    zlib_maximum_output_length=_STREAM_BYTES,
    lzw_maximum_output_length=_STREAM_BYTES,
    run_length_maximum_output_length=_STREAM_BYTES,
    brotli_maximum_output_length=_STREAM_BYTES,
    jbig2_maximum_output_length=_STREAM_BYTES,
    zlib_maximum_recovery_input_length=0,  # byte-wise repair: slow, and a repaired page is not the receipt
    stream_decoding_work_maximum_length=4 * _STREAM_BYTES,
    image_maximum_buffer_size=_STREAM_BYTES,
    page_tree_maximum_entries=5_000,
    page_tree_maximum_page_entries=200_000,
    stream_filters_maximum_length=4,
    jbig2dec_binary=None,  # it would be run as a program
    disable_legacy_handling=True,
)

# What pypdf raises on bad files, measured over public corpora. MemoryError passes: it is a limit.
_PYPDF_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    DependencyError,
    LookupError,
    NotImplementedError,
    OSError,
    PyPdfError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def silence_parser() -> None:
    """pypdf logs each oddity of a document, thousands for some; in the limited process nobody listens."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)


def inspect_pdf(data: bytes, *, level: Level, max_pixels: int, max_pages: int | None) -> int:
    """The number of pages.

    Raises Found: TRUNCATED, CORRUPT, ENCRYPTED, NO_PAGES, MISSING_PAGES, DAMAGED_PAGE, TOO_MANY_PAGES,
    TOO_MANY_PIXELS, TOO_COMPLEX.
    """
    # Without its end pypdf would take an older revision of the document for the whole.
    if not has_end_marker(data[:4096], data.rstrip(b"\0")[-4096:]):
        raise Found(Problem.TRUNCATED)
    with apply_configuration(_CONFIGURATION):
        try:
            reader = PdfReader(BytesIO(data))
            if reader.is_encrypted:
                raise Found(Problem.ENCRYPTED)
            pages = _count_pages(reader)
        except _PYPDF_ERRORS as error:
            # Encryption that pypdf does not know (certificates) fails while opening.
            raise Found(Problem.ENCRYPTED if b"/Encrypt" in data else Problem.CORRUPT) from error
        if max_pages is not None and pages > max_pages:
            raise Found(Problem.TOO_MANY_PAGES, pages=pages, limit=max_pages)
        if level == "full":
            _PageInspection(reader, max_pixels).inspect_all(pages)
    return pages


def _count_pages(reader: PdfReader) -> int:
    """Walks the page tree. pypdf skips entries that are gone; the declared count tells that they existed."""
    pages = len(reader.pages)
    tree = _resolve(reader.root_object.get("/Pages"))
    declared = _resolve(tree.get("/Count")) if isinstance(tree, DictionaryObject) else None
    if isinstance(declared, int) and declared > pages:
        raise Found(Problem.MISSING_PAGES, pages=pages, declared=int(declared))
    if pages == 0:
        raise Found(Problem.NO_PAGES)
    return pages


class _PageInspection:
    """One pass over the content of all pages; what pages share (logos, letterheads) is looked at once."""

    def __init__(self, reader: PdfReader, max_pixels: int) -> None:
        self._reader = reader
        self._max_pixels = max_pixels
        self._seen: set[tuple[int, int]] = set()
        self._xobjects_left = _XOBJECTS
        self._picture_bytes_left = _PICTURE_BYTES

    def inspect_all(self, pages: int) -> None:
        for index in range(pages):
            try:
                self._inspect_page(self._reader.pages[index])
            except _PYPDF_ERRORS as error:
                raise Found(Problem.DAMAGED_PAGE, page=index + 1) from error
            except Found as found:
                if found.finding.problem is not Problem.CORRUPT:
                    raise
                raise Found(Problem.DAMAGED_PAGE, page=index + 1) from found

    def _inspect_page(self, page: DictionaryObject) -> None:
        contents = _resolve(page.get("/Contents"))
        room = _STREAM_BYTES
        for part in contents if isinstance(contents, ArrayObject) else [contents]:
            room = _unpack(_resolve(part), room)
            if room < 0:
                raise Found(Problem.TOO_COMPLEX)
        self._inspect_resources(_resolve(page.get("/Resources")), depth=0)

    def _inspect_resources(self, resources: object, *, depth: int) -> None:
        for xobject in self._new_xobjects(resources):
            match xobject.get("/Subtype"):
                case "/Image":
                    self._inspect_picture(xobject)
                case "/Form" if depth < _FORM_DEPTH:
                    if _unpack(xobject, _STREAM_BYTES) < 0:
                        raise Found(Problem.TOO_COMPLEX)
                    self._inspect_resources(_resolve(xobject.get("/Resources")), depth=depth + 1)

    def _new_xobjects(self, resources: object) -> Iterator[StreamObject]:
        named = _resolve(resources.get("/XObject")) if isinstance(resources, DictionaryObject) else None
        for entry in (named.raw_get(name) for name in named) if isinstance(named, DictionaryObject) else ():
            if isinstance(entry, IndirectObject):
                identity = (entry.idnum, entry.generation)
                if identity in self._seen or self._xobjects_left <= 0:
                    continue
                self._seen.add(identity)
                self._xobjects_left -= 1
            xobject = _resolve(entry)
            if isinstance(xobject, StreamObject):
                yield xobject

    def _inspect_picture(self, picture: StreamObject) -> None:
        width, height = _resolve(picture.get("/Width")), _resolve(picture.get("/Height"))
        if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
            return  # viewers draw nothing there
        # Scans in black and white are large in pixels and small in memory: eight of theirs count as one.
        weight = 8 if picture.get("/BitsPerComponent") == 1 or picture.get("/ImageMask") else 1
        if width * height > self._max_pixels * weight:
            raise Found(Problem.TOO_MANY_PIXELS, width=int(width), height=int(height), limit=self._max_pixels)
        if _filters(picture) == ["/DCTDecode"]:
            decode_jpeg(_from_start_of_image(_packed(picture)), max_pixels=self._max_pixels)
        elif self._picture_bytes_left > 0:
            self._picture_bytes_left = _unpack(picture, self._picture_bytes_left)


def _unpack(stream: object, room: int) -> int:
    """Unpacks the zlib layer of a stream without keeping it; the bytes of `room` left, negative: out of room.

    Anything else (no stream, another filter) takes no room. An end that is missing is no error: some
    producers write a length that is too short, and every viewer shows the page. Raises zlib.error.
    """
    if not isinstance(stream, StreamObject) or _filters(stream)[:1] != ["/FlateDecode"]:
        return room
    unpacker = zlib.decompressobj()
    rest = _packed(stream)
    while rest and not unpacker.eof and room >= 0:
        room -= len(unpacker.decompress(rest, _CHUNK_BYTES))
        rest = unpacker.unconsumed_tail
    return room


def _from_start_of_image(packed: bytes) -> bytes:
    """Some producers put a line break before the JPEG data."""
    return packed[max(0, packed.find(b"\xff\xd8", 0, 16)) :]


def _filters(stream: StreamObject) -> list[str]:
    """Full names, in the order of unpacking."""
    filters = _resolve(stream.get("/Filter"))
    names = filters if isinstance(filters, ArrayObject) else [] if filters is None else [filters]
    return [str(_resolve(name)) for name in names]


def _packed(stream: StreamObject) -> bytes:
    return stream._data  # noqa: SLF001 - pypdf gives out packed bytes in no other way


def _resolve(value: object) -> object:
    return value.get_object() if isinstance(value, PdfObject) else value
