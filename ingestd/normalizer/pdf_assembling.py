"""Writing a PDF from pages that pypdf has read: objects go over as they are, packed samples untouched.

Only what the new catalog reaches is written, object by object from a list and never by recursion through
references, so a chain of a million objects is a long file and no deep stack. Nothing is drawn from the clock
or from chance: the same pages give the same bytes.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pypdf.generic import (
    ArrayObject,
    ByteStringObject,
    DictionaryObject,
    IndirectObject,
    NameObject,
    NumberObject,
    PdfObject,
    StreamObject,
    TextStringObject,
)

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.pdf import filters, packed, unpacked

_OBJECTS = 200_000
_NESTING = 100
_GROUP = 100  # objects in one object stream
_SMALL = 64  # bytes of a stream that are not worth packing
_HEADER = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
_INHERITED = ("/Resources", "/MediaBox", "/CropBox", "/Rotate")

_Key = tuple[int, int, int]


class Shelf:
    """Holds objects that no file holds yet, so that others can refer to them."""

    def __init__(self) -> None:
        self._objects: list[PdfObject] = []

    def add(self, value: PdfObject) -> IndirectObject:
        self._objects.append(value)
        return IndirectObject(len(self._objects), 0, self)

    def get_object(self, reference: IndirectObject) -> PdfObject:
        """What pypdf asks the document of a reference for."""
        return self._objects[reference.idnum - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """`dangling`: how many references led to objects that are not there."""

    data: bytes
    dangling: int


def assemble(
    pages: Sequence[DictionaryObject],
    catalog: Mapping[str, PdfObject],
    *,
    replaced: Mapping[_Key, PdfObject] | None = None,
    dense: "Repacked | None" = None,
) -> Written:
    """These pages under a new, flat page tree; `catalog` gives the other entries of the catalog.

    `replaced`: objects (by `key_of`) that others take the place of. `dense`: pack well, and
    write equal streams once; it keeps what was packed for the next time. Raises Found: TOO_COMPLEX.
    """
    shelf = Shelf()
    overrides = dict(replaced or {})
    tree = DictionaryObject({NameObject("/Type"): NameObject("/Pages")})
    tree_reference = shelf.add(tree)
    kids = ArrayObject(_placed_page(page, tree_reference, shelf, overrides) for page in pages)
    tree[NameObject("/Kids")] = kids
    tree[NameObject("/Count")] = NumberObject(len(kids))
    root = DictionaryObject({NameObject(name): value for name, value in catalog.items()})
    root[NameObject("/Type")] = NameObject("/Catalog")
    root[NameObject("/Pages")] = tree_reference
    writing = _Writing(shelf.add(root), overrides, dense=dense)
    bodies = writing.bodies()
    while dense is not None and writing.find_twins(bodies):
        bodies = writing.bodies()
    data = _file(bodies) if dense is None else _file_with_object_streams(bodies)
    return Written(data=data, dangling=writing.dangling)


def key_of(reference: IndirectObject) -> _Key:
    return id(reference.pdf), reference.idnum, reference.generation


def reference_of(value: object) -> IndirectObject | None:
    """Where this object stands in its file; None for one that stands within another."""
    reference = getattr(value, "indirect_reference", None)
    return reference if isinstance(reference, IndirectObject) else None


def _placed_page(
    page: DictionaryObject, tree: IndirectObject, shelf: Shelf, overrides: dict[_Key, PdfObject]
) -> IndirectObject:
    """A copy of the page below the new tree, under its old number so that links to it still lead there."""
    copy = DictionaryObject(page)
    for name in _INHERITED:
        value = copy.raw_get(name) if name in copy else None
        # pypdf puts what a page inherits into it; as a reference it is written once for all pages.
        if value is not None and (reference := reference_of(value)) is not None:
            copy[NameObject(name)] = reference
    copy[NameObject("/Type")] = NameObject("/Page")
    copy[NameObject("/Parent")] = tree
    own = reference_of(page)
    if own is None or key_of(own) in overrides:
        return shelf.add(copy)
    overrides[key_of(own)] = copy
    return own


class _Writing:
    """Numbers the objects in the order in which they are reached, and turns each into bytes."""

    def __init__(
        self, root: IndirectObject, overrides: Mapping[_Key, PdfObject], *, dense: "Repacked | None"
    ) -> None:
        self._root = root
        self._overrides = overrides
        self._dense = dense
        self._aliases: dict[_Key, _Key] = {}
        self._packed: dict[_Key, tuple[DictionaryObject, bytes]] = {}
        self._numbers: dict[_Key, int] = {}
        self._queue: list[tuple[_Key, PdfObject]] = []
        self.dangling = 0

    def bodies(self) -> list[tuple[bytes, bytes | None]]:
        """For object 1, 2, 3 …: what stands between obj and endobj, and the stream's data apart from it."""
        self._numbers.clear()
        self._queue.clear()
        self.dangling = 0
        self._reference(self._root)
        bodies: list[tuple[bytes, bytes | None]] = []
        while len(bodies) < len(self._queue):
            if len(self._queue) > _OBJECTS:
                raise Found(Problem.TOO_COMPLEX)
            key, value = self._queue[len(bodies)]
            bodies.append(self._body(key, value))
        return bodies

    def find_twins(self, bodies: Sequence[tuple[bytes, bytes | None]]) -> bool:
        """Notes which streams are equal to an earlier one; whether there are new ones."""
        first: dict[bytes, _Key] = {}
        found = False
        for (key, _), (entries, data) in zip(self._queue, bodies, strict=True):
            if data is None:
                continue
            digest = hashlib.sha256(entries + b"\0" + data).digest()
            twin = first.setdefault(digest, key)
            if twin != key:
                self._aliases[key] = twin
                found = True
        return found

    def _body(self, key: _Key, value: PdfObject) -> tuple[bytes, bytes | None]:
        if not isinstance(value, StreamObject):
            return self._written(value, 0), None
        if key not in self._packed:
            self._packed[key] = _packed_stream(value, dense=self._dense)
        entries, data = self._packed[key]
        return self._written(entries, 0), data

    def _written(self, value: PdfObject | None, depth: int) -> bytes:
        if depth > _NESTING:
            raise Found(Problem.TOO_COMPLEX)
        match value:
            case IndirectObject():
                return self._reference(value)
            case DictionaryObject():
                entries = (_name(name) + b" " + self._written(_raw(value, name), depth + 1) for name in value)
                return b"<<" + b" ".join(entries) + b">>"
            case ArrayObject():
                return b"[" + b" ".join(self._written(item, depth + 1) for item in _items(value)) + b"]"
            case TextStringObject() | ByteStringObject():
                return b"<" + value.original_bytes.hex().encode() + b">"
            case PdfObject():
                buffer = BytesIO()
                value.write_to_stream(buffer)
                return buffer.getvalue()
        return b"null"

    def _reference(self, reference: IndirectObject) -> bytes:
        key = key_of(reference)
        key = self._aliases.get(key, key)
        number = self._numbers.get(key)
        if number is None:
            value = self._overrides[key] if key in self._overrides else self._target(reference)
            if value is None:
                self.dangling += 1
                return b"null"
            self._queue.append((key, value))
            number = self._numbers[key] = len(self._queue)
        return b"%d 0 R" % number

    @staticmethod
    def _target(reference: IndirectObject) -> PdfObject | None:
        """References to references are followed for a while; a circle of them is nothing."""
        value: PdfObject | None = reference
        for _ in range(8):
            if not isinstance(value, IndirectObject):
                return value
            value = value.get_object()
        return None


class Repacked:
    """Streams packed as well as zlib can, each once: that takes far longer than all the rest."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[bytes, bytes | None]] = {}

    def better(self, stream: StreamObject) -> bytes | None:
        """As zlib data; None where that is not smaller."""
        before = packed(stream)
        known = self._known.get(id(before))
        if known is None:
            # The bytes are kept, too, so that no others get their identity.
            known = self._known[id(before)] = (before, _smaller(stream))
        return known[1]


def _smaller(stream: StreamObject) -> bytes | None:
    names, data = filters(stream), packed(stream)
    plain: bytes | None = None
    if not names and len(data) > _SMALL:
        plain = data
    elif names == ["/FlateDecode"] and stream.get("/Subtype") != "/Image":  # pictures have their own ladder
        plain = unpacked(stream)
    smaller = None if plain is None else zlib.compress(plain, 9)
    return smaller if smaller is not None and len(smaller) < len(data) else None


def _packed_stream(stream: StreamObject, *, dense: Repacked | None) -> tuple[DictionaryObject, bytes]:
    entries = DictionaryObject({NameObject(name): _raw(stream, name) for name in stream})
    data = packed(stream)
    better = dense.better(stream) if dense is not None else None
    if better is not None:
        data = better
        entries[NameObject("/Filter")] = NameObject("/FlateDecode")
    entries[NameObject("/Length")] = NumberObject(len(data))
    return entries, data


def _raw(dictionary: DictionaryObject, name: str) -> Any:
    return dictionary.raw_get(name)


def _items(array: ArrayObject) -> Iterable[Any]:
    """Without following references, unlike pypdf's iteration over some subclasses."""
    return list.__iter__(array)


def _name(name: str) -> bytes:
    buffer = BytesIO()
    NameObject(name).write_to_stream(buffer)
    return buffer.getvalue()


# --- files --------------------------------------------------------------------------------------------------


def _identifier(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return b"[<%b> <%b>]" % ((digest.hexdigest()[:32].encode(),) * 2)


def _file(bodies: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """With a cross-reference table (ISO 32000-2 section 7.5.4)."""
    parts, offsets = _objects_in_place(enumerate(bodies, 1), [_HEADER], len(_HEADER))
    start = sum(map(len, parts))
    table = b"".join(b"%010d 00000 n \n" % offsets[number] for number in range(1, len(bodies) + 1))
    identifier = _identifier(parts)
    parts.append(b"xref\n0 %d\n0000000000 65535 f \n%b" % (len(bodies) + 1, table))
    parts.append(
        b"trailer\n<< /Size %d /Root 1 0 R /ID %b >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(bodies) + 1, identifier, start)
    )
    return b"".join(parts)


def _objects_in_place(
    numbered: Iterable[tuple[int, tuple[bytes, bytes | None]]], parts: list[bytes], position: int
) -> tuple[list[bytes], dict[int, int]]:
    offsets: dict[int, int] = {}
    for number, (content, data) in numbered:
        offsets[number] = position
        stream = b"" if data is None else b"\nstream\n%b\nendstream" % data
        parts.append(b"%d 0 obj\n%b%b\nendobj\n" % (number, content, stream))
        position += len(parts[-1])
    return parts, offsets


def _file_with_object_streams(bodies: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """With objects packed together and a cross-reference stream (sections 7.5.7 and 7.5.8)."""
    numbered = list(enumerate(bodies, 1))
    loose = [(number, content) for number, (content, data) in numbered if data is None]
    groups = [loose[start : start + _GROUP] for start in range(0, len(loose), _GROUP)]
    entries: dict[int, tuple[int, int, int]] = {0: (0, 0, 65535)}
    in_place = [(number, body) for number, body in numbered if body[1] is not None]
    for stream_number, group in enumerate(groups, len(bodies) + 1):
        in_place.append((stream_number, _object_stream(group)))
        entries.update((number, (2, stream_number, index)) for index, (number, _) in enumerate(group))
    parts, offsets = _objects_in_place(in_place, [_HEADER], len(_HEADER))
    entries.update((number, (1, offset, 0)) for number, offset in offsets.items())
    start = sum(map(len, parts))
    own = len(bodies) + len(groups) + 1
    entries[own] = (1, start, 0)
    table = zlib.compress(b"".join(struct.pack(">BIH", *entries[number]) for number in range(own + 1)), 9)
    content = b"<</Type /XRef /Size %d /W [1 4 2] /Root 1 0 R /ID %b /Filter /FlateDecode /Length %d>>" % (
        own + 1,
        _identifier(parts),
        len(table),
    )
    parts, _ = _objects_in_place([(own, (content, table))], parts, start)
    return b"".join([*parts, b"startxref\n%d\n%%%%EOF\n" % start])


def _object_stream(group: Sequence[tuple[int, bytes]]) -> tuple[bytes, bytes]:
    index, position = [], 0
    for number, content in group:
        index.append(b"%d %d" % (number, position))
        position += len(content) + 1
    head = b" ".join(index) + b"\n"
    data = zlib.compress(head + b"\n".join(content for _, content in group), 9)
    entries = b"<</Type /ObjStm /N %d /First %d /Filter /FlateDecode /Length %d>>" % (
        len(group),
        len(head),
        len(data),
    )
    return entries, data
