"""What is told and when, by a clock that is moved by hand."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ingestd.alerts.digest import Message
from ingestd.alerts.snapshot import SourceState
from ingestd.domain.retry import later
from tests.unit.alerts.cases import DAY, HOUR, MINUTE, SETTINGS, START, Scene, books, failing, needy

OUTAGE = failing(later(START, -HOUR))
SECOND = timedelta(seconds=1)


def titles(message: Message | None) -> list[str]:
    assert message is not None
    return [alert.title for alert in message.alerts]


def test_a_hiccup_is_silent_and_the_first_message_comes_after_a_minute() -> None:
    scene = Scene()
    assert scene.at(0 * MINUTE, **OUTAGE) is None
    assert scene.at(59 * SECOND, **OUTAGE) is None
    assert scene.at(61 * SECOND) is None
    assert scene.at(70 * SECOND, **OUTAGE) is None, "it begins anew"
    assert titles(scene.at(130 * SECOND, **OUTAGE)) == ["the target concur fails"]


def test_what_is_open_is_told_in_one_message_and_not_again() -> None:
    scene = Scene()
    both: dict[str, Any] = {**OUTAGE, "books": books(needy(1), needy(2))}
    scene.at(0 * MINUTE, **both)
    assert titles(scene.at(MINUTE, **both)) == ["the target concur fails", "2 receipts need you"]
    assert [scene.at(minutes * MINUTE, **both) for minutes in range(2, 600)] == [None] * 598


def test_a_new_receipt_is_told_after_the_hour_and_a_solved_one_not_at_all() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, books=books(needy(1), needy(2)))
    assert scene.at(MINUTE, books=books(needy(1), needy(2)))
    assert scene.at(2 * HOUR, books=books(needy(1))) is None
    new = books(needy(1), needy(3, at=later(START, 2 * HOUR)))
    assert titles(scene.at(2 * HOUR + MINUTE, books=new)) == ["2 receipts need you"]
    newer = books(needy(4, at=later(START, 2 * HOUR + 5 * MINUTE)))
    assert scene.at(3 * HOUR, books=newer) is None, "not within the hour"
    assert scene.at(3 * HOUR + MINUTE, books=newer)


def test_what_stays_open_is_told_again_once_a_day() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, **OUTAGE)
    scene.at(MINUTE, **OUTAGE)
    told = [hours for hours in range(1, 73) if scene.at(hours * HOUR + 2 * MINUTE, **OUTAGE)]
    assert told == [24, 48, 72]


def test_all_is_well_again_is_told_once_and_not_for_a_hiccup_of_health() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, **OUTAGE)
    scene.at(MINUTE, **OUTAGE)
    assert scene.at(5 * MINUTE) is None
    assert scene.at(5 * MINUTE + 30 * SECOND, **OUTAGE) is None, "it was not over"
    assert scene.at(6 * MINUTE) is None
    well = scene.at(7 * MINUTE)
    assert well is not None and (well.event, well.gone) == ("well", ("the target concur fails",))
    assert [scene.at(minutes * MINUTE) for minutes in range(8, 3000)] == [None] * 2992


def test_nobody_is_told_that_all_is_well_who_was_told_nothing_else() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, **OUTAGE)
    assert [scene.at(minutes * MINUTE) for minutes in range(1, 100)] == [None] * 99


def test_all_is_not_well_while_a_receipt_needs_somebody_but_the_target_is_told_to_be() -> None:
    scene = Scene()
    both: dict[str, Any] = {**OUTAGE, "books": books(needy(1))}
    scene.at(0 * MINUTE, **both)
    scene.at(MINUTE, **both)
    left: dict[str, Any] = {"books": books(needy(1))}
    assert [scene.at(minutes * MINUTE, **left) for minutes in range(2, 61)] == [None] * 59
    message = scene.at(61 * MINUTE, **left)
    assert titles(message) == ["1 receipt needs you"]
    assert message is not None and message.gone == ("the target concur fails",)
    assert scene.at(62 * MINUTE) is None
    well = scene.at(63 * MINUTE)
    assert well is not None and (well.event, well.gone) == ("well", ("1 receipt needs you",))


def test_a_login_that_ends_soon_keeps_nothing_from_being_well_and_is_told_at_each_threshold() -> None:
    scene = Scene()
    ends: dict[str, Any] = {"logins": {("concur", None): later(START, 30 * DAY)}}
    scene.at(0 * MINUTE, **ends)
    assert titles(scene.at(MINUTE, **ends)) == ["the login of concur ends soon"]
    outage = {**ends, **failing(later(START, DAY))}
    scene.at(DAY + HOUR, **outage)
    assert scene.at(DAY + HOUR + MINUTE, **outage)
    scene.at(DAY + 2 * HOUR, **ends)
    well = scene.at(DAY + 2 * HOUR + MINUTE, **ends)
    assert well is not None and well.event == "well"
    told = [day for day in range(2, 33) if scene.at(day * DAY + HOUR, **ends)]
    assert told == [23, 29, 30, 31, 32], "7 days, 1 day, the end, and then every day"


def test_a_login_that_was_renewed_is_no_news() -> None:
    scene = Scene()
    ends: dict[str, Any] = {"logins": {("concur", None): later(START, 7 * DAY)}}
    scene.at(0 * MINUTE, **ends)
    assert scene.at(MINUTE, **ends)
    assert [scene.at(minutes * MINUTE) for minutes in range(2, 200)] == [None] * 198


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_day_has_a_limit_and_the_last_message_of_it_is_good_news(most: int) -> None:
    scene = Scene(replace(SETTINGS, most_per_day=most, every=MINUTE, after=timedelta()))
    sent = []
    for minutes in range(600):
        new = books(needy(minutes, at=later(START, minutes * MINUTE)))
        sent += [scene.at(minutes * MINUTE, books=new)]
    troubles = [message for message in sent if message]
    assert len(troubles) == max(1, most - 1)
    well = scene.at(601 * MINUTE)
    assert (well is not None) == (most > 1)
    if well is None:
        late = [hours for hours in range(11, 40) if scene.at(hours * HOUR)]
        assert late == [24], "the good news waits, and is not forgotten"


def test_flapping_costs_one_message_of_trouble_an_hour() -> None:
    scene = Scene(replace(SETTINGS, most_per_day=1000))
    events = []
    for minutes in range(600):
        message = scene.at(minutes * MINUTE, **(OUTAGE if minutes % 10 < 5 else {}))
        events += [message.event] if message else []
    assert events.count("trouble") == 10
    assert events.count("well") == 10


def test_what_did_not_get_through_is_told_as_it_stands_later_or_not_at_all() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, **OUTAGE)
    assert scene.at(MINUTE, delivered=False, **OUTAGE)
    both: dict[str, Any] = {
        **OUTAGE,
        "sources": {"inbox": SourceState(scanned=True)},
        "books": books(needy(1)),
    }
    scene.at(2 * MINUTE, delivered=False, **both)
    assert titles(scene.at(3 * MINUTE, delivered=False, **both)) == [
        "the target concur fails", "1 receipt needs you",
    ]  # fmt: skip
    assert [scene.at(minutes * MINUTE) for minutes in range(4, 100)] == [None] * 96


# --- a restart ---------------------------------------------------------------------------------------------


def fresh(since_start: timedelta, **given: Any) -> dict[str, Any]:
    """The moment of a run that began at START + since_start and has not asked anybody yet."""
    unseen = {"inbox": SourceState(scanned=False)}
    return {"started_at": later(START, since_start), "sources": unseen, **given}


def test_a_restart_in_an_outage_neither_repeats_it_nor_calls_it_over() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, **OUTAGE)
    scene.at(MINUTE, **OUTAGE)
    scene = scene.restarted()
    for minutes in range(10, 25):
        assert scene.at(minutes * MINUTE, **fresh(10 * MINUTE)) is None, "nobody has asked the target yet"
    again = fresh(10 * MINUTE, **failing(later(START, 24 * MINUTE)))
    assert scene.at(25 * MINUTE, **again) is None, "it still fails, and that was told"
    answered = fresh(10 * MINUTE, answered=frozenset({"concur"}))
    scene.at(26 * MINUTE, **answered)
    well = scene.at(27 * MINUTE, **answered)
    assert well is not None and well.event == "well"


def test_a_restart_after_the_repair_still_says_that_it_is_over() -> None:
    scene = Scene()
    broken: dict[str, Any] = {"books": books(needy(1))}
    scene.at(0 * MINUTE, **broken)
    scene.at(MINUTE, **broken)
    scene = scene.restarted()
    assert scene.at(5 * MINUTE, **fresh(5 * MINUTE)) is None
    well = scene.at(6 * MINUTE, **fresh(5 * MINUTE))
    assert well is not None and well.gone == ("1 receipt needs you",)


def test_a_restart_between_the_end_and_its_message_loses_neither() -> None:
    scene = Scene(replace(SETTINGS, most_per_day=1))
    scene.at(0 * MINUTE, **OUTAGE)
    scene.at(MINUTE, **OUTAGE)
    scene.at(2 * MINUTE)
    assert scene.at(4 * MINUTE) is None and scene.digest.told.gone, "the limit of the day is reached"
    well = scene.restarted().at(DAY + 2 * MINUTE)
    assert well is not None and well.event == "well"


def test_an_unreadable_ledger_does_not_make_receipts_well() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, books=books(needy(1)))
    scene.at(MINUTE, books=books(needy(1)))
    assert [scene.at(minutes * MINUTE, books=None) for minutes in range(2, 100)] == [None] * 98


def test_other_news_after_a_restart_make_nobody_forget_what_is_not_known_yet() -> None:
    scene = Scene()
    scene.at(0 * MINUTE, **OUTAGE)
    scene.at(MINUTE, **OUTAGE)
    scene = scene.restarted()
    unasked = fresh(2 * HOUR, books=books(needy(1)))
    scene.at(2 * HOUR, **unasked)
    assert titles(scene.at(2 * HOUR + MINUTE, **unasked)) == ["1 receipt needs you"]
    answered = fresh(2 * HOUR, answered=frozenset({"concur"}))
    scene.at(2 * HOUR + 2 * MINUTE, **answered)
    well = scene.at(2 * HOUR + 3 * MINUTE, **answered)
    assert well is not None and set(well.gone) == {"the target concur fails", "1 receipt needs you"}
