"""The parts of a message, found within bounds: depth, number, bytes after decoding. Nothing is guessed twice.

Own code and no parser of a library: how deep and how many is known only while parsing, so that is where it
has to be counted. It differs from mail programs in nothing that they agree on (RFC 2046 section 5.1).
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ingestd.normalizer.exchange_mail import Obstacle, Unopenable
from ingestd.normalizer.message_headers import Header, base64_bytes, main_value, parameters, read_header
from ingestd.normalizer.message_uuencode import uu_line

MOST_DEPTH = 20
MOST_PARTS = 500
"""Two hundred attachments, as many messages around them, and what mail programs add."""
MOST_DECODED_BYTES = 100_000_000
_MOST_NEAR_MISSES = 10_000
"""Lines that begin like a boundary and are none. A mail has a handful; each costs time."""
_LONGEST_BOUNDARY = 200  # RFC 2046 allows 70, mailers take more
_DELIMITER_END = re.compile(rb"(--)?[ \t]*+(?:\r?\n|\r?\Z)")
_FIRST_DELIMITER = re.compile(rb"--([!-~]{1,200}?)[ \t]*+\r?\n")
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,100}")


@dataclass
class Bounds:
    """What one message has used up so far, with all messages inside it."""

    parts: int = 0
    decoded_bytes: int = 0
    near_misses: int = 0

    def count_part(self) -> None:
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise Unopenable(Obstacle.TOO_MANY_PARTS, limit=MOST_PARTS)

    def count_bytes(self, size: int) -> None:
        self.decoded_bytes += size
        if self.decoded_bytes > MOST_DECODED_BYTES:
            raise Unopenable(Obstacle.TOO_LARGE, limit=MOST_DECODED_BYTES)

    def count_near_miss(self) -> None:
        self.near_misses += 1
        if self.near_misses > _MOST_NEAR_MISSES:
            raise Unopenable(Obstacle.TANGLED)


@dataclass
class Part:
    """A message, or a part of one: its header, its body `data[start:end]`, and the parts it is made of."""

    header: Header
    data: bytes = field(repr=False)
    start: int
    end: int
    depth: int
    bounds: Bounds = field(repr=False)
    parts: list["Part"] = field(default_factory=list)

    @cached_property
    def mime_type(self) -> str:
        """As declared, `text/plain` by default (RFC 2045 section 5.2); nothing that is no MIME type."""
        declared = main_value(self.header.first("content-type"))
        return declared if _TYPE.fullmatch(declared) else "text/plain"

    @cached_property
    def parameters(self) -> Mapping[str, str]:
        return parameters(self.header.first("content-type"))

    @cached_property
    def disposition(self) -> str:
        """`attachment`, `inline` or empty."""
        said = main_value(self.header.first("content-disposition"))
        return said if said in ("attachment", "inline") else ("attachment" if said else "")

    @cached_property
    def name(self) -> str:
        """As the sender wrote it; empty when there is none. Data, never a path."""
        of_disposition = parameters(self.header.first("content-disposition"))
        return (of_disposition.get("filename") or self.parameters.get("name") or "").strip()

    @cached_property
    def content_id(self) -> str:
        """Without angle brackets."""
        value = self.header.first("content-id").decode("utf-8", "replace")
        return value.strip().strip("<>").strip()[:500]

    @cached_property
    def content(self) -> bytes:
        """The body decoded, as far as a mail program would. Raises Unopenable."""
        raw = self.data[self.start : self.end]
        content = _decoded(raw, main_value(self.header.first("content-transfer-encoding")))
        self.bounds.count_bytes(len(content))
        return content

    def walk(self) -> Iterator["Part"]:
        """This part and all below it, in their order in the mail."""
        yield self
        for part in self.parts:
            yield from part.walk()


def read_message(data: bytes, bounds: Bounds | None = None, depth: int = 0) -> Part:
    """All parts of a message, those of messages inside it not included. Raises Unopenable."""
    data = with_line_feeds(data)
    return _read(data, 0, len(data), depth, bounds or Bounds())


def with_line_feeds(data: bytes) -> bytes:
    """The same, unless its lines end as old Macs ended them."""
    if b"\n" not in data[:10_000] and b"\r" in data[:10_000]:
        return data.replace(b"\r", b"\n")
    return data


def _read(data: bytes, start: int, end: int, depth: int, bounds: Bounds) -> Part:
    if depth > MOST_DEPTH:
        raise Unopenable(Obstacle.NESTED_TOO_DEEP, limit=MOST_DEPTH)
    bounds.count_part()
    header, body = read_header(data, start, end)
    part = Part(header=header, data=data, start=body, end=end, depth=depth, bounds=bounds)
    if part.mime_type.startswith("multipart/"):
        for first, last in _sections(part):
            part.parts.append(_read(data, first, last, depth + 1, bounds))
    return part


def _sections(part: Part) -> Iterator[tuple[int, int]]:
    """Where its parts stand. None, when not one boundary is where it should be."""
    boundary = part.parameters.get("boundary", "").rstrip().encode("utf-8", "replace")
    if not boundary or len(boundary) > _LONGEST_BOUNDARY:
        boundary = _boundary_seen(part)
    opened = None
    for line, after, closes in _delimiters(part, boundary) if boundary else ():
        if opened is not None:
            yield opened, max(opened, line)
        opened = after
        if closes:
            return
    if opened is not None and opened < part.end:  # the end is missing: all the same, these are its bytes
        yield opened, part.end


def _delimiters(part: Part, boundary: bytes) -> Iterator[tuple[int, int, bool]]:
    """Each delimiter line: where the part before it ends, where the next begins, whether it is the last."""
    data, mark = part.data, b"--" + boundary
    position = part.start
    while True:
        found = _next_line_with(data, mark, position, part)
        if found < 0:
            return
        rest = _DELIMITER_END.match(data, found + len(mark), part.end)
        if rest is None:
            part.bounds.count_near_miss()
            position = found + len(mark)
            continue
        # The line break before a delimiter belongs to it (RFC 2046 section 5.1.1).
        line = found - 1 if found > part.start and data[found - 1 : found] == b"\n" else found
        if line > part.start and data[line - 1 : line] == b"\r":
            line -= 1
        yield line, rest.end(), bool(rest[1])
        position = max(rest.end() - 1, found + len(mark))


def _next_line_with(data: bytes, mark: bytes, position: int, part: Part) -> int:
    if position == part.start and data.startswith(mark, position, part.end):
        return position
    found = data.find(b"\n" + mark, max(0, position - 1), part.end)
    return found + 1 if found >= 0 else -1


def _boundary_seen(part: Part) -> bytes:
    """Of a multipart that does not tell it: the first line of the body that looks like one."""
    for line in part.data[part.start : min(part.end, part.start + 10_000)].splitlines(keepends=True)[:50]:
        if found := _FIRST_DELIMITER.fullmatch(line):
            return found[1]
    return b""


def _decoded(raw: bytes, encoding: str) -> bytes:
    match encoding:
        case "base64":
            return base64_bytes(raw)
        case "quoted-printable":
            return binascii.a2b_qp(raw)
        case "x-uuencode" | "uuencode" | "x-uue":
            return _uudecoded(raw)
        case _:
            return raw


def _uudecoded(raw: bytes) -> bytes:
    """Between `begin` and `end` (POSIX uuencode); a line that is damaged is left out."""
    pieces = []
    begun = False
    for line in raw.splitlines():
        if not begun:
            begun = line.startswith(b"begin ")
        elif line == b"end":
            break
        else:
            pieces.append(uu_line(line))
    return b"".join(pieces)
