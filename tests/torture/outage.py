"""An outage of the target while thousands of receipts wait: what it is asked meanwhile, and how all drains.

Down is it in one of three ways: it says so (503), nobody listens, or it takes everything and never answers.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from ingestd import samples
from tests.acceptance.place import Place, SandboxProcess, wait_until
from tests.torture.drops import Dropped, Kind
from tests.torture.line import Line
from tests.torture.storm import drop_whole

Down = Literal["maintenance", "refused", "black hole"]
WAYS: tuple[Down, ...] = ("maintenance", "refused", "black hole")

_LONGEST_WAIT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Of the configuration, in seconds."""

    first: float = 2.0
    ceiling: float = 900.0
    unavailable: float = 300.0
    timeout: float = 60.0

    @property
    def longest(self) -> float:
        """Between two probes, as the gate doubles its pause."""
        return min(self.ceiling, self.unavailable)

    @property
    def parts(self) -> dict[str, str]:
        text = {name: f"{getattr(self, name) * 1000:.0f}ms" for name in ("first", "ceiling", "unavailable")}
        return {
            "preparation": 'inspect = "light"\nnear_duplicates = "off"',
            "timeout": f"{self.timeout * 1000:.0f}ms",
            "pauses": "\n".join(f'{name} = "{value}"' for name, value in text.items()),
        }

    def handful(self, seconds: float, workers: int) -> int:
        """What an outage of that length may cost: all workers at once, and a probe after each pause.

        A pause is at least half of what it has doubled to.
        """
        growing = math.ceil(math.log2(self.longest / self.first)) + 1
        return workers + growing + math.ceil(seconds / (self.longest / 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """`requests` that reached out while it was down; `unconfirmed` receipts after it.

    Seconds: from the mending to the first image, and from the first to the last.
    """

    requests: int
    unconfirmed: int
    until_first_seconds: float
    drain_seconds: float
    peak_kb: int

    def __str__(self) -> str:
        return (
            f"{self.requests} requests while down, {self.unconfirmed} unconfirmed, first image "
            f"{self.until_first_seconds:.1f} s after the mending, {self.drain_seconds:.1f} s from the first "
            f"to the last, peak {self.peak_kb / 1000:.0f} MB"
        )


def receipts(count: int, first: int = 0) -> list[Dropped]:
    """For the slot that can't be looked up, so that nothing is asked but to take images."""
    return [
        Dropped(f"r{number:06}.jpg", samples.small_jpeg(number), Kind.GOOD, "receipt")
        for number in range(first, first + count)
    ]


def break_down(way: Down, line: Line, sandbox: SandboxProcess) -> None:
    match way:
        case "maintenance":
            sandbox.faults(faults=[{"fault": "fail-503", "match": "*", "method": "*"}])
        case "refused":
            line.refuse()
        case "black hole":
            line.swallow()


def survive(
    way: Down, place: Place, line: Line, sandbox: SandboxProcess, count: int, seconds: float
) -> Outage:
    """The outage from its beginning until everything that can be uploaded is."""
    before = sandbox.requests()["total"]
    break_down(way, line, sandbox)
    broken = time.monotonic()
    with place.daemon() as process:
        _take_in(place, receipts(count))
        time.sleep(max(0.0, broken + seconds - time.monotonic()))
        requests = _reached(way, place, line, sandbox, before)
        line.mend()
        sandbox.faults()
        mended = time.time()
        _wait_for(place, "all is done", lambda books: _under_way(books) == 0)
        unconfirmed = place.balance()["unconfirmed"]
        peak = int(Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0])
    first, last = span(sandbox.images())
    return Outage(
        requests=requests,
        unconfirmed=unconfirmed,
        until_first_seconds=first - mended,
        drain_seconds=last - first,
        peak_kb=peak,
    )


def drain(place: Place, line: Line, sandbox: SandboxProcess, count: int) -> float:
    """Seconds from the first to the last image of as many that waited, without an outage in memory."""
    line.refuse()
    with place.daemon():
        _take_in(place, receipts(count, 1_000_000))
    line.mend()
    with place.daemon():
        _wait_for(place, "all is done", lambda books: _under_way(books) == 0)
    first, last = span(sandbox.images())
    return last - first


def span(images: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """When the first and the last came, in seconds since 1970."""
    moments = [datetime.fromisoformat(image["at"]).timestamp() for image in images]
    return min(moments), max(moments)


def _take_in(place: Place, dropped: Sequence[Dropped]) -> None:
    """All of them wait for their upload."""
    for each in dropped:
        drop_whole(place.inbox, each)
    _wait_for(place, "all wait", lambda books: books["seen"] == len(dropped) and not books["received"])


def _wait_for(place: Place, what: str, ready: Callable[[dict[str, Any]], bool]) -> None:
    """Seldom asked: each question is a process, and the machine has something else to do."""
    wait_until(lambda: ready(place.balance()), what, place.log, _LONGEST_WAIT_SECONDS, every_seconds=1.0)


def _reached(way: Down, place: Place, line: Line, sandbox: SandboxProcess, before: int) -> int:
    """A refused connection leaves no trace at the other end; each is an attempt in the log."""
    counts: dict[Down, Callable[[], int]] = {
        "maintenance": lambda: int(sandbox.requests()["total"] - before),
        "refused": lambda: place.log().count("attempt.finished"),
        "black hole": lambda: line.swallowed,
    }
    return counts[way]()


def _under_way(books: dict[str, Any]) -> int:
    return sum(books[state] for state in ("received", "ready", "claimed", "uploading"))
