import sqlite3
import stat
from importlib import resources
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from ingestd.domain.errors import ConfigurationError, LedgerUnavailable
from ingestd.ledger import migrate, sqlite_path, sqlite_url, upgrade
from ingestd.ledger.upgrade import known_revisions
from tests.contract.old_ledger import make_old_ledger


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


def revision_and_receipts(path: Path) -> tuple[str, int]:
    connection = sqlite3.connect(path)
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    (count,) = connection.execute("SELECT count(*) FROM receipts").fetchone()
    connection.close()
    return revision, count


def test_the_ledger_as_the_older_program_left_it_is_kept_beside_the_new_one(tmp_path: Path) -> None:
    path, copy = tmp_path / "ledger.sqlite", tmp_path / "ledger.sqlite.0001"
    make_old_ledger(sqlite_url(path), {"state": "uploaded", "slot": "receipt"})
    migrate(sqlite_url(path))
    assert revision_and_receipts(path) == ("0005", 1)
    assert revision_and_receipts(copy) == ("0001", 1)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    before = copy.read_bytes()
    migrate(sqlite_url(path))
    assert copy.read_bytes() == before


def test_a_new_ledger_has_nothing_to_keep(tmp_path: Path) -> None:
    migrate(sqlite_url(tmp_path / "ledger.sqlite"))
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.sqlite"]


def test_an_upgrade_that_dies_changes_nothing_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    make_old_ledger(sqlite_url(path), {"state": "uploaded", "slot": "receipt"})
    real = upgrade._upgrade

    def dies(connection: Connection) -> None:
        real(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(upgrade, "_upgrade", dies)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            migrate(sqlite_url(path))
        assert revision_and_receipts(path) == ("0001", 1)
    monkeypatch.undo()
    assert migrate(sqlite_url(path)) == "0005"
    assert revision_and_receipts(tmp_path / "ledger.sqlite.0001") == ("0001", 1)
    assert {p.name for p in tmp_path.iterdir()} == {"ledger.sqlite", "ledger.sqlite.0001"}
