"""Which slot of which target a receipt goes to: ordered routes, the first match wins.

In a pattern only `*` (anything) and `{name}` ([A-Za-z0-9$_.-]{1,64}, but not . or ..) are special. Names
caught by the patterns fill the placeholders of `send`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self

from ingestd.domain.errors import IngestdError

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_CAUGHT = r"[A-Za-z0-9$_.\-]{1,64}"
_IDENTIFIER_LENGTH = 200
ROUTE_FIELDS = ("source", "path", "filename", "from", "address", "subject")
MAIL_FIELDS = frozenset({"from", "address", "subject"})


class InvalidSlot(IngestdError):
    """A slot is written TARGET:SLOT, for example concur:receipt or concur:expenseentry/ID."""


class Repeat(StrEnum):
    """What a repeat of a receipt that is waiting or uploaded does: nothing but a sighting, or an upload."""

    SIGHTING = "sighting"
    UPLOAD = "upload"


class Pages(StrEnum):
    """What becomes of several documents of one arrival that go to the same slot."""

    MERGE = "merge"
    SEPARATE = "separate"


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a target that takes an image: a kind, and the ID of the thing it is attached to.

    Written `receipt`, `expenseentry/ID`, `invoice/ID`, `report/ID`.
    """

    kind: str
    identifier: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidSlot for an empty kind, an empty ID, `.` and `..`, blanks and control characters."""
        kind, slash, identifier = text.partition("/")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", kind):
            raise InvalidSlot(f"{text!r} names no slot; {InvalidSlot.__doc__}")
        if not slash:
            return cls(kind)
        if not _is_identifier(identifier):
            raise InvalidSlot(
                f"{identifier!r} is no ID for {kind}: 1 to {_IDENTIFIER_LENGTH} visible characters"
            )
        return cls(kind, identifier)

    def __str__(self) -> str:
        return self.kind if self.identifier is None else f"{self.kind}/{self.identifier}"


def _is_identifier(text: str) -> bool:
    visible = text.isprintable() and not any(c.isspace() for c in text)
    return visible and 0 < len(text) <= _IDENTIFIER_LENGTH and text not in (".", "..")


@dataclass(frozen=True, slots=True)
class Destined:
    """A target and a slot in it: `concur:report/123`."""

    target: str
    slot: Slot

    @classmethod
    def parse(cls, text: str) -> Self:
        target, colon, slot = text.strip().partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", target):
            raise InvalidSlot(f"{text!r} is not TARGET:SLOT; {InvalidSlot.__doc__}")
        return cls(target, Slot.parse(slot))

    def __str__(self) -> str:
        return f"{self.target}:{self.slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`patterns` maps fields of ROUTE_FIELDS to patterns; all must match. No patterns: everything matches.

    `pages` None: merged for a slot that takes one image and for names that number pages, else separate.
    `passwords_file` holds passwords to try on encrypted PDFs, one in each line.
    """

    send: str
    patterns: Mapping[str, str] = field(default_factory=dict)
    account: str | None = None
    repeat: Repeat = Repeat.SIGHTING
    pages: Pages | None = None
    passwords_file: Path | None = None

    def match(self, facts: Mapping[str, str]) -> Destined | None:
        """Where this route sends an arrival with these facts, or None when it is not for it."""
        caught: dict[str, str] = {}
        for name, pattern in self.patterns.items():
            found = compile_pattern(pattern, ignore_case=name in MAIL_FIELDS).fullmatch(facts.get(name, ""))
            if found is None:
                return None
            for key, value in found.groupdict().items():
                if value in (".", "..") or caught.setdefault(key, value) != value:
                    return None
        return Destined.parse(PLACEHOLDER.sub(lambda m: caught[m[1]], self.send))


def compile_pattern(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """The regular expression of a route pattern. A name used twice must catch the same text."""
    parts: list[str] = []
    seen: set[str] = set()
    position = 0
    for token in re.finditer(r"\*|\{([a-z][a-z0-9_]*)\}", pattern):
        parts.append(re.escape(pattern[position : token.start()]))
        name = token[1]
        if name is None:
            parts.append(".*")
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            seen.add(name)
            parts.append(f"(?P<{name}>{_CAUGHT})")
        position = token.end()
    parts.append(re.escape(pattern[position:]))
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def first_match(routes: Sequence[Route], facts: Mapping[str, str]) -> tuple[Route, Destined] | None:
    """The first route that matches, with the slot it sends to. None: no route, the receipt is held."""
    for route in routes:
        destined = route.match(facts)
        if destined is not None:
            return route, destined
    return None
