"""HTML with pictures in it: whether the text or the pictures are what the message is about.

A booking confirmation with a photo of the hotel is a text; a photo that a phone put between two lines is a
picture. What is said decides, and never what a picture may show.
"""

import html
import re
from collections.abc import Set as AbstractSet
from urllib.parse import unquote

from ingestd.normalizer.message_letter import is_auto_reply
from ingestd.normalizer.message_parts import Part
from ingestd.normalizer.message_text import Body, images_of, seen_in, text_in
from ingestd.normalizer.message_total import names_a_total

_CID = re.compile(r"cid:([^\"'\s)>]{1,500})", re.IGNORECASE)


def referenced_in(body: Body) -> frozenset[str]:
    """The Content-IDs that the HTML shows, in lower case."""
    found: set[str] = set()
    for part in body.shown:
        if part.mime_type == "text/html":
            for one in _CID.findall(text_in(part)):
                reference = html.unescape(one).lower()
                found |= {reference, unquote(reference)}  # RFC 2392 section 2
    return frozenset(found)


def is_illustrated(message: Part, body: Body, shown: AbstractSet[str | None]) -> bool:
    """Whether the text is the receipt, and the pictures `shown` in it (Content-IDs) illustrate it.

    Only pictures that the PDF of the text will show: so none that came with plain text, or as a file (None).
    """
    ids = {one for one in shown if one}
    if len(ids) < len(shown) or not {one.lower() for one in ids} <= referenced_in(body):
        return False
    if is_auto_reply(message.header) or not ids <= images_of(message).keys():
        return False
    return names_a_total(" ".join(map(seen_in, body.shown)))
