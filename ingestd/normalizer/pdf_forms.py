"""Forms of a PDF made part of its pages: what a person filled in is drawn where every reader sees it.

A widget's own appearance is drawn as it is (ISO 32000-2 section 12.5.5). Where there is none, or the form
says that they are out of date, its value is drawn. Signature fields alone are no reason to change a document:
the change would destroy the signature, and readers show them.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    IndirectObject,
    NameObject,
    NumberObject,
    PdfObject,
    StreamObject,
    TextStringObject,
)

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.pdf import forgiving, resolved
from ingestd.normalizer.pdf_active import annotations, keep_annotations
from ingestd.normalizer.pdf_appearances import (
    Align,
    Family,
    Field,
    NotDrawable,
    mark_appearance,
    text_appearance,
)
from ingestd.normalizer.pdf_assembling import Shelf, reference_of
from ingestd.normalizer.pdf_xfa import Datasets, read_datasets

_ANCESTORS = 32
_SAVED_STATES = 100
_HIDDEN, _NO_VIEW = 1 << 1, 1 << 5  # table 167
_MULTILINE, _PASSWORD, _COMB = 1 << 12, 1 << 13, 1 << 24  # table 231
_RADIO, _PUSH_BUTTON = 1 << 15, 1 << 16  # table 229
_COMBO = 1 << 17  # table 233


def flatten(
    catalog: DictionaryObject, pages: Sequence[DictionaryObject], shelf: Shelf, *, signatures: bool = False
) -> bool:
    """Draws the form's fields onto the pages and takes the form out; whether there was one to flatten.

    `signatures`: also where it has nothing but signature fields, because the document changes anyway.
    Raises Found: FORM, where values can't be made visible.
    """
    form = _dictionary(catalog.get("/AcroForm"))
    if form is None:
        return False
    widgets = [_widgets(page) for page in pages]
    everything = [widget for of_page in widgets for widget in of_page]
    has_xfa = "/XFA" in form
    datasets = read_datasets(form.get("/XFA")) if has_xfa else None
    if has_xfa and _is_dynamic(catalog, everything):
        raise Found(Problem.FORM)
    only_signatures = all(_inherited(widget, "/FT") == "/Sig" for widget in everything)
    if not has_xfa and only_signatures and not (signatures and everything):
        return False
    flattening = _Flattening(form, shelf, datasets)
    for page, of_page in zip(pages, widgets, strict=True):
        if of_page:
            flattening.flatten_page(page, of_page)
    for name in ("/AcroForm", "/NeedsRendering"):
        catalog.pop(name, None)
    return True


def is_signed(catalog: DictionaryObject, pages: Sequence[DictionaryObject]) -> bool:
    """Whether a digital signature covers the document: a signature field with a value (section 12.8)."""
    if _dictionary(catalog.get("/Perms")) is not None:
        return True
    form = _dictionary(catalog.get("/AcroForm"))
    fields = _array(form.get("/Fields")) if form is not None else ()
    listed = [found for item in fields if (found := _dictionary(item)) is not None]
    candidates = [*listed, *(widget for page in pages for widget in _widgets(page))]
    return any(_inherited(one, "/FT") == "/Sig" and _inherited(one, "/V") is not None for one in candidates)


def _is_dynamic(catalog: DictionaryObject, widgets: Sequence[DictionaryObject]) -> bool:
    """An XFA form whose pages only say "please wait": what it shows is laid out by Adobe's viewer alone."""
    if not widgets:
        return True
    needs_rendering = str(resolved(catalog.get("/NeedsRendering"))).lower() == "true"
    return needs_rendering and not any(_text_value(_inherited(widget, "/V")) for widget in widgets)


def _widgets(page: DictionaryObject) -> list[DictionaryObject]:
    return [one for one in annotations(page) if one.get("/Subtype") == "/Widget"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """An appearance and where it goes: x, y, x, y on the page."""

    stream: StreamObject
    rectangle: tuple[float, float, float, float]


class _Flattening:
    def __init__(self, form: DictionaryObject, shelf: Shelf, datasets: Datasets | None) -> None:
        self._form = form
        self._shelf = shelf
        self._datasets = datasets
        self._out_of_date = str(resolved(form.get("/NeedAppearances"))).lower() == "true"

    def flatten_page(self, page: DictionaryObject, widgets: Sequence[DictionaryObject]) -> None:
        drawn = [one for widget in widgets if (one := self._drawn(widget)) is not None]
        gone = {id(widget) for widget in widgets}
        keep_annotations(page, [one for one in annotations(page) if id(one) not in gone])
        if drawn:
            self._draw(page, drawn)

    def _drawn(self, widget: DictionaryObject) -> _Drawn | None:
        flags = _integer(widget.get("/F"))
        rectangle = _numbers(widget.get("/Rect"), 4)
        # Its value is taken in any case: of several with the same name in the data, each has its own.
        text = self._text(widget)
        if rectangle is None or flags & (_HIDDEN | _NO_VIEW):
            return None
        left, bottom, right, top = rectangle
        ordered = (min(left, right), min(bottom, top), max(left, right), max(bottom, top))
        if ordered[0] == ordered[2] or ordered[1] == ordered[3]:
            return None
        stream = self._appearance(widget, text, ordered)
        return None if stream is None else _Drawn(stream=stream, rectangle=ordered)

    def _text(self, widget: DictionaryObject) -> str:
        text = _text_value(_display_value(widget))
        if self._datasets is None:
            return text
        from_data = self._datasets.take(_name_path(widget))
        return text or from_data

    def _appearance(
        self, widget: DictionaryObject, text: str, rectangle: tuple[float, float, float, float]
    ) -> StreamObject | None:
        own = _normal_appearance(widget)
        kind = _inherited(widget, "/FT")
        if kind == "/Btn":
            return own if own is not None or not _is_on(widget) else _mark(widget, rectangle)
        if kind not in ("/Tx", "/Ch") or not text:
            return own
        if own is not None and not self._out_of_date and _shows_something(own):
            return own
        try:
            return text_appearance(text, self._field(widget, rectangle))
        except NotDrawable as error:
            if own is not None and _shows_something(own):
                return own
            raise Found(Problem.FORM) from error

    def _field(self, widget: DictionaryObject, rectangle: tuple[float, float, float, float]) -> Field:
        flags = _integer(_inherited(widget, "/Ff"))
        is_text = _inherited(widget, "/FT") == "/Tx"
        comb = is_text and flags & _COMB and not flags & (_MULTILINE | _PASSWORD)
        width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
        default = _inherited(widget, "/DA") or resolved(self._form.get("/DA"))
        font_name, size, colour = _default_appearance(default)
        align = _integer(_inherited(widget, "/Q") or resolved(self._form.get("/Q")))
        aligned: Align = 1 if align == 1 else 2 if align == 2 else 0
        return Field(
            width=width,
            height=height,
            family=self._family(font_name),
            size=min(size, 200.0),
            colour=colour,
            align=aligned,
            multiline=bool(flags & _MULTILINE) if is_text else not flags & _COMBO,
            cells=max(0, min(_integer(_inherited(widget, "/MaxLen")), 500)) if comb else 0,
            turned=_integer(_characteristic(widget, "/R")) % 360,
            background=_background(widget, width, height),
        )

    def _family(self, font_name: str) -> Family:
        resources = _dictionary(self._form.get("/DR"))
        fonts = _dictionary(resources.get("/Font")) if resources is not None else None
        font = _dictionary(fonts.get(font_name)) if fonts is not None else None
        base = str(resolved(font.get("/BaseFont")) if font is not None else font_name).lower()
        if "cour" in base or base == "/cobo":
            return "Courier"
        return "Times-Roman" if "times" in base or base == "/tiro" else "Helvetica"

    def _draw(self, page: DictionaryObject, drawn: Sequence[_Drawn]) -> None:
        """Behind the page's own content, which is kept from moving what follows (q … Q)."""
        resources = DictionaryObject(_dictionary(page.get("/Resources")) or {})
        xobjects = DictionaryObject(_dictionary(resources.get("/XObject")) or {})
        parts = _contents(page)
        content = [b"\nQ" + b" Q" * _left_open(parts)]
        number = 0
        for one in drawn:
            while (name := f"/Field{number}") in xobjects:
                number += 1
            xobjects[NameObject(name)] = self._referred(one.stream)
            a, d, e, f = _placement(one)
            numbers = " ".join(f"{value:.5f}" for value in (a, 0.0, 0.0, d, e, f))
            content.append(f"q {numbers} cm {name} Do Q".encode())
        resources[NameObject("/XObject")] = xobjects
        page[NameObject("/Resources")] = resources
        before, behind = DecodedStreamObject(), DecodedStreamObject()
        before.set_data(b"q\n")
        behind.set_data(b"\n".join(content))
        page[NameObject("/Contents")] = ArrayObject(
            [self._shelf.add(before), *parts, self._shelf.add(behind)]
        )

    def _referred(self, stream: StreamObject) -> PdfObject:
        stream[NameObject("/Type")] = NameObject("/XObject")
        stream[NameObject("/Subtype")] = NameObject("/Form")
        if "/Resources" not in stream and "/DR" in self._form:
            stream[NameObject("/Resources")] = self._form.raw_get("/DR")
        return reference_of(stream) or self._shelf.add(stream)


# --- appearances --------------------------------------------------------------------------------------------


def _normal_appearance(widget: DictionaryObject) -> StreamObject | None:
    appearances = _dictionary(widget.get("/AP"))
    normal = _dictionary(appearances.get("/N")) if appearances is not None else None
    if normal is None or isinstance(normal, StreamObject):
        return normal
    state = resolved(widget.get("/AS"))
    if state is None:
        state = _inherited(widget, "/V")
    chosen = _dictionary(normal.get(str(state)))
    return chosen if isinstance(chosen, StreamObject) else None


def _shows_something(stream: StreamObject) -> bool:
    """Whether it has an operator that draws text, a picture or another form."""
    data = forgiving(stream.get_data)
    return data is None or re.search(rb"[)>\]]\s*(?:Tj|TJ|'|\")|\bDo\b", data) is not None


def _is_on(widget: DictionaryObject) -> bool:
    if _integer(_inherited(widget, "/Ff")) & _PUSH_BUTTON:
        return False
    state = resolved(widget.get("/AS"))
    value = _inherited(widget, "/V")
    shown = value if state is None else state
    return isinstance(shown, NameObject) and shown not in ("/Off", "/")


def _mark(widget: DictionaryObject, rectangle: tuple[float, float, float, float]) -> StreamObject:
    width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
    is_radio = bool(_integer(_inherited(widget, "/Ff")) & _RADIO)
    background = _background(widget, width, height)
    return mark_appearance(
        "dot" if is_radio else "check", Field(width=width, height=height, background=background)
    )


def _background(widget: DictionaryObject, width: float, height: float) -> bytes:
    """The field's box as its characteristics colour it (table 192)."""
    inside = b"0 0 %.2f %.2f re" % (width, height)
    parts = [b"q"]
    if (fill := _colour(_characteristic(widget, "/BG"), (b"g", b"rg", b"k"))) is not None:
        parts += [fill, inside, b"f"]
    if (line := _colour(_characteristic(widget, "/BC"), (b"G", b"RG", b"K"))) is not None:
        parts += [line, b"1 w", b"0.5 0.5 %.2f %.2f re" % (max(0, width - 1), max(0, height - 1)), b"S"]
    return b" ".join([*parts, b"Q"]) if len(parts) > 1 else b""


def _colour(value: object, operators: tuple[bytes, bytes, bytes]) -> bytes | None:
    for count, operator in zip((1, 3, 4), operators, strict=True):
        numbers = _numbers(value, count)
        if numbers is not None:
            return b" ".join(b"%.3f" % number for number in numbers) + b" " + operator
    return None


def _placement(one: _Drawn) -> tuple[float, float, float, float]:
    """The algorithm of section 12.5.5: scale and shift of the transformed box to the field."""
    box = _numbers(one.stream.get("/BBox"), 4) or (
        0.0,
        0.0,
        one.rectangle[2] - one.rectangle[0],
        one.rectangle[3] - one.rectangle[1],
    )
    a, b, c, d, e, f = _numbers(one.stream.get("/Matrix"), 6) or (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
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


def _left_open(contents: Sequence[PdfObject]) -> int:
    """How many saved states (q) the content forgets to restore (Q). Readers ignore a Q too many."""
    streams = [found for item in contents if isinstance(found := resolved(item), StreamObject)]
    data = b"\n".join(forgiving(stream.get_data) or b"" for stream in streams)
    saved = len(re.findall(rb"(?<!\S)q(?!\S)", data))
    return max(0, min(saved - len(re.findall(rb"(?<!\S)Q(?!\S)", data)), _SAVED_STATES))


# --- fields -------------------------------------------------------------------------------------------------


def _lineage(widget: DictionaryObject) -> Iterator[DictionaryObject]:
    current: DictionaryObject | None = widget
    for _ in range(_ANCESTORS):
        if current is None:
            return
        yield current
        current = _dictionary(current.get("/Parent"))


def _inherited(widget: DictionaryObject, name: str) -> Any:
    for field in _lineage(widget):
        if name in field:
            return resolved(field.get(name))
    return None


def _name_path(widget: DictionaryObject) -> tuple[str, ...]:
    """The field's full name, outermost part first."""
    parts = [str(resolved(field.get("/T"))) for field in _lineage(widget) if "/T" in field]
    return tuple(part for name in reversed(parts) for part in name.split("."))


def _display_value(widget: DictionaryObject) -> object:
    """Of a choice, what its list calls the chosen values (table 234)."""
    value = _inherited(widget, "/V")
    options = _inherited(widget, "/Opt")
    if _inherited(widget, "/FT") != "/Ch" or not isinstance(options, ArrayObject):
        if _inherited(widget, "/FT") == "/Tx" and _integer(_inherited(widget, "/Ff")) & _PASSWORD:
            return TextStringObject("*" * len(_text_value(value)))
        return value
    names: dict[str, str] = {}
    for option in options[:5000]:
        pair = resolved(option)
        if isinstance(pair, ArrayObject) and len(pair) == 2:
            names[_text_value(resolved(pair[0]))] = _text_value(resolved(pair[1]))
    chosen = value if isinstance(value, ArrayObject) else [value]
    texts = [_text_value(resolved(one)) for one in chosen]
    return TextStringObject("\n".join(names.get(text, text) for text in texts))


def _text_value(value: object) -> str:
    if isinstance(value, StreamObject):
        data = forgiving(value.get_data) or b""
        return str(TextStringObject(data))
    if isinstance(value, ArrayObject):
        return "\n".join(_text_value(resolved(item)) for item in value)
    if value is None or isinstance(value, NameObject):
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if isinstance(value, str | int | float) else ""


def _default_appearance(value: object) -> tuple[str, float, bytes]:
    """Font name, size (0: automatic) and colour operators of a /DA string."""
    text = _text_value(value).encode("latin-1", "replace")
    font = re.findall(rb"/(\S+)\s+(-?\d*\.?\d+)\s+Tf", text)
    colours = re.findall(rb"((?:-?\d*\.?\d+\s+){1,4})(g|rg|k)\b", text)
    name, size = (font[-1][0].decode("latin-1"), abs(float(font[-1][1]))) if font else ("Helv", 0.0)
    wanted = {b"g": 1, b"rg": 3, b"k": 4}
    fitting = [b" ".join([*n.split(), op]) for n, op in colours if len(n.split()) == wanted[op]]
    return f"/{name}", size, fitting[-1] if fitting else b"0 g"


def _characteristic(widget: DictionaryObject, name: str) -> object:
    characteristics = _dictionary(widget.get("/MK"))
    return resolved(characteristics.get(name)) if characteristics is not None else None


# --- values -------------------------------------------------------------------------------------------------


def _dictionary(value: object) -> DictionaryObject | None:
    target = forgiving(value.get_object) if isinstance(value, IndirectObject) else value
    return target if isinstance(target, DictionaryObject) else None


def _array(value: object) -> Sequence[object]:
    target = forgiving(value.get_object) if isinstance(value, IndirectObject) else value
    return list(list.__iter__(target)) if isinstance(target, ArrayObject) else ()


def _integer(value: object) -> int:
    target = resolved(value)
    return int(target) if isinstance(target, NumberObject) else 0


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    items = [resolved(item) for item in _array(value)]
    if len(items) != count or not all(isinstance(item, int | float) for item in items):
        return None
    numbers = tuple(float(item) for item in items if isinstance(item, int | float))
    return numbers if all(abs(number) < 1e6 for number in numbers) else None
