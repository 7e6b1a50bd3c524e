"""The process clock: the wall at the start, and from then on it only goes forward."""

import time
from datetime import timedelta

from ingestd.clock import Clock, process_clock

SECOND_NS = 1_000_000_000


def boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_it_shows_the_wall_at_its_start() -> None:
    assert abs(process_clock()() - time.time_ns() // 1000) < 5_000_000


def test_it_never_goes_back_and_ignores_later_wall_times() -> None:
    clock = Clock(wall_ns=1_000_000_000, since_boot_ns=boot_ns())
    readings = [clock() for _ in range(1000)]
    assert readings == sorted(readings)
    assert 1_000_000 <= readings[-1] < 60_000_000


def test_what_two_processes_share_makes_their_clocks_equal() -> None:
    first = Clock(wall_ns=1_000_000_000, since_boot_ns=boot_ns())
    second = Clock(wall_ns=first.ahead_of_boot_ns, since_boot_ns=0)
    before, between, after = first(), second(), first()
    assert before <= between <= after


def test_it_tells_by_how_much_the_wall_was_set_since() -> None:
    behind = Clock(wall_ns=time.time_ns() - 3600 * SECOND_NS, since_boot_ns=boot_ns())
    ahead = Clock(wall_ns=time.time_ns() + 3600 * SECOND_NS, since_boot_ns=boot_ns())
    assert abs(behind.wall_jumped - timedelta(hours=1)) < timedelta(seconds=30)
    assert abs(ahead.wall_jumped + timedelta(hours=1)) < timedelta(seconds=30)
    assert abs(process_clock().wall_jumped) < timedelta(seconds=30)
