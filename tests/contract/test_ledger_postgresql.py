"""The ledger contract on a real PostgreSQL."""

import asyncio
import threading
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text

from ingestd.domain.errors import LedgerUnavailable, SlotTaken
from ingestd.domain.outcome import Uploaded
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State
from ingestd.ledger import SqlLedger, SqlLedgerReader, images, intake, open_ledger, transitions
from ingestd.ledger.transaction import Transaction
from tests.contract.ledger_contract import LedgerContract
from tests.contract.ledger_making import (
    START,
    accept_for,
    accept_one,
    bring_to,
    due,
    image_of,
    new_arrival,
    new_receipt,
    prepare,
    spool_path,
    start_upload,
)
from tests.contract.postgres import Server, postgresql_server

__all__ = ["postgresql_server"]  # a fixture is found by its name in the module that uses it


class TestPostgresql(LedgerContract):
    @pytest.fixture
    def url(self, postgresql_server: Server) -> Iterator[str]:
        url = postgresql_server.new_database()
        yield url
        postgresql_server.drop_database(url)

    async def test_a_connection_that_was_lost_between_two_operations_is_made_again(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        await accept_one(ledger, "before")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await accept_one(ledger, "after")
        assert len(await reader.find()) == 2

    async def test_a_server_that_answers_before_its_disk_does_is_told_not_to(
        self, postgresql_server: Server, url: str
    ) -> None:
        name = url.rpartition("/")[2]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        question = text("SHOW synchronous_commit")
        assert await ledger._writer.run(lambda tx: tx.execute(question).scalar_one()) == "on"
        await ledger.aclose()

    async def test_a_reader_can_not_write(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        with pytest.raises(LedgerUnavailable, match="read-only"):
            await reader.read(lambda connection: connection.execute(text("DELETE FROM receipts")))

    async def test_a_server_that_is_not_there_is_named(self) -> None:
        with pytest.raises(LedgerUnavailable, match=r"127\.0\.0\.1"):
            open_ledger("postgresql://nobody@127.0.0.1:1/x", migrate=True, spool_path=spool_path)

    async def test_a_repeat_on_one_node_is_told_although_another_settles_the_receipt_meanwhile(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        uploading = await start_upload(ledger)
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        accept = intake.accept(new_arrival(new_receipt(), path="copy.pdf"), now=START)
        seen, go_on = threading.Event(), threading.Event()

        def accept_slowly(tx: Transaction) -> None:
            accept(tx)
            tx.flush()
            seen.set()
            go_on.wait()

        accepting = asyncio.create_task(other._writer.run(accept_slowly))
        await asyncio.to_thread(seen.wait)
        finish = ledger.finish(uploading, Step(event=Event.CONFIRM), Uploaded(image_id="1"), now=START)
        finishing = asyncio.create_task(finish)
        await asyncio.sleep(0.3)
        go_on.set()
        await asyncio.gather(accepting, finishing)
        await other.aclose()
        assert {report.origin.path for report in await due(ledger)} == {"lunch.pdf", "copy.pdf"}

    @pytest.mark.parametrize("somebody_had_it", [False, True])
    async def test_two_nodes_that_prepare_for_one_slot_at_once_wait_for_each_other(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str, somebody_had_it: bool
    ) -> None:
        if somebody_had_it:
            await bring_to(ledger, State.DROPPED, slot="expenseentry/E1")
        first, second = [await accept_for(ledger, name, "expenseentry/E1") for name in ("one", "two")]
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        preparing = images.prepare(first, image_of(first.sha256), one_image=True, now=START)
        seen, go_on = threading.Event(), threading.Event()

        def prepare_slowly(tx: Transaction) -> Receipt:
            ready = preparing(tx)
            seen.set()
            go_on.wait()
            return ready

        slow = asyncio.create_task(other._writer.run(prepare_slowly))
        await asyncio.to_thread(seen.wait)
        fast = asyncio.create_task(prepare(ledger, second, one_image=True))
        await asyncio.sleep(0.3)
        assert not fast.done()
        go_on.set()
        assert (await slow).state is State.READY
        with pytest.raises(SlotTaken) as taken:
            await fast
        await other.aclose()
        assert (taken.value.receipt, taken.value.state) == (first.id, "ready")
        assert await reader.get(second.id) == second

    async def test_a_failed_receipt_and_a_new_one_never_get_the_slot_both(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        failed = await bring_to(ledger, State.FAILED, slot="expenseentry/E1")
        second = await accept_for(ledger, "second", "expenseentry/E1")
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        moving = transitions.move(
            failed, Event.REQUEUE, now=START, image_id=None, reason=None, due_at=None, actor="ann"
        )
        seen, go_on = threading.Event(), threading.Event()

        def requeue_slowly(tx: Transaction) -> None:
            moving(tx)
            seen.set()
            go_on.wait()

        slow = asyncio.create_task(other._writer.run(requeue_slowly))
        await asyncio.to_thread(seen.wait)
        fast = asyncio.create_task(prepare(ledger, second, one_image=True))
        await asyncio.sleep(0.3)
        go_on.set()
        await slow
        with pytest.raises(SlotTaken) as taken:
            await fast
        await other.aclose()
        assert (taken.value.receipt, taken.value.state) == (failed.id, "ready")
