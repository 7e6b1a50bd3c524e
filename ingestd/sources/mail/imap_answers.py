"""What the answers of an IMAP server say: a bounded reader for its lists (RFC 9051 section 9), and the few
answers that ingestd asks for.

Whatever can't be read raises ValueError; nothing recurses.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from ingestd.sources.mail.imap_framing import Answer
from ingestd.sources.mail.imap_names import Namespaces, decoded

Value: TypeAlias = "str | bytes | list[Value]"
"""An atom, a string (quoted or literal), or a list."""

SENDER_BYTES = 2048
"""So much of the From fields is asked for; only the rough address is of use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """A mailbox as it was when it was selected.

    `keywords`: new ones may be made (PERMANENTFLAGS has \\*). `flags`: those that are kept, as the server
    writes them; none of a mailbox selected read-only.
    """

    uidvalidity: int
    exists: int
    uidnext: int | None
    keywords: bool
    flags: frozenset[str]
    highestmodseq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A message before it is fetched. `size` in bytes as the server says.

    `sender` is the rough address of From in lower case, empty when there is none: not yet to be believed.
    """

    uid: int
    size: int
    flags: frozenset[str]
    sender: str
    modseq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Where a message is now."""

    uidvalidity: int
    uid: int


def keyword(answer: Answer) -> str:
    """What an untagged answer is about, in upper case: FETCH, EXISTS, LIST, OK …"""
    found = _KEYWORD.match(answer[0])
    return found[1].decode("ascii").upper() if found else ""


def count(answer: Answer) -> int:
    """The number of "* 12 EXISTS"."""
    return int(answer[0].split(b" ", 2)[1])


def response_code(text: str) -> tuple[str, str]:
    """("COPYUID", "1 2 3") of "[COPYUID 1 2 3] Done"; empty strings where there is no code."""
    found = _CODE.match(text)
    return (found[1].upper(), found[2] or "") if found else ("", "")


def codes(answers: Sequence[Answer]) -> dict[str, str]:
    """The response codes of untagged OK answers."""
    texts = (answer[0][5:].decode("latin-1") for answer in answers if keyword(answer) == "OK")
    return dict(code for text in texts if (code := response_code(text))[0])


def capabilities(answers: Sequence[Answer]) -> frozenset[str]:
    """In upper case, as "IDLE" or "AUTH=XOAUTH2"."""
    lines = (answer[0].decode("latin-1") for answer in answers if keyword(answer) == "CAPABILITY")
    return frozenset(word for line in lines for word in line.upper().split()[2:])


def selected(answers: Sequence[Answer]) -> Selected | None:
    """Of SELECT and EXAMINE; None when the mailbox has no lasting UIDs (RFC 9051 section 2.3.1.1)."""
    said = codes(answers)
    if "UIDVALIDITY" not in said:
        return None
    exists = [count(answer) for answer in answers if keyword(answer) == "EXISTS"]
    listed = next((answer for answer in answers if keyword(answer) == "FLAGS"), None)
    # Without PERMANENTFLAGS all flags are permanent (RFC 9051 section 6.3.2).
    kept = _flags(read_text(said["PERMANENTFLAGS"])) if "PERMANENTFLAGS" in said else None
    if kept is None:
        kept = _flags(read(listed)[2:]) if listed else frozenset()
    return Selected(
        uidvalidity=int(said["UIDVALIDITY"]),
        exists=exists[-1] if exists else 0,
        uidnext=_number(said.get("UIDNEXT")),
        keywords="\\*" in kept,
        flags=kept - {"\\*"},
        highestmodseq=_number(said.get("HIGHESTMODSEQ")),
    )


def found_uids(answers: Sequence[Answer]) -> list[int]:
    """Of UID SEARCH, ascending. A server may answer in several lines."""
    uids: set[int] = set()
    for answer in answers:
        if keyword(answer) == "SEARCH":
            # CONDSTORE adds "(MODSEQ 5)" behind the UIDs (RFC 7162 section 3.1.5).
            uids.update(int(number) for number in answer[0].partition(b"(")[0].split()[2:])
    return sorted(uids)


def fetched(answers: Sequence[Answer]) -> list[dict[str, Value]]:
    """The items of each FETCH answer, by name in upper case; a partial one ("<0>") by its whole name."""
    return [_items(answer) for answer in answers if keyword(answer) == "FETCH"]


def outlines(answers: Sequence[Answer]) -> list[Outline]:
    """Of those FETCH answers that are complete; a server may add flags of others at any time."""
    return [
        Outline(
            uid=int(_atom(items["UID"])),
            size=int(_atom(items["RFC822.SIZE"])),
            flags=_flags(items["FLAGS"]),
            sender=rough_sender(_first_bytes(items, "BODY[HEADER.FIELDS")),
            modseq=_modseq(items),
        )
        for items in fetched(answers)
        if items.keys() >= {"UID", "RFC822.SIZE", "FLAGS"}
    ]


def flags(items: dict[str, Value]) -> frozenset[str]:
    return _flags(items["FLAGS"])


def rough_sender(header: bytes) -> str:
    """The address of the first From field in lower case, as far as it can be told without parsing mail.

    Without characters that no terminal should get: people see it before anybody is believed.
    """
    field = header[:SENDER_BYTES].decode("utf-8", "replace").partition(":")[2]
    in_angles = field.partition("<")[2].partition(">")[0] if ">" in field else ""
    words = _BETWEEN_ADDRESSES.split(in_angles if "@" in in_angles else field)
    return next((word.lower() for word in words if _looks_like_address(word)), "")


def copied(text: str, answers: Sequence[Answer]) -> Moved | None:
    """Where COPYUID says that one message went (RFC 4315 section 3): in the last line, `text`, or before."""
    said = codes(answers) | dict([response_code(text)])
    found = _COPYUID.fullmatch(said.get("COPYUID", ""))
    return Moved(uidvalidity=int(found[1]), uid=int(found[2])) if found else None


def mailbox_names(answers: Sequence[Answer]) -> list[str]:
    """Of LIST: those that can be selected. A line that can't be read is left out: it names none of ours."""
    names = []
    for answer in answers:
        if keyword(answer) != "LIST":
            continue
        try:
            _, _, attributes, _, name = read(answer)
        except ValueError:
            continue
        hidden = {flag.lower() for flag in _flags(attributes)} & {"\\noselect", "\\nonexistent"}
        if not hidden:
            names.append(decoded(_text(name)))
    return names


def delimiter(answers: Sequence[Answer]) -> str:
    """Of LIST "" "": empty for a server without hierarchy."""
    for answer in answers:
        if keyword(answer) == "LIST":
            return _text(read(answer)[3], nil="")
    return "/"


def namespaces(answers: Sequence[Answer]) -> Namespaces:
    """Of NAMESPACE (RFC 2342 section 5): the first personal one counts."""
    for answer in answers:
        if keyword(answer) != "NAMESPACE":
            continue
        personal, *others = (space if isinstance(space, list) else [] for space in read(answer)[2:5])
        if not personal:
            break
        prefix, mark = _namespace(personal[0])
        foreign = (_namespace(space)[0] for spaces in others for space in spaces)
        return Namespaces(prefix, mark, tuple(filter(None, foreign)))
    return Namespaces()


def storage_quota(answers: Sequence[Answer]) -> tuple[int, int] | None:
    """Used and limit in units of 1,024 bytes (RFC 9208 section 5.1); None when storage is not limited."""
    for answer in answers:
        if keyword(answer) == "QUOTA":
            limits = read(answer)[-1]
            if not isinstance(limits, list):
                raise ValueError("a QUOTA answer without a list")
            for at in range(0, len(limits) - 2, 3):
                if _name(limits[at]) == "STORAGE":
                    return int(_atom(limits[at + 1])), int(_atom(limits[at + 2]))
    return None


def newest_date(answers: Sequence[Answer]) -> datetime | None:
    """The latest INTERNALDATE (RFC 9051 section 2.3.3; a blank may stand for a leading zero)."""
    dates = [_text(items["INTERNALDATE"]).strip() for items in fetched(answers) if "INTERNALDATE" in items]
    return max((datetime.strptime(date, "%d-%b-%Y %H:%M:%S %z") for date in dates), default=None)


def read(answer: Answer) -> list[Value]:
    """All values of an answer, the "*" first."""
    stack: list[list[Value]] = [[]]
    for at, part in enumerate(answer):
        if at % 2:
            stack[-1].append(part)
        else:
            _read_part(part, stack)
    if len(stack) != 1:
        raise ValueError("a list without its end")
    return stack[0]


def read_text(text: str) -> list[Value]:
    values = read((text.encode("latin-1"),))
    return values[0] if values and isinstance(values[0], list) else values


_DEEPEST = 50
_KEYWORD = re.compile(rb"\* (?:[0-9]{1,20} )?([A-Za-z0-9-]{1,40})(?= |\Z)")
_CODE = re.compile(r"\[([A-Za-z0-9-]{1,40})(?: ([^\]]*))?\]")
_COPYUID = re.compile(r"([0-9]{1,20}) [0-9]{1,20} ([0-9]{1,20})")
_TOKEN = re.compile(
    rb'(?P<open>\()|(?P<close>\))|"(?P<quoted>(?:[^"\\]|\\.)*+)"'
    rb'|(?P<atom>(?:BODY|body)\[[^\]]*\](?:<[0-9]+>)?|[^\s()"]+)|(?P<blank>\s+)',
    re.DOTALL,
)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_BETWEEN_ADDRESSES = re.compile(r'[\s<>,;:()\["\]]+')


def _read_part(part: bytes, stack: list[list[Value]]) -> None:
    at = 0
    while at < len(part):
        token = _TOKEN.match(part, at)
        if token is None:
            raise ValueError("a string without its end")
        at = token.end()
        match token.lastgroup:
            case "open":
                _descend(stack)
            case "close":
                if len(stack) == 1:
                    raise ValueError("a list without its beginning")
                stack.pop()
            case "quoted":
                stack[-1].append(_ESCAPED.sub(rb"\1", token["quoted"]))
            case "atom":
                stack[-1].append(token["atom"].decode("latin-1"))


def _items(answer: Answer) -> dict[str, Value]:
    items = read(answer)[3]
    if not isinstance(items, list):
        raise ValueError("a FETCH answer without a list")
    return {_name(items[at]): items[at + 1] for at in range(0, len(items) - 1, 2)}


def _descend(stack: list[list[Value]]) -> None:
    if len(stack) == _DEEPEST:
        raise ValueError("lists within lists without an end")
    inner: list[Value] = []
    stack[-1].append(inner)
    stack.append(inner)


def _atom(value: Value) -> str:
    if not isinstance(value, str):
        raise ValueError("a string or a list where an atom should be")
    return value


def _text(value: Value, *, nil: str = "NIL") -> str:
    if isinstance(value, list):
        raise ValueError("a list where a string should be")
    if isinstance(value, str):
        return nil if value.upper() == "NIL" else value
    return value.decode("utf-8", "replace")


def _name(value: Value) -> str:
    return _text(value).upper()


def _flags(value: Value) -> frozenset[str]:
    if not isinstance(value, list):
        raise ValueError("flags that are no list")
    inner = value[0] if len(value) == 1 and isinstance(value[0], list) else value
    return frozenset(flag for flag in inner if isinstance(flag, str))


def _modseq(items: dict[str, Value]) -> int | None:
    value = items.get("MODSEQ")
    return int(_atom(value[0])) if isinstance(value, list) and value else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _first_bytes(items: dict[str, Value], name: str) -> bytes:
    values = (value for key, value in items.items() if key.startswith(name))
    return next((value for value in values if isinstance(value, bytes)), b"")


def _looks_like_address(word: str) -> bool:
    local, _, domain = word.rpartition("@")
    return bool(local and domain) and word.isprintable()


def _namespace(space: Value) -> tuple[str, str]:
    if not isinstance(space, list) or len(space) < 2:
        raise ValueError("a namespace without prefix and delimiter")
    return decoded(_text(space[0])), _text(space[1], nil="")
