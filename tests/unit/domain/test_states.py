"""The state table: complete, closed, and changed by nothing it does not allow."""

import pytest

from ingestd.domain.errors import IllegalTransition
from ingestd.domain.states import NEEDS_PERSON, OWNED, SETTLED, TRANSITIONS, Event, State, advance

ALLOWED = [(s, e) for s, events in TRANSITIONS.items() for e in events]
FORBIDDEN = [(s, e) for s in State for e in Event if (s, e) not in ALLOWED]


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(State)


def test_every_event_is_used() -> None:
    assert {event for _, event in ALLOWED} == set(Event)


@pytest.mark.parametrize(("state", "event"), ALLOWED)
def test_an_allowed_event_leads_to_a_known_state(state: State, event: Event) -> None:
    assert advance(state, event) in State


@pytest.mark.parametrize(("state", "event"), FORBIDDEN)
def test_a_forbidden_event_raises_and_says_what_is_possible(state: State, event: Event) -> None:
    with pytest.raises(IllegalTransition, match=f"{state} can't {event}; possible: "):
        advance(state, event)


def test_dropped_is_final_and_only_verification_leaves_uploaded() -> None:
    assert not TRANSITIONS[State.DROPPED]
    assert set(TRANSITIONS[State.UPLOADED]) == {Event.CONTRADICT}


def test_only_what_a_process_holds_can_be_lost() -> None:
    losing = {state for state, events in TRANSITIONS.items() if Event.LOSE in events}
    assert losing == OWNED


def test_unconfirmed_never_goes_back_to_the_queue_without_a_decision() -> None:
    ways_to_ready = {e for e, after in TRANSITIONS[State.UNCONFIRMED].items() if after is State.READY}
    assert ways_to_ready == {Event.REQUEUE}


def test_every_state_that_needs_a_person_can_be_requeued_and_dropped() -> None:
    for state in NEEDS_PERSON:
        assert {Event.REQUEUE, Event.DROP} <= set(TRANSITIONS[state])


def test_owned_and_settled_states_are_apart() -> None:
    assert not OWNED & SETTLED


def test_every_receipt_can_reach_an_end() -> None:
    for start in State:
        seen, frontier = {start}, [start]
        while frontier:
            for after in TRANSITIONS[frontier.pop()].values():
                if after not in seen:
                    seen.add(after)
                    frontier.append(after)
        assert seen & {State.UPLOADED, State.DROPPED}
