"""Asks the inspection as the daemon does, without the process around it."""

import json
import os
import tempfile

import pytest

from ingestd import sniff
from ingestd.normalizer import exchange, inspection
from ingestd.normalizer.exchange import Finding, InspectionRequest, Level, Problem, Sound

MAX_PIXELS = 100_000_000
LEVELS: tuple[Level, ...] = ("light", "full")
BOTH = pytest.mark.parametrize("level", LEVELS)


def inspect(
    document: bytes, level: Level, *, max_pages: int | None = None, max_pixels: int = MAX_PIXELS
) -> Sound | Finding:
    """As a limited process does it: JSON in, one open descriptor, JSON out."""
    request = InspectionRequest(
        mime_type=sniff.sniff(document[: sniff.HEAD_BYTES]),
        size=len(document),
        level=level,
        max_pixels=max_pixels,
        max_pages=max_pages,
    )
    with tempfile.TemporaryFile() as file:
        file.write(document)
        file.flush()
        file.seek(0)
        answer = inspection.inspect(json.loads(json.dumps(request.write())), [file.fileno()], [])
        os.fstat(file.fileno())  # still open: the descriptor belongs to the caller
    return exchange.read_answer(json.loads(json.dumps(answer)))


def problem(document: bytes, level: Level, **limits: int) -> Problem | None:
    found = inspect(document, level, **limits)
    return found.problem if isinstance(found, Finding) else None
