"""The pictures that pages of a PDF draw, each with the paper it covers.

What stands in patterns, notes or the content itself is not looked for: such pictures are small.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pypdf import PageObject
from pypdf.generic import ContentStream, DictionaryObject, StreamObject

from ingestd.normalizer.pdf import forgiving, packed, resolved
from ingestd.normalizer.pdf_values import dictionary, numbers

_POINTS_PER_INCH = 72
_FORM_DEPTH = 8
_PICTURES = 2_000
_CONTENT_BYTES = 2_000_000  # pypdf takes its time: longer content is not searched for places
_WORTH_BYTES = 4_000
_DEFAULTS = ("/DefaultGray", "/DefaultRGB", "/DefaultCMYK")

_Matrix = tuple[float, float, float, float, float, float]
_UNIT: _Matrix = (1, 0, 0, 1, 0, 0)


@dataclass(slots=True, kw_only=True, eq=False)
class Drawn:
    """A picture and its pixels for each inch of paper where it is drawn largest (or fewer, never more).

    `remapped`: where it is drawn, the device's colours stand for others (ISO 32000-2 section 8.6.5.6).
    """

    stream: StreamObject
    width: int
    height: int
    dpi: float
    remapped: bool

    @property
    def size(self) -> int:
        """In bytes, as it is packed."""
        return len(packed(self.stream))


@dataclass(frozen=True, slots=True)
class _Named:
    """A picture as the resources of a page or form name it."""

    stream: StreamObject
    remapped: bool


def pictures_of(pages: Sequence[DictionaryObject]) -> list[Drawn]:
    """Each picture once, however often it is drawn; those that are worth making lighter, largest first."""
    found: dict[int, Drawn] = {}
    for page in pages:
        inches = _page_inches(page)
        places = forgiving(lambda page=page: _places(page)) or {}  # type: ignore[misc] # mypy does not infer a lambda's default
        for named in _pictures(resolved(page.get("/Resources")), depth=0, seen=set()):
            if len(found) >= _PICTURES:
                break
            _note(found, named, places.get(id(named.stream), inches))
    return sorted(found.values(), key=lambda drawn: drawn.size, reverse=True)


def _note(found: dict[int, Drawn], named: _Named, inches: tuple[float, float]) -> None:
    stream = named.stream
    width, height = resolved(stream.get("/Width")), resolved(stream.get("/Height"))
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        return
    if len(packed(stream)) < _WORTH_BYTES:
        return
    dpi = min(width / max(inches[0], 0.01), height / max(inches[1], 0.01))
    known = found.get(id(stream))
    if known is None:
        found[id(stream)] = Drawn(
            stream=stream, width=int(width), height=int(height), dpi=dpi, remapped=named.remapped
        )
    else:
        known.dpi = min(known.dpi, dpi)
        known.remapped = known.remapped or named.remapped


def _pictures(resources: object, *, depth: int, seen: set[int], remapped: bool = False) -> Iterator[_Named]:
    """A form is looked into once for each page, however many name it."""
    if not isinstance(resources, DictionaryObject):
        return
    spaces = dictionary(resources.get("/ColorSpace")) or DictionaryObject()
    remapped = remapped or any(name in spaces for name in _DEFAULTS)
    named = dictionary(resources.get("/XObject")) or DictionaryObject()
    for name in named:
        xobject = forgiving(lambda name=name: resolved(named.raw_get(name)))  # type: ignore[misc] # as above
        if not isinstance(xobject, StreamObject):
            continue
        if xobject.get("/Subtype") == "/Image":
            yield _Named(xobject, remapped)
        elif depth < _FORM_DEPTH and id(xobject) not in seen:
            seen.add(id(xobject))
            own = resolved(xobject.get("/Resources"))
            yield from _pictures(own, depth=depth + 1, seen=seen, remapped=remapped)


def _page_inches(page: DictionaryObject) -> tuple[float, float]:
    box = numbers(page.get("/MediaBox"), 4) or (0.0, 0.0, 8.5 * _POINTS_PER_INCH, 11.0 * _POINTS_PER_INCH)
    unit = _unit_inches(page)
    return abs(box[2] - box[0]) * unit, abs(box[3] - box[1]) * unit


def _unit_inches(page: DictionaryObject) -> float:
    """Of one unit of the page's own coordinates (table 31, UserUnit)."""
    unit = resolved(page.get("/UserUnit"))
    return (float(unit) if isinstance(unit, int | float) and 0 < unit < 1e5 else 1.0) / _POINTS_PER_INCH


def _places(page: DictionaryObject) -> dict[int, tuple[float, float]]:
    """For the pictures that the page itself draws: the largest width and height, in inches."""
    contents = page.get_contents() if isinstance(page, PageObject) else None
    resources = dictionary(page.get("/Resources"))
    named = dictionary(resources.get("/XObject")) if resources is not None else None
    if contents is None or named is None or len(contents.get_data()) > _CONTENT_BYTES:
        return {}
    places: dict[int, tuple[float, float]] = {}
    unit = _unit_inches(page)
    for name, matrix in _drawings(contents):
        picture = resolved(named.get(name))
        a, b, c, d, _, _ = matrix
        width, height = ((a * a + b * b) ** 0.5, (c * c + d * d) ** 0.5)
        before = places.get(id(picture), (0.0, 0.0))
        places[id(picture)] = (max(before[0], width * unit), max(before[1], height * unit))
    return places


def _drawings(contents: ContentStream) -> Iterator[tuple[str, _Matrix]]:
    """What `Do` names, with the matrix it is drawn under."""
    current, stack = _UNIT, list[_Matrix]()
    for operands, operator in contents.operations:
        if operator == b"q":
            stack.append(current)
        elif operator == b"Q" and stack:
            current = stack.pop()
        elif operator == b"cm" and len(operands) == 6:
            a, b, c, d, e, f = map(float, operands)
            current = _multiplied((a, b, c, d, e, f), current)
        elif operator == b"Do" and operands:
            yield str(operands[0]), current


def _multiplied(first: _Matrix, second: _Matrix) -> _Matrix:
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)
