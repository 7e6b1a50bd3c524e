"""PDF documents prepared for the target, and several documents merged into one PDF.

A sound PDF that needs nothing passes byte for byte. Everything else is read by pypdf within limits, cleaned,
and written anew; PDFium draws what is to be looked at, after pypdf has judged the structure.
"""

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from ingestd import samples, sniff
from ingestd.normalizer import decoding, pictures, rendering
from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.pdf import judging
from ingestd.normalizer.pdf import warm_up as warm_up_parser
from ingestd.normalizer.pdf_content import content_of, paints
from ingestd.normalizer.pdf_fitting import fit
from ingestd.normalizer.pdf_opening import open_pdf
from ingestd.normalizer.pdf_parts import Part, check_pages, cleaned, part_of, written
from ingestd.normalizer.pdf_picture import picture_of
from ingestd.normalizer.pdf_portfolio import MAX_DEPTH, Embedded, members_of, refuse_others
from ingestd.normalizer.pdf_writing import pdf_of
from ingestd.normalizer.sheets import Bounds, Draft

VIEWS = 3
"""So many of the first pages are looked at."""
_VIEW_SHORT_SIDE = 750
"""Pixels: A4 at 90 dpi, where small print still shows. A larger view costs as much again to draw, and only a
scan can be blurred: it must be so by a third more than a picture of its own before that is said.
"""
_VIEW_PIXELS_AT_MOST = 12_000_000
_CHECKED_SIDE = 300
"""Pixels of the longer side at which a line of text is still no even white."""


def prepare_pdf(data: bytes, bounds: Bounds) -> Draft:
    """The PDF as the target takes it; `Draft.data` None: it goes as it came. Raises Found.

    One page becomes a picture for a target that takes no PDF.
    """
    parts, steps = _parts_of(data, bounds, depth=0)
    check_pages(parts, _max_pages(bounds))
    return _draft(parts, steps, bounds, as_it_came=data)


def merge(documents: Sequence[tuple[str, bytes]], bounds: Bounds) -> Draft:
    """One PDF of several documents (MIME type and bytes), in this order. Raises Found, with its document."""
    parts: list[Part] = []
    steps: list[Noted] = []
    for index, (mime_type, data) in enumerate(documents):
        try:
            own, done = _pages_of(mime_type, data, bounds, depth=0)
        except Found as found:
            found.finding = replace(found.finding, document=index)
            raise
        for part in own:
            part.steps = [replace(step, document=index) for step in part.steps]
            part.cautions = [replace(caution, document=index) for caution in part.cautions]
        parts += own
        steps += [replace(step, document=index) for step in done]
    check_pages(parts, _max_pages(bounds))
    steps.append(Noted(what=Step.MERGED, numbers={"documents": len(documents)}))
    return _draft(parts, steps, bounds, as_it_came=None)


def warm_up() -> None:
    """Takes a document of each kind through every way, so that nothing is left to be imported or opened."""
    warm_up_parser()
    rendering.warm_up()
    sound = samples.small_pdf(0)
    locked = samples.encrypted_pdf(password="x")  # noqa: S106 - a sample
    prepare_pdf(sound, _WARM_UP)
    documents = [(sniff.PDF, sound), (sniff.JPEG, samples.small_jpeg(0))]
    merge([*documents, (sniff.PDF, locked)], _WARM_UP)
    try:
        merge(documents, replace(_WARM_UP, max_bytes=1))
    except Found as found:
        if found.finding.problem is not Problem.TOO_LARGE:
            raise


_WARM_UP = Bounds(
    types=frozenset({sniff.PDF}),
    max_bytes=1 << 20,
    max_pages=10,
    max_pixels=1 << 18,
    level="full",
    strip_location=True,
    passwords=("x",),
)


# --- opening ------------------------------------------------------------------------------------------------


def _pages_of(mime_type: str, data: bytes, bounds: Bounds, *, depth: int) -> tuple[list[Part], list[Noted]]:
    if mime_type == sniff.PDF:
        return _parts_of(data, bounds, depth=depth)
    sheets = pictures.sheets_of(data, mime_type, bounds)
    # Sheets are ours and sound: the samples were decoded, or are about to be, by whoever made them.
    part = part_of(pdf_of(sheets.sheets), replace(bounds, level="light"))
    part.cautions += sheets.cautions
    return [part], list(sheets.steps)


def _parts_of(data: bytes, bounds: Bounds, *, depth: int) -> tuple[list[Part], list[Noted]]:
    """One part, or those of a portfolio's members; and what was done beside what was done to each part."""
    with judging():
        opened = open_pdf(data, passwords=bounds.passwords, max_pages=bounds.max_pages)
        members = members_of(opened.catalog)
        if not members:
            part = cleaned(opened, bounds)
            if any(step.what is Step.REPAIRED for step in part.steps):
                _check_drawable(part)
            return [part], []
    if depth >= MAX_DEPTH:
        raise Found(Problem.NESTED_TOO_DEEP, limit=MAX_DEPTH)
    refuse_others(members, {member.mime_type for member in members if _has_pages(member)})
    parts: list[Part] = []
    steps = [*opened.steps, Noted(what=Step.PORTFOLIO_OPENED, numbers={"members": len(members)})]
    for member in members:
        own, done = _pages_of(member.mime_type, member.data, bounds, depth=depth + 1)
        parts += own
        steps += done
    return parts, steps


def _has_pages(member: Embedded) -> bool:
    return member.mime_type == sniff.PDF or decoding.can_decode(member.mime_type)


def _check_drawable(part: Part) -> None:
    """What was repaired must also show: PDFium draws every page of the clean copy, and none is empty that has
    something to draw. Called within `judging()`. Raises Found.
    """
    clean = written([part])
    if rendering.page_count(clean) != len(part.pages):
        raise Found(Problem.CORRUPT)
    for index, page in enumerate(part.pages):
        shown = rendering.render_page(clean, index, long_side=_CHECKED_SIDE, max_pixels=_CHECKED_SIDE**2)
        low, high = shown.convert("L").getextrema()
        if low == high and paints(content_of(page, whole=True)):
            raise Found(Problem.DAMAGED_PAGE, page=index + 1)


def _max_pages(bounds: Bounds) -> int | None:
    """A picture has one page."""
    return bounds.max_pages if sniff.PDF in bounds.types else 1


# --- the draft ----------------------------------------------------------------------------------------------


def _draft(
    parts: Sequence[Part], steps: Sequence[Noted], bounds: Bounds, *, as_it_came: bytes | None
) -> Draft:
    done = [*steps, *(step for part in parts for step in part.steps)]
    changed = bool(done) or as_it_came is None
    data = written(parts) if changed or as_it_came is None else as_it_came
    mime_type, views = sniff.PDF, None
    if sniff.PDF not in bounds.types:
        views = _views(data, bounds)
        picture = picture_of(data, bounds)
        data, mime_type, changed = picture.data, picture.mime_type, True
        done += picture.steps
    elif len(data) > bounds.max_bytes:
        fitted = fit(parts, bounds, size=len(data))
        data, changed = fitted.data, True
        done += fitted.steps
    return Draft(
        data=data if changed else None,
        mime_type=mime_type,
        pages=sum(len(part.pages) for part in parts),
        steps=done,
        cautions=[caution for part in parts for caution in part.cautions],
        views=_views(data, bounds) if views is None else views,
    )


def _views(data: bytes, bounds: Bounds) -> Sequence[Image.Image]:
    if bounds.level != "full":
        return ()
    max_pixels = min(bounds.max_pixels, _VIEW_PIXELS_AT_MOST)
    return rendering.render_pages(data, VIEWS, short_side=_VIEW_SHORT_SIDE, max_pixels=max_pixels)
