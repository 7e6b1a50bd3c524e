"""Times, sizes and names as people read them. Nothing that strangers wrote leaves here as it stood."""

import unicodedata
from datetime import UTC, datetime

from ingestd.domain.document import MICROSECONDS, Instant

_CHAT_MARKS = str.maketrans({"<": "‹", ">": "›", "@": "＠", "`": "'", "&": "＆"})


def clock_time(at: Instant) -> str:
    return datetime.fromtimestamp(at / MICROSECONDS, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso_time(at: Instant) -> str:
    return datetime.fromtimestamp(at // MICROSECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def span(since: Instant, until: Instant) -> str:
    """`3 h`, `2 days`: whole units, rounded down."""
    minutes = max(0, until - since) // (60 * MICROSECONDS)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def megabytes(size_bytes: int) -> str:
    return f"{size_bytes // 1_000_000:,} MB"


def one_line(text: str, *, most: int) -> str:
    """At most `most` characters, blanks collapsed, no control or bidi characters."""
    head = unicodedata.normalize("NFC", text[: most * 4].encode("utf-8", "replace").decode())
    kept = "".join(
        " " if c.isspace() else c for c in head if c.isspace() or unicodedata.category(c)[0] != "C"
    )
    visible = " ".join(kept.split())
    return visible if len(visible) <= most and len(text) <= most * 4 else visible[: most - 1].rstrip() + "…"


def for_chat(text: str, *, most: int) -> str:
    """The same for a chat, where a name must call nobody (`<!channel>`, `@all`) and be no link.

    Enclosed as code: Slack, Mattermost and Teams take nothing in it for markup.
    """
    return f"`{one_line(text, most=most).translate(_CHAT_MARKS)}`"
