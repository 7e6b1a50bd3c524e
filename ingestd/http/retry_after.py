"""Retry-After (RFC 9110 section 10.2.3): seconds, or a date read by the server's own clock."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST = timedelta(days=1)
"""Whatever is longer is cut to this; the retry policy has its own, lower ceiling."""


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long the server asks to wait, from 0 to LONGEST; None when it does not say, or says nonsense.

    A date is compared with the answer's own Date, else with `now`: the clocks need not agree.
    """
    asked = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,400}", asked):
        return timedelta(seconds=min(int(asked), LONGEST.total_seconds()))
    until = _date(asked)
    if until is None:
        return None
    wait = until - (_date(headers.get("Date", "")) or now)
    return min(max(wait, timedelta()), LONGEST)


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
