"""Any sequence of arrivals, work, crashes and commands, checked against a model that knows only the rules.

After every step the books close, every hash chain verifies, each receipt is where the model says, and
exactly the reports the model expects are due.
"""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingestd.domain.document import Instant
from ingestd.domain.errors import IllegalTransition, SlotTaken, StaleClaim
from ingestd.domain.likeness import NEAR_BITS, distance
from ingestd.domain.outcome import Outcome, Refused, Throttled, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.receipt import Receipt
from ingestd.domain.retry import RetryPolicy, next_step
from ingestd.domain.states import NEEDS_PERSON, TRANSITIONS, Event, State
from ingestd.interfaces import NewArrival, NewReceipt
from ingestd.ledger import migrate, open_ledger, open_reader, sqlite_url, verify_chain
from ingestd.ledger.slots import IN_THE_SLOT
from tests.contract.ledger_contract import (
    START,
    document,
    image_of,
    new_arrival,
    new_receipt,
    spool_path,
)

Result = TypeVar("Result")

BY_HAND = (Event.REQUEUE, Event.DROP, Event.CONFIRM)
OUTCOMES: tuple[Outcome, ...] = (
    Uploaded(image_id="IMG"),
    Refused(reason="No.", fix="Ask."),
    Throttled(reason="Busy."),
    Unavailable(reason="Down."),
    Unconfirmed(reason="No answer."),
)
POLICY = RetryPolicy(first=timedelta(seconds=1), ceiling=timedelta(seconds=4), attempts=2)
OWNERS = ("here", "there")
SLOTS = ("receipt", "expenseentry/E1", "expenseentry/E2")
GROUP = st.lists(st.sampled_from("abc"), min_size=1, max_size=3)


@dataclass
class Expected:
    """What the model knows of a receipt. `told` says of each arrival whether its report got through."""

    receipt: Receipt
    state: State
    attempts: int = 0
    owner: str | None = None
    asked_by: tuple[str, Instant] | None = None
    told: dict[str, bool] = field(default_factory=dict)

    def enter(self, state: State, receipt: Receipt) -> None:
        self.state, self.receipt = state, receipt
        self.asked_by = None
        if state not in (State.CLAIMED, State.UPLOADING):
            self.owner = None
        if receipt.settled:
            self.told = dict.fromkeys(self.told, False)


@cache
def empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.sqlite"
        migrate(sqlite_url(path))
        return path.read_bytes()


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._directory = Path(tempfile.mkdtemp(prefix="ingestd-machine-"))
        self._url = sqlite_url(self._directory / "ledger.sqlite")
        (self._directory / "ledger.sqlite").write_bytes(empty_ledger())
        self._ledger = open_ledger(self._url, migrate=False, spool_path=spool_path)
        self._reader = open_reader(self._url, spool_path=spool_path)
        self._now = START
        self._latest: dict[str, Expected] = {}
        self._model: dict[str, Expected] = {}
        self._arrivals: list[tuple[NewArrival, list[str]]] = []
        self._senders: dict[str, str] = {}
        self._payloads = 0
        self._sightings = 0

    def teardown(self) -> None:
        self._run(self._reader.aclose())
        self._run(self._ledger.aclose())
        self._runner.close()
        shutil.rmtree(self._directory)

    # --- arrivals ---

    @rule(
        groups=st.lists(GROUP, min_size=1, max_size=3),
        slot=st.sampled_from(SLOTS),
        again=st.booleans(),
        hold=st.sampled_from([None, None, "Which year?"]),
        archives=st.integers(0, 2),
        sender=st.sampled_from(["", "ann@example.com", "bob@example.com"]),
    )
    def arrive(
        self, groups: list[list[str]], slot: str, again: bool, hold: str | None, archives: int, sender: str
    ) -> None:
        news = [
            new_receipt(*(document(f"{c}.pdf", c) for c in group), slot=slot, again=again, hold=hold)
            for group in groups
        ]
        containers = [document(f"{n}.zip", f"archive {n}") for n in range(archives)]
        arrival = new_arrival(*news, containers=containers)
        arrival = replace(arrival, origin=replace(arrival.origin, sender=sender))
        self._senders[arrival.id] = sender
        accepted = self._run(self._ledger.accept(arrival, now=self._now))
        self._payloads += sum(map(len, groups))
        assert not accepted.known
        for new, receipt in zip(news, accepted.receipts, strict=True):
            self._expect_entry(arrival, new, receipt)
        self._arrivals.append((arrival, [receipt.id for receipt in accepted.receipts]))

    def _expect_entry(self, arrival: NewArrival, new: NewReceipt, receipt: Receipt) -> None:
        latest = self._latest.get(new.key)
        failed = latest is not None and latest.state in (State.REJECTED, State.FAILED)
        waits = new.hold or (latest and latest.state is State.FAILED and self._is_taken_from(latest.receipt))
        if latest is None or new.again or latest.state is State.DROPPED or (failed and waits):
            assert receipt.id not in self._model
            expected = Expected(receipt, State.HELD if new.hold else State.RECEIVED, told={arrival.id: False})
            self._latest[new.key] = self._model[receipt.id] = expected
            return
        assert receipt.id == latest.receipt.id
        self._sightings += len(new.documents)
        if failed:
            latest.attempts = 0
            latest.enter(TRANSITIONS[latest.state][Event.REQUEUE], receipt)
        latest.told.setdefault(arrival.id, False)

    @precondition(lambda self: self._arrivals)
    @rule(data=st.data())
    def hand_over_again(self, data: st.DataObject) -> None:
        arrival, ids = data.draw(st.sampled_from(self._arrivals))
        accepted = self._run(self._ledger.accept(arrival, now=self._now))
        assert accepted.known
        assert [receipt.id for receipt in accepted.receipts] == ids
        last = arrival.receipts[-1]
        left = replace(last, documents=last.documents[-1:])  # the others were acknowledged before a crash
        accepted = self._run(self._ledger.accept(replace(arrival, receipts=(left,)), now=self._now))
        assert [receipt.id in ids for receipt in accepted.receipts] == [True]

    # --- the daemon at work ---

    @rule(
        owner=st.sampled_from(OWNERS),
        events=st.lists(st.sampled_from([Event.PREPARE, Event.REJECT, Event.HOLD])),
    )
    def prepare(self, owner: str, events: list[Event]) -> None:
        lease = timedelta(seconds=10)
        works = self._run(
            self._ledger.take_received(owner=owner, lease=lease, limit=len(events), now=self._now)
        )
        for work, event in zip(works, events, strict=False):
            expected = self._model[work.receipt.id]
            assert expected.state is State.RECEIVED
            assert len(work.documents) == work.receipt.documents
            if event is Event.PREPARE:
                self._prepare(expected, work.receipt)
                continue
            moved = self._run(self._ledger.move(work.receipt, event, now=self._now, reason="odd"))
            expected.enter(TRANSITIONS[State.RECEIVED][event], moved)

    def _prepare(self, expected: Expected, receipt: Receipt) -> None:
        image = image_of(receipt.sha256, fingerprint=receipt.sha256)
        one_image = receipt.slot != "receipt"
        preparing = self._ledger.prepare(receipt, image, one_image=one_image, now=self._now)
        if one_image and self._is_taken_from(receipt):
            with pytest.raises(SlotTaken):
                self._run(preparing)
            return
        expected.enter(State.READY, self._run(preparing))
        found = self._run(self._reader.lookalikes(receipt, image, since=START, limit=99))
        assert {other.id for other in found} == {
            other.receipt.id
            for other in self._in(*IN_THE_SLOT)
            if other.receipt.id != receipt.id and distance(other.receipt.sha256, receipt.sha256) <= NEAR_BITS
        }

    @rule(owner=st.sampled_from(OWNERS), limit=st.integers(1, 4))
    def claim(self, owner: str, limit: int) -> None:
        lease = timedelta(seconds=10)
        claimed = self._run(self._ledger.claim(owner=owner, lease=lease, limit=limit, now=self._now))
        due = [e for e in self._model.values() if e.state is State.READY and e.receipt.due_at <= self._now]
        assert len(claimed) == min(limit, len(due))
        got = Counter(self._senders[receipt.arrival] for receipt in claimed)
        could = Counter(self._senders[expected.receipt.arrival] for expected in due)
        for sender, count in could.items():
            assert got[sender] == count or got[sender] >= max(got.values()) - 1, "others had more turns"
        for receipt in claimed:
            expected = self._model[receipt.id]
            assert expected in due
            expected.enter(State.CLAIMED, receipt)
            expected.owner = owner

    @precondition(lambda self: self._in(State.CLAIMED))
    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        expected = data.draw(st.sampled_from(self._in(State.CLAIMED)))
        assert expected.receipt.lease_until is not None
        begin = self._ledger.begin(expected.receipt, now=self._now)
        if expected.receipt.lease_until <= self._now:
            with pytest.raises(StaleClaim):
                self._run(begin)
            return
        expected.enter(State.UPLOADING, self._run(begin))

    @precondition(lambda self: self._in(State.UPLOADING))
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def finish(self, data: st.DataObject, outcome: Outcome) -> None:
        expected = data.draw(st.sampled_from(self._in(State.UPLOADING)))
        step = next_step(outcome, POLICY, attempts=expected.attempts + 1, now=self._now, jitter=0.5)
        match step.event:
            case Event.LOSE:
                step = replace(step, due_at=data.draw(st.sampled_from([None, self._now])))
            case Event.CONFIRM:
                step = replace(step, verify_at=data.draw(st.sampled_from([None, self._now])))
        done = self._run(self._ledger.finish(expected.receipt, step, outcome, now=self._now))
        expected.attempts += step.spent
        expected.enter(TRANSITIONS[State.UPLOADING][step.event], done)

    @rule(owner=st.sampled_from(OWNERS))
    def release(self, owner: str) -> None:
        self._run(self._ledger.release(owner=owner, now=self._now))
        for expected in self._model.values():
            if expected.asked_by is not None and expected.asked_by[0] == owner:
                expected.asked_by = None
        for expected in self._in(State.CLAIMED):
            if expected.owner == owner:
                expected.enter(State.READY, self._read(expected))

    @rule(seconds=st.integers(1, 20))
    def wait(self, seconds: int) -> None:
        self._now = Instant(self._now + seconds * 1_000_000)

    @rule(everything=st.booleans())
    def recover_from_a_crash(self, everything: bool) -> None:
        recovered = self._run(self._ledger.recover(now=self._now, everything=everything))
        released = lost = 0
        for expected in self._in(State.CLAIMED, State.UPLOADING):
            assert expected.receipt.lease_until is not None
            if not everything and expected.receipt.lease_until > self._now:
                continue
            if expected.state is State.CLAIMED:
                expected.enter(State.READY, self._read(expected))
                released += 1
            else:
                expected.attempts += 1
                expected.enter(State.UNCONFIRMED, self._read(expected))
                lost += 1
        assert (recovered.released, recovered.lost) == (released, lost)
        for expected in self._model.values():
            if everything or (expected.asked_by is not None and expected.asked_by[1] <= self._now):
                expected.asked_by = None

    @rule(owner=st.sampled_from(OWNERS), limit=st.integers(1, 4), verify=st.booleans())
    def take_to_ask(self, owner: str, limit: int, verify: bool) -> None:
        take = self._ledger.take_unverified if verify else self._ledger.take_unconfirmed
        lease = timedelta(seconds=10)
        taken = self._run(take(owner=owner, lease=lease, limit=limit, now=self._now))
        free = [
            expected
            for expected in self._model.values()
            if self._is_due(expected, verify=verify)
            and (expected.asked_by is None or expected.asked_by[1] <= self._now)
        ]
        assert len(taken) == min(limit, len(free))
        for receipt in taken:
            expected = self._model[receipt.id]
            assert expected in free
            assert (receipt.version, receipt.state) == (expected.receipt.version, expected.state)
            assert receipt.lease_until is not None
            expected.asked_by = owner, receipt.lease_until

    def _is_due(self, expected: Expected, *, verify: bool) -> bool:
        receipt = expected.receipt
        when = receipt.verify_at if verify else receipt.ask_at
        assert when is None or expected.state is (State.UPLOADED if verify else State.UNCONFIRMED)
        return when is not None and when <= self._now

    @precondition(lambda self: self._in(State.UNCONFIRMED))
    @rule(data=st.data(), answer=st.sampled_from(["later", "a person", "there", "not there", "occupied"]))
    def hear_of_one_in_doubt(self, data: st.DataObject, answer: str) -> None:
        """Also of one whose reservation ran out: as long as nobody else decided, the answer counts."""
        expected = data.draw(st.sampled_from(self._in(State.UNCONFIRMED)))
        before, attempts = expected.receipt, expected.attempts
        if answer in ("later", "a person"):
            ask_at = Instant(self._now + 3_000_000) if answer == "later" else None
            seen = self._run(self._ledger.asked(before, now=self._now, note=answer, ask_at=ask_at))
            assert seen.settled is (answer == "a person")
            assert seen.version == before.version + 1
            told = expected.told
            expected.enter(State.UNCONFIRMED, seen)
            if before.settled and seen.settled:
                expected.told = told  # nothing new
        else:
            event = {"there": Event.CONFIRM, "not there": Event.REQUEUE, "occupied": Event.REFUSE}[answer]
            moved = self._run(
                self._ledger.move(
                    before,
                    event,
                    now=self._now,
                    image_id="IMG" if answer == "there" else None,
                    verify_at=self._now if answer == "there" else None,
                    afresh=False,
                )
            )
            expected.enter(TRANSITIONS[State.UNCONFIRMED][event], moved)
            assert moved.tried_since == before.tried_since
        expected.attempts = attempts
        with pytest.raises((StaleClaim, IllegalTransition)):
            self._run(self._ledger.asked(before, now=self._now, note="late", ask_at=None))

    @precondition(lambda self: self._in(State.UPLOADED))
    @rule(data=st.data(), answer=st.sampled_from(["same", "later", "never", "other"]))
    def read_back(self, data: st.DataObject, answer: str) -> None:
        expected = data.draw(st.sampled_from(self._in(State.UPLOADED)))
        before = expected.receipt
        if answer == "other":
            moved = self._run(self._ledger.move(before, Event.CONTRADICT, now=self._now, reason="another"))
            assert moved.image_id == before.image_id
            expected.enter(State.FAILED, moved)
            return
        verify_at = Instant(self._now + 3_000_000) if answer == "later" else None
        same = answer == "same"
        told = expected.told
        seen = self._run(
            self._ledger.verified(before, now=self._now, note=answer, same=same, verify_at=verify_at)
        )
        assert (seen.verified_at == self._now) or not same
        expected.enter(State.UPLOADED, seen)
        expected.told = told

    @precondition(lambda self: self._in(State.CLAIMED))
    @rule(data=st.data(), ask=st.booleans())
    def find_the_slot_taken(self, data: st.DataObject, ask: bool) -> None:
        expected = data.draw(st.sampled_from(self._in(State.CLAIMED)))
        due_at = self._now if ask else None
        move = self._ledger.move(expected.receipt, Event.LOSE, now=self._now, due_at=due_at, reason="taken")
        expected.enter(State.UNCONFIRMED, self._run(move))

    # --- people, and programs gone wrong ---

    @precondition(lambda self: self._in(*NEEDS_PERSON))
    @rule(data=st.data(), event=st.sampled_from(BY_HAND))
    def decide(self, data: st.DataObject, event: Event) -> None:
        expected = data.draw(st.sampled_from(self._in(*NEEDS_PERSON)))
        if event not in TRANSITIONS[expected.state]:
            self._must_change_nothing(expected, event)
            return
        move = self._ledger.move(expected.receipt, event, now=self._now, image_id="IMG", actor="ann")
        comes_back = event is Event.REQUEUE and expected.state is State.FAILED
        if comes_back and self._is_taken_from(expected.receipt):
            with pytest.raises(SlotTaken):
                self._run(move)
            return
        moved = self._run(move)
        if event is Event.REQUEUE:
            expected.attempts = 0
            assert moved.due_at <= self._now
            assert expected.state is not State.HELD or expected.receipt.reason in moved.waived
            assert len(set(moved.waived)) == len(moved.waived)
        expected.enter(TRANSITIONS[expected.state][event], moved)

    @precondition(lambda self: self._model)
    @rule(data=st.data(), event=st.sampled_from(list(Event)))
    def try_what_is_not_allowed(self, data: st.DataObject, event: Event) -> None:
        expected = data.draw(st.sampled_from(list(self._model.values())))
        if event not in TRANSITIONS[expected.state] or event in (Event.CLAIM, Event.BEGIN):
            self._must_change_nothing(expected, event)

    def _must_change_nothing(self, expected: Expected, event: Event) -> None:
        with pytest.raises(IllegalTransition):
            self._run(self._ledger.move(expected.receipt, event, now=self._now, image_id="IMG"))

    @precondition(lambda self: any(e.receipt.version > 1 for e in self._model.values()))
    @rule(data=st.data())
    def write_with_an_old_snapshot(self, data: st.DataObject) -> None:
        moved = [e for e in self._model.values() if e.receipt.version > 1]
        expected = data.draw(st.sampled_from(moved))
        history = self._run(self._reader.history(expected.receipt.id))
        old = history[expected.receipt.version - 2]
        event = next(iter(TRANSITIONS[old.after]))
        stale = replace(
            expected.receipt,
            state=old.after,
            version=old.version,
            head=old.digest,  # type: ignore[call-arg]  # what the ledger hands out carries its chain head
        )
        with pytest.raises((StaleClaim, IllegalTransition)):
            self._run(self._ledger.move(stale, event, now=self._now, image_id="X", reason="late"))

    @rule(get_through=st.booleans())
    def tell(self, get_through: bool) -> None:
        for feedback in self._run(self._ledger.feedback_due(limit=100, now=self._now)):
            if get_through:
                self._run(self._ledger.feedback_done(feedback, place="there", now=self._now))
                self._model[feedback.report.receipt].told[feedback.report.arrival] = True
            else:
                self._run(self._ledger.feedback_deferred(feedback, due_at=self._now))

    # --- what holds after every step ---

    @invariant()
    def every_receipt_is_where_it_should_be(self) -> None:
        found = {receipt.id: receipt for receipt in self._run(self._reader.find())}
        assert found.keys() == self._model.keys()
        for receipt_id, expected in self._model.items():
            receipt = found[receipt_id]
            assert (receipt.state, receipt.attempts) == (expected.state, expected.attempts)
            assert receipt.version == expected.receipt.version
            assert (receipt.ask_at is None) or receipt.state is State.UNCONFIRMED
            assert (receipt.verify_at or receipt.verified_at) is None or receipt.state is State.UPLOADED
            assert (receipt.state in (State.CLAIMED, State.UPLOADING)) <= (receipt.owner is not None)

    @invariant()
    def the_books_close(self) -> None:
        balance = self._run(self._reader.balance())
        assert balance.closed
        assert (balance.payloads, balance.sightings) == (self._payloads, self._sightings)
        assert balance.receipts == len(self._model)

    @invariant()
    def every_chain_verifies_and_every_closed_attempt_has_an_outcome(self) -> None:
        for expected in self._model.values():
            entries = self._run(self._reader.history(expected.receipt.id))
            assert verify_chain(entries)
            assert entries[-1].after is expected.state
            tries = self._run(self._reader.attempts(expected.receipt.id))
            still_open = [attempt for attempt in tries if attempt.outcome is None]
            assert len(still_open) == (expected.state is State.UPLOADING)

    @invariant()
    def exactly_the_untold_ends_are_due(self) -> None:
        feedback = self._run(self._ledger.feedback_due(limit=1000, now=self._now))
        due = {(item.report.receipt, item.report.arrival) for item in feedback}
        assert due == {
            (expected.receipt.id, arrival)
            for expected in self._model.values()
            if expected.receipt.settled
            for arrival, told in expected.told.items()
            if not told
        }

    @invariant()
    def a_slot_for_one_image_gets_one(self) -> None:
        slots = [e.receipt.slot for e in self._in(*IN_THE_SLOT) if e.receipt.slot != "receipt"]
        assert len(set(slots)) == len(slots)

    def _is_taken_from(self, receipt: Receipt) -> bool:
        """Whether another receipt has, or may get, the one image of this one's slot."""
        if receipt.slot == "receipt":
            return False
        others = [e.receipt for e in self._in(*IN_THE_SLOT) if e.receipt.id != receipt.id]
        return receipt.slot in {other.slot for other in others}

    def _in(self, *states: State) -> list[Expected]:
        return [expected for expected in self._model.values() if expected.state in states]

    def _read(self, expected: Expected) -> Receipt:
        found = self._run(self._reader.get(expected.receipt.id))
        assert found is not None
        return found

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(coroutine)


LedgerMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestLedger = LedgerMachine.TestCase
