"""How much the sandbox bears: requests within a time, and uploads at the same time.

The pace is exact: never more than N requests within any window of its length. Capacity is a queue that is
served at a fixed rate: more at once than it holds only makes everybody wait longer.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ingestd.sandbox.switches import Pace, Switches

_MOST_KEYS = 1000
OVERLOAD = 2
"""Beyond so many times its capacity it refuses."""


class Limits:
    """`refused` counts by the limit that refused."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: seconds that never go back."""
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        self.refused: Counter[str] = Counter()
        self._admitted: OrderedDict[str, deque[float]] = OrderedDict()
        self._uploads = 0
        self._most_uploads = 0

    def wait(self, name: str, key: str, pace: Pace) -> float | None:
        """None: admitted. Else refused, and the seconds until there is room again."""
        now = self._clock()
        admitted = self._admitted.setdefault(f"{name} {key}", deque())
        self._admitted.move_to_end(f"{name} {key}")
        while len(self._admitted) > _MOST_KEYS:
            self._admitted.popitem(last=False)
        while admitted and admitted[0] <= now - pace.seconds:
            admitted.popleft()
        if len(admitted) >= pace.requests:
            self.refused[name] += 1
            return admitted[0] + pace.seconds - now
        admitted.append(now)
        return None

    @contextmanager
    def upload(self) -> Iterator[int]:
        """While an upload is under way; gives how many are, this one included."""
        self._uploads += 1
        self._most_uploads = max(self._most_uploads, self._uploads)
        try:
            yield self._uploads
        finally:
            self._uploads -= 1

    def as_json(self) -> dict[str, Any]:
        """{"refused": {"rate": 3}, "uploads_now", "uploads_most_at_once"}"""
        return {
            "refused": dict(sorted(self.refused.items())),
            "uploads_now": self._uploads,
            "uploads_most_at_once": self._most_uploads,
        }


def service_seconds(uploads: int, switches: Switches) -> float | None:
    """How long one of so many uploads takes; None: it is refused. 0 without a capacity."""
    if switches.capacity is None:
        return 0.0
    if uploads > OVERLOAD * switches.capacity:
        return None
    return switches.capacity_seconds * max(1.0, uploads / switches.capacity)
