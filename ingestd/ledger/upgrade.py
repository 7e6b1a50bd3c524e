"""Creating and upgrading the tables: Alembic's migrations travel in the package, no alembic.ini is needed.

A ledger of a newer program is refused, never touched. Of an older one on SQLite a copy is kept beside it,
named by its revision (`ledger.db.0001`), so that one can go back to the older program. Alembic itself is
imported only to migrate: a command that merely reads shouldn't pay for it.
"""

from importlib import resources
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from ingestd.domain.errors import LedgerTooNew, LedgerUnavailable
from ingestd.ledger.backup import backup
from ingestd.ledger.engine import create_sqlite_file, open_engine, our_errors, sqlite_path

_MIGRATION_LOCK = 0x696E67657374
"""PostgreSQL's advisory locks are numbers; this one is ours."""


def migrate(url: str) -> str:
    """Create the ledger, or bring it to the revision of this program. Returns that revision. Idempotent.

    A copy of an older SQLite ledger is made first. Raises LedgerTooNew, LedgerUnavailable, StorageExhausted
    and ConfigurationError. Blocks.
    """
    path = sqlite_path(url)
    if path is not None:
        create_sqlite_file(path)
    engine = open_engine(url, writes=True)
    try:
        with our_errors(path), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATION_LOCK})
            revision = _revision(connection)
            if revision != known_revisions()[-1]:
                if path is not None and revision is not None:
                    _keep_a_copy(url, path, revision)
                _upgrade(connection)
    finally:
        engine.dispose()
    return known_revisions()[-1]


def check_revision(engine: Engine, path: Path | None) -> None:
    """Raises LedgerTooNew for a newer ledger, LedgerUnavailable where there is none or it is older."""
    if path is not None and not path.exists():
        raise LedgerUnavailable(f"there is no ledger at {path} yet; `ingestd run` creates it")
    with our_errors(path), engine.connect() as connection:
        revision = _revision(connection)
    if revision is None:
        raise LedgerUnavailable("the database holds no ledger yet; `ingestd run` creates it")
    if revision != known_revisions()[-1]:
        raise LedgerUnavailable("the ledger was written by an older ingestd; run `ingestd migrate` first")


def known_revisions() -> list[str]:
    """The revisions of this program, oldest first: the beginnings of the migrations' file names."""
    folder = resources.files("ingestd.ledger.migrations") / "versions"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.partition("_")[0] for name in names if name[0].isdigit() and name.endswith(".py"))


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if revision is not None and revision not in known_revisions():
        raise LedgerTooNew
    return revision


def _keep_a_copy(url: str, path: Path, revision: str) -> None:
    """Called under the write lock, so it is the ledger as it was when the older program left it."""
    target = path.with_name(f"{path.name}.{revision}")
    target.unlink(missing_ok=True)  # of an upgrade that did not get to its end
    backup(url, target)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    with resources.as_file(resources.files("ingestd.ledger.migrations")) as scripts:
        # A % in the path would be taken for an interpolation of configparser.
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
