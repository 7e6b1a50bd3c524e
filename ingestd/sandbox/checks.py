"""What Image v1.0 refuses, in Concur's own words where they are known.

The order is that of a real front: who asks, what it asks for, how it is framed, and the bytes last. Status
codes come from the plan's switches where the documents are silent or disagree.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

from aiohttp import ClientPayloadError, web
from pypdf import PdfReader

from ingestd.sandbox import tokens
from ingestd.sandbox.answers import Refused
from ingestd.sandbox.journal import fingerprint
from ingestd.sandbox.slots import Slot
from ingestd.sandbox.state import EXCHANGE, SANDBOX
from ingestd.sandbox.switches import Switches

MAX_BYTES = 10 * 2**20
"""Concur says 10 MB and not which; the judge takes the larger reading."""

SIGNATURES = {
    "application/pdf": b"%PDF",
    "image/jpeg": b"\xff\xd8\xff",
    "image/jpg": b"\xff\xd8\xff",
    "image/png": b"\x89PNG\r\n\x1a\n",
}
_SCHEMES = frozenset({"oauth", "bearer"})
_BAD_TOKENS = ("bad-", "expired-")
_SCOPE = "IMAGE"
_UNKNOWN_IDS = "unknown-"
_LONGEST_ID = 200
_PDF_SECONDS = 20.0

# ISO 32000-1, 7.3.5: any character of a name may be written as # and two hex digits.
_ENCRYPT_KEY = re.compile(
    b"/" + b"".join(b"(?:%c|#(?i:%02x))" % (character, character) for character in b"Encrypt")
)
_pdf_threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-pdf")


def account(request: web.Request) -> str:
    """Who asks: the login of a token that was given here, else the fingerprint of the token.

    Any token is good but bad-* and expired-*, after OAuth or Bearer in any case; one given here is good as
    long as it says, unless it was revoked, and for its scope.
    """
    if "Authorization" not in request.headers:
        raise Refused(401, "Unauthorized: the Authorization header is not included.")
    scheme, token = _credentials(request)
    if scheme.lower() not in _SCHEMES or not token or token.startswith(_BAD_TOKENS):
        raise _bad_token(request)
    if not tokens.looks_issued(token):
        return fingerprint(token)
    sandbox, claims = request.app[SANDBOX], tokens.read(token)
    if claims is None or claims.expires_at <= sandbox.now() or sandbox.logins.revoked(claims.number):
        raise _bad_token(request)
    if _SCOPE not in claims.scope.split():
        raise Refused(403, f"Forbidden Request: the scope {_SCOPE} was not granted.")
    return claims.account


def revoke(request: web.Request) -> Refused:
    """The refusal, after the token that came with the request was revoked if it was given here."""
    _, token = _credentials(request)
    claims = tokens.read(token)
    if claims is not None:
        request.app[SANDBOX].logins.revoke(claims.number)
    return _bad_token(request)


def sender(request: web.Request) -> str | None:
    """As `account`, of whatever token came along, good or bad, wanted or not."""
    _, token = _credentials(request)
    claims = tokens.read(token)
    if claims is not None:
        return claims.account
    return fingerprint(token) if token else None


def known(slot: Slot, switches: Switches) -> None:
    """Any ID exists but unknown-*, and what XML could not even echo."""
    name = slot.identifier
    if name is None:
        return
    if name.startswith(_UNKNOWN_IDS) or not name.isprintable() or len(name) > _LONGEST_ID:
        words = {400: f"Bad Request - invalid {slot.kind} key."}
        raise Refused(switches.unknown_id, words.get(switches.unknown_id, f"No such {slot.kind}."))


def framing(request: web.Request, switches: Switches) -> None:
    """Content-Length and never chunked, one of four types, no coding on top; before the body is read."""
    if "Transfer-Encoding" in request.headers:
        raise Refused(switches.no_length, "Concur does not support Chunked Transfer-Encoding.")
    if "Content-Length" not in request.headers:
        raise Refused(switches.no_length, "The Content-Length header is missing.")
    if request.content_type.startswith("multipart/"):
        raise Refused(switches.wrong_type, "The body must be the bytes of the image, not multipart.")
    if request.content_type not in SIGNATURES:
        raise Refused(switches.wrong_type, f"Content-Type must be one of {', '.join(SIGNATURES)}.")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refused(switches.wrong_type, "Content-Encoding is not supported.")
    if (request.content_length or 0) > MAX_BYTES:
        raise Refused(switches.too_large, f"The image is larger than 10 MB ({MAX_BYTES} bytes).")
    if request.content_length == 0:
        raise Refused(400, "The body is empty.")


async def body(request: web.Request) -> bytearray | None:
    """The whole body, None when the client left in the middle. Call `framing` first: it bounds the size."""
    content = bytearray()
    try:
        async for chunk in request.content.iter_any():
            content += chunk
    except (ClientPayloadError, ConnectionError):
        return None
    finally:
        request[EXCHANGE].received = len(content)
    return content


async def content(content_type: str, content: bytearray) -> None:
    """The bytes are what Content-Type says, and a PDF is neither encrypted nor password protected."""
    if not content.startswith(SIGNATURES[content_type]):
        raise Refused(400, f"The body is not {content_type}.")
    if content_type == "application/pdf" and _ENCRYPT_KEY.search(content):
        await _refuse_encrypted(bytes(content))


def free(slot: Slot, taken: int, switches: Switches) -> bool:
    """False: the slot has its image and the switch says to answer as if all were well, keeping it."""
    if not taken or not slot.one_image:
        return True
    if switches.slot_taken < 300:
        return False
    raise Refused(switches.slot_taken, f"An image is already attached to this {slot.kind}.")


def _bad_token(request: web.Request) -> Refused:
    words = "Forbidden Request: the OAuth token is invalid, expired or revoked."
    return Refused(request.app[SANDBOX].switches.bad_token, words)


def _credentials(request: web.Request) -> tuple[str, str]:
    """Scheme and token (RFC 9110, 11.6.2)."""
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return scheme, token.strip()


async def _refuse_encrypted(pdf: bytes) -> None:
    """Only for PDFs that name /Encrypt: a trailer is plain text even where all else is packed."""
    loop = asyncio.get_running_loop()
    verdict = loop.run_in_executor(_pdf_threads, _is_encrypted, pdf)
    try:
        encrypted = await asyncio.wait_for(verdict, _PDF_SECONDS)
    except TimeoutError:
        raise Refused(400, f"The PDF names /Encrypt and can't be read in {_PDF_SECONDS:g} seconds.") from None
    if encrypted:
        raise Refused(400, "The PDF is encrypted or password protected.")


def _is_encrypted(pdf: bytes) -> bool:
    try:
        return PdfReader(BytesIO(pdf)).is_encrypted
    except Exception:
        # Whatever a hostile file makes the parser raise: it names /Encrypt and can't be opened.
        return True
