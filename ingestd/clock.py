"""The clock of one process: the wall at its start plus the time since, counted by CLOCK_BOOTTIME.

A wall clock that jumps while the daemon runs can't expire a lease or fire a thousand retries at once; a
machine that slept knows how long (clock_gettime(2): CLOCK_MONOTONIC would not). Who writes beside a daemon
takes its clock: two times in one ledger would make a receipt wait for the difference.
"""

import time
from datetime import timedelta

from ingestd.domain.document import Instant


def process_clock() -> "Clock":
    return Clock(wall_ns=time.time_ns(), since_boot_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME))


class Clock:
    """Call it for the present Instant."""

    def __init__(self, *, wall_ns: int, since_boot_ns: int) -> None:
        self.ahead_of_boot_ns = wall_ns - since_boot_ns
        """What makes two clocks of one machine equal, until it boots again."""

    def __call__(self) -> Instant:
        return Instant((time.clock_gettime_ns(time.CLOCK_BOOTTIME) + self.ahead_of_boot_ns) // 1000)

    @property
    def wall_jumped(self) -> timedelta:
        """By how much the wall clock was set since this clock was made; negative: back."""
        apart_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) - self.ahead_of_boot_ns
        return timedelta(microseconds=apart_ns // 1000)
