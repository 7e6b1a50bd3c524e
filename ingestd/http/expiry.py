"""When a login ends: read out of a token, and turned into the days on which a person is told.

Nothing is proved here: a token is read as far as a reminder needs it, never to decide whether it is good.
"""

import base64
import binascii
import json
from datetime import UTC, datetime

from ingestd.domain.document import MICROSECONDS, Instant

THRESHOLDS_DAYS = (30, 7, 1)
"""Days before its end on which a login is spoken of; the last time is the end itself (0)."""
_DAY = 24 * 3600 * MICROSECONDS
_LAST_EPOCH_SECONDS = 4_102_444_800
"""Of the year 2100: what is later is a mistake."""


def threshold_crossed(expires_at: Instant | None, now: Instant) -> int | None:
    """The smallest of 30, 7, 1 and 0 days that the time left has come down to.

    None: more than 30 days are left, or the end is unknown. 0: it is over.
    """
    if expires_at is None:
        return None
    left = expires_at - now
    if left <= 0:
        return 0
    return min((days for days in THRESHOLDS_DAYS if left <= days * _DAY), default=None)


def days_left(expires_at: Instant, now: Instant) -> int:
    """Whole days, rounded down: 0 within the last day; negative when it is over."""
    return (expires_at - now) // _DAY


def expiry_sentence(who: str, expires_at: Instant, now: Instant) -> str:
    """`who` is what ends, as a subject: `the login of concur`. Without a full stop."""
    day = datetime.fromtimestamp(expires_at / MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if expires_at <= now:
        return f"{who} ended at {day}"
    days = days_left(expires_at, now)
    left = "less than a day" if days == 0 else "1 day" if days == 1 else f"{days} days"
    return f"{who} is good until {day}, {left} from now"


def end_of_jwt(token: str) -> Instant | None:
    """The `exp` of a JWT (RFC 7519 section 4.1.4), unverified; None for what is none, or has none."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    padding = "=" * (-len(parts[1]) % 4)
    try:
        claims = json.loads(base64.b64decode(parts[1] + padding, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return None
    seconds = claims.get("exp") if isinstance(claims, dict) else None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return None
    return Instant(int(seconds * MICROSECONDS)) if 0 < seconds < _LAST_EPOCH_SECONDS else None
