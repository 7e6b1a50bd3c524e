"""What the limited processes work with: sheets (encoded pages) and drafts (an image in the making).

A Sheet is one page as it will lie in a PDF: encoded samples in a form PDF takes without another loss. A Draft
is one document on its way to the target: as it came, or as new bytes, with a view of each page to look at.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from ingestd.normalizer.exchange import Level, Noted

VIEW_PIXELS = 1_000
"""Shorter side of a view at least, where the page has as much: enough to judge blur by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the image must keep to, and how it may be made. Sizes in bytes."""

    types: frozenset[str]
    max_bytes: int
    max_pages: int | None
    max_pixels: int
    level: Level
    strip_location: bool
    passwords: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One upright page. `encoding`: jpeg (a whole JPEG file), flate (zlib, PNG predictor 15), g4 (CCITT T.6).

    `mode` 1, L or RGB is that of the samples; `dpi` says how large the page is on paper.
    """

    encoding: Literal["jpeg", "flate", "g4"]
    data: bytes
    mode: Literal["1", "L", "RGB"]
    width: int
    height: int
    dpi: float


@dataclass(slots=True, kw_only=True)
class Draft:
    """One document, prepared. `data` None: as it came. `views`: upright RGB or L pictures of its first pages,
    empty with `light` where nothing had to be decoded.
    """

    data: bytes | None
    mime_type: str
    pages: int
    steps: list[Noted] = field(default_factory=list)
    cautions: list[Noted] = field(default_factory=list)
    views: Sequence[Image.Image] = ()
