"""The jobs of this folder in a process that may read the files of one directory, and one file of another."""

from pathlib import Path

from tests.unit.offload.jobs import job

__all__ = ["ALLOWED", "ALLOWED_ALONE", "job", "prove", "readable", "warm_up"]

ALLOWED = Path("/usr/lib/os-release")
"""Anybody may read it, so that a refusal is none of its mode (os-release(5))."""
ALLOWED_ALONE = Path("/etc/group")
"""The file, and nothing beside it."""


def warm_up() -> None:
    """Nothing is opened here."""


def prove() -> None:
    ALLOWED.read_bytes()


def readable() -> tuple[str, ...]:
    return (str(ALLOWED.parent), str(ALLOWED_ALONE), "/nonexistent/fonts")
