"""What every command begins with: the configuration, the right user, and the ledger's read or write side."""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from ingestd.clock import Clock
from ingestd.configfile import find_configuration, load_configuration
from ingestd.interfaces import Ledger, LedgerReader
from ingestd.settings import Settings

T = TypeVar("T")

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file. [default: $INGESTD_CONFIG, ./ingestd.toml, /etc/ingestd/ingestd.toml]",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def configured(config: Path | None) -> Settings:
    """The settings, with this process acting as the owner of the storage directory when it is root."""
    settings = load_configuration(find_configuration(config))
    act_as_owner(settings.storage.directory)
    return settings


def act_as_owner(directory: Path) -> None:
    """A command run as root must leave no file behind that the daemon's user can't write."""
    if os.geteuid() != 0 or not directory.exists():
        return
    status = directory.stat()
    if status.st_uid == 0:
        return
    # Loaded while every file of an installation can still be read.
    import importlib.readers  # noqa: F401

    import ingestd.assembly  # noqa: F401

    try:
        entry = pwd.getpwuid(status.st_uid)
        groups = os.getgrouplist(entry.pw_name, status.st_gid)
    except KeyError:
        groups = [status.st_gid]
    os.setgroups(groups)
    os.setgid(status.st_gid)
    os.setuid(status.st_uid)


def clock_beside(settings: Settings) -> Clock:
    """What to write times by: the clock of the daemon that may be running."""
    from ingestd.storage import ledger_clock

    return ledger_clock(settings)


def with_reader(settings: Settings, ask: Callable[[LedgerReader], Awaitable[T]]) -> T:
    """Runs `ask` on the read side of the ledger."""

    async def run() -> T:
        from ingestd.storage import reading

        async with reading(settings) as reader:
            return await ask(reader)

    return asyncio.run(run())


def with_ledger(settings: Settings, act: Callable[[Ledger, LedgerReader], Awaitable[T]]) -> T:
    """Runs `act` on both sides of the ledger, beside a daemon that may be running."""

    async def run() -> T:
        async with both_sides(settings) as (ledger, reader):
            return await act(ledger, reader)

    return asyncio.run(run())


@asynccontextmanager
async def both_sides(settings: Settings) -> AsyncIterator[tuple[Ledger, LedgerReader]]:
    from ingestd.storage import reading, writing

    async with writing(settings) as ledger, reading(settings) as reader:
        yield ledger, reader
