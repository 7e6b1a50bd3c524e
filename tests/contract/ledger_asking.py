"""Uploads in doubt and uploads to read back: who asks the target, and what is written down of it."""

import asyncio

import pytest

from ingestd.domain.errors import IllegalTransition, StaleClaim
from ingestd.domain.outcome import Unavailable, Unconfirmed, Uploaded
from ingestd.domain.receipt import Receipt, SlotBefore
from ingestd.domain.retry import Step
from ingestd.domain.states import Event, State
from ingestd.ledger import SqlLedger, SqlLedgerReader, open_ledger
from tests.contract.ledger_making import (
    LEASE,
    START,
    after,
    bring_to,
    claim_one,
    due,
    make_ready,
    spool_path,
    start_upload,
)


async def lose(ledger: SqlLedger, content: str = "lunch", *, ask_at: float | None = 10) -> Receipt:
    step = Step(event=Event.LOSE, due_at=None if ask_at is None else after(ask_at))
    uploading = await start_upload(ledger, content)
    return await ledger.finish(uploading, step, Unconfirmed(reason="No answer."), now=START)


async def upload_to_verify(ledger: SqlLedger) -> Receipt:
    step = Step(event=Event.CONFIRM, verify_at=after(10))
    return await ledger.finish(await start_upload(ledger), step, Uploaded(image_id="IMG1"), now=START)


async def to_ask(ledger: SqlLedger, seconds: float, owner: str = "here") -> list[Receipt]:
    taken = await ledger.take_unconfirmed(owner=owner, lease=LEASE, limit=9, now=after(seconds))
    return list(taken)


async def to_verify(ledger: SqlLedger, seconds: float, owner: str = "here") -> list[Receipt]:
    return list(await ledger.take_unverified(owner=owner, lease=LEASE, limit=9, now=after(seconds)))


class Asking:
    async def test_an_upload_in_doubt_is_asked_about_when_due_and_told_when_a_person_must_look(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lost = await lose(ledger)
        assert (lost.ask_at, lost.settled, lost.reason) == (after(10), False, "No answer.")
        assert await due(ledger, after(99)) == []
        assert await to_ask(ledger, 9) == []
        (taken,) = await to_ask(ledger, 10)
        assert (taken.state, taken.version, taken.owner) == (State.UNCONFIRMED, lost.version, "here")
        assert await reader.get(lost.id) == taken
        again = await ledger.asked(taken, now=after(11), note="HTTP 503", ask_at=after(30))
        assert (again.owner, again.lease_until, again.ask_at) == (None, None, after(30))
        assert again.reason == "No answer."
        assert await due(ledger, after(99)) == []
        (taken,) = await to_ask(ledger, 30)
        left = await ledger.asked(taken, now=after(31), note="HTTP 404", ask_at=None, reason="Look there.")
        assert left.settled
        assert await reader.get(lost.id) == left
        (report,) = await due(ledger, after(31))
        assert (report.state, report.reason) == (State.UNCONFIRMED, "Look there.")
        *_, first, second = await reader.history(lost.id)
        assert (first.event, first.before, first.after, first.actor) == (
            "ask",
            *[State.UNCONFIRMED] * 2,
            "here",
        )
        assert [first.reason, second.reason] == ["HTTP 503", "HTTP 404"]
        assert await to_ask(ledger, 9999) == []

    async def test_what_is_left_to_a_person_from_the_start_is_never_asked_about(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lost = await lose(ledger, ask_at=None)
        assert lost.settled
        assert await to_ask(ledger, 9999) == []
        assert len(await due(ledger)) == 1

    async def test_a_person_who_was_told_is_told_anew_when_it_is_asked_about_once_more(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lost = await lose(ledger, ask_at=None)
        again = await ledger.asked(lost, now=after(1), note="once more", ask_at=after(5))
        assert await due(ledger, after(9)) == []
        await ledger.asked(again, now=after(6), note="no", ask_at=None)
        assert len(await due(ledger, after(6))) == 1

    async def test_a_reservation_to_ask_is_never_given_twice_while_its_lease_lives(
        self, ledger: SqlLedger, reader: SqlLedgerReader, url: str
    ) -> None:
        for n in range(12):
            await lose(ledger, f"{n}", ask_at=n)
        other = open_ledger(url, migrate=False, spool_path=spool_path)
        taken = await asyncio.gather(
            *(
                node.take_unconfirmed(owner=owner, lease=LEASE, limit=2, now=after(20))
                for _ in range(4)
                for node, owner in ((ledger, "here"), (other, "there"))
            )
        )
        await other.aclose()
        ids = [receipt.id for batch in taken for receipt in batch]
        assert len(ids) == len(set(ids)) == 12
        assert await to_ask(ledger, 79) == []
        await ledger.renew(owner="here", lease=LEASE, now=after(79))
        late = {receipt.id for receipt in await to_ask(ledger, 81, "new")}
        assert late == {receipt.id for batch in taken for receipt in batch if receipt.owner == "there"}
        assert await ledger.release(owner="here", now=after(82)) == 12 - len(late)
        assert len(await to_ask(ledger, 82)) == 12 - len(late)

    async def test_a_closed_target_is_not_asked(self, ledger: SqlLedger, reader: SqlLedgerReader) -> None:
        await lose(ledger)
        await upload_to_verify_of(ledger, "other")
        closed = [("concur", None)]
        for take in (ledger.take_unconfirmed, ledger.take_unverified):
            assert await take(owner="here", lease=LEASE, limit=9, now=after(20), closed=closed) == []
            assert len(await take(owner="here", lease=LEASE, limit=9, now=after(20))) == 1

    async def test_any_number_of_accounts_may_be_closed(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lost = await lose(ledger)
        closed = [("concur", f"employee-{number}") for number in range(3000)]
        assert (await reader.waiting(horizon=after(20), closed=closed)).asking == 1
        (taken,) = await ledger.take_unconfirmed(
            owner="here", lease=LEASE, limit=9, now=after(20), closed=closed
        )
        assert taken.id == lost.id

    @pytest.mark.parametrize("everything", [False, True])
    async def test_what_a_dead_resolver_reserved_is_free_and_stays_in_doubt(
        self, ledger: SqlLedger, reader: SqlLedgerReader, everything: bool
    ) -> None:
        lost = await lose(ledger)
        await upload_to_verify_of(ledger, "other")
        await to_ask(ledger, 10)
        await to_verify(ledger, 10)
        recovered = await ledger.recover(now=after(20 if everything else 70), everything=everything)
        assert (recovered.released, recovered.lost) == (0, 0)
        assert await reader.get(lost.id) == lost
        assert (len(await to_ask(ledger, 71)), len(await to_verify(ledger, 71))) == (1, 1)

    @pytest.mark.parametrize("event", [Event.CONFIRM, Event.REQUEUE, Event.DROP])
    async def test_a_person_who_decides_while_the_target_is_asked_wins(
        self, ledger: SqlLedger, reader: SqlLedgerReader, event: Event
    ) -> None:
        lost = await lose(ledger)
        (taken,) = await to_ask(ledger, 10)
        decided = await ledger.move(lost, event, now=after(11), image_id="IMG9", actor="ann")
        assert (decided.owner, decided.ask_at) == (None, None)
        for late in (
            ledger.asked(taken, now=after(12), note="late", ask_at=None),
            ledger.move(taken, Event.CONFIRM, now=after(12), image_id="OTHER"),
            ledger.move(taken, Event.REQUEUE, now=after(12), afresh=False),
        ):
            with pytest.raises(StaleClaim):
                await late
        assert await reader.get(lost.id) == decided
        assert await to_ask(ledger, 9999) == []

    async def test_of_two_who_ask_at_once_because_a_lease_ran_out_the_first_answer_counts(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await lose(ledger)
        (slow,) = await to_ask(ledger, 10)
        (fast,) = await to_ask(ledger, 70, "there")
        confirmed = await ledger.move(slow, Event.CONFIRM, now=after(71), image_id="IMG1")
        with pytest.raises(StaleClaim):
            await ledger.move(fast, Event.REQUEUE, now=after(72), afresh=False)
        assert await reader.get(confirmed.id) == confirmed

    async def test_what_was_not_there_is_tried_again_with_what_was_spent(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lost = await lose(ledger)
        assert (lost.attempts, lost.tried_since) == (1, START)
        (taken,) = await to_ask(ledger, 10)
        ready = await ledger.move(taken, Event.REQUEUE, now=after(10), reason="not there", afresh=False)
        assert (ready.attempts, ready.tried_since, ready.ask_at) == (1, START, None)
        begun = await ledger.begin(await claim_one(ledger, now=after(11)), now=after(11))
        assert begun.tried_since == START
        step = Step(event=Event.LOSE)
        again = await ledger.finish(begun, step, Unconfirmed(reason="No answer."), now=after(12))
        afresh = await ledger.move(again, Event.REQUEUE, now=after(13), actor="ann")
        assert (afresh.attempts, afresh.tried_since) == (0, None)
        assert await reader.get(afresh.id) == afresh

    async def test_an_orphaned_upload_is_asked_about_at_once(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploading = await start_upload(ledger)
        await ledger.recover(now=after(3), everything=True)
        assert await due(ledger, after(9)) == []
        (taken,) = await to_ask(ledger, 3)
        assert (taken.id, taken.ask_at) == (uploading.id, after(3))

    async def test_a_slot_that_was_asked_first_is_told_with_the_attempt_and_in_the_history(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        receipt = await make_ready(ledger)
        step = Step(event=Event.DEFER, spent=False)
        for found in (None, SlotBefore.EMPTY, SlotBefore.UNKNOWN):
            begun = await ledger.begin(await claim_one(ledger), now=START, slot_before=found)
            await ledger.finish(begun, step, Unavailable(reason="Down."), now=START)
        assert [a.slot_before for a in await reader.attempts(receipt.id)] == [
            None,
            SlotBefore.EMPTY,
            SlotBefore.UNKNOWN,
        ]
        nothing, empty, unknown = [e for e in await reader.history(receipt.id) if e.event == "begin"]
        assert nothing.reason is None
        assert empty.reason and empty.reason.endswith("was empty")
        assert unknown.reason and unknown.reason.endswith("what it holds")

    @pytest.mark.parametrize("ask_at", [None, 10])
    async def test_a_slot_found_taken_before_the_upload_puts_the_receipt_in_doubt(
        self, ledger: SqlLedger, reader: SqlLedgerReader, ask_at: float | None
    ) -> None:
        claimed = await bring_to(ledger, State.CLAIMED, slot="expenseentry/E1")
        when = None if ask_at is None else after(ask_at)
        lost = await ledger.move(claimed, Event.LOSE, now=START, due_at=when, reason="It has an image.")
        assert (lost.state, lost.reason, lost.ask_at) == (State.UNCONFIRMED, "It has an image.", when)
        assert (lost.owner, lost.attempts, lost.settled) == (None, 0, ask_at is None)
        assert len(await to_ask(ledger, 10)) == (ask_at is not None)

    async def test_time_alone_that_ran_out_is_told_as_time(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploading = await start_upload(ledger)
        step = Step(event=Event.EXHAUST, spent=False)
        fortnight = after(14 * 86400)
        failed = await ledger.finish(uploading, step, Unavailable(reason="Down."), now=fortnight)
        assert failed.reason == "Down. Given up after 14 days of trying; retry it when the cause is gone."


class Verifying:
    async def test_an_image_found_the_same_is_verified_once(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        uploaded = await upload_to_verify(ledger)
        assert (uploaded.verify_at, uploaded.verified_at, uploaded.settled) == (after(10), None, True)
        (told,) = await ledger.feedback_due(limit=9, now=START)
        await ledger.feedback_done(told, place=None, now=START)
        assert await to_verify(ledger, 9) == []
        (taken,) = await to_verify(ledger, 10)
        assert (taken.version, taken.owner) == (uploaded.version, "here")
        later = await ledger.verified(taken, now=after(11), note="HTTP 503", same=False, verify_at=after(20))
        assert (later.verify_at, later.verified_at, later.owner) == (after(20), None, None)
        (taken,) = await to_verify(ledger, 20)
        done = await ledger.verified(taken, now=after(21), note="the same bytes", same=True)
        assert (done.state, done.verify_at, done.verified_at) == (State.UPLOADED, None, after(21))
        assert await reader.get(done.id) == done
        assert await to_verify(ledger, 9999) == []
        assert await due(ledger, after(9999)) == []
        *_, first, second = await reader.history(done.id)
        assert [first.event, second.event] == ["verify", "verify"]
        assert second.after is State.UPLOADED

    async def test_what_can_not_be_verified_is_done_with(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await upload_to_verify(ledger)
        (taken,) = await to_verify(ledger, 10)
        done = await ledger.verified(taken, now=after(11), note="HTTP 404", same=False)
        assert (done.verify_at, done.verified_at) == (None, None)

    async def test_another_image_than_was_sent_fails_the_receipt_and_names_that_image(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await upload_to_verify(ledger)
        (taken,) = await to_verify(ledger, 10)
        failed = await ledger.move(taken, Event.CONTRADICT, now=after(11), reason="Page 1 differs.")
        assert (failed.state, failed.image_id, failed.reason) == (State.FAILED, "IMG1", "Page 1 differs.")
        assert (failed.verify_at, failed.verified_at, failed.owner) == (None, None, None)
        assert [report.state for report in await due(ledger, after(11))] == [State.FAILED]
        assert await to_verify(ledger, 9999) == []

    async def test_a_confirmed_upload_is_verified_when_it_is_told_to(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        lost = await lose(ledger)
        await ledger.move(lost, Event.CONFIRM, now=after(1), image_id="IMG1", verify_at=after(5))
        assert [receipt.id for receipt in await to_verify(ledger, 5)] == [lost.id]

    async def test_only_what_is_in_doubt_is_asked_about_and_only_what_is_uploaded_verified(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        ready = await make_ready(ledger)
        with pytest.raises(IllegalTransition):
            await ledger.asked(ready, now=START, note="?", ask_at=None)
        with pytest.raises(IllegalTransition):
            await ledger.verified(ready, now=START, note="?", same=True)

    async def test_nothing_is_asked_or_read_back_later_than_the_clamp(
        self, ledger: SqlLedger, reader: SqlLedgerReader
    ) -> None:
        await lose(ledger, ask_at=9999)
        await upload_to_verify_of(ledger, "other")
        await ledger.clamp_due(latest=after(5))
        assert (len(await to_ask(ledger, 5)), len(await to_verify(ledger, 5))) == (1, 1)


async def upload_to_verify_of(ledger: SqlLedger, content: str) -> Receipt:
    step = Step(event=Event.CONFIRM, verify_at=after(10))
    uploading = await start_upload(ledger, content)
    return await ledger.finish(uploading, step, Uploaded(image_id="IMG1"), now=START)
