"""Cuts the byte stream of an IMAP server into answers (RFC 9051 section 2.2), in linear time, bounded memory.

An answer is a line, or a line interrupted by literals. What is too long is noticed before it is kept.
"""

import re
from collections.abc import Iterator
from io import BytesIO

LONGEST_LINE = 16_000_000
"""Bytes. A SEARCH answer is one line: 1.1 MB for 100,000 UIDs."""

Answer = tuple[bytes, ...]
"""Text and literals in turn: those at odd places are literals, whose announcement is cut from the text."""


class FramingError(Exception):
    """The server sends what can't be an answer; the message says what."""


class Framer:
    """`longest_literal` in bytes: what the command that waits for an answer can make use of."""

    def __init__(self) -> None:
        self.longest_literal = 0
        self._parts: list[bytes] = []
        self._line = bytearray()
        self._literal = BytesIO()
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[Answer]:
        """Answers that are complete with these bytes. Raises FramingError; nothing is usable afterwards.

        What is longer than allowed is noticed with its announcement, or as soon as it is longer.
        """
        view = memoryview(data)
        at = 0
        while at < len(data):
            if self._missing:
                at += self._take_literal(view[at : at + self._missing])
                continue
            end = data.find(b"\n", at) + 1 or len(data)
            self._take_text(view[at:end])
            at = end
            # A bare LF is no end of a line; it stays in the text.
            if self._line.endswith(b"\r\n") and self._line_ends_answer():
                yield tuple(self._parts)
                self._parts.clear()

    def _take_literal(self, piece: memoryview) -> int:
        self._literal.write(piece)
        self._missing -= len(piece)
        if not self._missing:
            self._end_literal()
        return len(piece)

    def _end_literal(self) -> None:
        # BytesIO gives its buffer away without a copy: a message of 60 MB is in memory once.
        self._parts.append(self._literal.getvalue())
        self._literal = BytesIO()

    def _take_text(self, piece: memoryview) -> None:
        self._line += piece
        if len(self._line) > LONGEST_LINE:
            raise FramingError("sends a line without an end")

    def _line_ends_answer(self) -> bool:
        line = bytes(self._line[:-2])
        self._line.clear()
        announced = _LITERAL.search(line) if self._may_hold_literals(line) else None
        if announced is None:
            self._parts.append(line)
            return True
        size = int(announced[1])
        if size > self.longest_literal:
            raise FramingError(f"announces {size:,} bytes where at most {self.longest_literal:,} are of use")
        self._parts.append(line[: announced.start()])
        self._missing = size
        if not size:
            self._end_literal()
        return False

    def _may_hold_literals(self, line: bytes) -> bool:
        """Status answers end in human text (RFC 9051 section 7.1), which may look like an announcement."""
        return bool(self._parts) or (line.startswith(b"* ") and not _STATUS.match(line))


_LITERAL = re.compile(rb"~?\{([0-9]{1,20})\}\Z")
_STATUS = re.compile(rb"\* (?:OK|NO|BAD|BYE|PREAUTH)(?: |\Z)", re.IGNORECASE)
