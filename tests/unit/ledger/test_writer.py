"""The writer under a full disk, a lock that stays, damage, and callers of all kinds. SQLite's own ways."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, text

from ingestd.domain.errors import LedgerUnavailable, StorageExhausted
from ingestd.domain.states import State
from ingestd.ledger import SqlLedger, open_ledger, open_reader, sqlite_url
from ingestd.ledger.transaction import Transaction
from tests.contract.ledger_making import (
    START,
    accept_one,
    document,
    new_arrival,
    new_receipt,
    spool_path,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[SqlLedger]:
    ledger = open_ledger(sqlite_url(path), migrate=True, spool_path=spool_path)
    yield ledger
    await ledger.aclose()


async def received(path: Path) -> int:
    reader = open_reader(sqlite_url(path), spool_path=spool_path)
    balance = await reader.balance()
    await reader.aclose()
    assert balance.closed
    return balance.states[State.RECEIVED]


@asynccontextmanager
async def gathering(ledger: SqlLedger) -> AsyncIterator[None]:
    """What is asked for meanwhile becomes one batch: the writer is busy until the end."""
    busy, go_on = threading.Event(), threading.Event()

    def block(tx: Transaction) -> None:
        busy.set()
        go_on.wait()

    blocker = asyncio.create_task(ledger._writer.run(block))
    await asyncio.to_thread(busy.wait)
    try:
        yield
        await asyncio.sleep(0)  # the tasks made meanwhile reach the queue
    finally:
        go_on.set()
    await blocker


def fail_to_commit(tx: Transaction) -> None:
    """What SQLite finds out only when it commits."""
    tx.execute(text("PRAGMA defer_foreign_keys=ON"))
    tx.execute(text("INSERT INTO ignored VALUES ('no such arrival', 0, '', '')"))


async def test_the_writer_is_as_durable_as_it_promises(ledger: SqlLedger) -> None:
    def ask(tx: Transaction) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [tx.execute(text(f"PRAGMA {name}")).scalar_one() for name in names]

    assert await ledger._writer.run(ask) == ["wal", 2, 1, 5000]


async def test_all_who_wait_share_one_commit(ledger: SqlLedger, path: Path) -> None:
    commits: list[object] = []
    event.listen(ledger._writer._engine, "commit", commits.append)
    async with gathering(ledger):
        accepts = asyncio.gather(*(accept_one(ledger, f"{i}") for i in range(100)))
    await accepts
    assert len(commits) == 2  # that of the blocker, and ours
    assert await received(path) == 100


async def test_a_full_disk_refuses_and_all_goes_on_when_there_is_room_again(
    ledger: SqlLedger, path: Path
) -> None:
    limit_pages = [80]

    def set_limit(connection: sqlite3.Connection, record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={limit_pages[0]}").close()

    event.listen(ledger._writer._engine, "connect", set_limit)
    accepted = 0
    with pytest.raises(StorageExhausted):
        while True:
            await accept_one(ledger, f"{accepted}")
            accepted += 1
    assert accepted > 0
    assert await received(path) == accepted
    bulk = new_arrival(*(new_receipt(document(content=f"bulk {i}")) for i in range(100)))
    with pytest.raises(StorageExhausted):
        await ledger.accept(bulk, now=START)
    limit_pages[0] = 100_000
    assert len((await ledger.accept(bulk, now=START)).receipts) == 100
    assert await received(path) == accepted + 100


async def test_a_commit_that_fails_means_not_accepted_for_the_whole_batch(
    ledger: SqlLedger, path: Path
) -> None:
    await accept_one(ledger, "before")
    async with gathering(ledger):
        answers = asyncio.gather(
            *(accept_one(ledger, f"{i}") for i in range(10)),
            ledger._writer.run(fail_to_commit),
            return_exceptions=True,
        )
    assert [type(answer) for answer in await answers] == [LedgerUnavailable] * 11
    assert await received(path) == 1
    await accept_one(ledger, "after")
    assert await received(path) == 2


async def test_a_lock_held_by_somebody_else_is_waited_for_and_then_reported(
    ledger: SqlLedger, path: Path
) -> None:
    def patience(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("PRAGMA busy_timeout=300").close()

    event.listen(ledger._writer._engine, "connect", patience)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="locked"):
        await accept_one(ledger)
    waiting = asyncio.create_task(accept_one(ledger))
    await asyncio.sleep(0.05)
    other.execute("COMMIT")
    other.close()
    assert (await waiting).state is State.RECEIVED


async def test_a_bug_in_one_operation_is_told_to_its_caller_alone(ledger: SqlLedger, path: Path) -> None:
    def stumble(tx: Transaction) -> None:
        tx.execute(text("DELETE FROM history"))
        raise ZeroDivisionError

    async with gathering(ledger):
        answers = asyncio.gather(
            accept_one(ledger, "a"),
            ledger._writer.run(stumble),
            accept_one(ledger, "b"),
            return_exceptions=True,
        )
    first, error, second = await answers
    assert isinstance(error, ZeroDivisionError)
    assert not isinstance(first, BaseException)
    assert not isinstance(second, BaseException)
    assert await received(path) == 2


async def test_an_operation_whose_caller_is_gone_before_it_began_is_left_out(
    ledger: SqlLedger, path: Path
) -> None:
    async with gathering(ledger):
        gone = asyncio.create_task(accept_one(ledger, "gone"))
        there = asyncio.create_task(accept_one(ledger, "there"))
        await asyncio.sleep(0)
        gone.cancel()
    await there
    assert await received(path) == 1


async def test_closing_twice_is_closing_once(ledger: SqlLedger) -> None:
    await ledger.aclose()
    await ledger.aclose()
    with pytest.raises(LedgerUnavailable, match="closed"):
        await accept_one(ledger)


async def test_a_closed_ledger_is_one_file(ledger: SqlLedger, path: Path) -> None:
    await accept_one(ledger)
    await ledger.aclose()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_damage_is_found_after_a_crash(ledger: SqlLedger, path: Path) -> None:
    for i in range(50):
        await accept_one(ledger, f"{i}")
    await ledger.aclose()
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        for page in range(pages // 2, pages):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    path.with_name(f"{path.name}-wal").touch()
    with pytest.raises(LedgerUnavailable, match=r"damaged|malformed"):
        open_ledger(sqlite_url(path), migrate=True, spool_path=spool_path, alone=True)


async def test_a_reader_can_not_write(ledger: SqlLedger, path: Path) -> None:
    reader = open_reader(sqlite_url(path), spool_path=spool_path)
    with pytest.raises(LedgerUnavailable, match="readonly"):
        await reader.read(lambda connection: connection.execute(text("DELETE FROM receipts")))
    await reader.aclose()


async def test_readers_see_what_is_committed_while_a_write_goes_on(ledger: SqlLedger, path: Path) -> None:
    await accept_one(ledger, "before")
    async with gathering(ledger):
        assert await received(path) == 1
