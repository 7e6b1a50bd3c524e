"""Writing a PDF from pages that pypdf has read: objects go over as they are, packed samples untouched.

Only what the new catalog reaches is written, object by object from a list and never by recursion through
references, so a chain of a million objects is a long file and no deep stack. Nothing is drawn from the clock
or from chance: the same pages give the same bytes.
"""

import hashlib
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
from ingestd.normalizer.pdf_numbered import Body, with_object_streams, with_table

_OBJECTS = 200_000
_NESTING = 100
_SMALL = 64  # bytes of a stream that are not worth packing
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
    data = with_table(bodies) if dense is None else with_object_streams(bodies)
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

    def bodies(self) -> list[Body]:
        """For object 1, 2, 3 …: what stands between obj and endobj, and the stream's data apart from it."""
        self._numbers.clear()
        self._queue.clear()
        self.dangling = 0
        self._reference(self._root)
        bodies: list[Body] = []
        while len(bodies) < len(self._queue):
            if len(self._queue) > _OBJECTS:
                raise Found(Problem.TOO_COMPLEX)
            key, value = self._queue[len(bodies)]
            bodies.append(self._body(key, value))
        return bodies

    def find_twins(self, bodies: Sequence[Body]) -> bool:
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

    def _body(self, key: _Key, value: PdfObject) -> Body:
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
                entries = (
                    _name(name) + b" " + self._written(_raw(value, name), depth + 1)
                    for name in value
                    if "\0" not in name  # no name holds it (ISO 32000-2 section 7.3.5): damage
                )
                return b"<<" + b" ".join(entries) + b">>"
            case ArrayObject():
                return b"[" + b" ".join(self._written(item, depth + 1) for item in _items(value)) + b"]"
            case TextStringObject() | ByteStringObject():
                return b"<" + value.original_bytes.hex().encode() + b">"
            case NameObject():
                return _name(value.replace("\0", ""))
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
