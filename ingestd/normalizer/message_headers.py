"""The header of a message or a part: bounded before anything looks into it, decoded without raising.

Own code, because the standard library's takes seconds over 20,000 encoded words and gives up on 100,000
parentheses. Everything here is linear in its input, and the input is bounded (RFC 5322 section 2.2,
RFC 2045 section 5, RFC 2047, RFC 2231).
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ingestd.normalizer.exchange_mail import Obstacle, Unopenable
from ingestd.normalizer.message_charsets import decoded

MOST_HEADER_BYTES = 100_000
"""Of one header. Postfix has nearly the same limit (postconf(5), header_size_limit)."""
MOST_LINES = 1_000
MOST_FIELD_BYTES = 32_000
"""A longer field is cut off; none that decides anything is ever that long."""
MOST_ADDRESS_BYTES = 8_000
"""Of a From field: a longer one is no person. Others with addresses are cut off there."""
_ADDRESSES = frozenset({"to", "cc", "reply-to", "sender", "delivered-to", "x-original-to", "envelope-to"})
_MOST_SEGMENTS = 100

# RFC 5322 section 3.6.8 allows no blank in a name, section 4.5 one before the colon; like the standard
# library's, this takes any name, and the header ends where a line is neither a field nor folded.
_FIELD = re.compile(rb"([^:\s][^:\r\n]*+):")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_ENCODED_WORD = re.compile(r"=\?([^?\s*]{1,60}+)(?:\*[^?\s]{0,60}+)?\?([bBqQ])\?([^?]*+)\?=")
_PARAMETER = re.compile(r""";\s*+([^\s=;"]++)\s*+=\s*+(?:"((?:[^"\\]|\\.)*+)"?+|([^;]*+))""", re.DOTALL)
_SEGMENT = re.compile(r"([^*]++)(?:\*(\d{1,3}))?(\*?)")


@dataclass(frozen=True, slots=True)
class Header:
    """Fields in their order: names in lower case, values unfolded and still encoded."""

    fields: tuple[tuple[str, bytes], ...] = ()

    def all(self, name: str) -> list[bytes]:
        return [value for field, value in self.fields if field == name]

    def first(self, name: str) -> bytes:
        """Empty when there is none."""
        return next((value for field, value in self.fields if field == name), b"")

    def has(self, name: str) -> bool:
        return any(field == name for field, _ in self.fields)


def read_header(data: bytes, start: int, end: int) -> tuple[Header, int]:
    """The header that begins at `start`, and where the body begins. Raises Unopenable for one too long."""
    fields: list[tuple[str, bytes]] = []
    position, opened, limit = start, -1, min(end, start + MOST_HEADER_BYTES)
    for _ in range(MOST_LINES + 1):
        if position >= end:
            break
        newline = data.find(b"\n", position, limit)
        after = newline + 1 if newline >= 0 else limit
        line = data[position:after]
        if not line.rstrip(b"\r\n"):
            return _closed(fields, data, opened, position), after
        is_from_mbox = position == start and line.startswith((b"From ", b">From "))
        is_folded = line[:1] in (b" ", b"\t") and opened >= 0
        if not is_from_mbox and not is_folded:
            if not _FIELD.match(line):
                return _closed(fields, data, opened, position), position
            _closed_field(fields, data, opened, position)
            opened = position
        if newline < 0 and limit < end:
            raise Unopenable(Obstacle.HEADER_TOO_LONG, limit=MOST_HEADER_BYTES)
        position = after
    else:
        raise Unopenable(Obstacle.TOO_MANY_LINES, limit=MOST_LINES)
    return _closed(fields, data, opened, position), position


def unfolded(value: bytes) -> str:
    """Raw 8-bit text (RFC 6532, or older habits) on one line, without control characters."""
    return one_line(decoded(value))


def text_of(value: bytes) -> str:
    """As a person reads it: one line, encoded words decoded (RFC 2047)."""
    return one_line(words_decoded(decoded(value)))


def words_decoded(text: str) -> str:
    """RFC 2047 section 6.2: blanks between encoded words vanish. One that is none stays as it is.

    Neighbours in one charset are joined before they are decoded: many mailers split a character over two.
    """
    if "=?" not in text:
        return text
    pieces: list[str] = []
    waiting, charset, position = b"", "", 0
    for word in _ENCODED_WORD.finditer(text):
        between = text[position : word.start()]
        data = _word_bytes(word[2], word[3])
        position = word.end()
        if (pieces or waiting) and charset and not between.strip():
            between = ""
        if between or word[1].lower() != charset:
            pieces += [decoded(waiting, charset), between]
            waiting, charset = b"", word[1].lower()
        waiting += data
    return "".join([*pieces, decoded(waiting, charset), text[position:]])


def one_line(text: str) -> str:
    """Runs of blanks, line breaks and control characters become one blank."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def main_value(value: bytes) -> str:
    """What stands before the parameters, in lower case: `text/plain`, `attachment`."""
    return re.split(r"[;\s(]", decoded(value).strip(), maxsplit=1)[0].lower()


def parameters(value: bytes) -> Mapping[str, str]:
    """Of a Content-Type or Content-Disposition; the first of a name counts, RFC 2231 forms come first."""
    plain: dict[str, str] = {}
    segments: dict[str, dict[int, tuple[bool, str]]] = {}
    for found in _PARAMETER.finditer(";" + decoded(value).partition(";")[2]):
        name = found[1].lower()
        content = re.sub(r"\\(.)", r"\1", found[2]) if found[2] is not None else found[3].strip()
        parsed = _SEGMENT.fullmatch(name)
        if parsed is None or (parsed[2] is None and not parsed[3]):
            plain.setdefault(name, words_decoded(content))
            continue
        numbered = segments.setdefault(parsed[1], {})
        if len(numbered) < _MOST_SEGMENTS:
            numbered.setdefault(int(parsed[2] or 0), (bool(parsed[3]), content))
    joined = {name: _joined(numbered) for name, numbered in segments.items()}
    return {**plain, **{name: text for name, text in joined.items() if text}}


def _closed(fields: list[tuple[str, bytes]], data: bytes, opened: int, position: int) -> Header:
    _closed_field(fields, data, opened, position)
    return Header(tuple(fields))


def _closed_field(fields: list[tuple[str, bytes]], data: bytes, opened: int, position: int) -> None:
    if opened < 0:
        return
    raw = data[opened:position]
    name, _, value = raw.partition(b":")
    word = name.strip().lower().decode("latin-1")
    value = _FOLD.sub(b"", value).strip().replace(b"\0", b"")
    if word == "from" and len(value) > MOST_ADDRESS_BYTES:
        raise Unopenable(Obstacle.SENDER_TOO_LONG, limit=MOST_ADDRESS_BYTES)
    limit = MOST_ADDRESS_BYTES if word in _ADDRESSES else MOST_FIELD_BYTES
    fields.append((word, value[:limit]))


def _word_bytes(encoding: str, text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    if encoding in "qQ":
        return binascii.a2b_qp(raw.replace(b"\n", b""), header=True)
    return base64_bytes(raw)


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_NO_BASE64 = bytes(set(range(256)) - set(_BASE64))


def base64_bytes(raw: bytes) -> bytes:
    """RFC 2045 section 6.8: other characters are ignored. What is missing at the end is just missing."""
    packed = raw.translate(None, _NO_BASE64).partition(b"=")[0]
    if len(packed) % 4 == 1:
        packed = packed[:-1]
    return binascii.a2b_base64(packed + b"=" * (-len(packed) % 4))


def _joined(numbered: Mapping[int, tuple[bool, str]]) -> str:
    """RFC 2231 sections 3 and 4: from segment 0 (some begin with 1) up to the first gap."""
    charset, data = "", b""
    for position, (is_encoded, content) in enumerate(_in_order(numbered)):
        piece = content
        if is_encoded and position == 0 and content.count("'") >= 2:
            charset, _, piece = content.split("'", 2)
        raw = piece.encode("utf-8", "surrogateescape")
        data += unquote_to_bytes(raw) if is_encoded else raw
    return words_decoded(decoded(data, charset))


def _in_order(numbered: Mapping[int, tuple[bool, str]]) -> Iterator[tuple[bool, str]]:
    number = 0 if 0 in numbered else 1
    while number in numbered:
        yield numbered[number]
        number += 1
