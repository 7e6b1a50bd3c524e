"""The gate: a dead target costs one probe a pause, not one request for each receipt waiting."""

from datetime import timedelta

from ingestd.domain.document import Instant
from ingestd.domain.outcome import Refused, Throttled, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.retry import RetryPolicy, later
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
    return Gates({"concur": RetryPolicy()}, Ears())


def test_an_open_gate_lets_everybody_through() -> None:
    gate = gates()
    assert all(gate.enter(KEY, NOW) is None for _ in range(5))
    assert gate.closed(NOW) == []


def test_an_answer_the_next_receipt_would_meet_too_closes_it() -> None:
    gate = gates()
    until = gate.settle(KEY, DOWN, now=NOW, jitter=0.5)
    assert until == later(NOW, timedelta(minutes=5))
    assert gate.closed(NOW) == [KEY]
    assert gate.enter(KEY, NOW) == until
    assert gate.enter(("concur", "ann"), NOW) is None


def test_after_the_pause_one_probe_goes_and_decides() -> None:
    gate = gates()
    until = gate.settle(KEY, DOWN, now=NOW, jitter=0.5)
    assert until is not None
    assert gate.enter(KEY, until) is None
    assert gate.enter(KEY, until) is not None
    assert gate.closed(until) == [KEY]
    assert gate.settle(KEY, GOOD, now=until, jitter=0.5) is None
    assert gate.closed(until) == []


def test_a_failed_probe_closes_it_again_and_each_strike_waits_longer() -> None:
    gate, now, pauses = gates(), NOW, []
    for _ in range(6):
        until = gate.settle(KEY, Throttled(reason="429"), now=now, jitter=0.0)
        assert until is not None
        pauses.append(until - now)
        now = until
        assert gate.enter(KEY, now) is None
    assert pauses == sorted(pauses)
    assert pauses[-1] > 10 * pauses[0]


def test_a_probe_that_tells_nothing_does_not_open_it() -> None:
    gate = gates()
    until = gate.settle(KEY, DOWN, now=NOW, jitter=0.5)
    assert until is not None
    gate.enter(KEY, until)
    assert gate.settle(KEY, Unconfirmed(reason="lost"), now=until, jitter=0.5) is not None


def test_a_probe_that_sent_nothing_leaves_room_for_another() -> None:
    gate = gates()
    until = gate.settle(KEY, DOWN, now=NOW, jitter=0.5)
    assert until is not None
    assert gate.enter(KEY, until) is None
    gate.leave(KEY, until)
    assert gate.enter(KEY, until) is None


def test_one_receipts_own_failure_closes_nothing() -> None:
    gate = gates()
    for outcome in (Refused(reason="404", fix=""), Unconfirmed(reason="?"), Unavailable(reason="reset")):
        assert gate.settle(KEY, outcome, now=NOW, jitter=0.5) is None
    assert gate.closed(NOW) == []
