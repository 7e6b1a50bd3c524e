"""What every ledger must do, whatever engine it is on. The engines' test modules inherit LedgerContract."""

from collections.abc import AsyncIterator

import pytest

from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
    open_ledger,
    open_reader,
    verify_chain,
)
from tests.contract.ledger_accepting import Accepting
from tests.contract.ledger_asking import Asking, Verifying
from tests.contract.ledger_attempts import Attempts
from tests.contract.ledger_claims import Claims
from tests.contract.ledger_feedback import FeedbackDue
from tests.contract.ledger_looks import Looks
from tests.contract.ledger_mail import Leases, Mail, Unfiled
from tests.contract.ledger_making import (
    START,
    document,
    image_of,
    new_arrival,
    new_receipt,
    spool_path,
)
from tests.contract.ledger_moves import Moves
from tests.contract.ledger_opening import Opening
from tests.contract.ledger_preparation import Preparation
from tests.contract.ledger_reading import Reading
from tests.contract.ledger_repeats import Repeats
from tests.contract.ledger_retention import Retention
from tests.contract.ledger_slots import Slots
from tests.contract.ledger_turns import Turns

__all__ = ["START", "LedgerContract", "document", "image_of", "new_arrival", "new_receipt", "spool_path"]


class LedgerContract(
    Accepting,
    Repeats,
    Preparation,
    Slots,
    Looks,
    Claims,
    Turns,
    Attempts,
    Asking,
    Verifying,
    Moves,
    FeedbackDue,
    Retention,
    Reading,
    Mail,
    Unfiled,
    Leases,
    Opening,
):
    """A subclass provides the fixture `url`: a place for a ledger that doesn't exist yet."""

    @pytest.fixture
    async def ledger(self, url: str) -> AsyncIterator[SqlLedger]:
        ledger = open_ledger(url, migrate=True, spool_path=spool_path)
        yield ledger
        await ledger.aclose()

    @pytest.fixture
    async def reader(self, ledger: SqlLedger, url: str) -> AsyncIterator[SqlLedgerReader]:
        """At the end of each test the books close and every chain verifies."""
        reader = open_reader(url, spool_path=spool_path)
        yield reader
        balance = await reader.balance()
        assert balance.closed, balance
        for receipt in await reader.find():
            entries = await reader.history(receipt.id)
            assert verify_chain(entries)
            assert entries[-1].after is receipt.state
            assert entries[-1].version == receipt.version
        await reader.aclose()
