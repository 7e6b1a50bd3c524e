"""The pace: never above the ceiling or the rate, and near what a server bears."""

import heapq
import random
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.domain.document import MICROSECONDS, Instant
from ingestd.domain.retry import later
from ingestd.domain.rules import GatePolicy, Rate
from ingestd.pipeline.pace import FIRST_PLACES, Bucket, Pace

NOW = Instant(1_700_000_000_000_000)


def after(seconds: float) -> Instant:
    return Instant(NOW + round(seconds * MICROSECONDS))


@given(
    requests=st.integers(1, 300),
    seconds=st.floats(0.1, 600),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=400),
)
def test_within_any_window_no_more_go_through_than_the_rate_allows(
    requests: int, seconds: float, gaps: list[float]
) -> None:
    bucket, now, went = Bucket(Rate(requests=requests, within=timedelta(seconds=seconds))), NOW, []
    for gap in gaps:
        now = Instant(now + round(gap * MICROSECONDS))
        now = max(now, bucket.next_at(now))
        bucket.take(now)
        went.append(now)
    window = round(seconds * MICROSECONDS)
    for index, moment in enumerate(went):
        assert sum(1 for other in went[index:] if other - moment < window) <= requests


def test_a_rate_is_used_up_and_not_only_kept() -> None:
    bucket, now = Bucket(Rate(requests=120, within=timedelta(minutes=5))), NOW
    for _ in range(1200):
        now = bucket.next_at(now)
        bucket.take(now)
    assert (now - NOW) / MICROSECONDS < 1200 / 120 * 300 * 1.15


def test_a_request_on_top_is_a_debt_that_the_next_one_waits_for() -> None:
    bucket = Bucket(Rate(requests=1, within=timedelta(seconds=1)))
    bucket.take(NOW)
    bucket.take(NOW)
    assert bucket.next_at(NOW) >= after(2)


@given(seconds=st.floats(0, 100))
def test_there_is_room_for_no_more_than_the_rate_lets_through(seconds: float) -> None:
    pace, now = (
        Pace(GatePolicy(rate=Rate(requests=20, within=timedelta(seconds=30))), workers=8),
        after(seconds),
    )
    while pace.room(now):
        pace.begin(now)
    pace.in_flight = 0
    assert pace.not_before(now) > now
    then = pace.not_before(now)
    assert (pace.room(then), pace.not_before(then)) == (1, then)


class Server:
    """Bears `strength` at once, `seconds` each; beyond that answers queue, beyond twice that it says 429."""

    def __init__(self, strength: int, seconds: float) -> None:
        self.strength = strength
        self.seconds = seconds
        self.under_way: list[Instant] = []

    def ask(self, now: Instant) -> tuple[Instant, bool]:
        """When it answers, and if the answer is a 429."""
        self.under_way = [end for end in self.under_way if end > now]
        load = len(self.under_way) + 1
        if load > 2 * self.strength:
            return Instant(now + round(self.seconds / 10 * MICROSECONDS)), True
        took = self.seconds * max(1.0, load / self.strength) * random.uniform(0.9, 1.1)
        end = Instant(now + round(took * MICROSECONDS))
        self.under_way.append(end)
        return end, False


def play(pace: Pace, server: Server, *, seconds: float) -> tuple[int, int, int]:
    """Good answers, 429s, and the most at once, when there is always something to send."""
    now, good, refused, most = NOW, 0, 0, 0
    ends: list[tuple[Instant, Instant, bool]] = []
    while now < after(seconds):
        while pace.room(now) > 0:
            pace.begin(now)
            end, no = server.ask(now)
            heapq.heappush(ends, (end, now, no))
            most = max(most, pace.in_flight)
        if not ends:
            now = pace.not_before(now)
            continue
        now, began, no = heapq.heappop(ends)
        pace.end(began=began, now=now, overloaded=no)
        refused += no
        good += not no
    return good, refused, most


@pytest.mark.parametrize("strength", [1, 3, 8, 20])
def test_it_finds_about_what_a_server_bears(strength: int) -> None:
    random.seed(strength)
    server, pace = Server(strength, 0.4), Pace(GatePolicy(), workers=64)
    good, refused, _ = play(pace, server, seconds=120)
    possible = strength / 0.4 * 120
    assert good > 0.7 * possible
    assert refused < 0.05 * good + 5


def test_a_server_that_refuses_all_is_asked_less_and_less() -> None:
    server, pace = Server(0, 0.4), Pace(GatePolicy(), workers=8)
    _, refused, _ = play(pace, server, seconds=60)
    constant = 60 / 0.04 * FIRST_PLACES
    assert refused < constant / 100


def test_the_ceiling_is_never_passed_even_when_all_is_well() -> None:
    pace = Pace(GatePolicy(concurrency=5), workers=64)
    assert play(pace, Server(1000, 0.1), seconds=30)[2] == 5


def test_without_adapting_the_ceiling_is_used_at_once_and_kept() -> None:
    pace = Pace(GatePolicy(concurrency=6, adaptive=False), workers=64)
    assert pace.places == 6
    pace.begin(NOW)
    pace.end(began=NOW, now=after(1), overloaded=True)
    assert pace.places == 6


def test_what_was_under_way_together_is_cut_once() -> None:
    pace = Pace(GatePolicy(), workers=64)
    for _ in range(4):
        pace.begin(NOW)
    for _ in range(4):
        pace.end(began=NOW, now=after(1), overloaded=True)
    assert pace.places == FIRST_PLACES / 2


def test_a_slow_target_that_is_well_again_is_found_so_within_two_minutes() -> None:
    answer = timedelta(seconds=2)
    pace, clock = Pace(GatePolicy(), workers=8), Instant(10**12)
    for overloaded in (*[False] * 10, *[True] * 20, *[False] * 12):
        begun = clock = Instant(max(clock, pace.not_before(clock)))
        pace.begin(begun)
        clock = later(begun, answer)
        pace.end(began=begun, now=clock, overloaded=overloaded)
        if overloaded:
            bad_until = clock
    assert pace.not_before(clock) <= clock
    assert clock - bad_until < 120 * MICROSECONDS
