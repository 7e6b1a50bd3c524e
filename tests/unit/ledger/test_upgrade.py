import stat
from importlib import resources
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from ingestd.domain.errors import ConfigurationError, LedgerUnavailable
from ingestd.ledger import migrate, sqlite_path, sqlite_url
from ingestd.ledger.upgrade import known_revisions


def test_the_file_names_of_the_migrations_are_their_revisions_in_order() -> None:
    with resources.as_file(resources.files("ingestd.ledger.migrations")) as scripts:
        directory = ScriptDirectory(str(scripts))
        revisions = [script.revision for script in directory.walk_revisions()]
    assert known_revisions() == revisions[::-1]


def test_a_new_ledger_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    migrate(sqlite_url(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_ledger_that_can_not_be_created_is_named(tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match=r"nowhere/ledger\.sqlite can't be created"):
        migrate(sqlite_url(tmp_path / "nowhere" / "ledger.sqlite"))


def test_a_file_that_is_no_ledger_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_text("my diary, 2024. " * 500)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        migrate(sqlite_url(path))
    assert path.read_text() == "my diary, 2024. " * 500


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://host/x", "sqlite://", "sqlite:///:memory:", "sqlite:///"]
)
def test_a_url_that_can_not_be_a_ledger_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"storage\.ledger"):
        sqlite_path(url)


def test_the_path_of_a_ledger_survives_its_url(tmp_path: Path) -> None:
    path = tmp_path / "50% off? #1 & more.sqlite"
    assert sqlite_path(sqlite_url(path)) == path
    migrate(sqlite_url(path))
    assert path.exists()
