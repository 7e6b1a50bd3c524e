"""An upload in doubt: sent again only when it surely isn't there, confirmed only when it surely is ours."""

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.domain.document import Instant
from ingestd.domain.doubt import (
    IN_DOUBT,
    AskAgain,
    Compared,
    Confirm,
    Decision,
    LeaveToPerson,
    Refuse,
    SendAgain,
    decide,
)
from ingestd.domain.outcome import CannotSay, Found, LookUp, NotThere, Throttled, Unavailable
from ingestd.domain.receipt import Attempt, SlotBefore
from ingestd.domain.retry import RetryPolicy, later
from ingestd.domain.rules import TargetRules

NOW = Instant(1_700_000_000_000_000)
RULES = TargetRules()
FOUND = Found(image_id="E1", url="https://x.invalid/1")


def attempt(outcome: str, before: SlotBefore | None, *, number: int = 1, ended: Instant = NOW) -> Attempt:
    return Attempt(
        receipt="r",
        number=number,
        owner="o",
        started_at=ended,
        finished_at=ended,
        outcome=outcome,
        slot_before=before,
    )


UNREAD = CannotSay(reason="The target names no URL for the image.")
LOST = attempt("unconfirmed", SlotBefore.EMPTY)


def decided(
    look: LookUp,
    *attempts: Attempt,
    compared: Compared | CannotSay = UNREAD,
    now: Instant = NOW,
    spent: int = 1,
    rules: TargetRules = RULES,
) -> Decision:
    return decide(
        look, attempts, compared=compared, rules=rules, spent=spent, slot="concur:expenseentry/E1", now=now
    )


def test_what_is_there_and_was_not_there_before_is_confirmed() -> None:
    decision = decided(FOUND, LOST)
    assert isinstance(decision, Confirm)
    assert decision.image_id == "E1"
    assert "none before attempt 1" in decision.evidence


def test_what_was_read_back_and_is_ours_is_confirmed_whatever_was_before() -> None:
    assert isinstance(decided(FOUND, attempt("orphaned", None), compared="same"), Confirm)


@pytest.mark.parametrize("before", [None, SlotBefore.EMPTY, SlotBefore.UNKNOWN])
def test_what_was_read_back_and_is_another_image_is_never_confirmed(before: SlotBefore | None) -> None:
    assert isinstance(decided(FOUND, attempt("unconfirmed", before), compared="other"), Refuse)


@pytest.mark.parametrize("before", [None, SlotBefore.UNKNOWN])
@pytest.mark.parametrize("compared", [UNREAD, "unclear"])
def test_what_may_have_been_there_before_is_left_to_a_person(
    before: SlotBefore | None, compared: Compared | CannotSay
) -> None:
    decision = decided(FOUND, attempt("unconfirmed", before), compared=compared)
    assert isinstance(decision, LeaveToPerson)
    assert "Look there" in (decision.reason or "")


def test_the_first_attempt_in_doubt_counts_not_the_last() -> None:
    first, second = attempt("unconfirmed", None), attempt("orphaned", SlotBefore.EMPTY, number=2)
    assert isinstance(decided(FOUND, first, second), LeaveToPerson)


def test_an_empty_slot_counts_only_some_time_after_the_attempt() -> None:
    early = decided(NotThere(), LOST, now=later(NOW, timedelta(minutes=4)))
    assert early == AskAgain(at=later(NOW, timedelta(minutes=5)), evidence=early.evidence)  # type: ignore[union-attr]  # an AskAgain has it
    assert isinstance(decided(NotThere(), LOST, now=later(NOW, timedelta(minutes=5))), SendAgain)


def test_sending_again_is_bounded_by_the_attempts() -> None:
    late = later(NOW, timedelta(minutes=5))
    rules = TargetRules(retry=RetryPolicy(attempts=3))
    assert isinstance(decided(NotThere(), LOST, now=late, spent=2, rules=rules), SendAgain)
    assert isinstance(decided(NotThere(), LOST, now=late, spent=3, rules=rules), Refuse)


def test_a_target_that_cannot_be_asked_is_asked_again_with_growing_pauses_and_then_given_up() -> None:
    look = CannotSay(reason="503", obstacle=Unavailable(reason="503", everything=True))
    now, pauses = NOW, []
    while isinstance(decision := decided(look, LOST, now=now), AskAgain):
        pauses.append(decision.at - now)
        now = decision.at
    assert isinstance(decision, LeaveToPerson)
    assert pauses == sorted(pauses)
    assert 10 < len(pauses) < 50
    assert now >= later(NOW, RULES.look_up_for)


def test_a_wait_that_the_target_asks_for_is_obeyed() -> None:
    look = CannotSay(reason="429", obstacle=Throttled(reason="429", wait=timedelta(minutes=20)))
    decision = decided(look, LOST)
    assert isinstance(decision, AskAgain)
    assert decision.at >= later(NOW, timedelta(minutes=20))


def test_a_question_without_an_answer_is_asked_again_for_an_hour() -> None:
    look = CannotSay(reason="500", passing=True)
    assert isinstance(decided(look, LOST), AskAgain)
    assert isinstance(decided(look, LOST, now=later(NOW, timedelta(hours=1))), LeaveToPerson)


def test_an_image_that_may_be_read_back_another_time_is_not_left_to_a_person_yet() -> None:
    unread = CannotSay(reason="The image host is down.", passing=True)
    lost = attempt("unconfirmed", None)
    assert isinstance(decided(FOUND, lost, compared=unread), AskAgain)
    assert isinstance(decided(FOUND, LOST, compared=unread), Confirm)


def test_a_slot_that_can_not_be_read_is_left_to_a_person_at_once() -> None:
    assert isinstance(decided(CannotSay(reason="403"), LOST), LeaveToPerson)


ATTEMPTS = st.builds(
    attempt,
    st.sampled_from([*sorted(IN_DOUBT), "throttled", "unavailable"]),
    st.sampled_from([None, *SlotBefore]),
    ended=st.integers(0, 10**12).map(lambda ago: Instant(NOW - ago)),
)


@given(
    attempts=st.lists(ATTEMPTS, min_size=1, max_size=4).filter(
        lambda found: any(each.outcome in IN_DOUBT for each in found)
    ),
    compared=st.sampled_from([UNREAD, *get_args(Compared)]),
    look=st.sampled_from([FOUND, NotThere(), CannotSay(reason="?")]),
)
def test_no_answer_but_an_empty_slot_ever_sends_again(
    attempts: list[Attempt], compared: Compared | CannotSay, look: LookUp
) -> None:
    decision = decided(look, *attempts, compared=compared)
    assert isinstance(decision, SendAgain) <= isinstance(look, NotThere)
    assert isinstance(decision, Confirm) <= isinstance(look, Found)
