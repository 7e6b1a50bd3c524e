"""A PDF portfolio: a cover that asks for Adobe's viewer, and the documents themselves embedded in it."""

from collections.abc import Iterator
from dataclasses import dataclass

from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, StreamObject

from ingestd import sniff
from ingestd.domain.grouping import natural_key
from ingestd.normalizer.exchange import NAMES, Found, Problem
from ingestd.normalizer.pdf import filters, forgiving, packed, resolved

MAX_MEMBERS = 100
MAX_DEPTH = 3
_NODES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    name: str
    mime_type: str
    data: bytes


def members_of(catalog: DictionaryObject) -> list[Embedded]:
    """In the order of their names as people expect it; empty for a PDF that is no portfolio.

    Called within `pdf.judging()`. Raises Found: TOO_MANY_MEMBERS, CORRUPT.
    """
    if not isinstance(resolved(catalog.get("/Collection")), DictionaryObject):
        return []
    names = resolved(catalog.get("/Names"))
    tree = names.get("/EmbeddedFiles") if isinstance(names, DictionaryObject) else None
    members: list[Embedded] = []
    for name, specification in _entries(tree):
        if len(members) >= MAX_MEMBERS:
            raise Found(Problem.TOO_MANY_MEMBERS, limit=MAX_MEMBERS)
        members.append(_embedded(name, specification))
    return sorted(members, key=lambda member: natural_key(member.name))


def refuse_others(members: list[Embedded], pages: set[str]) -> None:
    """Raises Found: PORTFOLIO, with the names of the members whose type is none of `pages`."""
    others = [member.name for member in members if member.mime_type not in pages]
    if others:
        raise Found(Problem.PORTFOLIO, names=others[:NAMES])


def _entries(tree: object) -> Iterator[tuple[str, DictionaryObject]]:
    """Of a name tree (ISO 32000-2 section 7.9.6), each node once."""
    seen: set[int] = set()
    waiting = [tree]
    while waiting and len(seen) < _NODES:
        raw = waiting.pop(0)
        node = forgiving(raw.get_object) if isinstance(raw, IndirectObject) else raw
        if not isinstance(node, DictionaryObject) or id(node) in seen:
            continue
        seen.add(id(node))
        kids, names = resolved(node.get("/Kids")), resolved(node.get("/Names"))
        if isinstance(kids, ArrayObject):
            waiting += list.__iter__(kids)
        if isinstance(names, ArrayObject):
            items = [resolved(item) for item in list.__iter__(names)]
            for name, specification in zip(items[::2], items[1::2], strict=False):
                if isinstance(specification, DictionaryObject):
                    yield _name(name, specification), specification


def _name(key: object, specification: DictionaryObject) -> str:
    for entry in ("/UF", "/F", "/Desc"):
        name = resolved(specification.get(entry))
        if isinstance(name, str) and name:
            return name
    return str(key)


def _embedded(name: str, specification: DictionaryObject) -> Embedded:
    files = resolved(specification.get("/EF"))
    stream = resolved(files.get("/UF") or files.get("/F")) if isinstance(files, DictionaryObject) else None
    if not isinstance(stream, StreamObject):
        raise Found(Problem.CORRUPT)
    data = bytes(stream.get_data()) if filters(stream) else packed(stream)
    mime_type = sniff.sniff(data[: sniff.HEAD_BYTES], data[-sniff.TAIL_BYTES :])
    return Embedded(name=name, mime_type=mime_type, data=data)
