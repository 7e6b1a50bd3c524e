"""What the daemon asks a limited process and what that may answer: a closed set of words with numbers.

A parser that was taken over can pick the wrong verdict for its own document; it can't put words into a
reason file. The only text it gives back are names found inside a document, made presentable by the daemon and
shown in quotes. The daemon checks the shape of every answer with the `read` functions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal, Self

from ingestd.domain.document import display_name
from ingestd.domain.likeness import FINGERPRINT_DIGITS

Level = Literal["light", "full"]
Recognition = Literal["same", "other", "unclear"]
NAMES = 20
"""At most so many names in one answer."""


# --- requests: written by the daemon, trusted --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One document: `mime_type` is what the bytes were found to be, `size` in bytes as the spool has it."""

    mime_type: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """Make one image of these documents. Outputs: the image, unless a document goes as it is; a thumbnail."""

    documents: tuple[Input, ...]
    types: frozenset[str]
    max_bytes: int
    max_pages: int | None
    level: Level
    max_pixels: int
    strip_location: bool = True
    passwords: tuple[str, ...] = field(default=(), repr=False)

    def write(self) -> dict[str, object]:
        return {"task": "prepare", **asdict(self), "types": sorted(self.types)}

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        values = {**request}
        del values["task"]
        values["documents"] = tuple(Input(**document) for document in values["documents"])
        values["types"] = frozenset(values["types"])
        values["passwords"] = tuple(values["passwords"])
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackRequest:
    """List an archive and unpack what may be a receipt. Output: the members' bytes, one behind the other."""

    size: int
    max_members: int
    max_bytes: int
    max_ratio: int
    max_depth: int

    def write(self) -> dict[str, object]:
        return {"task": "unpack", **asdict(self)}

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        values = {**request}
        del values["task"]
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareRequest:
    """Do these two images show the same receipt?"""

    images: tuple[Input, Input]
    max_pixels: int

    def write(self) -> dict[str, object]:
        return {"task": "compare", **asdict(self)}

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        first, second = request["images"]
        return cls(images=(Input(**first), Input(**second)), max_pixels=request["max_pixels"])


@dataclass(frozen=True, slots=True, kw_only=True)
class RecogniseRequest:
    """Does the second image, which a target gave back, show the first, which was sent?"""

    images: tuple[Input, Input]
    max_pixels: int

    def write(self) -> dict[str, object]:
        return {"task": "recognise", **asdict(self)}

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        first, second = request["images"]
        return cls(images=(Input(**first), Input(**second)), max_pixels=request["max_pixels"])


# --- the words of an answer --------------------------------------------------------------------------------


class Problem(StrEnum):
    """Why documents are no receipt image. The numbers each carries stand behind it."""

    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    DAMAGED_PAGE = "damaged_page"  # page
    MISSING_PAGES = "missing_pages"  # pages, declared
    ENCRYPTED = "encrypted"  # tried (passwords that did not open it)
    LOCKED_FOREVER = "locked_forever"  # encrypted by a certificate or in a way nobody here knows
    NO_PAGES = "no_pages"
    TOO_MANY_PAGES = "too_many_pages"  # pages, limit
    TOO_MANY_PIXELS = "too_many_pixels"  # width, height, limit
    TOO_COMPLEX = "too_complex"
    ANIMATED = "animated"  # frames, limit
    UNSUPPORTED = "unsupported"  # a variant of the format that can't be decoded (12-bit JPEG)
    TOO_LARGE = "too_large"  # size, limit, smallest (what it could be made, still legible)
    BLANK = "blank"  # pages
    TINY = "tiny"  # width, height
    PORTFOLIO = "portfolio"  # names: the members that are no pages
    FORM = "form"  # a form whose values can't be made visible (dynamic XFA)
    LOCKED_MEMBERS = "locked_members"  # an archive with a password
    TOO_MANY_MEMBERS = "too_many_members"  # limit
    UNPACKS_TOO_LARGE = "unpacks_too_large"  # limit, in bytes
    NESTED_TOO_DEEP = "nested_too_deep"  # limit
    NO_MEMBERS = "no_members"


class Step(StrEnum):
    """What was done to a document. The numbers each carries stand behind it."""

    CONVERTED = "converted"  # to the image's type, from a format that is not taken
    TURNED = "turned"  # degrees, clockwise
    MIRRORED = "mirrored"
    COLOURS = "colours"  # CMYK, 16-bit … became RGB or grey
    ON_WHITE = "on_white"  # transparency
    LOCATION = "location"  # GPS and personal metadata removed
    STILL = "still"  # frames: only the first picture of an animation was kept
    FRAMES = "frames"  # pages: all frames became pages
    REPACKED = "repacked"  # size, limit: without loss, to fit
    RECOMPRESSED = "recompressed"  # quality, size, limit
    SCALED = "scaled"  # percent, size, limit
    GREYED = "greyed"  # size, limit
    RASTERISED = "rasterised"  # dpi
    DECRYPTED = "decrypted"  # only its owner's restrictions were removed
    OPENED = "opened"  # password: the number of the one that fitted, from 1
    FORM_FLATTENED = "form_flattened"
    ACTIVE_REMOVED = "active_removed"  # scripts, launch actions, embedded files
    REPAIRED = "repaired"
    PORTFOLIO_OPENED = "portfolio_opened"  # members
    MERGED = "merged"  # documents


class Caution(StrEnum):
    """What a person may want to look at; it does not keep the receipt from being uploaded."""

    BLURRED = "blurred"  # page
    BLANK_PAGE = "blank_page"  # page
    SMALL = "small"  # width, height
    SECOND_PICTURE_LEFT_OUT = "second_picture_left_out"  # frames
    SIGNATURE_LOST = "signature_lost"  # a digital signature does not survive a change


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A step or a caution, with its numbers and the document it is about (from 0; None: all of them)."""

    what: Step | Caution
    numbers: Mapping[str, int] = field(default_factory=dict)
    document: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem with its numbers, the document it is about (from 0), and names found inside it."""

    problem: Problem
    numbers: Mapping[str, int] = field(default_factory=dict)
    document: int = 0
    names: tuple[str, ...] = ()


class Found(Exception):
    """Raised where a check meets a problem, to end the work on these documents."""

    def __init__(self, problem: Problem, *, names: Sequence[str] = (), **numbers: int) -> None:
        super().__init__(problem, numbers)
        self.finding = Finding(problem=problem, numbers=numbers, names=tuple(names))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The image. `as_is`: the one document itself, byte for byte; else what the first output holds.

    `thumbnail`: the second output holds one (JPEG). `fingerprint` as domain.likeness has it.
    """

    as_is: bool
    mime_type: str
    pages: int
    steps: tuple[Noted, ...] = ()
    cautions: tuple[Noted, ...] = ()
    fingerprint: str | None = None
    thumbnail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of an archive: its bytes stand in the output from `offset` on."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What an archive holds: documents in its order, and names of members that are none (an empty file …)."""

    members: tuple[Member, ...]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """The disk of the output is full: nothing is wrong with the documents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """`same`: they show the same receipt."""

    same: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognised:
    """What became of an image in a target: `other` and `same` are sure, `unclear` is neither."""

    verdict: Recognition


class OutputFull(Exception):
    """An output can't be written because its disk is full. No OSError: those stand for damage."""


class MalformedAnswer(ValueError):
    """The limited process answered what nobody answers."""


# --- answers, written --------------------------------------------------------------------------------------


def write_answer(
    answer: Prepared | Finding | Listing | Compared | Recognised | NoRoom,
) -> dict[str, object]:
    """As JSON-ready values."""
    return {"answer": type(answer).__name__, **asdict(answer)}


# --- answers, read: nothing is believed --------------------------------------------------------------------


def read_prepared(answer: Mapping[str, object]) -> Prepared | Finding:
    """Raises OutputFull, and MalformedAnswer for what `write_answer` does not write for a PrepareRequest."""
    match answer:
        case {
            "answer": "Prepared",
            "as_is": bool(as_is),
            "mime_type": str(mime_type),
            "pages": int(pages),
            "steps": list(steps),
            "cautions": list(cautions),
            "fingerprint": str() | None as fingerprint,
            "thumbnail": bool(thumbnail),
        } if 0 < pages < 1 << 31 and _is_fingerprint(fingerprint):
            return Prepared(
                as_is=as_is,
                mime_type=mime_type,
                pages=pages,
                steps=tuple(_noted(step, Step) for step in steps[:_NOTES]),
                cautions=tuple(_noted(caution, Caution) for caution in cautions[:_NOTES]),
                fingerprint=fingerprint,
                thumbnail=thumbnail,
            )
    return _finding(answer)


def read_listing(answer: Mapping[str, object], *, max_members: int, max_bytes: int) -> Listing | Finding:
    """Raises as `read_prepared` does. Members stand one behind the other: no byte counts twice."""
    match answer:
        case {"answer": "Listing", "members": list(listed), "passed_over": list(passed_over)} if (
            len(listed) + len(passed_over) <= max_members
        ):
            members = tuple(map(_member, listed))
            end = 0
            for member in members:
                if member.offset != end:
                    raise _malformed(answer)
                end += member.size
            if end > max_bytes:
                raise _malformed(answer)
            return Listing(members=members, passed_over=_names(passed_over))
    return _finding(answer)


def read_compared(answer: Mapping[str, object]) -> Compared:
    match answer:
        case {"answer": "Compared", "same": bool(same)}:
            return Compared(same=same)
    raise _malformed(answer)


def read_recognised(answer: Mapping[str, object]) -> Recognition:
    match answer:
        case {"answer": "Recognised", "verdict": "same" | "other" | "unclear" as verdict}:
            return verdict
        case {"answer": "Finding"}:
            _finding(answer)
            return "unclear"
    raise _malformed(answer)


def numbers_in(values: Mapping[object, object]) -> Mapping[str, int]:
    """Raises MalformedAnswer for what are no numbers with names."""
    numbers = {k: v for k, v in values.items() if isinstance(k, str) and isinstance(v, int)}
    if len(numbers) != len(values) or not all(-(1 << 63) <= v < 1 << 63 for v in numbers.values()):
        raise _malformed(values)
    return numbers


_NOTES = 1000
_PROBLEMS: Mapping[str, Problem] = {str(problem): problem for problem in Problem}


def _finding(answer: Mapping[str, object]) -> Finding:
    match answer:
        case {"answer": "NoRoom"}:
            raise OutputFull
        case {
            "answer": "Finding",
            "problem": str(name),
            "numbers": dict(numbers),
            "document": int(document),
            "names": list(names),
        } if name in _PROBLEMS and 0 <= document < 1 << 16:
            return Finding(
                problem=_PROBLEMS[name],
                numbers=numbers_in(numbers),
                document=document,
                names=_names(names[:NAMES]),
            )
    raise _malformed(answer)


def _noted(value: object, words: type[Step] | type[Caution]) -> Noted:
    match value:
        case {"what": str(what), "numbers": dict(numbers), "document": int() | None as document} if (
            what in words.__members__.values()
        ):
            return Noted(what=words(what), numbers=numbers_in(numbers), document=document)
    raise _malformed(value)


def _member(value: object) -> Member:
    match value:
        case {"name": str(name), "offset": int(offset), "size": int(size)} if offset >= 0 and size >= 0:
            return Member(name=name[:1000], offset=offset, size=size)
    raise _malformed(value)


def _names(values: Sequence[object]) -> tuple[str, ...]:
    return tuple(display_name(str(value)[:1000]) for value in values)


def _is_fingerprint(value: str | None) -> bool:
    hexadecimal = set("0123456789abcdef")
    return value is None or (len(value) == FINGERPRINT_DIGITS and set(value) <= hexadecimal)


def _malformed(answer: object) -> MalformedAnswer:
    return MalformedAnswer(f"not an answer: {str(answer)[:200]}")
