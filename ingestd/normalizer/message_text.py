"""The text of a message: which of its parts are what the sender wrote, and what belongs to showing them.

The same bytes give the same text. Pure and bounded: it runs in limited processes only.
"""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ingestd import sniff
from ingestd.normalizer.exchange_mail import Obstacle, Unopenable
from ingestd.normalizer.message_charsets import decoded
from ingestd.normalizer.message_headers import text_of
from ingestd.normalizer.message_parts import Part, read_message
from ingestd.normalizer.message_uuencode import without_uu_files

MOST_TEXT_BYTES = 10_000_000
MOST_IMAGES = 100
MOST_IMAGE_BYTES = 50_000_000
SHOWN_TYPES = frozenset({sniff.JPEG, sniff.PNG, "image/gif", "image/webp", "image/bmp"})
"""Pictures that the PDF of a text can show."""
_LONGEST_LINE = 500
_HEAD = ("From", "To", "Cc", "Date", "Subject")
_TEXTS = frozenset({"text/plain", "text/html"})
_HTML = "text/html"
_META_CHARSET = re.compile(
    rb"<meta\s[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE
)
_TAG = re.compile(r"<[^<>]*+>?")


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageText:
    """What is shown of a message.

    `head`: name and value of the fields a person looks at, those that are there. `html` is None when the
    message has plain text only; else it holds everything, plain parts too. `images`: what the HTML may refer
    to as `cid:<key>`, with the MIME type its bytes have.
    """

    head: tuple[tuple[str, str], ...]
    html: str | None
    text: str
    images: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)


def texts_of(message: bytes) -> MessageText:
    """Raises Unopenable for a message beyond a bound."""
    root = read_message(message)
    body = body_of(root)
    is_html = any(part.mime_type == _HTML for part in body.shown)
    return MessageText(
        head=_head(root),
        html=_as_html(body.shown) if is_html else None,
        text="" if is_html else "\n\n".join(text_in(part) for part in body.shown),
        images=images_of(root) if is_html else {},
    )


def images_of(message: Part) -> Mapping[str, tuple[str, bytes]]:
    """Those that its HTML may show, by their Content-ID: the type that the bytes have, and the bytes."""
    images: dict[str, tuple[str, bytes]] = {}
    room = MOST_IMAGE_BYTES
    for part in message.walk():
        if part.parts or not part.content_id or part.content_id in images or part.mime_type in _TEXTS:
            continue
        content = part.content
        found = sniff.sniff(content[: sniff.HEAD_BYTES], content[-sniff.TAIL_BYTES :])
        if found.startswith("image/") and len(content) <= room and len(images) < MOST_IMAGES:
            images[part.content_id] = (found, content)
            room -= len(content)
    return images


# --- which parts -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Body:
    """`shown` in order; `all` also those that say the same in another form (multipart/alternative)."""

    shown: Sequence[Part]
    all: Sequence[Part]

    @property
    def is_visible(self) -> bool:
        return any(map(is_visible, self.shown))


def body_of(message: Part) -> Body:
    """Of this message alone, not of those inside it. Raises Unopenable when there is far too much text."""
    everything: list[Part] = []
    shown = _shown(message, everything, leads=True)
    if sum(part.end - part.start for part in everything) > MOST_TEXT_BYTES:
        raise Unopenable(Obstacle.TOO_MUCH_TEXT, limit=MOST_TEXT_BYTES)
    return Body(shown=shown, all=everything)


def is_visible(part: Part) -> bool:
    """Whether there is a letter, a digit or a sign to be seen in it."""
    return any(c.isalnum() for c in seen_in(part))


def seen_in(part: Part) -> str:
    """What is to be read in a text part, without tags, on one line."""
    text = text_in(part)
    if part.mime_type == _HTML:
        for name in ("script", "style", "title"):
            text = _without_element(text, name)
        text = html.unescape(_TAG.sub(" ", _without(text, "<!--", "-->")))
    return " ".join(text.split())


def text_in(part: Part) -> str:
    """A text part decoded, its lines ended by a line feed; without the files that stand in it."""
    charset = part.parameters.get("charset", "").split(" ")[0]
    if not charset and part.mime_type == _HTML and (found := _META_CHARSET.search(part.content[:4096])):
        charset = found[1].decode()
    content = part.content if part.mime_type == _HTML else without_uu_files(part.content)
    text = decoded(content, charset).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    if part.parameters.get("format", "").lower() == "flowed" and part.mime_type != _HTML:
        return _unflowed(text, delsp=part.parameters.get("delsp", "").lower() == "yes")
    return text


def _shown(part: Part, everything: list[Part], *, leads: bool) -> list[Part]:
    """`leads`: the part is the first one where it stands, so that even a named one may be the text."""
    if part.mime_type in _TEXTS:
        if not _is_text(part, leads=leads):
            return []
        everything.append(part)
        return [part]
    choices = [_shown(one, everything, leads=n == 0) for n, one in enumerate(part.parts)]
    if part.mime_type == "multipart/alternative":
        return _best(choices)
    return [text for choice in choices for text in choice]


def _is_text(part: Part, *, leads: bool) -> bool:
    """Declared as text, and neither meant as a file nor one by its bytes, whatever it is declared as."""
    if part.disposition == "attachment" or (part.name and not leads):
        return False
    content = part.content
    found = sniff.sniff(content[: sniff.HEAD_BYTES], content[-sniff.TAIL_BYTES :])
    return not content or found.startswith(("text/", "message/")) or found in _TEXT_LIKE


# What a text may be taken for: a letter may begin with a brace. Text in UTF-7, or damaged, is "unknown".
_TEXT_LIKE = frozenset({"application/json", "application/xml", sniff.UNKNOWN})


def _best(choices: Sequence[list[Part]]) -> list[Part]:
    """The last is the richest (RFC 2046 section 5.1.4), if it says anything; HTML before plain text."""
    visible = [choice for choice in choices if any(map(is_visible, choice))]
    with_html = [choice for choice in visible if any(part.mime_type == _HTML for part in choice)]
    for best in (with_html, visible, [choice for choice in choices if choice]):
        if best:
            return best[-1]
    return []


# --- what they say -----------------------------------------------------------------------------------------


def _head(root: Part) -> tuple[tuple[str, str], ...]:
    values = ((name, text_of(root.header.first(name.lower()))[:_LONGEST_LINE]) for name in _HEAD)
    return tuple((name, value) for name, value in values if value)


def _as_html(parts: Sequence[Part]) -> str:
    return "\n<hr>\n".join(
        text_in(part)
        if part.mime_type == _HTML
        else f'<div style="white-space: pre-wrap">{html.escape(text_in(part))}</div>'
        for part in parts
    )


def _unflowed(text: str, *, delsp: bool) -> str:
    """RFC 3676 section 4: a line that ends with a blank goes on in the next one; "-- " does not."""
    pieces: list[str] = []
    for line in text.split("\n"):
        unstuffed = line.removeprefix(" ")
        flows = unstuffed.endswith(" ") and unstuffed != "-- "
        pieces.append((unstuffed[:-1] if delsp else unstuffed) if flows else unstuffed + "\n")
    return "".join(pieces).removesuffix("\n")


def _without_element(text: str, name: str) -> str:
    return _without(text, f"<{name}", f"</{name}")


def _without(text: str, opening: str, closing: str) -> str:
    """In one pass, however often and however badly they are nested."""
    begins, ends = (re.compile(re.escape(mark), re.IGNORECASE) for mark in (opening, closing))
    pieces, position = [], 0
    while start := begins.search(text, position):
        pieces.append(text[position : start.start()])
        end = ends.search(text, start.end())
        if end is None:
            return "".join(pieces)
        position = end.end()
    return "".join([*pieces, text[position:]])
