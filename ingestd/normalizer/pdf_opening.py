"""Opening a PDF: its password, its cross-references, its pages.

What was encrypted and can be read is read decrypted; what was damaged and can be read without loss is read
repaired. What viewers repair in silence is no reason to refuse a receipt, and strict readers at the target
are no reason to send it so: it is written anew.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO

from pypdf import PasswordType, PdfReader
from pypdf.errors import LimitReachedError
from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject

from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.pdf import PAGES, forgiving, resolved
from ingestd.sniff import has_end_marker

_STANDARD = "/Standard"
_KNOWN_VERSIONS = frozenset({1, 2, 4, 5})  # ISO 32000-2 table 20; 3 was never published
_HEADER_WITHIN = 1024
_REACHED = 200_000


@dataclass(slots=True, kw_only=True)
class Opened:
    """`pages` carry what they inherit. `truncated`: its end is missing, the rest can be read."""

    reader: PdfReader
    pages: list[DictionaryObject]
    steps: list[Noted] = field(default_factory=list)
    truncated: bool = False

    @property
    def catalog(self) -> DictionaryObject:
        return self.reader.root_object


def open_pdf(data: bytes, *, passwords: Sequence[str], max_pages: int | None) -> Opened:
    """Called within `pdf.judging()`.

    Raises Found: TRUNCATED, CORRUPT, ENCRYPTED, LOCKED_FOREVER, NO_PAGES, MISSING_PAGES, TOO_MANY_PAGES.
    """
    # Without its end pypdf would take an older revision of the document for the whole.
    truncated = not has_end_marker(data[:4096], data.rstrip(b"\0")[-4096:]) or _goes_on(data)
    if truncated and not _may_be_whole(data):
        raise Found(Problem.TRUNCATED)
    try:
        reader, searched = _reader(data, search=truncated)
    except Found as found:
        if truncated:
            raise Found(Problem.TRUNCATED) from found
        raise
    steps = [] if not reader.is_encrypted else [_unlock(reader, passwords)]
    damaged = searched or _is_damaged(data, reader)
    pages = _pages(reader, max_pages)
    if max_pages is not None and len(pages) > max_pages:
        raise Found(Problem.TOO_MANY_PAGES, pages=len(pages), limit=max_pages)
    if searched and not is_complete(pages):
        raise Found(Problem.TRUNCATED if truncated else Problem.CORRUPT)
    if damaged:
        steps.append(Noted(what=Step.REPAIRED))
    return Opened(reader=reader, pages=pages, steps=steps, truncated=truncated)


def _reader(data: bytes, *, search: bool) -> tuple[PdfReader, bool]:
    """And whether the objects had to be searched for: at once, or where the cross-references lead nowhere."""
    for searched in (True,) if search else (False, True):
        reader = _rooted(data + _END if searched else data)
        if reader is not None:
            return reader, searched
    # Encryption that pypdf does not know (certificates) fails while opening.
    raise Found(Problem.LOCKED_FOREVER if b"/Encrypt" in data else Problem.CORRUPT)


def _rooted(data: bytes) -> PdfReader | None:
    """None for a document whose catalog can't be found."""
    reader = forgiving(lambda: PdfReader(BytesIO(data)))
    if reader is None or forgiving(lambda: reader.root_object if not reader.is_encrypted else True) is None:
        return None
    return reader


# --- passwords ----------------------------------------------------------------------------------------------


def _unlock(reader: PdfReader, passwords: Sequence[str]) -> Noted:
    encryption = resolved(reader.trailer.get("/Encrypt"))
    if not isinstance(encryption, DictionaryObject) or not _is_known(encryption):
        raise Found(Problem.LOCKED_FOREVER)
    if _fits(reader, b""):
        return Noted(what=Step.DECRYPTED)
    for number, password in enumerate(passwords, 1):
        if any(_fits(reader, encoded) for encoded in _encodings(password)):
            return Noted(what=Step.OPENED, numbers={"password": number})
    raise Found(Problem.ENCRYPTED, tried=len(passwords))


def _is_known(encryption: Mapping[str, object]) -> bool:
    return encryption.get("/Filter") == _STANDARD and resolved(encryption.get("/V")) in _KNOWN_VERSIONS


def _fits(reader: PdfReader, password: bytes) -> bool:
    """What goes wrong here is no wrong password: a damaged encryption dictionary, say, is damage."""
    if reader.decrypt(password) is PasswordType.NOT_DECRYPTED:
        return False
    # AES-256 has a block that only the right key decrypts (section 7.6.4.4.12); with another one every page
    # would be noise. pypdf tells in no other way.
    if getattr(reader._encryption, "_are_permissions_valid", None) is False:  # noqa: SLF001 - as above
        raise Found(Problem.CORRUPT)
    return True


def _encodings(password: str) -> Iterable[bytes]:
    """Older encryption takes PDFDocEncoding (much as Latin-1), the one of PDF 2.0 UTF-8 (section 7.6.4)."""
    encoded = [password.encode("utf-8", "surrogatepass")]
    try:
        encoded.insert(0, password.encode("latin-1"))
    except UnicodeEncodeError:
        return encoded
    return dict.fromkeys(encoded)


# --- damage -------------------------------------------------------------------------------------------------


_OBJECT = re.compile(rb"\s*(\d{1,10})\s+(\d{1,5})\s+obj\b")
_BEGUN = re.compile(rb"\d\s+\d+\s+obj\b")
_END = b"\nstartxref\n0\n%%EOF\n"  # without it pypdf reads nothing; with it, it searches for the objects
_START = re.compile(rb"startxref\s+(\d{1,12})\s*%%EOF")


def _is_damaged(data: bytes, reader: PdfReader) -> bool:
    """Whether a strict reader would have to search for objects: a cross-reference that leads elsewhere."""
    starts = _START.findall(data[-4096:])
    if not starts:
        return True
    start = int(starts[-1])
    # Bytes before the header move every offset, and readers know that (ISO 32000-2 annex I).
    junk = max(0, data.find(b"%PDF-", 0, _HEADER_WITHIN + 8))
    shift = next((shift for shift in (0, junk) if _is_cross_reference(data, start + shift)), None)
    if shift is None or not all(_leads_to(data, shift, *entry) for entry in _entries(data, start + shift)):
        return True
    return not all(
        _leads_to(data, shift, number, generation, offset)
        for generation, offsets in reader.xref.items()
        for number, offset in offsets.items()
        if not reader.xref_free_entry.get(generation, {}).get(number) and number not in reader.xref_objStm
    )


_SECTION = re.compile(rb"\s*(\d{1,10})[ ]+(\d{1,10})\s*")
_ENTRY = re.compile(rb"(\d{10}) (\d{5}) ([nf])\s{1,2}")


def _entries(data: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Number, generation, offset of the objects in use, as the last table has them; pypdf drops wrong ones.

    Nothing for a cross-reference stream.
    """
    table = re.compile(rb"\s*xref").match(data, start)
    position = len(data) if table is None else table.end()
    while (section := _SECTION.match(data, position)) is not None:
        number, position = int(section[1]), section.end()
        for _ in range(int(section[2])):
            entry = _ENTRY.match(data, position)
            if entry is None:
                return
            if entry[3] == b"n" and int(entry[1]):
                yield number, int(entry[2]), int(entry[1])
            number, position = number + 1, entry.end()


def _is_cross_reference(data: bytes, offset: int) -> bool:
    return (
        re.compile(rb"\s*xref\b").match(data, offset) is not None or _OBJECT.match(data, offset) is not None
    )


def _leads_to(data: bytes, shift: int, number: int, generation: int, offset: int) -> bool:
    found = _OBJECT.match(data, offset + shift)
    if found is None and shift:  # pypdf may have corrected the offset
        found = _OBJECT.match(data, offset)
    return found is not None and (int(found[1]), int(found[2])) == (number, generation)


def _goes_on(data: bytes) -> bool:
    """Whether another revision was begun behind the last end marker."""
    return _BEGUN.search(data, max(0, data.rfind(b"%%EOF"))) is not None


def _may_be_whole(data: bytes) -> bool:
    """Of a document without its end: it has one revision, and was cut off behind its last object.

    An earlier %%EOF is the end of an older revision, whose pages are not what the sender sees.
    """
    if b"%%EOF" in data:
        return False
    _, end, rest = data.rpartition(b"endobj")
    return bool(end) and _BEGUN.search(rest) is None


def is_complete(pages: Sequence[DictionaryObject]) -> bool:
    """Whether everything that the pages draw with is there."""
    seen: set[tuple[int, int]] = set()
    waiting: list[object] = [page.raw_get(name) for page in pages for name in page if name != "/Parent"]
    while waiting:
        value = waiting.pop()
        if isinstance(value, IndirectObject):
            identity = (value.idnum, value.generation)
            if identity in seen:
                continue
            seen.add(identity)
            if len(seen) > _REACHED:
                raise Found(Problem.TOO_COMPLEX)
            value = forgiving(value.get_object)
            if value is None:
                return False
        if isinstance(value, DictionaryObject):
            waiting += [value.raw_get(name) for name in value if name != "/Parent"]
        elif isinstance(value, ArrayObject):
            waiting += list.__iter__(value)
    return True


# --- pages --------------------------------------------------------------------------------------------------


def _pages(reader: PdfReader, max_pages: int | None) -> list[DictionaryObject]:
    """Walks the page tree. pypdf skips entries that are gone; the declared count tells that they existed."""
    tree = resolved(reader.root_object.get("/Pages"))
    declared = resolved(tree.get("/Count")) if isinstance(tree, DictionaryObject) else None
    try:
        pages: list[DictionaryObject] = list(reader.pages)
    except LimitReachedError as error:
        limit = PAGES if max_pages is None else min(PAGES, max_pages)
        if isinstance(declared, int) and declared > limit:
            raise Found(Problem.TOO_MANY_PAGES, pages=int(declared), limit=limit) from error
        raise
    if isinstance(declared, int) and declared > len(pages):
        raise Found(Problem.MISSING_PAGES, pages=len(pages), declared=int(declared))
    if not pages:
        raise Found(Problem.NO_PAGES)
    return pages
