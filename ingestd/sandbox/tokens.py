"""Access tokens of the token endpoint: JWTs (RFC 7519) that carry all there is to know of them.

Nothing is remembered for one, so a storm of refreshes costs no memory. The key is no secret: it only tells
the tokens of a sandbox, this one or an earlier run of it, from any other, and all of those are good anyway.
"""

import hashlib
import hmac
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass

_KEY = b"ingestd sandbox"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What an access token says. `account` stands for the login; `expires_at` in seconds since 1970."""

    account: str
    scope: str
    expires_at: float
    number: str


def issue(*, account: str, scope: str, issued_at: float, expires_at: float, issuer: str) -> str:
    claims = {
        "iss": issuer,
        "sub": account,
        "scope": scope,
        "iat": int(issued_at),
        "exp": expires_at,
        "jti": secrets.token_hex(8),
    }
    signed = f"{_HEADER}.{_packed(json.dumps(claims, separators=(',', ':')).encode())}"
    return f"{signed}.{_signature(signed)}"


def read(token: str) -> Claims | None:
    """What it says; None for a token that no sandbox gave, or that was altered."""
    signed, _, signature = token.rpartition(".")
    header, _, claims = signed.partition(".")
    sent = signature.encode("utf-8", "surrogateescape")
    if header != _HEADER or not hmac.compare_digest(_signature(signed).encode(), sent):
        return None
    said = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return Claims(account=said["sub"], scope=said["scope"], expires_at=said["exp"], number=said["jti"])


def looks_issued(token: str) -> bool:
    """It claims to come from a sandbox: if `read` knows nothing of it, it was altered."""
    return token.startswith(f"{_HEADER}.")


def _signature(signed: str) -> str:
    return _packed(hmac.new(_KEY, signed.encode("utf-8", "surrogateescape"), hashlib.sha256).digest())


def _packed(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


_HEADER = _packed(b'{"alg":"HS256","typ":"JWT","kid":"ingestd-sandbox"}')
