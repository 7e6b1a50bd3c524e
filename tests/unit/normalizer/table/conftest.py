"""One normalizer with its limited processes for all tests of this directory."""

from collections.abc import Iterator

import pytest

from tests.traps.workbench import Workbench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    with Workbench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench
