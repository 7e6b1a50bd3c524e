"""Whose DKIM signatures over a message hold (RFC 6376), given the keys: no network, no trust in the rest.

Stricter than the standard where it leaves room for adding to a signed message: a signature counts only if it
covers the whole body and every field that decides what the message says and what becomes of it.
"""

import logging
from collections.abc import Mapping
from itertools import islice

import dkim

from ingestd.normalizer.exchange_mail import MOST_SIGNATURES, Unopenable, Verified, VerifyRequest
from ingestd.normalizer.message_headers import Header, main_value, read_header
from ingestd.normalizer.message_letter import tags

_SIGNED = frozenset({"from", "subject", "date"})
_ONCE = ("from", "subject", "date", "content-type", "content-transfer-encoding", "mime-version")
"""A second one could be put on top of a signed one (RFC 6376 section 8.15), and readers differ."""
_ALGORITHMS = frozenset({"rsa-sha256", "ed25519-sha256"})  # RFC 8301 section 3.1 forbids rsa-sha1
_SMALLEST_KEY_BITS = 1024  # RFC 8301 section 3.2
_LONGEST_RECORD = 4_096
"""An RSA key of 8192 bits takes 1,400 characters; a longer one is there to cost time."""
_LEEWAY_S = 300
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
    try:
        header, _ = read_header(message, 0, len(message))
    except Unopenable:
        return Verified(domains=())
    if len(header.all("from")) != 1 or any(len(header.all(name)) > 1 for name in _ONCE):
        return Verified(domains=())
    records = {
        f"{key.selector}._domainkey.{key.domain}.".lower(): key.record.encode("latin-1")
        for key in asked.keys
        if len(key.record) <= _LONGEST_RECORD
    }
    domains = [
        claimed["d"].lower().rstrip(".")
        for number, claimed in _acceptable(header, asked.now)
        if _holds(message, number, claimed, records)
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


def _holds(message: bytes, number: int, claimed: Mapping[str, str], records: Mapping[str, bytes]) -> bool:
    def record(name: bytes, timeout: float = 0) -> bytes | None:
        return records.get(name.decode("ascii", "replace").lower())

    try:
        check = dkim.DKIM(message, logger=_LOGGER, minkey=_SMALLEST_KEY_BITS)
        if not check.verify(number, dnsfunc=record):
            return False
    except _ERRORS:
        return False
    # What was verified must be what was looked at before: the library has a reader of its own.
    verified = {name.decode("latin-1"): value for name, value in check.signature_fields.items()}
    return all(b"".join(verified[name].split()) == claimed[name].encode() for name in ("d", "h", "a"))
