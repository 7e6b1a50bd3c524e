"""What a form field looks like that nobody drew: its value as a form XObject (ISO 32000-2 section 12.7.4.3).

The text is set in one of the standard fonts, which every viewer has, with an encoding of exactly the
characters it needs. It is made smaller rather than cut off: a value that can't be read is no value.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# The metrics of the standard fonts and Adobe's glyph names; pypdf has no public name for them.
from pypdf._codecs import adobe_glyphs
from pypdf._codecs.core_font_metrics import CORE_FONT_METRICS
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NumberObject,
)

Family = Literal["Helvetica", "Times-Roman", "Courier"]
Align = Literal[0, 1, 2]

_SMALLEST, _LARGEST_AUTO = 4.0, 12.0
_LEADING = 1.15
_ASCENT, _CAPITALS = 0.93, 0.72  # of the font size: up to an accent, up to the top of an H
_MARGIN = 2.0
_FIRST_CODE, _LAST_CODE = 33, 255
_TEXT_CHARACTERS = 20_000

_GLYPHS = {
    character: name
    for name, character in reversed(adobe_glyphs.items())
    if len(character) == 1 and re.fullmatch(r"/[A-Za-z]+", name)
}


class NotDrawable(Exception):
    """The text has characters that no standard font has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Width and height in points. `size` 0: as large as fits. `cells`: so many boxes, a character in each.

    `colour`: operators that set the fill colour. `turned`: degrees counter-clockwise.
    """

    width: float
    height: float
    family: Family = "Helvetica"
    size: float = 0
    colour: bytes = b"0 g"
    align: Align = 0
    multiline: bool = False
    cells: int = 0
    turned: int = 0
    background: bytes = b""


def text_appearance(text: str, field: Field) -> DecodedStreamObject:
    """Raises NotDrawable."""
    width, height = _upright_size(field)
    font = _Font(field.family, _cleaned(text))
    lines, size = _fitted(font, font.text, field, width, height)
    content = [field.background, b"q /Tx BMC BT", field.colour, b"/F %b Tf" % _number(size)]
    if field.cells:
        content += _in_cells(font, lines[0], size, field, width, height)
    else:
        content += _in_lines(font, lines, size, field, width, height)
    content.append(b"ET EMC Q")
    return _form(b"\n".join(content), field, DictionaryObject({NameObject("/F"): font.resource()}))


def mark_appearance(mark: Literal["check", "dot"], field: Field) -> DecodedStreamObject:
    """What a box or a radio button shows that is on."""
    width, height = _upright_size(field)
    side = min(width, height)
    code, glyph_width = (b"4", 0.846) if mark == "check" else (b"l", 0.791)  # ZapfDingbats a20, a71
    size = side * 0.8
    content = b"%b q BT %b /F %b Tf %b %b Td (%b) Tj ET Q" % (
        field.background,
        field.colour,
        _number(size),
        _number((width - size * glyph_width) / 2),
        _number((height - size * 0.69) / 2),
        code,
    )
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/ZapfDingbats"),
        }
    )
    return _form(content, field, DictionaryObject({NameObject("/F"): font}))


# --- the font -----------------------------------------------------------------------------------------------


class _Font:
    """A standard font with an encoding for this text. Widths in parts of the font size."""

    def __init__(self, family: Family, text: str) -> None:
        self.text = text
        self._family = family
        self._widths: Mapping[str, float] = CORE_FONT_METRICS[family].character_widths
        characters = sorted(set(text) - {" ", "\n"})
        missing = [c for c in characters if c not in self._widths or c not in _GLYPHS]
        if missing or len(characters) > _LAST_CODE - _FIRST_CODE:
            raise NotDrawable(repr("".join(missing)))
        self._codes = {c: _FIRST_CODE + index for index, c in enumerate(characters)} | {" ": 32}

    def width(self, text: str) -> float:
        return sum(self._widths[character] for character in text) / 1000

    def shown(self, text: str) -> bytes:
        return b"<%b> Tj" % bytes(self._codes[character] for character in text).hex().encode()

    def resource(self) -> DictionaryObject:
        codes = sorted((code, character) for character, code in self._codes.items())
        names = [NameObject(_GLYPHS.get(character, "/space")) for _, character in codes]
        widths = [NumberObject(round(self._widths[character])) for _, character in codes]
        encoding = DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Encoding"),
                NameObject("/Differences"): ArrayObject([NumberObject(codes[0][0]), *names]),
            }
        )
        return DictionaryObject(
            {
                NameObject("/Type"): NameObject("/Font"),
                NameObject("/Subtype"): NameObject("/Type1"),
                NameObject("/BaseFont"): NameObject(f"/{self._family}"),
                NameObject("/Encoding"): encoding,
                NameObject("/FirstChar"): NumberObject(codes[0][0]),
                NameObject("/LastChar"): NumberObject(codes[-1][0]),
                NameObject("/Widths"): ArrayObject(widths),
            }
        )


def _cleaned(text: str) -> str:
    """Composed letters, plain blanks, line feeds between lines; what has no width is left out."""
    text = unicodedata.normalize("NFC", text[:_TEXT_CHARACTERS])
    text = re.sub(r"\r\n?|\u2028|\u2029", "\n", text)
    text = re.sub(r"[^\S\n]", " ", text).translate(_LOOKALIKES)
    return "".join(c for c in text if c == "\n" or unicodedata.category(c) not in ("Cc", "Cf"))


_LOOKALIKES = {0x2010: "-", 0x2011: "-", 0x2212: "-"}


# --- layout -------------------------------------------------------------------------------------------------


def _fitted(font: _Font, text: str, field: Field, width: float, height: float) -> tuple[Sequence[str], float]:
    """The lines, and the font size at which all of them can be seen; never below 4 points."""
    room = max(1.0, width - 2 * _MARGIN)
    if not field.multiline:
        line = " ".join(text.split("\n"))
        size = field.size or min(_LARGEST_AUTO, height * 0.75)
        needed = 0.0 if field.cells else font.width(line)
        fitting = min(size, room / needed) if needed else size
        return [line], max(_SMALLEST, min(fitting, height * 1.1))
    size = field.size or _LARGEST_AUTO
    lines = _wrapped(font, text, room / size)
    while size > _SMALLEST and len(lines) * size * _LEADING > height:
        size = max(_SMALLEST, size * 0.9)
        lines = _wrapped(font, text, room / size)
    return lines, size


def _wrapped(font: _Font, text: str, room: float) -> list[str]:
    lines: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split(" "):
            longer = f"{line} {word}" if line else word
            if line and font.width(longer) > room:
                lines.append(line)
                longer = word
            while font.width(longer) > room and len(longer) > 1:
                cut = _cut(font, longer, room)
                lines.append(longer[:cut])
                longer = longer[cut:]
            line = longer
        lines.append(line)
    return lines


def _cut(font: _Font, word: str, room: float) -> int:
    """How many characters of an endless word fit in a line; at least one."""
    used = 0.0
    for index, character in enumerate(word):
        used += font.width(character)
        if used > room:
            return max(1, index)
    return len(word)


def _in_lines(
    font: _Font, lines: Sequence[str], size: float, field: Field, width: float, height: float
) -> list[bytes]:
    top = height - _MARGIN - size * _ASCENT if field.multiline else (height - size * _CAPITALS) / 2
    content = []
    for number, line in enumerate(lines):
        x = _MARGIN + (width - 2 * _MARGIN - font.width(line) * size) * field.align / 2
        y = top - number * size * _LEADING
        content.append(b"1 0 0 1 %b %b Tm %b" % (_number(x), _number(y), font.shown(line)))
    return content


def _in_cells(font: _Font, line: str, size: float, field: Field, width: float, height: float) -> list[bytes]:
    cell = width / field.cells
    y = (height - size * _CAPITALS) / 2
    content = []
    for number, character in enumerate(line):
        x = cell * number + (cell - font.width(character) * size) / 2
        content.append(b"1 0 0 1 %b %b Tm %b" % (_number(x), _number(y), font.shown(character)))
    return content


def _upright_size(field: Field) -> tuple[float, float]:
    return (field.height, field.width) if field.turned in (90, 270) else (field.width, field.height)


def _form(content: bytes, field: Field, fonts: DictionaryObject) -> DecodedStreamObject:
    width, height = _upright_size(field)
    matrix = {
        90: (0, 1, -1, 0, field.width, 0),
        180: (-1, 0, 0, -1, field.width, field.height),
        270: (0, -1, 1, 0, 0, field.height),
    }.get(field.turned, (1, 0, 0, 1, 0, 0))
    form = DecodedStreamObject()
    form.set_data(content)
    form[NameObject("/Type")] = NameObject("/XObject")
    form[NameObject("/Subtype")] = NameObject("/Form")
    form[NameObject("/BBox")] = ArrayObject(map(FloatObject, (0, 0, round(width, 3), round(height, 3))))
    form[NameObject("/Matrix")] = ArrayObject(map(FloatObject, matrix))
    form[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
    return form


def _number(value: float) -> bytes:
    return f"{value:.3f}".rstrip("0").rstrip(".").encode()
