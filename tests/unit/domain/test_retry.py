"""Retry as a pure function."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.domain.document import Instant
from ingestd.domain.outcome import Pending, Refused, Throttled, Unavailable, Unconfirmed, Uploaded
from ingestd.domain.retry import LONGEST_ASKED_WAIT, RetryPolicy, Step, later, next_step
from ingestd.domain.states import Event

NOW = Instant(1_700_000_000_000_000)
POLICY = RetryPolicy()


def step(outcome: object, *, attempts: int = 1, jitter: float = 0.5) -> Step:
    return next_step(outcome, POLICY, attempts=attempts, now=NOW, jitter=jitter)  # type: ignore[arg-type]  # the tests pass outcomes only


def wait(taken: Step) -> timedelta:
    assert taken.due_at is not None
    return timedelta(microseconds=taken.due_at - NOW)


def test_what_the_target_decided_is_final() -> None:
    assert step(Uploaded(image_id="x")) == Step(event=Event.CONFIRM)
    assert step(Refused(reason="no", fix="")) == Step(event=Event.REFUSE)


def test_a_lost_answer_is_never_retried_by_itself() -> None:
    assert step(Unconfirmed(reason="?")) == Step(event=Event.LOSE)


def test_a_pending_answer_is_asked_for_when_it_is_due() -> None:
    taken = step(Pending(reference="r", ask_after=timedelta(seconds=9)))
    assert taken.event is Event.LOSE
    assert wait(taken) == timedelta(seconds=9)


def test_a_wait_the_server_asked_for_spends_no_attempt() -> None:
    taken = step(Throttled(reason="slow", wait=timedelta(seconds=7)), attempts=99)
    assert (taken.event, taken.spent, wait(taken)) == (Event.DEFER, False, timedelta(seconds=7))


@pytest.mark.parametrize("asked", [timedelta(0), timedelta(seconds=-5)])
def test_a_retry_after_of_zero_makes_no_busy_loop(asked: timedelta) -> None:
    assert wait(step(Throttled(reason="slow", wait=asked))) >= POLICY.first


def test_an_absurd_retry_after_is_cut() -> None:
    assert wait(step(Throttled(reason="slow", wait=timedelta(days=400)))) == LONGEST_ASKED_WAIT


def test_unavailable_waits_at_least_as_long_as_the_target_needs() -> None:
    assert wait(step(Unavailable(reason="503", wait=POLICY.unavailable), jitter=0.0)) == POLICY.unavailable


def test_attempts_run_out_at_the_limit_and_not_before() -> None:
    assert step(Unavailable(reason="down"), attempts=POLICY.attempts - 1).event is Event.DEFER
    assert step(Unavailable(reason="down"), attempts=POLICY.attempts).event is Event.EXHAUST


def test_an_outage_of_the_whole_target_spends_no_attempt_however_long_it_lasts() -> None:
    taken = step(Unavailable(reason="503", everything=True), attempts=10_000)
    assert (taken.event, taken.spent) == (Event.DEFER, False)


def test_an_absurd_wait_of_an_unavailable_target_is_cut() -> None:
    assert wait(step(Unavailable(reason="408", wait=timedelta(days=1)))) == LONGEST_ASKED_WAIT


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_stays_between_first_and_ceiling(attempts: int, jitter: float) -> None:
    policy = RetryPolicy(attempts=20_000)
    taken = next_step(Unavailable(reason="down"), policy, attempts=attempts, now=NOW, jitter=jitter)
    assert policy.first <= wait(taken) <= policy.ceiling


def test_full_jitter_spreads_over_the_whole_span() -> None:
    waits = {wait(step(Unavailable(reason="down"), attempts=6, jitter=j / 10)) for j in range(10)}
    assert max(waits) - min(waits) > timedelta(seconds=60)


def test_later_counts_in_microseconds() -> None:
    assert later(NOW, timedelta(milliseconds=1)) - NOW == 1000


def test_what_was_tried_for_too_long_is_given_up_although_an_outage_spends_no_attempt() -> None:
    down = Unavailable(reason="down", everything=True)
    began = Instant(NOW - POLICY.max_age // timedelta(microseconds=1))
    for outcome in (down, Throttled(reason="429")):
        taken = next_step(outcome, POLICY, attempts=1, now=NOW, jitter=0.5, since=began)
        assert taken == Step(event=Event.EXHAUST, spent=False)
        younger = next_step(outcome, POLICY, attempts=1, now=NOW, jitter=0.5, since=Instant(began + 1))
        assert younger.event is Event.DEFER


def test_nothing_is_too_old_to_be_uploaded_when_it_works() -> None:
    taken = next_step(Uploaded(image_id="x"), POLICY, attempts=1, now=NOW, jitter=0.5, since=Instant(0))
    assert taken.event is Event.CONFIRM
