"""Files that stand uuencoded within a text (POSIX uuencode), as scanners and old gateways send them.

A line `begin 644 scan.pdf` proves nothing, since people write such lines, too: a whole line of encoded
bytes has to follow it. Every byte is looked at a bounded number of times.
"""

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ingestd.normalizer.message_charsets import decoded

_BEGIN = re.compile(rb"^begin [0-7]{3,4} ([^\r\n]++)\r?\n", re.MULTILINE)
_LINE = re.compile(rb"([ -`]++)(?:\r?\n|\Z)")
_END = re.compile(rb"[ \t]*+end[ \t]*+(?:\r?\n|\Z)")
_BLANK = re.compile(rb"[ \t`]*+\r?\n")
_LONGEST_NAME = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UuFile:
    """`start` and `end`: where it stands in the text, with the lines around it."""

    name: str
    content: bytes = field(repr=False)
    start: int
    end: int


def uu_files(text: bytes) -> Iterator[UuFile]:
    """In their order. One that breaks off has the bytes that are there."""
    position = 0
    while begin := _BEGIN.search(text, position):
        content, position = _content(text, begin.end())
        if content:
            name = decoded(begin[1][:_LONGEST_NAME]).strip()
            yield UuFile(name=name, content=content, start=begin.start(), end=position)


def without_uu_files(text: bytes) -> bytes:
    pieces, position = [], 0
    for file in uu_files(text):
        pieces.append(text[position : file.start])
        position = file.end
    return b"".join([*pieces, text[position:]]) if pieces else text


def uu_line(line: bytes) -> bytes:
    """Its first character tells how long it is: what mailers put behind that, or cut off, does not matter."""
    for trial in (line, line[: 1 + _room(line)]):
        try:
            return binascii.a2b_uu(trial)
        except binascii.Error:
            continue
    return b""


def _content(text: bytes, position: int) -> tuple[bytes, int]:
    """The bytes, and where the text goes on; none unless the first line is whole."""
    pieces: list[bytes] = []
    while (line := _LINE.match(text, position)) is not None:
        encoded = line[1]
        is_whole = len(encoded) > _room(encoded) > 0
        if not (is_whole if not pieces else _room(encoded) > 0):
            break
        pieces.append(uu_line(encoded))
        position = line.end()
    if pieces:
        position = _behind_end(text, position)
    return b"".join(pieces), position


def _behind_end(text: bytes, position: int) -> int:
    """An empty line of encoded bytes, and `end`, where they are there."""
    blank = _BLANK.match(text, position)
    end = _END.match(text, blank.end() if blank else position)
    return end.end() if end else position


def _room(line: bytes) -> int:
    """Characters that its first one says will follow: four for three bytes."""
    size_bytes = (line[0] - 32) & 63 if line else 0
    return (size_bytes + 2) // 3 * 4
