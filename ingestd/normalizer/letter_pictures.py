"""The only things a letter may refer to: pictures within the mail itself.

Everything else (http, file, style sheets, fonts, pages) is refused here, without a look at it.
"""

import io
from collections.abc import Mapping
from urllib.parse import unquote, unquote_to_bytes

from PIL import Image

from ingestd import sniff
from ingestd.normalizer.exchange import Problem
from ingestd.normalizer.letter_engine import URLFetcher, URLFetcherResponse
from ingestd.normalizer.message_headers import base64_bytes

_FORMATS: Mapping[str, str] = {
    sniff.JPEG: "JPEG",
    sniff.PNG: "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
}
"""What is decoded, whatever it is declared as; no SVG, which is a language of its own."""

_MOST_BYTES = 50_000_000
_BASE64 = ";base64"


class Refused(Exception):
    """It is not fetched."""


class MailPictures(URLFetcher):  # type: ignore[misc] # weasyprint ships no types
    """Gives what `cid:` (RFC 2392) and `data:` (RFC 2397) refer to, if it is a picture.

    `images` as MessageText has them. `unreadable` collects the references to what can't be shown. All
    pictures of one letter together have at most `max_pixels`.
    """

    def __init__(self, images: Mapping[str, tuple[str, bytes]], *, max_pixels: int) -> None:
        # Not the constructor of the base, which sets up the ways into the network.
        self._fail_on_errors = False
        self._images = images
        self._pixels_left = max_pixels
        self.unreadable: set[str] = set()

    def fetch(self, url: str, headers: object = None) -> URLFetcherResponse:
        """Raises Refused, upon which the layout goes on without it."""
        scheme, _, rest = url.partition(":")
        match scheme.lower():
            case "cid" if (found := self._images.get(unquote(rest)) or self._images.get(rest)) is not None:
                return self._response(url, found[1])
            case "cid":
                self.unreadable.add(url[:200])
            case "data":
                return self._response(url, _data(rest))
        raise Refused(scheme[:20])

    def open(self, url: object, data: object = None, timeout: object = None) -> URLFetcherResponse:
        """The other way in that the base offers."""
        raise Refused

    def __call__(self, url: str) -> URLFetcherResponse:
        return self.fetch(url)

    def _response(self, url: str, content: bytes) -> URLFetcherResponse:
        mime_type = sniff.sniff(content[: sniff.HEAD_BYTES], content[-sniff.TAIL_BYTES :])
        try:
            self._check(mime_type, content)
        except Refused:
            self.unreadable.add(url[:200])
            raise
        return URLFetcherResponse("cid:picture", content, {"Content-Type": mime_type})

    def _check(self, mime_type: str, content: bytes) -> None:
        name = _FORMATS.get(mime_type)
        if name is None or len(content) > _MOST_BYTES:
            raise Refused(mime_type)
        try:
            with Image.open(io.BytesIO(content), formats=[name]) as image:
                pixels = image.width * image.height
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise Refused(Problem.CORRUPT) from error
        if pixels > self._pixels_left:
            raise Refused(Problem.TOO_MANY_PIXELS)
        self._pixels_left -= pixels


def _data(rest: str) -> bytes:
    head, _, body = rest.partition(",")
    raw = unquote_to_bytes(body)
    if not head.rstrip().lower().endswith(_BASE64):
        return raw
    return base64_bytes(raw)
