"""The ledger contract on SQLite."""

from pathlib import Path

import pytest

from ingestd.ledger import sqlite_url
from tests.contract.ledger_contract import LedgerContract


class TestSqlite(LedgerContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return sqlite_url(tmp_path / "ledger 100%.sqlite")
