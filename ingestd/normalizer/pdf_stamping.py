"""Forms (XObjects) drawn onto a page of a PDF, each into its rectangle, over what the page shows."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    IndirectObject,
    NameObject,
    PdfObject,
    StreamObject,
)

from ingestd.normalizer.pdf import forgiving, resolved
from ingestd.normalizer.pdf_assembling import Shelf, reference_of
from ingestd.normalizer.pdf_values import dictionary, numbers

_SAVED_STATES = 100

Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """A form and where it goes: left, bottom, right, top on the page, in points."""

    stream: StreamObject
    rectangle: Rectangle


def stamp(page: DictionaryObject, stamps: Sequence[Stamp], shelf: Shelf) -> None:
    """Draws them behind the page's own content, which is kept from moving what follows (q … Q)."""
    resources = DictionaryObject(dictionary(page.get("/Resources")) or {})
    xobjects = DictionaryObject(dictionary(resources.get("/XObject")) or {})
    parts = _contents(page)
    restored, saved = _unbalanced(parts)
    content = [b"\nQ" + b" Q" * saved]
    number = 0
    for one in stamps:
        while (name := f"/Field{number}") in xobjects:
            number += 1
        xobjects[NameObject(name)] = reference_of(one.stream) or shelf.add(one.stream)
        a, d, e, f = _placement(one)
        matrix = " ".join(f"{value:.5f}" for value in (a, 0.0, 0.0, d, e, f))
        content.append(f"q {matrix} cm {name} Do Q".encode())
    resources[NameObject("/XObject")] = xobjects
    page[NameObject("/Resources")] = resources
    before, behind = DecodedStreamObject(), DecodedStreamObject()
    before.set_data(b"q" + b" q" * restored + b"\n")
    behind.set_data(b"\n".join(content))
    page[NameObject("/Contents")] = ArrayObject([shelf.add(before), *parts, shelf.add(behind)])


def _placement(one: Stamp) -> tuple[float, float, float, float]:
    """The algorithm of section 12.5.5: scale and shift of the transformed box to the field."""
    box = numbers(one.stream.get("/BBox"), 4) or (
        0.0,
        0.0,
        one.rectangle[2] - one.rectangle[0],
        one.rectangle[3] - one.rectangle[1],
    )
    a, b, c, d, e, f = numbers(one.stream.get("/Matrix"), 6) or (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    corners = [(a * x + c * y + e, b * x + d * y + f) for x in (box[0], box[2]) for y in (box[1], box[3])]
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    bottom, top = min(y for _, y in corners), max(y for _, y in corners)
    scale_x = (one.rectangle[2] - one.rectangle[0]) / (right - left) if right > left else 1.0
    scale_y = (one.rectangle[3] - one.rectangle[1]) / (top - bottom) if top > bottom else 1.0
    return scale_x, scale_y, one.rectangle[0] - left * scale_x, one.rectangle[1] - bottom * scale_y


def _contents(page: DictionaryObject) -> list[PdfObject]:
    raw: PdfObject | None = page.raw_get("/Contents") if "/Contents" in page else None
    array = resolved(raw)
    if isinstance(array, ArrayObject):
        return [item for item in list.__iter__(array) if isinstance(item, IndirectObject)]
    return [raw] if isinstance(raw, IndirectObject) else []


def _unbalanced(contents: Sequence[PdfObject]) -> tuple[int, int]:
    """How many states (q) the content restores without having saved them, and how many it leaves saved.

    Readers differ in what a Q too many does: some lose whatever is drawn after it.
    """
    streams = [found for item in contents if isinstance(found := resolved(item), StreamObject)]
    depth = lowest = 0
    for operator in _operators(b"\n".join(forgiving(stream.get_data) or b"" for stream in streams)):
        depth += 1 if operator == b"q" else -1
        lowest = min(lowest, depth)
    return min(-lowest, _SAVED_STATES), min(depth - lowest, _SAVED_STATES)


_TOKEN = re.compile(rb"%[^\r\n]*|\(|(?<![^\s\0()<>\[\]{}])(?:q|Q|ID)(?![^\s\0()<>\[\]{}/%])")
_IN_STRING = re.compile(rb"\\.|[()]", re.DOTALL)
_END_OF_PICTURE = re.compile(rb"(?<=\s)EI(?![^\s])")


def _operators(content: bytes) -> Iterator[bytes]:
    """Each q and Q that is one: not within a string, a comment, or the samples of a picture."""
    position = 0
    while (token := _TOKEN.search(content, position)) is not None:
        position = token.end()
        match token[0]:
            case b"(":
                position = _end_of_string(content, position)
            case b"ID":
                end = _END_OF_PICTURE.search(content, position)
                position = end.end() if end is not None else position
            case b"q" | b"Q":
                yield token[0]


def _end_of_string(content: bytes, position: int) -> int:
    """Behind its last bracket; strings may hold brackets in pairs (section 7.3.4.2)."""
    depth = 1
    for found in _IN_STRING.finditer(content, position):
        depth += {b"(": 1, b")": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return len(content)
