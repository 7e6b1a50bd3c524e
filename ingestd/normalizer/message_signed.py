"""Whose DKIM signatures over a message hold (RFC 6376), given the keys: no network, no trust in the rest.

Stricter than the standard where it leaves room for adding to a signed message: a signature counts only if it
covers the whole body and every field that decides what the message says and what becomes of it.
"""

import logging
import re
from collections.abc import Mapping
from itertools import islice

import dkim

from ingestd.normalizer.exchange_mail import MOST_SIGNATURES, Unopenable, Verified, VerifyRequest
from ingestd.normalizer.message_headers import Header, main_value, read_header
from ingestd.normalizer.message_letter import tags
from ingestd.normalizer.message_parts import with_line_feeds

_SIGNED = frozenset({"from", "subject", "date"})
_ONCE = ("from", "subject", "date", "content-type", "content-transfer-encoding", "mime-version")
"""A second one could be put on top of a signed one (RFC 6376 section 8.15), and readers differ."""
_ALGORITHMS = frozenset({"rsa-sha256", "ed25519-sha256"})  # RFC 8301 section 3.1 forbids rsa-sha1
_SMALLEST_KEY_BITS = 1024  # RFC 8301 section 3.2
_LONGEST_RECORD = 4_096
"""An RSA key of 8192 bits takes 1,400 characters; a longer one is there to cost time."""
_LEEWAY_S = 300
_LOOKED_AT = ("a", "c", "d", "h", "l", "s", "t", "x")
_BLANKS, _BLANK_AT_END = re.compile(rb"[ \t]+"), re.compile(rb" (\r?\n)")
# What the library raises over damaged fields, keys and headers.
_ERRORS = (
    dkim.DKIMException,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
    ValueError,
)
_LOGGER = logging.getLogger("dkim.unheard")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.propagate = False


def verify(message: bytes, asked: VerifyRequest) -> Verified:
    """The domains, each once, in the order of their signatures."""
    message = with_line_feeds(message)
    try:
        header, body = read_header(message, 0, len(message))
    except Unopenable:
        return Verified(domains=())
    if len(header.all("from")) != 1 or any(len(header.all(name)) > 1 for name in _ONCE):
        return Verified(domains=())
    records = {
        f"{key.selector}._domainkey.{key.domain}.".lower(): key.record.encode("latin-1")
        for key in asked.keys
        if len(key.record) <= _LONGEST_RECORD
    }
    relaxed = _collapsed(message, body)
    domains = [
        claimed["d"].lower().rstrip(".")
        for number, claimed in _acceptable(header, asked.now)
        if _holds(relaxed if _is_relaxed(claimed) else message, header, number, claimed, records)
    ]
    asked_for = {key.domain for key in asked.keys}
    return Verified(domains=tuple(dict.fromkeys(domain for domain in domains if domain in asked_for)))


def _acceptable(header: Header, now: int) -> list[tuple[int, Mapping[str, str]]]:
    """The number of each signature that may count, with its tags."""
    signatures = islice(header.all("dkim-signature"), MOST_SIGNATURES)
    claims = ((number, tags(value)) for number, value in enumerate(signatures))
    return [(number, claimed) for number, claimed in claims if _is_acceptable(claimed, header, now)]


def _is_acceptable(claimed: Mapping[str, str], header: Header, now: int) -> bool:
    covered = set(claimed.get("h", "").lower().split(":"))
    needed = set(_SIGNED)
    kind = main_value(header.first("content-type"))
    if kind and not kind.startswith("text/"):
        needed.add("content-type")
    return (
        "l" not in claimed  # whatever is appended behind that length would still be signed
        and "d" in claimed
        and claimed.get("a", "").lower() in _ALGORITHMS
        and needed <= covered
        and _is_current(claimed, now)
    )


def _is_current(claimed: Mapping[str, str], now: int) -> bool:
    try:
        signed = int(claimed.get("t", "0")[:20])
        expires = int(claimed["x"][:20]) if "x" in claimed else None
    except ValueError:
        return False
    return signed <= now + _LEEWAY_S and (expires is None or expires >= now - _LEEWAY_S)


def _is_relaxed(claimed: Mapping[str, str]) -> bool:
    return claimed.get("c", "").partition("/")[2] == "relaxed"


def _collapsed(message: bytes, body: int) -> bytes:
    """The body's blanks as RFC 6376 section 3.4.4 leaves them: for 80,000 in a row the library takes 17 s."""
    return message[:body] + _BLANK_AT_END.sub(rb"\1", _BLANKS.sub(b" ", message[body:]))


def _holds(
    message: bytes,
    header: Header,
    number: int,
    claimed: Mapping[str, str],
    records: Mapping[str, bytes],
) -> bool:
    def record(name: bytes, timeout: float = 0) -> bytes | None:
        return records.get(name.decode("ascii", "replace").lower())

    try:
        check = dkim.DKIM(message, logger=_LOGGER, minkey=_SMALLEST_KEY_BITS)
        names = [name.decode("latin-1").lower() for name, _ in check.headers]
        # It passes over lines "From ..." in the header, which ends there for everybody else.
        if names != [name for name, _ in header.fields] or not check.verify(number, dnsfunc=record):
            return False
    except _ERRORS:
        return False
    # What was verified must be what was looked at before: the library has a reader of its own, and reads on
    # where a field is cut off here. Blanks that push l= there can be added to a signature that holds.
    verified = {
        name.decode("latin-1"): b"".join(value.split()) for name, value in check.signature_fields.items()
    }
    return all(verified.get(name) == _bytes(claimed.get(name)) for name in _LOOKED_AT)


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode()
