"""Open files: the soft limit is raised, and where there are few, less is taken in at once."""

import resource
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ingestd.descriptors import ENOUGH, WIDEST_INTAKE, allow_many, intake_width
from ingestd.domain.errors import ConfigurationError
from ingestd.settings import FolderSettings, Settings, StorageSettings, UploadSettings

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@pytest.fixture(autouse=True)
def limit_as_before() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def may_have(soft: int) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, HARD))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        storage=StorageSettings(directory=tmp_path),
        folders=(FolderSettings(name="inbox", path=tmp_path / "inbox"),),
    )


def test_the_soft_limit_is_raised_and_never_lowered() -> None:
    may_have(200)
    allow_many()
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert raised == (ENOUGH if HARD == resource.RLIM_INFINITY else min(ENOUGH, HARD))
    if HARD == resource.RLIM_INFINITY or HARD > ENOUGH:
        may_have(ENOUGH + 1)
        allow_many()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == ENOUGH + 1


def test_the_fewer_there_are_the_less_is_taken_in_at_once(settings: Settings) -> None:
    widths = []
    for soft in (64, 70, 80, 1024):
        may_have(soft)
        widths.append(intake_width(settings))
    assert widths == sorted(widths)
    assert widths[0] in range(1, 8)
    assert widths[-1] == WIDEST_INTAKE


def test_what_is_configured_counts(settings: Settings, tmp_path: Path) -> None:
    may_have(64)
    assert intake_width(settings) >= 1
    another = FolderSettings(name="second", path=tmp_path / "second")
    for more in (
        replace(settings, folders=(*settings.folders, another)),
        replace(settings, uploads=UploadSettings(workers=64)),
    ):
        with pytest.raises(ConfigurationError, match=r"may have 64, and needs \d+ .*LimitNOFILE="):
            intake_width(more)
