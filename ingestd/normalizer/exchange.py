"""What the daemon asks a limited process and what that may answer: a closed set of problems with numbers.

A parser that was taken over can pick the wrong verdict for its own document; it can't put words into a
reason file. The daemon checks the shape of every answer with `read_answer`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Literal, Self

Level = Literal["light", "full"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectionRequest:
    """`mime_type` is what the bytes were found to be; `size` in bytes as the spool recorded it."""

    mime_type: str
    size: int
    level: Level
    max_pixels: int
    max_pages: int | None

    def write(self) -> dict[str, object]:
        """As JSON-ready values."""
        return asdict(self)

    @classmethod
    def read(cls, request: Mapping[str, object]) -> Self:
        """From what `write` gives. Raises ValueError for anything else."""
        match request:
            case {
                "mime_type": str(mime_type),
                "size": int(size),
                "level": "light" | "full" as level,
                "max_pixels": int(max_pixels),
                "max_pages": int() | None as max_pages,
            }:
                return cls(
                    mime_type=mime_type, size=size, level=level, max_pixels=max_pixels, max_pages=max_pages
                )
        raise ValueError(f"not a request for an inspection: {request!r}")


class Problem(StrEnum):
    """Why a document of an accepted type is no receipt image. The numbers each carries stand behind it."""

    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    DAMAGED_PAGE = "damaged_page"  # page
    MISSING_PAGES = "missing_pages"  # pages, declared
    ENCRYPTED = "encrypted"
    NO_PAGES = "no_pages"
    TOO_MANY_PAGES = "too_many_pages"  # pages, limit
    TOO_MANY_PIXELS = "too_many_pixels"  # width, height, limit
    TOO_COMPLEX = "too_complex"
    ANIMATED = "animated"  # frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem, with the numbers it carries."""

    problem: Problem
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """Nothing is wrong with it."""

    pages: int


class Found(Exception):
    """Raised where a check meets a problem, to end the inspection."""

    def __init__(self, problem: Problem, **numbers: int) -> None:
        super().__init__(problem, numbers)
        self.finding = Finding(problem=problem, numbers=numbers)


class MalformedAnswer(ValueError):
    """The limited process answered what no inspection answers."""


_PROBLEMS: Mapping[str, Problem] = {str(problem): problem for problem in Problem}
_NUMBERS: Mapping[Problem, frozenset[str]] = {
    Problem.DAMAGED_PAGE: frozenset({"page"}),
    Problem.MISSING_PAGES: frozenset({"pages", "declared"}),
    Problem.TOO_MANY_PAGES: frozenset({"pages", "limit"}),
    Problem.TOO_MANY_PIXELS: frozenset({"width", "height", "limit"}),
    Problem.ANIMATED: frozenset({"frames"}),
}


def write_answer(answer: Sound | Finding) -> dict[str, object]:
    """The answer as JSON-ready values."""
    if isinstance(answer, Sound):
        return {"pages": answer.pages}
    return {"problem": str(answer.problem), "numbers": dict(answer.numbers)}


def read_answer(answer: Mapping[str, object]) -> Sound | Finding:
    """Raises MalformedAnswer for anything that `write_answer` does not write."""
    match answer:
        case {"pages": int(pages), **others} if not others and pages > 0:
            return Sound(pages=pages)
        case {"problem": str(name), "numbers": dict(numbers), **others} if not others and name in _PROBLEMS:
            problem = _PROBLEMS[name]
            if numbers.keys() == _NUMBERS.get(problem, frozenset()) and all(
                map(_is_number, numbers.values())
            ):
                return Finding(problem=problem, numbers=numbers)
    raise MalformedAnswer(f"not the answer of an inspection: {str(answer)[:200]}")


def _is_number(value: object) -> bool:
    return isinstance(value, int) and -(1 << 63) <= value < 1 << 63
