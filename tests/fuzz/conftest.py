"""A normalizer of its own for the spoiled documents, with a limited process for each processor."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from ingestd.settings import PreparationSettings
from tests.traps.workbench import Workbench


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    settings = replace(PreparationSettings(), workers=max(2, os.cpu_count() or 1))
    with Workbench(tmp_path_factory.mktemp("fuzz"), settings) as bench:
        yield bench
