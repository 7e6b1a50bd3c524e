"""What the daemon asks a limited process about a message, and what that may answer.

As in `exchange`: obstacles and excuses are words of a closed set with numbers; the text that comes back is a
header, made presentable and bounded, and names. The `read` functions check every shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self, TypeVar

from ingestd.domain.document import display_name
from ingestd.domain.mail import Letter, Signature
from ingestd.normalizer.exchange import MalformedAnswer, OutputFull, numbers_in

# --- requests ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """Take a message apart. Output: the bytes of its leaves, one behind the other."""

    size: int
    max_leaves: int
    max_bytes: int

    def write(self) -> dict[str, object]:
        return {"task": "open_message", **asdict(self)}

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        values = {**request}
        del values["task"]
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """The TXT record of a DKIM key (RFC 6376 section 3.6.2), its bytes as latin-1 text."""

    domain: str
    selector: str
    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """Whose DKIM signatures over the message hold? `now` in seconds since 1970 UTC."""

    size: int
    keys: tuple[KeyRecord, ...]
    now: int

    def write(self) -> dict[str, object]:
        return {"task": "verify", **asdict(self)}

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Self:
        keys = tuple(KeyRecord(**key) for key in request["keys"])
        return cls(size=request["size"], keys=keys, now=request["now"])


# --- the words of an answer --------------------------------------------------------------------------------


class Obstacle(StrEnum):
    """Why a message can't be opened. The numbers each carries stand behind it."""

    HEADER_TOO_LONG = "header_too_long"  # limit, in bytes
    TOO_MANY_LINES = "too_many_lines"  # limit
    SENDER_TOO_LONG = "sender_too_long"  # limit, in bytes
    NESTED_TOO_DEEP = "nested_too_deep"  # limit
    TOO_MANY_PARTS = "too_many_parts"  # limit
    TOO_MANY_LEAVES = "too_many_leaves"  # limit
    TOO_LARGE = "too_large"  # limit, in bytes, of all parts decoded
    TOO_MUCH_TEXT = "too_much_text"  # limit, in bytes
    TANGLED = "tangled"  # its parts can't be told apart with reasonable effort


class Excuse(StrEnum):
    """Why a part is no leaf."""

    TRACKER = "tracker"
    LOGO = "logo"
    REPEATED = "repeated"
    ILLUSTRATION = "illustration"  # shown within a text that is the receipt
    SIGNATURE = "signature"
    CALENDAR = "calendar"
    CONTACT = "contact"
    TEXT = "text"  # the text of the message, wrapped up as a file by a mail server
    REPORT = "report"  # of the mail system, about another message
    FORMATTING = "formatting"  # a winmail.dat without any file in it
    WEB_PAGE = "web_page"
    SIGNED = "signed"
    ENCRYPTED = "encrypted"
    DAMAGED_TNEF = "damaged_tnef"
    ELSEWHERE = "elsewhere"  # message/external-body, message/partial: the bytes are not in this message
    AUTO_REPLY = "auto_reply"  # out of office
    NO_TEXT = "no_text"  # a message without attachments and without text


class Automatic(StrEnum):
    """Why nobody may be answered."""

    AUTO_SUBMITTED = "auto_submitted"
    LIST = "list"
    BULK = "bulk"
    REPORT = "report"
    NO_RETURN_PATH = "no_return_path"
    SUPPRESSED = "suppressed"
    AUTO_REPLY = "auto_reply"


class Unopenable(Exception):
    """Raised where a bound is met, to end the work on this message."""

    def __init__(self, obstacle: Obstacle, **numbers: int) -> None:
        super().__init__(obstacle, numbers)
        self.obstacle = obstacle
        self.numbers: Mapping[str, int] = numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundLeaf:
    """Its bytes stand in the output from `offset` on; of the message's own text there are none (`whole`)."""

    name: str
    declared_type: str
    offset: int
    size: int
    inline: bool = False
    text: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    name: str
    excuse: Excuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """`automatic` instead of the letter's own `unanswerable`: the sentences are made by the daemon."""

    letter: Letter
    automatic: Automatic | None
    leaves: tuple[FoundLeaf, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unopened:
    obstacle: Obstacle
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """Domains whose signature holds."""

    domains: tuple[str, ...]


def write_answer(answer: Opened | Unopened | Verified) -> dict[str, object]:
    """As JSON-ready values."""
    return {"answer": type(answer).__name__, **asdict(answer)}


# --- answers, read: nothing is believed --------------------------------------------------------------------

LONGEST_TEXT = 8_000
"""Characters of one value of a header."""
MOST_ADDRESSES = 1_000
MOST_REFERENCES = 20
MOST_RESULTS = 20
MOST_SIGNATURES = 10
MOST_LEFT_OUT = 1_000
LONGEST_NAME = 1_000


def read_opened(answer: Mapping[str, object], *, asked: OpenRequest) -> Opened | Unopened:
    """Raises OutputFull, and MalformedAnswer for what `write_answer` does not write for an OpenRequest."""
    match answer:
        case {"answer": "NoRoom"}:
            raise OutputFull
        case {"answer": "Unopened", "obstacle": str(name), "numbers": dict(numbers)}:
            return Unopened(obstacle=_word(Obstacle, name), numbers=numbers_in(numbers))
        case {
            "answer": "Opened",
            "letter": dict(letter),
            "automatic": str() | None as automatic,
            "leaves": list(leaves),
            "left_out": list(left_out),
        } if len(leaves) <= asked.max_leaves and len(left_out) <= MOST_LEFT_OUT:
            return Opened(
                letter=_letter(letter),
                automatic=None if automatic is None else _word(Automatic, automatic),
                leaves=_in_a_row(tuple(map(_leaf, leaves)), asked.max_bytes),
                left_out=tuple(map(_left_out, left_out)),
            )
    raise _malformed(answer)


def read_verified(answer: Mapping[str, object], *, asked: VerifyRequest) -> Verified:
    """Only domains that a key was given for."""
    match answer:
        case {"answer": "Verified", "domains": list(domains)}:
            if set(map(str, domains)) <= {key.domain for key in asked.keys}:
                return Verified(domains=tuple(map(str, domains)))
    raise _malformed(answer)


_Words = TypeVar("_Words", bound=StrEnum)


def _letter(value: Mapping[object, object]) -> Letter:
    match value:
        case {
            "senders": list(senders),
            "reply_to": list(reply_to),
            "recipients": list(recipients),
            "subject": str(subject),
            "message_id": str(message_id),
            "references": list(references),
            "return_path": str() | None as return_path,
            "authentication": list(authentication),
            "signatures": list(signatures),
            "unanswerable": None,
            "trace": int(trace),
        } if 0 <= trace < 1 << 16:
            return Letter(
                senders=_lines(senders, MOST_ADDRESSES),
                reply_to=_lines(reply_to, MOST_ADDRESSES),
                recipients=_lines(recipients, MOST_ADDRESSES),
                subject=_line(subject),
                message_id=_line(message_id),
                references=_lines(references, MOST_REFERENCES),
                return_path=None if return_path is None else _line(return_path),
                authentication=_lines(authentication, MOST_RESULTS),
                signatures=_signatures(signatures),
                trace=trace,
            )
    raise _malformed(value)


def _signatures(values: Sequence[object]) -> tuple[Signature, ...]:
    if len(values) > MOST_SIGNATURES:
        raise _malformed(values)
    signatures = []
    for value in values:
        match value:
            case {"domain": str(domain), "selector": str(selector)}:
                signatures.append(Signature(domain=_line(domain), selector=_line(selector)))
            case _:
                raise _malformed(value)
    return tuple(signatures)


def _leaf(value: object) -> FoundLeaf:
    match value:
        case {
            "name": str(name),
            "declared_type": str(declared_type),
            "offset": int(offset),
            "size": int(size),
            "inline": bool(inline),
            "text": bool(text),
            "whole": bool(whole),
        } if offset >= 0 and size >= 0 and (text or not whole):
            return FoundLeaf(
                name=display_name(name[:LONGEST_NAME]),
                declared_type=_line(declared_type)[:100],
                offset=offset,
                size=size,
                inline=inline,
                text=text,
                whole=whole,
            )
    raise _malformed(value)


def _in_a_row(leaves: tuple[FoundLeaf, ...], max_bytes: int) -> tuple[FoundLeaf, ...]:
    """One behind the other: no byte counts twice. The message itself is a leaf only alone."""
    end = 0
    for leaf in leaves:
        if leaf.offset != end or (leaf.whole and (leaf.size or len(leaves) > 1)):
            raise _malformed(leaves)
        end += leaf.size
    if end > max_bytes:
        raise _malformed(leaves)
    return leaves


def _left_out(value: object) -> LeftOut:
    match value:
        case {"name": str(name), "excuse": str(excuse)}:
            return LeftOut(name=display_name(name[:LONGEST_NAME]), excuse=_word(Excuse, excuse))
    raise _malformed(value)


def _lines(values: Sequence[object], most: int) -> tuple[str, ...]:
    if len(values) > most:
        raise _malformed(values)
    return tuple(_line(value) for value in values)


def _line(value: object) -> str:
    """One line of printable text: it may stand in a log or in a header of ours."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise _malformed(value)
    return value


def _word(words: type[_Words], name: str) -> _Words:
    try:
        return words(name)
    except ValueError:
        raise _malformed(name) from None


def _malformed(answer: object) -> MalformedAnswer:
    return MalformedAnswer(f"not an answer about a message: {str(answer)[:200]}")
