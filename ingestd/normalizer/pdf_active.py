"""Active content of a PDF: scripts, launch actions, forms that send themselves, embedded files, media.

A receipt is read by people and by the target's text recognition; nothing in it needs to run. What only leads
somewhere (a link, the page to open at) stays, and is no reason to change a document.
"""

from collections.abc import Iterator, Sequence

from pypdf.generic import ArrayObject, DictionaryObject, IndirectObject, NameObject

from ingestd.normalizer.pdf import forgiving
from ingestd.normalizer.pdf_values import dictionary

# ISO 32000-2 table 201; everything else (JavaScript, Launch, GoToR, GoToE, SubmitForm, ImportData, Rendition,
# Movie, Sound, RichMediaExecute …) does something or loads something.
_HARMLESS_ACTIONS = frozenset({"/GoTo", "/URI", "/Named", "/GoToDp", "/Thread", "/SetOCGState", "/Trans"})
_ACTIVE_ANNOTATIONS = frozenset(
    {"/FileAttachment", "/RichMedia", "/3D", "/Sound", "/Movie", "/Screen", "/Projection"}
)
_ACTIVE_NAMES = ("/JavaScript", "/EmbeddedFiles", "/Renditions", "/AlternatePresentations")
_CHAIN = 20
_OUTLINE_ITEMS = 20_000


def remove_active(catalog: DictionaryObject, pages: Sequence[DictionaryObject]) -> bool:
    """Takes it out of these objects; whether there was any."""
    found = [
        _remove(catalog, "/AA", "/AF", "/Collection", "/Requirements"),
        _remove_action(catalog, "/OpenAction"),
        _remove(dictionary(catalog.get("/Names")), *_ACTIVE_NAMES),
        *(_remove_from_page(page) for page in pages),
        *(_remove_action(item, "/A") for item in _outline(catalog)),
    ]
    return any(found)


def annotations(page: DictionaryObject) -> list[DictionaryObject]:
    """Of this page, in the order in which they are drawn."""
    array = _array(page.get("/Annots"))
    found = (dictionary(item) for item in list.__iter__(array)) if array is not None else ()
    return [annotation for annotation in found if annotation is not None]


def keep_annotations(page: DictionaryObject, kept: Sequence[DictionaryObject]) -> None:
    """Of the page's annotations only these stay."""
    array = _array(page.get("/Annots"))
    if array is None:
        return
    identities = {id(annotation) for annotation in kept}
    rest = ArrayObject(item for item in list.__iter__(array) if id(dictionary(item)) in identities)
    if rest:
        page[NameObject("/Annots")] = rest
    else:
        del page["/Annots"]


def _remove_from_page(page: DictionaryObject) -> bool:
    found = _remove(page, "/AA", "/AF")
    everything = annotations(page)
    kept = [one for one in everything if one.get("/Subtype") not in _ACTIVE_ANNOTATIONS]
    if len(kept) < len(everything):
        keep_annotations(page, kept)
        found = True
    for annotation in kept:
        removed = _remove(annotation, "/AA", "/AF")
        found = _remove_action(annotation, "/A") or removed or found
    return found


def _remove(holder: DictionaryObject | None, *names: str) -> bool:
    present = [name for name in names if holder is not None and name in holder]
    for name in present:
        assert holder is not None
        del holder[name]
    return bool(present)


def _remove_action(holder: DictionaryObject, name: str) -> bool:
    """Unless every action of its chain only leads somewhere. An array is a destination."""
    action = dictionary(holder.get(name))
    if action is None or _is_harmless(action):
        return False
    del holder[name]
    return True


def _is_harmless(action: DictionaryObject) -> bool:
    waiting = [action]
    for _ in range(_CHAIN):
        if not waiting:
            return True
        current = waiting.pop()
        if current.get("/S") not in _HARMLESS_ACTIONS:
            return False
        following = current.get("/Next")
        several = _array(following)
        for item in [following] if several is None else list.__iter__(several):
            next_action = dictionary(item)
            if next_action is not None:
                waiting.append(next_action)
    return False


def _outline(catalog: DictionaryObject) -> Iterator[DictionaryObject]:
    """Every item once, however the items refer to each other."""
    seen: set[int] = set()
    waiting = [catalog.get("/Outlines")]
    while waiting and len(seen) < _OUTLINE_ITEMS:
        item = dictionary(waiting.pop())
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        waiting += [item.raw_get(name) for name in ("/Next", "/First") if name in item]


def _array(value: object) -> ArrayObject | None:
    target = forgiving(value.get_object) if isinstance(value, IndirectObject) else value
    return target if isinstance(target, ArrayObject) else None
