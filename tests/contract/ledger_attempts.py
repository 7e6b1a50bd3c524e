"""Upload attempts, and what their outcomes make of a receipt."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ingestd.domain.errors import (
    IllegalTransition,
)
from ingestd.domain.outcome import (
    Evidence,
    Outcome,
    Pending,
    Refused,
    Throttled,
    Unavailable,
    Unconfirmed,
    Uploaded,
)
from ingestd.domain.retry import RetryPolicy, Step, next_step
from ingestd.domain.states import Event, State
from ingestd.ledger import (
    SqlLedger,
    SqlLedgerReader,
)
from tests.contract.ledger_making import (
    START,
    after,
    claim_one,
    make_ready,
    start_upload,
)


class Attempts:
    @pytest.mark.parametrize(
        ("outcome", "state", "attempts", "reason"),
        [
            (Uploaded(image_id="IMG1"), State.UPLOADED, 1, None),
            (Refused(reason="No such entry.", fix="Check it."), State.FAILED, 1, "No such entry. Check it."),
            (Throttled(reason="Busy."), State.READY, 0, "Busy."),
            (Unavailable(reason="Down."), State.READY, 1, "Down."),
            (Unconfirmed(reason="No answer."), State.UNCONFIRMED, 1, "No answer."),
            (
                Pending(reference="job/1", ask_after=timedelta(minutes=1)),
                State.UNCONFIRMED,
                1,
                "The target took the image and has not said yet what it made of it.",
            ),
        ],
    )
    async def test_an_outcome_closes_the_attempt_and_moves_the_receipt(
        self,
        ledger: SqlLedger,
        reader: SqlLedgerReader,
        outcome: Outcome,
        state: State,
        attempts: int,
        reason: str | None,
    ) -> None:
        evidence = Evidence(status=418, correlation_id="C-1", error_id="E-1", message="teapot", bytes_sent=99)
        outcome = replace(outcome, evidence=evidence)
        uploading = await start_upload(ledger)
        step = next_step(outcome, RetryPolicy(), attempts=1, now=after(1), jitter=0.5)
        done = await ledger.finish(uploading, step, outcome, now=after(1))
        assert (done.state, done.attempts, done.reason, done.owner) == (state, attempts, reason, None)
        assert done.due_at == (step.due_at or after(1))
        assert done.image_id == ("IMG1" if state is State.UPLOADED else None)
        assert done.reference == ("job/1" if isinstance(outcome, Pending) else None)
        assert await reader.get(done.id) == done
        (attempt,) = await reader.attempts(done.id)
        assert (attempt.number, attempt.owner, attempt.started_at) == (1, "here", START)
        assert (attempt.outcome, attempt.finished_at) == (type(outcome).__name__.lower(), after(1))
        assert (attempt.status, attempt.correlation_id, attempt.error_id) == (418, "C-1", "E-1")
        assert (attempt.message, attempt.bytes_sent) == ("teapot", 99)

    async def test_attempts_are_numbered_even_when_they_are_not_spent(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await make_ready(ledger)
        step = Step(event=Event.DEFER, spent=False)
        for _ in range(3):
            uploading = await ledger.begin(await claim_one(ledger), now=START)
            await ledger.finish(uploading, step, Throttled(reason="Busy."), now=START)
        assert [attempt.number for attempt in await reader.attempts(receipt.id)] == [1, 2, 3]

    async def test_a_receipt_given_up_says_so(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        uploading = await start_upload(ledger)
        failed = await ledger.finish(
            uploading, Step(event=Event.EXHAUST), Unavailable(reason="Down."), now=START
        )
        assert failed.reason == "Down. Given up after 1 attempts; retry it when the cause is gone."

    async def test_an_open_attempt_is_only_closed_by_its_outcome(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploading = await start_upload(ledger)
        with pytest.raises(IllegalTransition):
            await ledger.move(uploading, Event.LOSE, now=START)
        ready = await make_ready(ledger, "other")
        for event in (Event.CLAIM, Event.BEGIN):
            with pytest.raises(IllegalTransition):
                await ledger.move(ready, event, now=START)
