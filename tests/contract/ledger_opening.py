"""Opening, upgrading and closing a ledger."""

import asyncio

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from ingestd.domain.errors import (
    LedgerTooNew,
    LedgerUnavailable,
    SlotTaken,
)
from ingestd.domain.receipt import Receipt
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    migrate,
    open_ledger,
    open_reader,
    verify_chain,
)
from ingestd.ledger.engine import open_engine
from ingestd.ledger.schema import metadata, receipts
from tests.contract.ledger_making import (
    LEASE,
    START,
    accept_for,
    accept_one,
    prepare,
    spool_path,
)
from tests.contract.old_ledger import make_old_ledger


class Opening:
    async def test_the_migrations_make_the_tables_the_program_uses(self, ledger: SqlLedger, url: str) -> None:
        assert differences(url) == []

    async def test_a_ledger_of_the_first_program_is_upgraded_with_all_that_is_in_it(self, url: str) -> None:
        held, uploaded = make_old_ledger(
            url,
            {"state": "received", "slot": "receipt", "waived": "No \ufdd0dcff route\nfits."},
            {"state": "uploaded", "slot": "receipt", "image_id": "IMG1"},
        )
        assert migrate(url) == "0005"
        assert differences(url) == []
        reader = open_reader(url, spool_path=spool_path)
        assert (await reader.balance()).closed
        found = await reader.get(held)
        assert found is not None
        assert (found.waived, found.state) == (("No \udcff route\nfits.",), State.RECEIVED)
        found = await reader.get(uploaded)
        assert found is not None
        assert found.image is not None
        assert (found.waived, found.image.steps, found.image.warnings) == ((), (), ())
        assert [d.arrived_as for d in await reader.documents(uploaded)] == [""]
        assert await reader.mailed(uploaded) is None
        arrived = await reader.arrived(uploaded)
        assert arrived is not None and arrived.origin.mail is None
        assert verify_chain(await reader.history(uploaded))
        await reader.aclose()

    async def test_receipts_of_the_first_program_take_turns_and_those_in_doubt_are_left_to_people(
        self, url: str
    ) -> None:
        rows = (
            {"state": "ready", "slot": "receipt", "person": "Ann", "account": "ann"},
            {"state": "ready", "slot": "receipt", "account": "ann"},
            {"state": "ready", "slot": "receipt"},
            {"state": "unconfirmed", "slot": "receipt"},
        )
        *_, doubtful = make_old_ledger(url, *rows)
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        reader = open_reader(url, spool_path=spool_path)
        found = await reader.get(doubtful)
        assert found is not None
        assert (found.ask_at, found.settled, found.tried_since) == (None, True, None)
        stored = select(receipts.c.share, receipts.c.gate).order_by(receipts.c.id)
        rows_now = await reader.read(lambda connection: connection.execute(stored).all())
        assert sorted(tuple(row) for row in rows_now) == [
            ("account ann", "concur:ann"),
            ("person Ann", "concur:ann"),
            ("source scanner", "concur"),
            ("source scanner", "concur"),
        ]
        claimed = await ledger.claim(
            owner="here", lease=LEASE, limit=9, now=START, closed=[("concur", "ann")]
        )
        assert [(receipt.person, receipt.account) for receipt in claimed] == [(None, None)]
        await reader.aclose()
        await ledger.aclose()

    async def test_every_waived_reason_is_upgraded_however_many_there_are(self, url: str) -> None:
        rows = [
            {"state": "held", "slot": "receipt", "waived": f"{i}" if i % 3 else None} for i in range(3500)
        ]
        ids = make_old_ledger(url, *rows)
        migrate(url)
        reader = open_reader(url, spool_path=spool_path)
        waived = {receipt.id: receipt.waived for receipt in await reader.find()}
        await reader.aclose()
        assert waived == {id_: (f"{i}",) if i % 3 else () for i, id_ in enumerate(ids)}

    async def test_slots_filled_by_the_first_program_stay_filled(self, url: str) -> None:
        _, first, _, report, ready, _ = make_old_ledger(
            url,
            {"state": "failed", "slot": "expenseentry/E1"},
            {"state": "uploaded", "slot": "expenseentry/E1"},
            {"state": "ready", "slot": "expenseentry/E1"},
            {"state": "failed", "slot": "report/R1"},
            {"state": "ready", "slot": "invoice/I1"},
            {"state": "uploaded", "slot": "report/R1"},
        )
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        for slot, holder in (("expenseentry/E1", first), ("invoice/I1", ready)):
            with pytest.raises(SlotTaken) as taken:
                await prepare(ledger, await accept_for(ledger, slot, slot), one_image=True)
            assert taken.value.receipt == holder
        await prepare(ledger, await accept_for(ledger, "new", "expenseentry/E2"), one_image=True)
        reader = open_reader(url, spool_path=spool_path)
        failed = await reader.get(report)
        await reader.aclose()
        assert failed is not None
        assert (await ledger.move(failed, Event.REQUEUE, now=START)).state is State.READY
        await ledger.aclose()

    async def test_a_second_receipt_of_the_first_program_can_be_retried_beside_the_first(
        self, url: str
    ) -> None:
        row = {"slot": "expenseentry/E1", "key": "k"}
        _, failed = make_old_ledger(
            url,
            {**row, "state": "uploaded", "generation": 1},
            {**row, "state": "failed", "generation": 2},
        )
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        reader = open_reader(url, spool_path=spool_path)
        receipt = await reader.get(failed)
        await reader.aclose()
        assert receipt is not None
        assert (await ledger.move(receipt, Event.REQUEUE, now=START)).state is State.READY
        await ledger.aclose()

    async def test_migrating_again_changes_nothing(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        receipt = await accept_one(ledger)
        assert migrate(url) == "0005"
        assert await reader.get(receipt.id) == receipt

    async def test_the_ledger_of_a_newer_program_is_refused(self, ledger: SqlLedger, url: str) -> None:
        await ledger.aclose()
        engine = open_engine(url, writes=True)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        engine.dispose()
        for migrates in (False, True):
            with pytest.raises(LedgerTooNew):
                open_ledger(url, migrate=migrates, spool_path=spool_path)
        with pytest.raises(LedgerTooNew):
            open_reader(url, spool_path=spool_path)

    async def test_a_ledger_that_does_not_exist_is_named(self, url: str) -> None:
        with pytest.raises(LedgerUnavailable, match="ingestd run"):
            open_reader(url, spool_path=spool_path)
        with pytest.raises(LedgerUnavailable, match="ingestd run"):
            open_ledger(url, migrate=False, spool_path=spool_path)

    async def test_what_was_given_before_closing_is_still_done(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        accepts = [asyncio.create_task(accept_one(ledger, f"{i}")) for i in range(50)]
        await asyncio.sleep(0)
        await ledger.aclose()
        await asyncio.gather(*accepts)
        assert (await reader.counts())[State.RECEIVED] == 50
        with pytest.raises(LedgerUnavailable):
            await accept_one(ledger, "late")

    async def test_cancelled_callers_leave_whole_operations_behind(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        tasks = [asyncio.create_task(accept_one(ledger, f"{i}")) for i in range(60)]
        for count, task in enumerate(tasks):
            await asyncio.sleep(0)
            if count % 3:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [result for result in results if isinstance(result, Receipt)]
        assert len(kept) >= 20
        assert {r.id for r in kept} <= {r.id for r in await reader.find()}


def differences(url: str) -> list[object]:
    """Between the tables there are and those of the program."""
    engine = open_engine(url, writes=False)
    with engine.connect() as connection:
        options = {"compare_type": False}  # columns of foreign text are TEXT with a coding of ours
        context = MigrationContext.configure(connection, opts=options)
        found: list[object] = compare_metadata(context, metadata)
    engine.dispose()
    return found
