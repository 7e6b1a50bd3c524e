"""A PDF made to fit the limit: packed without loss, then its pictures made lighter, then its pages drawn.

Text stays text as long as it can: drawing pages is the last step, and 150 dots an inch its floor.
"""

from collections.abc import Sequence

from ingestd.normalizer import rendering
from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.fitting import LADDER, Attempt, Fitted, Rung, climb, lighter, scale_of
from ingestd.normalizer.pdf import filters, judging, packed, repack
from ingestd.normalizer.pdf_assembling import Repacked
from ingestd.normalizer.pdf_parts import Part, written
from ingestd.normalizer.pdf_pictures import Lighter, put_back
from ingestd.normalizer.pdf_placing import Drawn, pictures_of
from ingestd.normalizer.pdf_samples import Samples, decoded, is_plain
from ingestd.normalizer.pdf_writing import pdf_of
from ingestd.normalizer.sheets import Bounds

FLOOR_DPI = 150
_DRAWING = (
    Rung(quality=80, max_dpi=200),
    Rung(quality=76, max_dpi=150),
    Rung(quality=66, max_dpi=150, grey=True),
)
_LOSSY = frozenset({"/DCTDecode", "/JPXDecode"})
_KEPT_PIXELS = 20_000_000
_SHOWN_PIXELS = 100_000_000
_TOLERANCE = 1.05
"""A rung is tried when its estimate is at most so many limits: a vain try costs as much as a good one."""
_DOUBT = 1.4
"""The same for the last rung of a ladder, before something worse than it."""
_STRONGEST = {
    False: next(rung for rung in reversed(LADDER) if rung.max_dpi is None),
    True: next(rung for rung in reversed(LADDER) if not rung.grey),
}
"""The last rung that keeps all pixels, and the last that takes some of them but no colour."""


def fit(parts: Sequence[Part], bounds: Bounds, *, size: int) -> Fitted:
    """The parts as one PDF within `bounds.max_bytes`; so far it has `size` bytes.

    Raises Found: TOO_LARGE with size, limit and the smallest legible size.
    """
    limit = bounds.max_bytes
    repacked = Repacked()
    dense = written(parts, dense=repacked)
    if len(dense) <= limit:
        numbers = {"size": len(dense), "limit": limit}
        return Fitted(data=dense, steps=[Noted(what=Step.REPACKED, numbers=numbers)])
    repacking = _Repacking(parts, bounds, repacked, len(dense))
    drawing = _Drawing(dense, sum(len(part.pages) for part in parts), bounds)
    try:
        return climb(repacking.attempt, size=len(dense), limit=limit, rungs=LADDER)
    except Found as found:
        smallest = _smallest_of(found)
    try:
        drawn = climb(drawing.attempt, size=smallest, limit=limit, rungs=_DRAWING)
    except Found as found:
        raise Found(Problem.TOO_LARGE, size=size, limit=limit, smallest=_smallest_of(found)) from found
    rasterised = Noted(what=Step.RASTERISED, numbers={"dpi": drawing.dpi})
    greyed = [step for step in drawn.steps if step.what is Step.GREYED]
    return Fitted(data=drawn.data, steps=[rasterised, *greyed])


def _smallest_of(found: Found) -> int:
    """How small the ladder got it. Whatever else it met is the document's own problem."""
    if found.finding.problem is not Problem.TOO_LARGE:
        raise found
    return found.finding.numbers["smallest"]


class _Repacking:
    """The pictures of the parts on each rung of the ladder, every time from what came."""

    def __init__(self, parts: Sequence[Part], bounds: Bounds, repacked: Repacked, size: int) -> None:
        self._parts = parts
        self._repacked = repacked
        self._bounds = bounds
        with judging():
            self._pictures = _feasible(pictures_of([page for part in parts for page in part.pages]))
        self._originals = [(dict(one.stream), packed(one.stream)) for one in self._pictures]
        self._dense_size = size
        # Sorted by size: the largest, and one of the middle.
        self._samples = [
            self._pictures[index] for index in sorted({0, len(self._pictures) // 2})[: len(self._pictures)]
        ]
        self._decodings: dict[int, Samples | None] = {}
        self._sampled: dict[tuple[int, Rung], Lighter | None] = {}
        self._estimates: dict[Rung, float] = {}
        self._error = 1.0
        self._picture_bytes = sum(one.size for one in self._pictures)

    def attempt(self, rung: Rung) -> Attempt | None:
        """None where samples show that this rung is not enough."""
        if not self._pictures or not self._is_worth(rung):
            return None
        try:
            percents = [percent for one in self._pictures if (percent := self._lighten(one, rung))]
            data = written(self._parts, dense=self._repacked)
        finally:
            self._restore()
        self._error = len(data) / self._estimate(rung)
        return Attempt(data=data, lossy=rung.quality is not None, percent=min(percents, default=100))

    def _is_worth(self, rung: Rung) -> bool:
        strongest = _STRONGEST[rung.max_dpi is not None]
        if rung.quality is not None and not rung.grey and not self._may_fit(strongest):
            return False  # nor are the weaker ones: they need no samples of their own
        return self._may_fit(rung)

    def _may_fit(self, rung: Rung) -> bool:
        margin = _DOUBT if rung == LADDER[-1] else _TOLERANCE
        return self._estimate(rung) * self._error <= margin * self._bounds.max_bytes

    def _lighten(self, drawn: Drawn, rung: Rung) -> int | None:
        """The percentage of its width that stayed; None for a picture that this rung leaves as it is."""
        key = (id(drawn), rung)
        made = self._sampled[key] if key in self._sampled else self._lighter(drawn, rung)
        if made is None:
            return None
        put_back(drawn.stream, made)
        return round(100 * scale_of(drawn.width, drawn.height, rung, drawn.dpi))

    def _lighter(self, drawn: Drawn, rung: Rung) -> Lighter | None:
        """Lighter than the picture is, and on a rung without loss without loss."""
        with judging():
            if rung.quality is None and _LOSSY.intersection(filters(drawn.stream)):
                return None
            samples = self._decoded(drawn)
        if samples is None:
            return None
        sheet = lighter(samples.image, rung, dpi=drawn.dpi)
        if rung.quality is None and sheet.encoding == "jpeg":
            return None
        return Lighter(sheet=sheet, space=samples.space) if len(sheet.data) < drawn.size else None

    def _decoded(self, drawn: Drawn) -> Samples | None:
        """Samples are asked for on every rung: they stay decoded, within bounds."""
        if id(drawn) in self._decodings:
            return self._decodings[id(drawn)]
        samples = decoded(drawn, max_pixels=self._bounds.max_pixels)
        if drawn in self._samples and drawn.width * drawn.height <= _KEPT_PIXELS:
            self._decodings[id(drawn)] = samples
        return samples

    def _estimate(self, rung: Rung) -> float:
        """In bytes, as if all pictures shrank like the samples."""
        if rung not in self._estimates:
            made = {(id(drawn), rung): self._lighter(drawn, rung) for drawn in self._samples}
            self._sampled |= made
            before = sum(drawn.size for drawn in self._samples)
            pairs = zip(self._samples, made.values(), strict=True)
            after = sum(drawn.size if one is None else len(one.sheet.data) for drawn, one in pairs)
            self._estimates[rung] = self._dense_size - self._picture_bytes * (1 - after / before)
        return self._estimates[rung]

    def _restore(self) -> None:
        for drawn, (entries, data) in zip(self._pictures, self._originals, strict=True):
            repack(drawn.stream, entries, data)


def _feasible(pictures: list[Drawn]) -> list[Drawn]:
    """Without those that PDFium would have to decode, where together they are too many: on each rung."""
    shown = [one for one in pictures if not is_plain(one.stream)]
    if sum(one.width * one.height for one in shown) <= _SHOWN_PIXELS:
        return pictures
    return [one for one in pictures if one not in shown]


class _Drawing:
    """Every page as one picture."""

    def __init__(self, data: bytes, pages: int, bounds: Bounds) -> None:
        self._data = data
        self._pages = pages
        self._bounds = bounds
        self.dpi = FLOOR_DPI

    def attempt(self, rung: Rung) -> Attempt | None:
        """None as soon as it is clear that the pages of this rung are far too large."""
        sheets = []
        room = self._bounds.max_bytes * _DOUBT
        dpi = rung.max_dpi or FLOOR_DPI
        for index in range(self._pages):
            page = rendering.render_at(self._data, index, dpi=dpi, max_pixels=self._bounds.max_pixels)
            inches = rendering.page_inches(self._data, index)
            sheets.append(lighter(page, rung, dpi=page.width / inches[0]))
            room -= len(sheets[-1].data)
            if room < 0 and rung is not _DRAWING[-1]:
                return None
        self.dpi = round(dpi)
        return Attempt(data=pdf_of(sheets), lossy=True)
