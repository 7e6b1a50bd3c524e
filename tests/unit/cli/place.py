"""A storage directory with a ledger, and the commands that look at it, in this process."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from typer.testing import CliRunner, Result

from ingestd.cli import app
from ingestd.ledger import SqlLedger, SqlLedgerReader, open_ledger, open_reader, sqlite_url

CONFIG = '[storage]\ndirectory = "data"\n'


class Place:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "ingestd.toml"
        self.config.write_text(CONFIG)
        self._data = directory / "data"
        self._data.mkdir(mode=0o700)

    def fill(self, act: Callable[[SqlLedger, SqlLedgerReader], Awaitable[None]]) -> None:
        """What `act` writes to the ledger is there when this returns."""

        async def run() -> None:
            def spool_path(sha256: str) -> Path:
                return self._data / "spool" / sha256

            url = sqlite_url(self._data / "ledger.db")
            ledger = open_ledger(url, migrate=True, spool_path=spool_path)
            reader = open_reader(url, spool_path=spool_path)
            try:
                await act(ledger, reader)
            finally:
                await reader.aclose()
                await ledger.aclose()

        asyncio.run(run())

    def ingestd(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [*arguments, "--config", str(self.config)])
