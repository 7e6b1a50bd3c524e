"""A PDF on its way to become pages of another: cleaned of what must not go on, and written.

A part that nothing was done to is never written: the document goes as it came.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pypdf import PdfReader
from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NullObject, PdfObject

from ingestd.normalizer.exchange import Caution, Found, Noted, Problem, Step
from ingestd.normalizer.pdf import judging, resolved
from ingestd.normalizer.pdf_active import remove_active
from ingestd.normalizer.pdf_assembling import Repacked, Shelf, assemble, key_of, reference_of
from ingestd.normalizer.pdf_forms import flatten, is_signed
from ingestd.normalizer.pdf_inspecting import inspect_pages
from ingestd.normalizer.pdf_opening import Opened, open_pdf
from ingestd.normalizer.sheets import Bounds

# What only the whole document has a use for, or nobody: it does not go into another document, or when the
# document is packed to fit.
_PAGE_EXTRAS = ("/Thumb", "/PieceInfo", "/Metadata", "/LastModified", "/B", "/StructParents", "/AF")
_CATALOG_EXTRAS = ("/Metadata", "/PieceInfo", "/StructTreeRoot", "/MarkInfo", "/SpiderInfo", "/Threads")
_NEVER = ("/Type", "/Pages", "/Version", "/Perms", "/DSS", "/Collection")


@dataclass(slots=True, kw_only=True)
class Part:
    """`steps`: what was done to it; where there are none, it needs no writing."""

    reader: PdfReader
    catalog: DictionaryObject
    pages: list[DictionaryObject]
    signed: bool
    steps: list[Noted] = field(default_factory=list)
    cautions: list[Noted] = field(default_factory=list)


def part_of(data: bytes, bounds: Bounds) -> Part:
    """A PDF opened, inspected and cleaned. Raises Found."""
    with judging():
        return cleaned(open_pdf(data, passwords=bounds.passwords, max_pages=bounds.max_pages), bounds)


def cleaned(opened: Opened, bounds: Bounds) -> Part:
    """Called within `pdf.judging()`. Raises Found."""
    repaired = any(step.what is Step.REPAIRED for step in opened.steps)
    inspected = bounds.level == "full" or bool(opened.steps)
    if inspected:
        inspect_pages(opened.pages, max_pixels=bounds.max_pixels, repaired=repaired)
    catalog, steps = opened.catalog, list(opened.steps)
    signed = is_signed(catalog, opened.pages)
    if flatten(catalog, opened.pages, Shelf()):
        steps.append(Noted(what=Step.FORM_FLATTENED))
    if remove_active(catalog, opened.pages):
        steps.append(Noted(what=Step.ACTIVE_REMOVED))
    if steps and not inspected:  # what goes as it came can lose nothing here; what is written anew could
        inspect_pages(opened.pages, max_pixels=bounds.max_pixels)
    return Part(reader=opened.reader, catalog=catalog, pages=opened.pages, signed=signed, steps=steps)


def written(parts: Sequence[Part], *, dense: Repacked | None = None) -> bytes:
    """All pages of all parts, in order. `dense`: packed well, without what nobody needs. Raises Found.

    Signatures cover bytes that are gone then: their fields become plain pictures of themselves.
    """
    with judging():
        for part in parts:
            if flatten(part.catalog, part.pages, Shelf(), signatures=True) or part.signed:
                _note_lost_signature(part)
            if dense is not None or len(parts) > 1:
                _leave_out(part.pages, _PAGE_EXTRAS)
        pages = [page for part in parts for page in part.pages]
        catalog = _catalog_of(parts[0], dense=dense is not None) if len(parts) == 1 else _layers_of(parts)
        return assemble(pages, catalog, replaced=_old_trees(parts), dense=dense).data


def _note_lost_signature(part: Part) -> None:
    if part.signed and not part.cautions:
        part.cautions.append(Noted(what=Caution.SIGNATURE_LOST))


def _leave_out(holders: Iterable[DictionaryObject], names: Sequence[str]) -> None:
    for holder in holders:
        for name in names:
            holder.pop(name, None)


def _catalog_of(part: Part, *, dense: bool) -> dict[str, PdfObject]:
    """Of the document as it was: its outline, its layers, its language."""
    left_out = {*_NEVER, *(_CATALOG_EXTRAS if dense else ())}
    if part.reader.is_encrypted:
        left_out.add("/Metadata")  # may stand unencrypted in an encrypted document, and be garbled now
    return {name: part.catalog.raw_get(name) for name in part.catalog if name not in left_out}


def _old_trees(parts: Sequence[Part]) -> dict[tuple[int, int, int], PdfObject]:
    """The catalogs and page trees that the new one takes the place of; nothing refers to them any more."""
    old: dict[tuple[int, int, int], PdfObject] = {}
    for part in parts:
        for holder in (part.catalog, resolved(part.catalog.get("/Pages"))):
            reference = reference_of(holder)
            if reference is not None:
                old[key_of(reference)] = NullObject()
    return old


def _layers_of(parts: Sequence[Part]) -> dict[str, PdfObject]:
    """Which layers exist and are off (ISO 32000-2 section 8.11.4): what was hidden stays hidden.

    `/AS`: which are switched when the document is shown or printed.
    """
    groups, hidden, switched = ArrayObject(), ArrayObject(), ArrayObject()
    for part in parts:
        layers = resolved(part.catalog.get("/OCProperties"))
        if not isinstance(layers, DictionaryObject):
            continue
        own = _items(layers.get("/OCGs"))
        groups += own
        default = resolved(layers.get("/D"))
        if isinstance(default, DictionaryObject):
            shown = _items(default.get("/ON"))
            off = [group for group in own if group not in shown]
            hidden += off if default.get("/BaseState") == "/OFF" else _items(default.get("/OFF"))
            switched += _items(default.get("/AS"))
    if not groups:
        return {}
    configuration = DictionaryObject({NameObject("/OFF"): hidden, NameObject("/AS"): switched})
    layers = DictionaryObject({NameObject("/OCGs"): groups, NameObject("/D"): configuration})
    return {"/OCProperties": layers}


def _items(value: object) -> list[PdfObject]:
    array = resolved(value)
    return list(list.__iter__(array)) if isinstance(array, ArrayObject) else []


def check_pages(parts: Sequence[Part], max_pages: int | None) -> int:
    """How many they have together. Raises Found: TOO_MANY_PAGES."""
    pages = sum(len(part.pages) for part in parts)
    if max_pages is not None and pages > max_pages:
        raise Found(Problem.TOO_MANY_PAGES, pages=pages, limit=max_pages)
    return pages
