"""What a form field of a PDF holds: its name, its value, and how that is to be set (ISO 32000-2, 12.7).

Entries are inherited from the fields above; a circle of fields ends.
"""

import re
from collections.abc import Iterator
from typing import Any

from pypdf.generic import ArrayObject, DictionaryObject, NameObject, StreamObject, TextStringObject

from ingestd.normalizer.pdf import forgiving, resolved
from ingestd.normalizer.pdf_values import dictionary, integer

PASSWORD = 1 << 13  # table 231
_ANCESTORS = 32
_OPTIONS = 5_000


def inherited(widget: DictionaryObject, name: str) -> Any:
    """An entry of the field, or else of the nearest field above it that has one."""
    for field in _lineage(widget):
        if name in field:
            return resolved(field.get(name))
    return None


def name_path(widget: DictionaryObject) -> tuple[str, ...]:
    """The field's full name, outermost part first."""
    parts = [str(resolved(field.get("/T"))) for field in _lineage(widget) if "/T" in field]
    return tuple(part for name in reversed(parts) for part in name.split("."))


def display_value(widget: DictionaryObject) -> object:
    """Of a choice, what its list calls the chosen values (table 234)."""
    value = inherited(widget, "/V")
    options = inherited(widget, "/Opt")
    if inherited(widget, "/FT") != "/Ch" or not isinstance(options, ArrayObject):
        if inherited(widget, "/FT") == "/Tx" and integer(inherited(widget, "/Ff")) & PASSWORD:
            return TextStringObject("*" * len(text_value(value)))
        return value
    names: dict[str, str] = {}
    for option in options[:_OPTIONS]:
        pair = resolved(option)
        if isinstance(pair, ArrayObject) and len(pair) == 2:
            names[text_value(resolved(pair[0]))] = text_value(resolved(pair[1]))
    chosen = value if isinstance(value, ArrayObject) else [value]
    texts = [text_value(resolved(one)) for one in chosen]
    return TextStringObject("\n".join(names.get(text, text) for text in texts))


def text_value(value: object) -> str:
    """A string, a stream, or an array of them, one to a line."""
    if isinstance(value, StreamObject):
        data = forgiving(value.get_data) or b""
        return str(TextStringObject(data))
    if isinstance(value, ArrayObject):
        return "\n".join(text_value(resolved(item)) for item in value)
    if value is None or isinstance(value, NameObject):
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return str(value) if isinstance(value, str | int | float) else ""


def default_appearance(value: object) -> tuple[str, float, bytes]:
    """Font name, size (0: automatic) and colour operators of a /DA string."""
    text = text_value(value).encode("latin-1", "replace")
    font = re.findall(rb"/(\S+)\s+(-?\d*\.?\d+)\s+Tf", text)
    colours = re.findall(rb"((?:-?\d*\.?\d+\s+){1,4})(g|rg|k)\b", text)
    name, size = (font[-1][0].decode("latin-1"), abs(float(font[-1][1]))) if font else ("Helv", 0.0)
    wanted = {b"g": 1, b"rg": 3, b"k": 4}
    fitting = [b" ".join([*n.split(), op]) for n, op in colours if len(n.split()) == wanted[op]]
    return f"/{name}", size, fitting[-1] if fitting else b"0 g"


def characteristic(widget: DictionaryObject, name: str) -> object:
    """How the widget wishes to look: its colours, its rotation (table 192)."""
    characteristics = dictionary(widget.get("/MK"))
    return resolved(characteristics.get(name)) if characteristics is not None else None


def _lineage(widget: DictionaryObject) -> Iterator[DictionaryObject]:
    current: DictionaryObject | None = widget
    for _ in range(_ANCESTORS):
        if current is None:
            return
        yield current
        current = dictionary(current.get("/Parent"))
