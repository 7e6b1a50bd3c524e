"""A mail's text laid out on A4 and written as a PDF, by WeasyPrint, as its reader would print it.

The same message gives the same bytes. Nothing is fetched; links, bookmarks, forms and attachments are left
out. A mail wider than the page is laid out on a larger one, which is then scaled down to A4.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from xml.etree.ElementTree import Element

import cssselect2  # type: ignore[import-untyped] # ships no types

from ingestd.normalizer.exchange import Found, Problem
from ingestd.normalizer.letter_engine import CSS, HTML, boxes
from ingestd.normalizer.letter_fonts import Fonts
from ingestd.normalizer.letter_page import inner_width, left_margin, page_of, plain_page, styles
from ingestd.normalizer.letter_pictures import MailPictures
from ingestd.normalizer.message_text import MessageText

SMALLEST_SCALE = 0.3
"""A mail of more than three page widths is cut rather than shown too small to be read."""

_MOST_ON_A_PAGE, _MOST_LINES_ON_A_PAGE = 10_000, 80
"""Characters; more than a page of plain words holds."""

_TOLERANCE = 1.0
"""CSS pixels; positions are rounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """`remote`, `unreadable`, `unknown`, `cut`: as in exchange.Lettered."""

    pdf: bytes
    pages: int
    remote: int
    unreadable: int
    unknown: int
    cut: bool


def render(message: MessageText, *, max_pages: int, max_pixels: int) -> Letter:
    """With its layout. Raises Found; and whatever WeasyPrint raises for what it did not expect."""
    if message.html is None:
        return render_plain(message, max_pages=max_pages)
    root, remote = page_of(message.head, message.html)
    pictures = MailPictures(message.images, max_pixels=max_pixels)
    return _render(root, pictures, remote=remote, max_pages=max_pages)


def render_plain(message: MessageText, *, max_pages: int) -> Letter:
    """Only its words: no style and no picture of it. Raises Found."""
    text = message.text if message.html is None else words_of(message.html)
    if not text.strip():
        raise Found(Problem.BLANK, pages=1)
    pages = max(len(text) // _MOST_ON_A_PAGE, text.count("\n") // _MOST_LINES_ON_A_PAGE)
    if pages > max_pages:  # so many at least: not worth laying them out
        raise Found(Problem.TOO_MANY_PAGES, pages=pages, limit=max_pages)
    return _render(plain_page(message.head, text), MailPictures({}, max_pixels=0), max_pages=max_pages)


def words_of(html: str) -> str:
    """The text in it, one line for each block. For what is too much for a real parser: no tree is built."""
    reader = _Words()
    reader.feed(html)
    reader.close()
    lines = ("".join(line).split() for line in reader.lines)
    return "\n".join(" ".join(words) for words in lines if words)


def _render(root: Element, pictures: MailPictures, *, max_pages: int, remote: int = 0) -> Letter:
    fonts = Fonts()
    factor = 1.0
    document = _laid_out(root, pictures, fonts, factor, max_pages)
    if _overflows(document, factor):
        factor = min(_width(document, factor) / inner_width(factor), 1 / SMALLEST_SCALE)
        document = _laid_out(root, pictures, fonts, factor, max_pages)
    pdf = document.write_pdf(zoom=1 / factor)
    return Letter(
        pdf=pdf,
        pages=len(document.pages),
        remote=remote,
        unreadable=len(pictures.unreadable),
        unknown=len(set().union(*(font.missing for font in document.fonts.values()))),
        cut=_overflows(document, factor),
    )


class _Tree(HTML):  # type: ignore[misc] # weasyprint ships no types
    """A document that was parsed before."""

    def __init__(self, root: Element, pictures: MailPictures) -> None:
        self.base_url = None
        self.url_fetcher = pictures
        self.media_type = "print"
        self.wrapper_element = cssselect2.ElementWrapper.from_html_root(root, content_language=None)
        self.etree_element = root


def _laid_out(root: Element, pictures: MailPictures, fonts: Fonts, factor: float, max_pages: int) -> Any:
    """A weasyprint Document without anything that is not on paper. Raises Found."""
    ours = CSS(string=styles(factor), url_fetcher=pictures, font_config=fonts)
    document = _Tree(root, pictures).render(font_config=fonts, stylesheets=[ours], presentational_hints=True)
    if len(document.pages) > max_pages:
        raise Found(Problem.TOO_MANY_PAGES, pages=len(document.pages), limit=max_pages)
    for page in document.pages:
        page.links, page.bookmarks, page.anchors, page.forms = [], [], {}, {None: []}
    document.metadata.attachments = []
    return document


def _overflows(document: Any, factor: float) -> bool:
    return _width(document, factor) > inner_width(factor) + _TOLERANCE


def _width(document: Any, factor: float) -> float:
    """CSS pixels from the margin, where lines begin, to the far edge of what is farthest out."""
    edges = (edge for page in document.pages for edge in _edges(page))
    return max(edges, default=0.0) - left_margin(factor)


def _edges(page: Any) -> Iterator[float]:
    """The right ones of words, pictures, frames and fills; in a language written to the left, the left ones,
    mirrored. What an ancestor hides beyond its own edge does not count.
    """
    waiting = [(page._page_box, float("inf"))]  # noqa: SLF001 - WeasyPrint shows its layout nowhere else
    while waiting:
        box, clip = waiting.pop()
        if isinstance(box, _SOLID):
            left, right = box.border_box_x(), box.border_box_x() + box.border_width()
            if isinstance(box, boxes.ReplacedBox) or box.border_right_width or _is_filled(box):
                yield _outer(box, left, min(clip, right), page.width)
            if box.style["overflow"] != "visible":
                clip = min(clip, right)
        elif isinstance(box, boxes.TextBox) and box.text.strip():
            yield _outer(box, box.position_x, min(clip, box.position_x + box.width), page.width)
        waiting += ((child, clip) for child in getattr(box, "children", ()))


def _outer(box: Any, left: float, right: float, page_width: float) -> float:
    return max(right, page_width - left) if box.style["direction"] == "rtl" else right


def _is_filled(box: Any) -> bool:
    return getattr(box.style["background_color"], "alpha", 1) > 0


class _Words(HTMLParser):
    """Collects text by lines; nothing in it is ever nested."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[list[str]] = [[]]
        self._unseen = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if not self._unseen and tag in _UNSEEN:
            self._unseen = tag
        self._break_at(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = ""
        self._break_at(tag)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        self.lines[-1].append(data)

    def _break_at(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.lines[-1].append(" ")
        elif tag not in _INLINE:
            self.lines.append([])


_SOLID = (boxes.BlockLevelBox, boxes.BlockContainerBox, boxes.ReplacedBox)
_UNSEEN = frozenset({"script", "style", "title"})
_INLINE = frozenset(
    {
        *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "dfn", "em", "font", "i", "img"),
        *("ins", "kbd", "label", "mark", "nobr", "q", "s", "samp", "small", "span", "strike", "strong"),
        *("sub", "sup", "time", "tt", "u", "var", "wbr"),
    }
)
