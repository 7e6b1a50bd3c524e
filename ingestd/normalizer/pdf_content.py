"""What the content of pages draws: everything it names is there, and all of it together comes to an end.

A drawing (form XObject, pattern) may draw others, so a page of a few bytes can ask for a million million of
them (ISO 32000-2 section 8.10). What a page asks for is added up before PDFium, which has no such limit, does
it. Operators are searched for, not parsed: text that looks like one costs nothing but its weight.
"""

import re
from collections.abc import Iterator
from io import BytesIO

from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NullObject, StreamObject

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.pdf import STREAM_BYTES, filters, inflated, packed, resolved, zlib_layers

_WORK = 100_000_000
"""Of one page: bytes of content, each time they are drawn. PDFium takes a few seconds for them."""
_CALL_WORK = 1_000
_PIXELS_FOR_A_BYTE = 32
_NESTED = 25
"""Viewers stop somewhere, PDFium at 40, and what lies deeper is missing then."""

_BLANK = rb"(?:[\0\t\n\f\r ]|%[^\r\n]*[\r\n])"
_NAMED = re.compile(rb"/([^\0\t\n\f\r ()<>\[\]{}/%]*)" + _BLANK + rb"*+(Do|scn|SCN)\b")
_DO = re.compile(rb"\bDo\b")
_PAINTS = re.compile(rb"(?<![^\s\0\])>])(?:Do|Tj|TJ|'|\"|f\*?|F|[bB]\*?|[sS]|sh|EI)(?![^\s\0/\[(<])")


def content_of(page: DictionaryObject, *, whole: bool = False) -> bytes:
    """What its streams say, one behind the other. Called within `pdf.judging()`.

    Raises Found: CORRUPT for a part that is none (`whole`: or is cut off), TOO_COMPLEX; and as pypdf does.
    """
    if "/Contents" not in page:
        return b""
    contents = resolved(page.raw_get("/Contents"))
    parts: list[bytes] = []
    for item in list.__iter__(contents) if isinstance(contents, ArrayObject) else [contents]:
        stream = resolved(item)
        if not isinstance(stream, StreamObject):
            # What a reference finds nothing behind is null, and null is no content (section 7.3.10).
            if whole or not isinstance(stream, NullObject | None):
                raise Found(Problem.CORRUPT)
            continue
        parts.append(_unpacked(stream, STREAM_BYTES - sum(map(len, parts)), whole=whole))
    return b"\n".join(parts)


def paints(content: bytes) -> bool:
    """Whether something is drawn there, be it white."""
    return _PAINTS.search(content) is not None


class Contents:
    """The content of the pages of one document; what they share is read once."""

    def __init__(self, *, whole: bool) -> None:
        """`whole`: a name that stands for nothing and content that is cut off are damage, too."""
        self._whole = whole
        self._work: dict[tuple[int, int], int] = {}
        self._kept: list[object] = []  # so that no other object gets the identity of one that is known
        self._open: set[tuple[int, int]] = set()

    def check(self, page: DictionaryObject) -> None:
        """Called within `pdf.judging()`.

        Raises Found: CORRUPT for a picture or drawing that the content uses and that is none, TOO_COMPLEX;
        and as pypdf does.
        """
        resources = resolved(page.get("/Resources"))
        work = self._work_of(content_of(page, whole=self._whole), resources)
        for appearance in _appearances(page):
            work += self._drawing(appearance, resources)
        if work > _WORK:
            raise Found(Problem.TOO_COMPLEX)

    def _work_of(self, content: bytes, resources: object) -> int:
        calls = list(_calls(content))
        called = [self._called(name, operator, resources) for name, operator in calls]
        # Where the operand is no name, or not the last one, it may be any of these to PDFium.
        unnamed = len(_DO.findall(content)) - sum(operator == b"Do" for _, operator in calls)
        return len(content) + sum(called) + unnamed * max(called, default=0)

    def _called(self, name: str, operator: bytes, resources: object) -> int:
        kind = "/XObject" if operator == b"Do" else "/Pattern"
        named = resolved(resources.get(kind)) if isinstance(resources, DictionaryObject) else None
        if not isinstance(named, DictionaryObject) or name not in named:
            if self._whole:
                raise Found(Problem.CORRUPT)
            return _CALL_WORK  # every viewer passes over it
        target = resolved(named.raw_get(name))
        if kind == "/Pattern":
            return self._drawing(target, resources) if isinstance(target, StreamObject) else _CALL_WORK
        if not isinstance(target, StreamObject):
            raise Found(Problem.CORRUPT)
        match resolved(target.get("/Subtype")):
            case "/Image":
                return _CALL_WORK + _pixels(target) // _PIXELS_FOR_A_BYTE
            case "/Form":
                return self._drawing(target, resources)
            case "/PS":
                return _CALL_WORK  # for printers only
        raise Found(Problem.CORRUPT)

    def _drawing(self, form: StreamObject, outer: object) -> int:
        """A form without resources draws with those of whoever draws it (table 93, obsolescent)."""
        own = resolved(form.get("/Resources"))
        resources = own if isinstance(own, DictionaryObject) else outer
        key = (id(form), id(resources))
        if key not in self._work:
            if key in self._open or len(self._open) >= _NESTED:
                raise Found(Problem.TOO_COMPLEX)
            self._open.add(key)
            content = _unpacked(form, STREAM_BYTES, whole=self._whole)
            self._work[key] = min(_CALL_WORK + self._work_of(content, resources), 2 * _WORK)
            self._kept += (form, resources)
            self._open.remove(key)
        return self._work[key]


def _unpacked(stream: StreamObject, room: int, *, whole: bool) -> bytes:
    names = filters(stream)
    if not names:
        content = packed(stream)
    elif zlib_layers(stream) == len(names) and "/DecodeParms" not in stream:
        content = _joined(inflated(stream, whole=whole), room)
    else:
        content = stream.get_data()
    if len(content) > room:
        raise Found(Problem.TOO_COMPLEX)
    return content


def _joined(chunks: Iterator[bytes], room: int) -> bytes:
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > room:
            raise Found(Problem.TOO_COMPLEX)
    return bytes(content)


def _calls(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and operator of everything that draws something else."""
    for found in _NAMED.finditer(content):
        yield str(NameObject.read_from_stream(BytesIO(b"/" + found[1] + b" "), None)), found[2]


def _pixels(picture: StreamObject) -> int:
    width, height = resolved(picture.get("/Width")), resolved(picture.get("/Height"))
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        raise Found(Problem.CORRUPT)
    return int(width * height)


def _appearances(page: DictionaryObject) -> Iterator[StreamObject]:
    """What its annotations may look like. Damage there costs a note, not the page."""
    annotations = resolved(page.get("/Annots"))
    for item in annotations if isinstance(annotations, ArrayObject) else ():
        annotation = resolved(item)
        entry = resolved(annotation.get("/AP")) if isinstance(annotation, DictionaryObject) else None
        normal = resolved(entry.get("/N")) if isinstance(entry, DictionaryObject) else None
        if isinstance(normal, StreamObject):
            yield normal
        elif isinstance(normal, DictionaryObject):
            yield from (
                found for state in normal if isinstance(found := resolved(normal.get(state)), StreamObject)
            )
