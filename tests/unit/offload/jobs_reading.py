"""The jobs of this folder in a process that may read the files of one directory."""

from pathlib import Path

from tests.unit.offload.jobs import job

__all__ = ["ALLOWED", "job", "prove", "readable", "warm_up"]

ALLOWED = Path("/usr/lib/os-release")
"""Anybody may read it, so that a refusal is none of its mode (os-release(5))."""


def warm_up() -> None:
    """Nothing is opened here."""


def prove() -> None:
    ALLOWED.read_bytes()


def readable() -> tuple[str, ...]:
    return (str(ALLOWED.parent), "/nonexistent/fonts")
