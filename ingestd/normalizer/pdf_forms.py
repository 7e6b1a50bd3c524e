"""Forms of a PDF made part of its pages: what a person filled in is drawn where every reader sees it.

A widget's own appearance is drawn as it is (ISO 32000-2 section 12.5.5). Where there is none, or the form
says that they are out of date, its value is drawn. Signature fields alone are no reason to change a document:
the change would destroy the signature, and readers show them.
"""

import re
from collections.abc import Sequence

from pypdf.generic import DictionaryObject, NameObject, PdfObject, StreamObject

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.pdf import forgiving, packed, repack, resolved
from ingestd.normalizer.pdf_active import annotations, keep_annotations
from ingestd.normalizer.pdf_appearances import (
    Align,
    Family,
    Field,
    NotDrawable,
    mark_appearance,
    text_appearance,
)
from ingestd.normalizer.pdf_assembling import Shelf
from ingestd.normalizer.pdf_fields import (
    PASSWORD,
    characteristic,
    default_appearance,
    display_value,
    inherited,
    name_path,
    text_value,
)
from ingestd.normalizer.pdf_stamping import Rectangle, Stamp, stamp
from ingestd.normalizer.pdf_values import array, dictionary, integer, numbers
from ingestd.normalizer.pdf_xfa import Datasets, read_datasets

_HIDDEN, _NO_VIEW = 1 << 1, 1 << 5  # table 167
_MULTILINE, _COMB = 1 << 12, 1 << 24  # table 231
_RADIO, _PUSH_BUTTON = 1 << 15, 1 << 16  # table 229
_COMBO = 1 << 17  # table 233


def flatten(
    catalog: DictionaryObject, pages: Sequence[DictionaryObject], shelf: Shelf, *, signatures: bool = False
) -> bool:
    """Draws the form's fields onto the pages and takes the form out; whether there was one to flatten.

    `signatures`: also where it has nothing but signature fields, because the document changes anyway.
    Raises Found: FORM for a form that only Adobe's viewer lays out; with its page for a value that nobody
    drew and no standard font can show.
    """
    form = dictionary(catalog.get("/AcroForm"))
    if form is None:
        return False
    widgets = [_widgets(page) for page in pages]
    everything = [widget for of_page in widgets for widget in of_page]
    has_xfa = "/XFA" in form
    datasets = read_datasets(form.get("/XFA")) if has_xfa else None
    if has_xfa and _is_dynamic(catalog, everything):
        raise Found(Problem.FORM)
    only_signatures = all(inherited(widget, "/FT") == "/Sig" for widget in everything)
    if not has_xfa and only_signatures and not (signatures and everything):
        return False
    flattening = _Flattening(form, shelf, datasets)
    for number, (page, of_page) in enumerate(zip(pages, widgets, strict=True), 1):
        try:
            flattening.flatten_page(page, of_page)
        except NotDrawable as error:
            raise Found(Problem.FORM, page=number) from error
    for name in ("/AcroForm", "/NeedsRendering"):
        catalog.pop(name, None)
    return True


def is_signed(catalog: DictionaryObject, pages: Sequence[DictionaryObject]) -> bool:
    """Whether a digital signature covers the document: a signature field with a value (section 12.8)."""
    if dictionary(catalog.get("/Perms")) is not None:
        return True
    form = dictionary(catalog.get("/AcroForm"))
    fields = array(form.get("/Fields")) if form is not None else ()
    listed = [found for item in fields if (found := dictionary(item)) is not None]
    candidates = [*listed, *(widget for page in pages for widget in _widgets(page))]
    return any(inherited(one, "/FT") == "/Sig" and inherited(one, "/V") is not None for one in candidates)


def _is_dynamic(catalog: DictionaryObject, widgets: Sequence[DictionaryObject]) -> bool:
    """An XFA form whose pages only say "please wait": what it shows is laid out by Adobe's viewer alone."""
    if not widgets:
        return True
    needs_rendering = str(resolved(catalog.get("/NeedsRendering"))).lower() == "true"
    return needs_rendering and not any(text_value(inherited(widget, "/V")) for widget in widgets)


def _widgets(page: DictionaryObject) -> list[DictionaryObject]:
    return [one for one in annotations(page) if one.get("/Subtype") == "/Widget"]


class _Flattening:
    def __init__(self, form: DictionaryObject, shelf: Shelf, datasets: Datasets | None) -> None:
        self._form = form
        self._shelf = shelf
        self._datasets = datasets
        self._out_of_date = str(resolved(form.get("/NeedAppearances"))).lower() == "true"

    def flatten_page(self, page: DictionaryObject, widgets: Sequence[DictionaryObject]) -> None:
        """Raises NotDrawable."""
        if not widgets:
            return
        drawn = [one for widget in widgets if (one := self._drawn(widget)) is not None]
        gone = {id(widget) for widget in widgets}
        keep_annotations(page, [one for one in annotations(page) if id(one) not in gone])
        if drawn:
            stamp(page, drawn, self._shelf)

    def _drawn(self, widget: DictionaryObject) -> Stamp | None:
        flags = integer(widget.get("/F"))
        rectangle = numbers(widget.get("/Rect"), 4)
        # Its value is taken in any case: of several with the same name in the data, each has its own.
        text = self._text(widget)
        if rectangle is None or flags & (_HIDDEN | _NO_VIEW):
            return None
        left, bottom, right, top = rectangle
        ordered = (min(left, right), min(bottom, top), max(left, right), max(bottom, top))
        if ordered[0] == ordered[2] or ordered[1] == ordered[3]:
            return None
        stream = self._appearance(widget, text, ordered)
        if stream is None:
            return None
        return Stamp(stream=_layered(self._as_form(stream), widget), rectangle=ordered)

    def _text(self, widget: DictionaryObject) -> str:
        text = text_value(display_value(widget))
        if self._datasets is None:
            return text
        from_data = self._datasets.take(name_path(widget))
        return text or from_data

    def _appearance(self, widget: DictionaryObject, text: str, rectangle: Rectangle) -> StreamObject | None:
        own = _normal_appearance(widget)
        kind = inherited(widget, "/FT")
        if kind == "/Btn":
            return own if own is not None or not _is_on(widget) else _mark(widget, rectangle)
        if kind not in ("/Tx", "/Ch") or not text:
            return own
        if own is not None and not self._out_of_date and _shows_something(own):
            return own
        try:
            return text_appearance(text, self._field(widget, rectangle))
        except NotDrawable:
            if own is not None and _shows_something(own):
                return own
            raise

    def _field(self, widget: DictionaryObject, rectangle: Rectangle) -> Field:
        flags = integer(inherited(widget, "/Ff"))
        is_text = inherited(widget, "/FT") == "/Tx"
        comb = is_text and flags & _COMB and not flags & (_MULTILINE | PASSWORD)
        width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
        default = inherited(widget, "/DA") or resolved(self._form.get("/DA"))
        font_name, size, colour = default_appearance(default)
        align = integer(inherited(widget, "/Q") or resolved(self._form.get("/Q")))
        aligned: Align = 1 if align == 1 else 2 if align == 2 else 0
        return Field(
            width=width,
            height=height,
            family=self._family(font_name),
            size=min(size, 200.0),
            colour=colour,
            align=aligned,
            multiline=bool(flags & _MULTILINE) if is_text else not flags & _COMBO,
            cells=max(0, min(integer(inherited(widget, "/MaxLen")), 500)) if comb else 0,
            turned=integer(characteristic(widget, "/R")) % 360,
            background=_background(widget, width, height),
        )

    def _family(self, font_name: str) -> Family:
        resources = dictionary(self._form.get("/DR"))
        fonts = dictionary(resources.get("/Font")) if resources is not None else None
        font = dictionary(fonts.get(font_name)) if fonts is not None else None
        base = str(resolved(font.get("/BaseFont")) if font is not None else font_name).lower()
        if "cour" in base or base == "/cobo":
            return "Courier"
        return "Times-Roman" if "times" in base or base == "/tiro" else "Helvetica"

    def _as_form(self, stream: StreamObject) -> StreamObject:
        stream[NameObject("/Type")] = NameObject("/XObject")
        stream[NameObject("/Subtype")] = NameObject("/Form")
        if "/Resources" not in stream and "/DR" in self._form:
            stream[NameObject("/Resources")] = self._form.raw_get("/DR")
        return stream


# --- appearances --------------------------------------------------------------------------------------------


def _normal_appearance(widget: DictionaryObject) -> StreamObject | None:
    appearances = dictionary(widget.get("/AP"))
    normal = dictionary(appearances.get("/N")) if appearances is not None else None
    if normal is None or isinstance(normal, StreamObject):
        return normal
    state = resolved(widget.get("/AS"))
    if state is None:
        state = inherited(widget, "/V")
    chosen = dictionary(normal.get(str(state)))
    return chosen if isinstance(chosen, StreamObject) else None


def _layered(stream: StreamObject, widget: DictionaryObject) -> StreamObject:
    """On the layer that the widget is on: what is switched off stays out of sight (section 8.11.3.3)."""
    if "/OC" not in widget or "/OC" in stream:
        return stream
    own = StreamObject()  # others may share the appearance
    entries: dict[str, PdfObject] = {name: stream.raw_get(name) for name in stream}
    repack(own, {**entries, "/OC": widget.raw_get("/OC")}, packed(stream))
    return own


def _shows_something(stream: StreamObject) -> bool:
    """Whether it has an operator that draws text, a picture or another form."""
    data = forgiving(stream.get_data)
    return data is None or re.search(rb"[)>\]]\s*(?:Tj|TJ|'|\")|\bDo\b", data) is not None


def _is_on(widget: DictionaryObject) -> bool:
    if integer(inherited(widget, "/Ff")) & _PUSH_BUTTON:
        return False
    state = resolved(widget.get("/AS"))
    value = inherited(widget, "/V")
    shown = value if state is None else state
    return isinstance(shown, NameObject) and shown not in ("/Off", "/")


def _mark(widget: DictionaryObject, rectangle: Rectangle) -> StreamObject:
    width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
    is_radio = bool(integer(inherited(widget, "/Ff")) & _RADIO)
    background = _background(widget, width, height)
    return mark_appearance(
        "dot" if is_radio else "check", Field(width=width, height=height, background=background)
    )


def _background(widget: DictionaryObject, width: float, height: float) -> bytes:
    """The field's box as its characteristics colour it (table 192)."""
    inside = b"0 0 %.2f %.2f re" % (width, height)
    parts = [b"q"]
    if (fill := _colour(characteristic(widget, "/BG"), (b"g", b"rg", b"k"))) is not None:
        parts += [fill, inside, b"f"]
    if (line := _colour(characteristic(widget, "/BC"), (b"G", b"RG", b"K"))) is not None:
        parts += [line, b"1 w", b"0.5 0.5 %.2f %.2f re" % (max(0, width - 1), max(0, height - 1)), b"S"]
    return b" ".join([*parts, b"Q"]) if len(parts) > 1 else b""


def _colour(value: object, operators: tuple[bytes, bytes, bytes]) -> bytes | None:
    for count, operator in zip((1, 3, 4), operators, strict=True):
        found = numbers(value, count)
        if found is not None:
            return b" ".join(b"%.3f" % number for number in found) + b" " + operator
    return None
