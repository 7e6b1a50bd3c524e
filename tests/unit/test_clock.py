"""The process clock: the wall at the start, and from then on it only goes forward."""

import time

from ingestd.clock import Clock, process_clock


def test_it_shows_the_wall_at_its_start() -> None:
    assert abs(process_clock()() - time.time_ns() // 1000) < 5_000_000


def test_it_never_goes_back_and_ignores_later_wall_times() -> None:
    clock = Clock(wall_ns=1_000_000_000, since_boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME))
    readings = [clock() for _ in range(1000)]
    assert readings == sorted(readings)
    assert 1_000_000 <= readings[-1] < 60_000_000
