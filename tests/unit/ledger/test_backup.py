import asyncio
import stat
from pathlib import Path

import pytest

from ingestd.domain.errors import LedgerUnavailable
from ingestd.ledger import backup, open_ledger, open_reader, sqlite_url
from tests.contract.ledger_making import accept_one, spool_path


async def test_a_backup_made_while_receipts_come_in_is_whole(tmp_path: Path) -> None:
    url, target = sqlite_url(tmp_path / "ledger.sqlite"), tmp_path / "copy.sqlite"
    ledger = open_ledger(url, migrate=True, spool_path=spool_path)
    for i in range(20):
        await accept_one(ledger, f"before {i}")
    accepts = asyncio.gather(*(accept_one(ledger, f"during {i}") for i in range(100)))
    size_bytes = await asyncio.to_thread(backup, url, target)
    await accepts
    await ledger.aclose()
    assert size_bytes == target.stat().st_size
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert {path.name for path in tmp_path.iterdir()} == {"ledger.sqlite", "copy.sqlite"}
    reader = open_reader(sqlite_url(target), spool_path=spool_path)
    balance = await reader.balance()
    await reader.aclose()
    assert balance.closed
    assert 20 <= balance.receipts <= 120


async def test_a_backup_never_overwrites(tmp_path: Path) -> None:
    url, target = sqlite_url(tmp_path / "ledger.sqlite"), tmp_path / "copy.sqlite"
    await open_ledger(url, migrate=True, spool_path=spool_path).aclose()
    target.write_text("precious")
    with pytest.raises(LedgerUnavailable, match="exists already"):
        backup(url, target)
    assert target.read_text() == "precious"


@pytest.mark.parametrize("url", ["sqlite:////nowhere/ledger.sqlite", "postgresql://host/ledger"])
def test_what_can_not_be_backed_up_says_why(url: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerUnavailable, match=r"no ledger at|pg_dump"):
        backup(url, tmp_path / "copy.sqlite")
    assert not list(tmp_path.iterdir())
