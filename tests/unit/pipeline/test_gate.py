"""The gate: a dead target costs one probe a pause, not one request for each receipt waiting."""

import asyncio
from datetime import timedelta

from ingestd.clock import process_clock
from ingestd.domain.document import Instant
from ingestd.domain.outcome import Outcome, Refused, Throttled, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.retry import later
from ingestd.domain.rules import TargetRules
from ingestd.interfaces import Level
from ingestd.pipeline.gate import Gates

NOW = Instant(1_700_000_000_000_000)
KEY = ("concur", None)
DOWN = Unavailable(reason="503", wait=timedelta(minutes=5), everything=True)
GOOD = Uploaded(image_id="x")


class Ears:
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        self.heard.append(event)


def gates() -> Gates:
    return Gates({"concur": TargetRules()}, Ears(), workers=8, accounts=lambda target: ("ann",))


def settle(gate: Gates, outcome: Outcome, *, now: Instant, jitter: float = 0.5) -> Instant | None:
    """Of a receipt that entered just before."""
    if gate.enter(KEY, now) is not None:
        raise AssertionError("the gate is closed")
    return gate.settle(KEY, outcome, began=now, now=now, jitter=jitter)


def test_an_open_gate_lets_everybody_through() -> None:
    gate = gates()
    assert all(gate.enter(KEY, NOW) is None for _ in range(3))
    assert gate.closed(NOW) == []


def test_an_answer_the_next_receipt_would_meet_too_closes_it() -> None:
    gate = gates()
    until = settle(gate, DOWN, now=NOW)
    assert until == later(NOW, timedelta(minutes=5))
    assert gate.closed(NOW) == [KEY]
    assert gate.enter(KEY, NOW) == until
    assert gate.enter(("concur", "ann"), NOW) is None


def test_after_the_pause_one_probe_goes_and_decides() -> None:
    gate = gates()
    until = settle(gate, DOWN, now=NOW)
    assert until is not None
    assert gate.enter(KEY, until) is None
    assert gate.enter(KEY, until) is not None
    assert gate.closed(until) == [KEY]
    assert gate.settle(KEY, GOOD, began=until, now=until, jitter=0.5) is None
    assert gate.closed(until) == []


def test_a_failed_probe_closes_it_again_and_each_strike_waits_longer() -> None:
    gate, now, pauses = gates(), NOW, []
    for _ in range(6):
        until = settle(gate, Throttled(reason="429"), now=now, jitter=0.0)
        assert until is not None
        pauses.append(until - now)
        now = until
    assert pauses == sorted(pauses)
    assert pauses[-1] > 10 * pauses[0]


def test_a_probe_that_tells_nothing_does_not_open_it() -> None:
    gate = gates()
    until = settle(gate, DOWN, now=NOW)
    assert until is not None
    assert settle(gate, Unconfirmed(reason="lost"), now=until) is not None


def test_a_probe_that_sent_nothing_leaves_room_for_another() -> None:
    gate = gates()
    until = settle(gate, DOWN, now=NOW)
    assert until is not None
    assert gate.enter(KEY, until) is None
    gate.leave(KEY, until)
    assert gate.enter(KEY, until) is None


def test_one_receipts_own_failure_closes_nothing() -> None:
    gate = gates()
    for outcome in (Refused(reason="404", fix=""), Unconfirmed(reason="?"), Unavailable(reason="reset")):
        assert settle(gate, outcome, now=NOW) is None
        assert settle(gate, GOOD, now=NOW) is None
    assert gate.closed(NOW) == []


def test_uploads_that_vanish_one_after_the_other_close_it() -> None:
    gate, outcomes = gates(), (Unconfirmed(reason="silence"), Unavailable(reason="reset"))
    assert [settle(gate, outcome, now=NOW) for outcome in outcomes] == [None, None]
    assert settle(gate, Unconfirmed(reason="silence"), now=NOW) is not None
    assert gate.troubles() == ["concur: silence"]
    assert gate.enter(KEY, NOW) is not None


def test_what_was_under_way_together_is_one_strike() -> None:
    gate = gates()
    for _ in range(4):
        assert gate.enter(KEY, NOW) is None
    refused = Unavailable(reason="no connection", everything=True)
    ends = [gate.settle(KEY, refused, began=NOW, now=NOW, jitter=1.0) for _ in range(4)]
    assert ends[-1] is not None
    assert ends[-1] - NOW < 5_000_000


def test_what_was_under_way_before_a_pause_does_not_end_it() -> None:
    gate = gates()
    assert [gate.enter(KEY, NOW) for _ in range(2)] == [None, None]
    asked = Throttled(reason="429", wait=timedelta(minutes=10))
    until = gate.settle(KEY, asked, began=NOW, now=NOW, jitter=0.5)
    assert gate.settle(KEY, GOOD, began=NOW, now=later(NOW, timedelta(seconds=1)), jitter=0.5) is None
    assert gate.enter(KEY, later(NOW, timedelta(seconds=2))) == until == later(NOW, timedelta(minutes=10))


def test_a_target_that_is_back_waits_no_longer_than_one_that_said_503() -> None:
    gate, now = gates(), NOW
    for _ in range(20):
        until = settle(gate, Unavailable(reason="no connection", everything=True), now=now, jitter=1.0)
        assert until is not None
        assert until - now <= timedelta(minutes=5) / timedelta(microseconds=1)
        now = until


def test_a_look_up_that_went_well_opens_nothing() -> None:
    gate = gates()
    until = settle(gate, DOWN, now=NOW)
    assert until is not None
    assert gate.enter(KEY, until) is None
    gate.leave(KEY, until)
    assert gate.troubles()


def test_a_full_target_is_closed_for_all_its_accounts_and_opens_when_one_is_through() -> None:
    gate = gates()
    while gate.enter(KEY, NOW) is None:
        pass
    assert set(gate.closed(NOW)) == {("concur", None), ("concur", "ann")}
    assert gate.room(NOW) == 0
    gate.leave(KEY, NOW)
    assert gate.closed(NOW) == []
    assert gate.room(NOW) == 1


async def test_a_receipt_in_hand_waits_a_moment_for_a_place() -> None:
    gate, clock = gates(), process_clock()
    while gate.enter(KEY, clock()) is None:
        pass
    waiting = asyncio.create_task(gate.admit(KEY, clock))
    await asyncio.sleep(0)
    gate.leave(KEY, clock())
    assert await waiting is None
    until = await gate.admit(KEY, clock)
    assert until is not None
