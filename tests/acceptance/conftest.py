"""Fixtures of the acceptance tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.place import Place, SandboxProcess

MakePlace = Callable[..., Place]


@pytest.fixture(scope="session")
def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    process = SandboxProcess(tmp_path_factory.mktemp("sandbox") / "sandbox.log")
    yield process
    process.end()


@pytest.fixture
def sandbox(sandbox_process: SandboxProcess) -> SandboxProcess:
    """An empty one. The process is shared; every daemon of the tests before has ended."""
    sandbox_process.forget()
    return sandbox_process


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
