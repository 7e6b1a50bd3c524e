"""A picture file of many pages: one PDF, made to fit by as few decodings as that takes.

Pages are decoded one by one, for all of them at once would need too much memory. The rung of the ladder is
chosen by samples, so that most files are decoded twice; how much may be decoded at all is bounded.
"""

from typing import Final

from PIL import Image

from ingestd import sniff
from ingestd.normalizer import decoding, fitting
from ingestd.normalizer.decoding import Picture
from ingestd.normalizer.exchange import Found, Noted, Problem, Step
from ingestd.normalizer.fitting import LADDER, Attempt, Rung
from ingestd.normalizer.laying import draft_of, laid
from ingestd.normalizer.pdf_writing import pdf_of
from ingestd.normalizer.sheets import Bounds, Draft, Sheet


def many_pages(data: bytes, mime_type: str, bounds: Bounds) -> Draft:
    """All pages as one PDF. Raises Found; TOO_MANY_PAGES where the target takes no PDF."""
    if sniff.PDF not in bounds.types:
        pages = decoding.count_pages(data, mime_type, bounds)
        raise Found(Problem.TOO_MANY_PAGES, pages=pages, limit=1)
    samples = _Samples()
    whole = laid(decoding.pictures(data, mime_type, bounds), bounds, seen=samples.see)
    made = pdf_of(whole.sheets)
    steps = [Noted(what=Step.FRAMES, numbers={"pages": len(whole.sheets)}), *whole.steps]
    if len(made) > bounds.max_bytes:
        fitting_pages = _Fitting(data, mime_type, bounds, whole.sheets, samples)
        fitted = fitting.climb(fitting_pages.attempt, size=len(made), limit=bounds.max_bytes)
        made, steps = fitted.data, steps + fitted.steps
    return draft_of(made, steps, whole.cautions, whole.views, pages=len(whole.sheets))


_SAMPLE_PIXELS = 40_000_000
"""A larger page is not kept: with it, every rung is tried on all pages."""


class _Samples:
    """The page with the most bytes of each encoding, kept decoded."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Image.Image, Sheet]] = {}

    def see(self, page: Picture, sheet: Sheet) -> None:
        known = self._kept.get(sheet.encoding)
        if known is not None and len(known[1].data) >= len(sheet.data):
            return
        if sheet.width * sheet.height <= _SAMPLE_PIXELS:
            self._kept[sheet.encoding] = page.image.copy(), sheet  # the decoder may use its picture again

    def estimate(self, rung: Rung, sheets: list[Sheet]) -> float:
        """How many bytes all sheets would have, if each shrank like the sample of its encoding."""
        shares = {}
        for encoding, (image, sheet) in self._kept.items():
            shares[encoding] = len(_lighter(image, sheet, rung).data) / max(len(sheet.data), 1)
        return sum(shares.get(sheet.encoding, 0.0) * len(sheet.data) for sheet in sheets)


_DECODED_PIXELS: Final = 500_000_000
"""So many pixels may be decoded for one file, all attempts together: some 20 s."""
_BILEVEL_WEIGHT = 4
_SURE = 0.85
"""An estimate of at most this share of the limit is believed; one over the limit by so much is, too."""


class _Fitting:
    """Attempts at all pages; each costs a decoding of all of them."""

    def __init__(
        self, data: bytes, mime_type: str, bounds: Bounds, sheets: list[Sheet], samples: _Samples
    ) -> None:
        self._data, self._mime_type, self._bounds = data, mime_type, bounds
        self._sheets, self._samples = sheets, samples
        self._work = sum(s.width * s.height // (_BILEVEL_WEIGHT if s.mode == "1" else 1) for s in sheets)
        self._left = _DECODED_PIXELS - self._work

    def attempt(self, rung: Rung) -> Attempt | None:
        """None where the samples say that this rung does not help, or that there is no time to find out.

        Raises Found: TOO_COMPLEX where there is no time even for the last rung.
        """
        limit = self._bounds.max_bytes
        if rung is not LADDER[-1]:
            expected = self._samples.estimate(rung, self._sheets)
            if expected > limit / _SURE:
                return None
            # Without being sure, enough is left for the last rung.
            if self._left < self._work * (1 if expected <= limit * _SURE else 2):
                return None
        elif self._left < self._work:
            raise Found(Problem.TOO_COMPLEX)
        self._left -= self._work
        return self._all_pages(rung)

    def _all_pages(self, rung: Rung) -> Attempt:
        pages = decoding.pictures(self._data, self._mime_type, self._bounds)
        pairs = zip(pages, self._sheets, strict=True)
        lighter = [_lighter(page.image, sheet, rung) for page, sheet in pairs]
        changed = [pair for pair in zip(self._sheets, lighter, strict=True) if pair[0] is not pair[1]]
        percent = min((round(100 * new.width / old.width) for old, new in changed), default=100)
        lossy = any(new.encoding == "jpeg" for _old, new in changed)
        return Attempt(data=pdf_of(lighter), lossy=lossy, percent=percent)


def _lighter(image: Image.Image, sheet: Sheet, rung: Rung) -> Sheet:
    new = fitting.lighter(image, rung, dpi=sheet.dpi)
    return new if len(new.data) < len(sheet.data) else sheet
