"""A normalizer of its own for the spoiled documents."""

from collections.abc import Iterator

import pytest

from tests.traps.workbench import Workbench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    with Workbench(tmp_path_factory.mktemp("fuzz")) as bench:
        yield bench
