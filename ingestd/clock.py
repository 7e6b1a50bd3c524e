"""The clock of one process: the wall at its start plus monotonic time since.

A wall clock that jumps while the daemon runs can't expire a lease or fire a thousand retries at once.
"""

import time

from ingestd.domain.document import Instant


def process_clock() -> "Clock":
    return Clock(wall_ns=time.time_ns(), monotonic_ns=time.monotonic_ns())


class Clock:
    """Call it for the present Instant."""

    def __init__(self, *, wall_ns: int, monotonic_ns: int) -> None:
        self._offset_ns = wall_ns - monotonic_ns

    def __call__(self) -> Instant:
        return Instant((time.monotonic_ns() + self._offset_ns) // 1000)
