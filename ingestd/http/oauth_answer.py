"""Reads the JSON of an OAuth 2.0 server: a value that can't be what it should be counts as not told."""

import json
from collections.abc import Mapping

from ingestd.http.tokens import LONGEST_SECRET_BYTES


def json_object(body: bytes) -> dict[str, object] | None:
    """None for what is no JSON object."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def text_of(told: Mapping[str, object], name: str, *, longest: int = LONGEST_SECRET_BYTES) -> str | None:
    """A value of visible ASCII that may stand in a header or a form; None when there is none."""
    value = told.get(name)
    fine = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    return value if isinstance(value, str) and fine and 0 < len(value) <= longest else None


def seconds_of(told: Mapping[str, object], name: str) -> float | None:
    """A number, or text that is one (older Microsoft endpoints); None for nonsense."""
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > 20:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


def number_of(told: Mapping[str, object], name: str) -> int | None:
    """A whole number, or text that is one; None for nonsense."""
    seconds = seconds_of(told, name)
    return int(seconds) if seconds is not None and seconds == int(seconds) else None
