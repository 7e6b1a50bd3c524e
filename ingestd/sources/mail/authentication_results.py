"""Authentication-Results (RFC 8601): what a mail server found out about a message, read without trust.

The reader takes linear time, knows comments and quoted strings, and gives up on what it can't take apart.
Which of the fields are believed is decided in `believed`, by their place: the rest may be forged.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from ingestd.sources.mail.addresses import ascii_lower

LONGEST_FIELD = 8192
"""Characters of one field; a longer one is not read at all, since its end may contradict its beginning."""

_VERSIONS = ("", "1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One `method=result` with its properties: `header.from`, `smtp.mailfrom`, ... Names in lower case."""

    method: str
    result: str
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerResults:
    """One field. `authserv_id` in lower case; empty for a field without one, as Exchange Online writes it."""

    authserv_id: str
    results: tuple[Result, ...]


def believed(values: Sequence[str], trusted: Collection[str]) -> tuple[ServerResults, ...]:
    """The fields our own servers added. `values` topmost first; `trusted` are their authserv-ids.

    A server puts its field above all that came with the message, and removes those which claim its own name
    (RFC 8601 sections 4.1 and 5). Not every server does the latter, so place decides as well: fields are
    believed from the very top down, one for each trusted name, up to the first that is another's, is
    unreadable, or repeats a name. What stands lower came in with the message, whatever name it bears. Only a
    server that adds no field at all leaves a forged one at the top: such a server must not be trusted.
    """
    names = {ascii_lower(name) for name in trusted}
    fields: list[ServerResults] = []
    for value in values:
        found = parse(value)
        if found is None or found.authserv_id not in names:
            break
        names.remove(found.authserv_id)
        fields.append(found)
    return tuple(fields)


def parse(value: str) -> ServerResults | None:
    """One field's value, folded or not. None when it can't be taken apart. Never raises.

    Parts that are no `method=result` of a known version are left out. A result that has two different values
    for one property, or words that belong to none, keeps no property: nobody can tell which is meant.
    """
    if len(value) > LONGEST_FIELD:
        return None
    try:
        sections = list(_sections(value))
    except _Unreadable:
        return None
    authserv_id = _authserv_id(sections[0])
    if authserv_id is None:
        return None
    named = sections[1:] if authserv_id else sections
    results = tuple(result for section in named if (result := _result(section)) is not None)
    return ServerResults(authserv_id=authserv_id, results=results)


# --- sections


def _authserv_id(section: Sequence["_Token"]) -> str | None:
    """Empty when the field begins with a result; None when it names nobody, or a version we don't know."""
    if any(token.kind is _Kind.EQUALS for token in section):
        return ""
    words = [token.text for token in section if token.kind is not _Kind.SPACE]
    if not words or not words[0] or len(words) > 2 or words[1:] not in ([], ["1"]):
        return None
    return ascii_lower(words[0])


def _result(section: Sequence["_Token"]) -> Result | None:
    properties: dict[str, str] = {}
    pairs = _pairs(section)
    name, result = next(pairs, ("", ""))
    method, _, version = name.partition("/")
    if not method or _UNCLEAR in method or not result or version not in _VERSIONS:
        return None
    clear = True
    for key, value in pairs:
        clear &= _UNCLEAR not in key and properties.setdefault(key, value) == value
    return Result(method=method, result=ascii_lower(result), properties=properties if clear else {})


_UNCLEAR = " "
"""In a name: words stand there that belong to no `name=value`."""


def _pairs(section: Sequence["_Token"]) -> Iterator[tuple[str, str]]:
    """`name = value` in order. Blanks may stand around the parts of a name (`header . d`), not in a value."""
    name = ""
    apart = False
    tokens = iter(section)
    for token in tokens:
        match token.kind:
            case _Kind.SPACE:
                apart = True
            case _Kind.WORD:
                joined = name.endswith((".", "/")) or token.text.startswith((".", "/"))
                name += token.text if not apart or not name or joined else _UNCLEAR + token.text
                apart = False
            case _Kind.STRING:
                name += _UNCLEAR
            case _Kind.EQUALS:
                yield ascii_lower(name), _value(tokens)
                name, apart = "", False
    if name:
        yield _UNCLEAR + name, ""


def _value(tokens: Iterator["_Token"]) -> str:
    """Up to the next blank. An equals sign may be part of it (`smtp.mailfrom=prvs=1234=ann@example.com`)."""
    parts: list[str] = []
    for token in tokens:
        if token.kind is not _Kind.SPACE:
            parts.append(token.text)
        elif parts:
            break
    return "".join(parts)


# --- tokens


class _Unreadable(Exception):
    """A comment or string without an end, or a character that has no place here."""


class _Kind(Enum):
    SPACE = auto()
    WORD = auto()
    STRING = auto()
    EQUALS = auto()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str


_TOKEN = re.compile(
    r"""
    (?P<SPACE> [ \t\r\n]+ )
    | (?P<STRING> " (?: [^"\\] | \\. )* " )
    | (?P<EQUALS> = )
    | (?P<WORD> [^\s"();=\x00-\x1f\x7f]+ )
    """,
    re.VERBOSE | re.DOTALL,
)
_SPACE = _Token(_Kind.SPACE, " ")
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_COMMENT_MARK = re.compile(r'\\.|[()"]', re.DOTALL)


def _sections(value: str) -> Iterator[list[_Token]]:
    """The parts between semicolons, at least one. Raises _Unreadable."""
    section: list[_Token] = []
    position = 0
    while position < len(value):
        match value[position]:
            case "(":
                position = _after_comment(value, position)
                section.append(_SPACE)
            case ";":
                position += 1
                yield section
                section = []
            case _:
                token, position = _token(value, position)
                section.append(token)
    yield section


def _token(value: str, position: int) -> tuple[_Token, int]:
    found = _TOKEN.match(value, position)
    if found is None:
        raise _Unreadable
    kind = _Kind[found.lastgroup or ""]
    text = found.group()
    if kind is _Kind.STRING:
        text = _QUOTED_PAIR.sub(r"\1", text[1:-1])
    return _Token(kind, text), found.end()


def _after_comment(value: str, position: int) -> int:
    """Comments nest and may quote a parenthesis (RFC 5322 section 3.2.2).

    One that ends within quotation marks is none: a server wrote the envelope sender into it, `"a) ..."@x`.
    """
    depth = quotes = 0
    for mark in _COMMENT_MARK.finditer(value, position):
        if mark.group() == "(":
            depth += 1
        elif mark.group() == '"':
            quotes += 1
        elif mark.group() == ")":
            depth -= 1
            if depth == 0 and quotes % 2:
                break
            if depth == 0:
                return mark.end()
    raise _Unreadable
