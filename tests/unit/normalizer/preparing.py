"""Prepares one picture as the limited process does, without the process around it."""

from typing import Any

from ingestd.normalizer import pictures
from ingestd.normalizer.exchange import Finding, Found, Noted, Problem
from ingestd.normalizer.sheets import Bounds, Draft

JPEG, PNG, PDF = "image/jpeg", "image/png", "application/pdf"
ALL = frozenset({JPEG, PNG, PDF})


def bounds(**changes: object) -> Bounds:
    values: dict[str, Any] = {
        "types": ALL,
        "max_bytes": 10_000_000,
        "max_pages": 200,
        "max_pixels": 100_000_000,
        "level": "full",
        "strip_location": True,
    }
    return Bounds(**{**values, **changes})


def prepare(data: bytes, mime_type: str, **changes: object) -> Draft:
    return pictures.prepare_picture(data, mime_type, bounds(**changes))


def finding(data: bytes, mime_type: str, **changes: object) -> Finding:
    """Fails where nothing is found."""
    try:
        draft = prepare(data, mime_type, **changes)
    except Found as found:
        return found.finding
    raise AssertionError(f"nothing was found: {draft}")


def problem(data: bytes, mime_type: str, **changes: object) -> Problem | None:
    try:
        prepare(data, mime_type, **changes)
    except Found as found:
        return found.finding.problem
    return None


def words(noted: list[Noted]) -> list[str]:
    return [str(one.what) for one in noted]
