"""Fixtures and dials of the torture: TORTURE_SEED plays a run again, others set its length."""

import os
import random

import pytest

from tests.acceptance.conftest import make_place, place, sandbox, sandbox_process

__all__ = ["make_place", "place", "sandbox", "sandbox_process"]


@pytest.fixture
def seed() -> int:
    """Shown with every failure."""
    number = int(os.environ.get("TORTURE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"TORTURE_SEED={number}")
    return number


def dial(name: str, default: int) -> int:
    """How much of it: the environment variable TORTURE_<name>."""
    return int(os.environ.get(f"TORTURE_{name}", default))
