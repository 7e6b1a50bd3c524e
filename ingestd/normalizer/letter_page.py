"""The page that a mail is laid out on: its head, then its own elements without whatever acts or refers.

A mail is printed as its reader sees it, so its own styles stay; what can't be seen on paper (scripts, links,
forms, frames, metadata) goes, and what keeps the page readable can't be overruled by them.
"""

import io
import re
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement

import tinyhtml5  # type: ignore[import-untyped] # ships no types

WIDTH_MM, HEIGHT_MM = 210, 297
MARGIN_MM = 12
_PIXELS_PER_MM = 96 / 25.4  # CSS Values and Units 3 section 6.2

# What is dropped with all that is in it. SVG and MathML keep their namespace as part of the name.
_DROPPED = frozenset(
    {
        *("script", "noscript", "template", "base", "meta", "link", "title", "object", "embed", "applet"),
        *("iframe", "frame", "frameset", "noframes", "audio", "video", "source", "track", "param", "portal"),
        *("map", "area", "dialog", "canvas", "slot"),
    }
)
_ATTRIBUTES_DROPPED = frozenset({"href", "ping", "srcset", "action", "formaction", "poster", "rel", "target"})
_REMOTE = re.compile(r"\s*(?:https?:)?//", re.IGNORECASE)
_TALLEST_MM = HEIGHT_MM - 2 * MARGIN_MM - 12
"""Of a picture: a taller one, a till receipt say, would be cut off at the end of the page."""
_TRACKER_SIDE = 3
_MOST_SPANNED = 1000
"""Columns, as browsers have it (HTML Standard section 4.9.11)."""
_LONG_WORD = re.compile(r"[!-~]{40,}")
_BREAKS_EVERY = 30
_BREAK = "\u200b"  # zero width space
_LENGTH = re.compile(r"\s*\+?(\d{1,20})")
_HIDDEN = re.compile(r"display\s*:\s*none", re.IGNORECASE)
_OWN = "ingestd-letter"

_STYLES = """
@page {{
  size: {width}px {height}px !important; margin: {margin}px !important; background: white !important;
  border: none !important; padding: 0 !important; bleed: 0 !important; marks: none !important;
}}
html {{ font-family: sans-serif; font-size: 15px; line-height: 1.35; }}
html, body {{
  display: block !important; height: auto !important; min-height: 0 !important; max-height: none !important;
  overflow: visible !important; visibility: visible !important; opacity: 1 !important;
  transform: none !important; position: static !important; float: none !important;
  columns: auto !important; text-indent: 0 !important;
}}
body {{ margin: 0; }}
* {{
  hyphens: manual !important; bookmark-level: none !important; appearance: none !important;
  page: auto !important; overflow-wrap: break-word;
}}
pre {{ white-space: pre-wrap; }}
img:not([width]) {{ max-width: 100%; height: auto; }}
img {{ max-height: {tallest}px !important; }}
img:not([height]) {{ object-fit: contain !important; object-position: left top !important; }}
.{own}-head, .{own}-head * {{
  display: block !important; visibility: visible !important; opacity: 1 !important;
  position: static !important; float: none !important; transform: none !important; clip: auto !important;
  overflow: visible !important;
  width: auto !important; min-width: 0 !important; max-width: none !important;
  height: auto !important; min-height: 0 !important; max-height: none !important;
  margin: 0 !important; padding: 0 !important; border: none !important; background: white !important;
  font: {small}px/1.4 sans-serif !important; color: black !important; text-align: left !important;
  text-indent: 0 !important; text-transform: none !important; text-decoration: none !important;
  letter-spacing: normal !important; word-spacing: normal !important; white-space: normal !important;
  overflow-wrap: anywhere !important; break-before: auto !important; break-after: auto !important;
}}
.{own}-head {{
  border-bottom: {thin}px solid #888 !important; padding-bottom: {small}px !important;
  margin-bottom: {small}px !important;
}}
.{own}-head span {{ display: inline !important; }}
.{own}-head .{own}-name {{ color: #555 !important; }}
.{own}-words {{ white-space: pre-wrap !important; font-size: {words}px; }}
"""


def styles(factor: float) -> str:
    """The sheet that a mail's own can't overrule. `factor`: so many times larger than A4 is the page, which
    is scaled down afterwards; what is ours grows with it.
    """
    return _STYLES.format(
        width=_pixels(WIDTH_MM * factor),
        height=_pixels(HEIGHT_MM * factor),
        margin=_pixels(MARGIN_MM * factor),
        tallest=_pixels(_TALLEST_MM * factor),
        small=round(12 * factor, 3),
        words=round(14 * factor, 3),
        thin=round(factor, 3),
        own=_OWN,
    )


def inner_width(factor: float) -> float:
    """CSS pixels between the margins."""
    return _pixels((WIDTH_MM - 2 * MARGIN_MM) * factor)


def left_margin(factor: float) -> float:
    """CSS pixels."""
    return _pixels(MARGIN_MM * factor)


def page_of(head: Sequence[tuple[str, str]], html: str) -> tuple[Element, int]:
    """The root element, and how many pictures of it are elsewhere."""
    # As a file: a string would be tried as the path of one first.
    root = tinyhtml5.parse(io.StringIO(html), namespace_html_elements=False)
    remote = _cleaned(root)
    body = root.find("body")
    if body is None:  # a frame set has none
        body = SubElement(root, "body")
    block = _head(head)
    block.tail, body.text = body.text, None  # the text before the first element stays behind the head
    body.insert(0, block)
    return root, remote


def plain_page(head: Sequence[tuple[str, str]], text: str) -> Element:
    """Words alone, their lines wrapped."""
    root = Element("html")
    SubElement(root, "head")
    body = SubElement(root, "body")
    body.append(_head(head))
    words = SubElement(body, "div", {"class": f"{_OWN}-words"})
    words.text = text
    return root


def _head(fields: Sequence[tuple[str, str]]) -> Element:
    block = Element("div", {"class": f"{_OWN}-head"})
    for name, value in fields:
        line = SubElement(block, "div", {"class": f"{_OWN}-line"})
        named = SubElement(line, "span", {"class": f"{_OWN}-name"})
        named.text = f"{name}: "
        SubElement(line, "span").text = value
    return block


def _cleaned(root: Element) -> int:
    """In place, without recursion. Returns how many pictures are somewhere else."""
    remote = 0
    for element in _elements(root):
        _clean_attributes(element)
        kept: list[Element] = []
        for child in element:
            if _is_dropped(child):
                _keep_tail(element, kept, child)
            else:
                kept.append(child)
                remote += _is_remote_picture(child)
        element[:] = kept
        if element.tag != "style":
            element.text = _breakable(element.text)
            for child in kept:
                child.tail = _breakable(child.tail)
    return remote


def _clean_attributes(element: Element) -> None:
    for attribute in list(element.attrib):
        name = str(attribute).lower()
        if name in _ATTRIBUTES_DROPPED or name.startswith("on"):
            del element.attrib[attribute]
    if _OWN in element.get("class", ""):
        del element.attrib["class"]
    height = _LENGTH.match(element.get("height", ""))
    if element.tag == "img" and height and int(height[1]) > _pixels(_TALLEST_MM):
        del element.attrib["height"]  # made to fit the page, it keeps its proportions
    for span in ("colspan", "rowspan", "span"):
        length = _LENGTH.match(element.get(span, ""))
        if length and int(length[1]) > _MOST_SPANNED:
            element.set(span, str(_MOST_SPANNED))


def _breakable(text: str | None) -> str | None:
    """A word as long as a line (mostly an address of the web) would make its cell, and the page, too wide."""
    return text and _LONG_WORD.sub(_with_breaks, text)


def _with_breaks(found: re.Match[str]) -> str:
    word = found[0]
    pieces = (word[start : start + _BREAKS_EVERY] for start in range(0, len(word), _BREAKS_EVERY))
    return _BREAK.join(pieces)


def _elements(root: Element) -> Iterator[Element]:
    """The tree as it is when each element's turn comes."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        yield element
        waiting += element


def _is_dropped(element: Element) -> bool:
    # A comment has a function in the place of a name.
    tag: object = element.tag
    return not isinstance(tag, str) or tag.startswith("{") or tag.lower() in _DROPPED


def _keep_tail(parent: Element, kept: Sequence[Element], dropped: Element) -> None:
    """The text behind an element is not part of it."""
    if not dropped.tail:
        return
    if kept:
        kept[-1].tail = (kept[-1].tail or "") + dropped.tail
    else:
        parent.text = (parent.text or "") + dropped.tail


def _is_remote_picture(element: Element) -> bool:
    """One that a reader would miss, and no tracking pixel."""
    if element.tag != "img" or not _REMOTE.match(element.get("src", "")):
        return False
    sides = (_LENGTH.match(element.get(side, "")) for side in ("width", "height"))
    if any(side is not None and int(side[1]) <= _TRACKER_SIDE for side in sides):
        return False
    return not _HIDDEN.search(element.get("style", ""))


def _pixels(mm: float) -> float:
    return round(mm * _PIXELS_PER_MM, 4)
