"""What stands in the body of an answer: an image, an error, or only words of some gateway on the way.

The API documents XML, its gateways send JSON, HTML or nothing; so the body decides, not its label. Elements
are matched by local name, ignoring case and namespace. No DTD, no entities (defusedxml).
"""

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

MESSAGE_LENGTH = 200
_TEXT_BYTES = 4096
"""How far into a body words are looked for."""
_IMAGE_ID_LENGTH = 200
_URL_LENGTH = 8_000

_Fields = list[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """`error`: the body says that something failed; with an `image_id` beside it, it contradicts itself.

    `message` and `error_id` are as they came: make them `plain` before they are shown. `url` is as good as a
    password while it lives: it is shown to nobody who did not ask for it.
    """

    image_id: str | None = None
    url: str | None = field(default=None, repr=False)
    error: bool = False
    error_id: str | None = None
    message: str = ""


def read_body(content: bytes) -> Body:
    """Never raises: a body that is no image and no error is words, or nothing."""
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    found = _read_json(content) if start in (b"{", b"[") else _read_xml(content)
    return found or Body(message=_words(content))


def is_page(content: bytes) -> bool:
    """Whether it is HTML: words for a person from some gateway, whatever the answer's Content-Type says."""
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:_TEXT_BYTES].lower()
    while start.startswith((b"<?", b"<!--")):
        _, _, start = start.partition(b">")
        start = start.lstrip()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))


def plain(text: str) -> str:
    """One line without control characters, at most MESSAGE_LENGTH characters."""
    visible = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text)
    line = " ".join(visible.split())
    return line if len(line) <= MESSAGE_LENGTH else line[: MESSAGE_LENGTH - 1] + "…"


def _read_xml(content: bytes) -> Body | None:
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        return None
    name = _local(root)
    if name == "html":
        return None
    fields = [(_local(e), _text(e)) for e in root]
    image_id = _image_id(_first(fields, "id")) if name == "image" else None
    for element in root.iter():
        inside = [(_local(e), _text(e)) for e in element.iter()] if _local(element) == "error" else []
        if inside and (element is root or any(text for _, text in inside)):
            return replace(_error(inside), image_id=image_id)
    if name == "image":
        return Body(image_id=image_id, url=_url(_first(fields, "url")))
    return _error(fields) if _first(fields, "message") else None


def _read_json(content: bytes) -> Body | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    top = {key.lower(): inner for key, inner in value.items()}
    if top.get("error"):
        # The fields beside it come last: {"error": {"message": …}} and {"error": "name", "message": …}.
        return _error([*_leaves(top["error"]), *_leaves(top)])
    image = top.get("image", top)
    fields = list(_leaves(image))
    identifier = _first(fields, "id")
    if identifier and not _first(fields, "message"):
        return Body(image_id=_image_id(identifier), url=_url(_first(fields, "url")))
    return _error(fields) if _first(fields, "message") else None


def _leaves(value: object) -> Iterator[tuple[str, str]]:
    """Names and texts of one level; a bare text is a message."""
    if isinstance(value, str):
        yield "message", value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, str):
                yield str(key).lower(), inner.strip()


def _error(fields: _Fields) -> Body:
    message = next((text for name, text in fields if name in _MESSAGES and text), "")
    message = message or " ".join(text for name, text in fields if name == "error" and text)
    return Body(error=True, error_id=_first(fields, "id") or None, message=message)


_MESSAGES = ("message", "errormessage", "error_description", "description", "detail")


def _first(fields: _Fields, name: str) -> str:
    return next((text for key, text in fields if key == name and text), "")


def _image_id(text: str) -> str | None:
    """An ID is one visible word; anything else is no proof of an image."""
    usable = text.isprintable() and " " not in text and 0 < len(text) <= _IMAGE_ID_LENGTH
    return text if usable else None


def _url(text: str) -> str | None:
    return text if 0 < len(text) <= _URL_LENGTH else None


def _text(element: Element) -> str:
    return (element.text or "").strip()


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2].lower()


def _words(content: bytes) -> str:
    text = content[:_TEXT_BYTES].decode("utf-8", "replace")
    text = re.sub(r"<(script|style)\b.*?(</\1\s*>|$)", " ", text, flags=re.DOTALL | re.IGNORECASE)
    return html.unescape(re.sub(r"<[^<>]*>?", " ", text)).strip()
