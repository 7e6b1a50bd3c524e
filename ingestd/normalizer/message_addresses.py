"""Addresses out of header fields, as a strict reader sees them (RFC 5322 section 3.4).

A display name never counts: `boss@corp.com <eve@example.net>` is Eve. Where readers may differ, every
candidate is given, so that "more than one" is seen by whoever wants exactly one.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

MOST_OF_A_KIND = 200
_LONGEST_DOMAIN = 253  # RFC 1035 section 2.3.4
_TOKEN = re.compile(
    r'"((?:[^"\\]|\\.)*+)"'  # 1: quoted string
    r"|<([^<>]*+)>"  # 2: what an angle address holds
    r"|(\[[^\[\]\\]*+\])"  # 3: domain literal
    r"|([,;:()])"  # 4
    r'|([^\s"<>\[,;:()]++)'  # 5: atoms, dots, @
    r"|(\s++)"  # 6
    r"|(.)",  # 7: a quote or bracket that is never closed
    re.DOTALL,
)
_CANDIDATE = re.compile(r"[^\s\"<>\[\],;:()@]{1,64}@[^\s\"<>\[\],;:()@]{1,253}")
_DOT_ATOM = re.compile(r"[^\s\"<>\[\],;:()@\\.]+(?:\.[^\s\"<>\[\],;:()@\\.]+)*")
_MASKED = {ord(" "): 1, ord(","): 2, ord("@"): 3, ord("."): 4}
_UNMASKED = {mask: character for character, mask in _MASKED.items()}


def addresses(fields: Iterable[str]) -> tuple[str, ...]:
    """`local@domain` of all mailboxes in these values, each once; at most MOST_OF_A_KIND."""
    found: dict[str, None] = {}
    for value in fields:
        for address in _mailboxes(value):
            found.setdefault(address)
            if len(found) >= MOST_OF_A_KIND:
                return tuple(found)
    return tuple(found)


def senders(fields: Iterable[str]) -> tuple[str, ...]:
    """As `addresses`, but never just one out of a field that can't be read by the rules."""
    values = list(fields)
    found = addresses(values)
    is_sound = all(kind != "broken" for value in values for kind, _ in _tokens(value))
    return found if is_sound or len(found) > 1 else ()


def domain_in_ascii(domain: str) -> str:
    """Lower case, as A-labels (RFC 5890 section 2.3.2.1); unchanged where it is no domain."""
    domain = domain.strip().rstrip(".").lower()
    if domain.isascii() or len(domain) > _LONGEST_DOMAIN:
        return domain
    try:
        return domain.encode("idna").decode()
    except UnicodeError:
        return domain


def _mailboxes(value: str) -> Iterator[str]:
    """Split at the commas and semicolons outside of quotes, comments and angle brackets."""
    mailbox: list[tuple[str, str]] = []
    for kind, text in _tokens(value):
        if kind == "separator":
            yield from _addresses_in(mailbox)
            mailbox = []
        elif kind == "broken":
            yield from map(_presentable, _CANDIDATE.findall(value))
            return
        else:
            mailbox.append((kind, text))
    yield from _addresses_in(mailbox)


def _tokens(value: str) -> Iterator[tuple[str, str]]:
    """Comments vanish, however deep they are; a group's name is a separator, too (RFC 5322 section 3.4)."""
    depth = 0
    escaped = False
    for found in _TOKEN.finditer(value):
        quoted, angle, literal, special, atom, blank, _ = found.groups()
        if depth and special not in ("(", ")"):
            escaped = atom is not None and atom.endswith("\\")
            continue
        match special:
            case "(" | ")" if escaped:
                escaped = False
            case "(":
                depth += 1
            case ")":
                depth = max(0, depth - 1)
            case "," | ";" | ":":
                yield "separator", special
            case _ if quoted is not None:
                yield "quoted", re.sub(r"\\(.)", r"\1", quoted)
            case _ if angle is not None:
                yield "angle", angle
            case _ if (text := literal or atom) is not None:
                yield "atom", text
            case _ if blank is not None:
                yield "blank", " "
            case _:
                yield "broken", found[0]
    if depth:
        yield "broken", "("


def _addresses_in(mailbox: list[tuple[str, str]]) -> Iterator[str]:
    """All of what stands in angle brackets; else the words that are addresses."""
    angles = [text for kind, text in mailbox if kind == "angle"]
    if angles:
        for text in angles:
            # obs-route (RFC 5322 section 4.4): the address stands behind the colon.
            inside = [token for token in _tokens(text.rpartition(":")[2]) if token[0] != "angle"]
            yield from _words(inside)
    else:
        yield from _words(mailbox)


def _words(tokens: list[tuple[str, str]]) -> Iterator[str]:
    text = "".join(_quoted(text) if kind == "quoted" else text for kind, text in tokens)
    for word in re.split(r"[\s,]+", re.sub(r"\s*+([@.])\s*", r"\1", text)):
        pieces = [piece.translate(_UNMASKED) for piece in word.split("@")]
        # a@b@c is no address, and could be read as either of two.
        for local, domain in pairwise(pieces):
            if local and domain:
                yield _presentable(f"{local}@{domain}")


def _quoted(text: str) -> str:
    """A quoted local part keeps its quotes only where it needs them. What separates elsewhere is masked."""
    if _DOT_ATOM.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text).translate(_MASKED) + '"'


def _presentable(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return "".join(c if c.isprintable() else "?" for c in f"{local}@{domain_in_ascii(domain)}")
