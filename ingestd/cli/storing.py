"""Commands for the ledger as a thing: migrate and backup."""

from pathlib import Path
from typing import Annotated

import typer

from ingestd.cli.session import ConfigOption, configured


def migrate(config: ConfigOption = None) -> None:
    """Create the ledger, or bring it to this version. `ingestd run` does it by itself."""
    from ingestd.storage import migrate_ledger

    settings = configured(config)
    typer.echo(f"the ledger is at version {migrate_ledger(settings)}")


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file for the copy of the ledger.")],
    config: ConfigOption = None,
) -> None:
    """Copy the SQLite ledger to a file, consistent even while the daemon runs.

    The originals are in the spool directory beside it; copy them after the ledger, with any tool.

    \b
    ingestd backup /backup/ledger.db && rsync -a /var/lib/ingestd/spool/ /backup/spool/
    """
    from ingestd.storage import backup_ledger

    settings = configured(config)
    backup_ledger(settings, target)
    typer.echo(f"ledger copied to {target}")
