"""Fixtures of the acceptance tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.place import Place, SandboxProcess

MakePlace = Callable[..., Place]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path / "sandbox.log")
    yield process
    process.end()


@pytest.fixture
def make_place(tmp_path: Path, sandbox: SandboxProcess) -> Iterator[MakePlace]:
    places: list[Place] = []

    def make(**extra: str) -> Place:
        places.append(Place(tmp_path / f"place{len(places)}", sandbox.url, **extra))
        return places[-1]

    yield make
    for place in places:
        place.end()


@pytest.fixture
def place(make_place: MakePlace) -> Place:
    return make_place()
