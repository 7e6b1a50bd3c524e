"""A soak: files and mails drop steadily while the target has its bad days, and the daemon is weighed.

Every few seconds, and from outside, its memory, descriptors, threads and processes are read from /proc, and
its files from the disk. What must not grow is judged by a line fitted over the second half: growth that
never ends shows there.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.place import Place, SandboxProcess
from tests.torture.drops import Drops

FAULTS = (
    *("down", "maintenance", "latency", "rate", "rate-400", "capacity", "drop-before", "drop-mid-body"),
    *("fail-503", "throttle-1", "throttle-date-2", "limit-400", "deadlock-400", "html-502", "slow-2"),
    *("accept-then-500", "accept-then-drop", "empty-201", "truncated-xml", "cut-answer", "no-url"),
    "expired-url",
)
"""Of the sandbox's: those after which a receipt goes on by itself, or is left to a person.

None refuses it, and none tells an untruth that nobody can see through: `accept-then-503` would make a double.
"""

CALM = 0.6
"""Share of the time in which the target is well."""

_PAGES_OF_WAL = 4000
_PAGE_BYTES = 4096
LARGEST_WAL_BYTES = 4 * _PAGES_OF_WAL * _PAGE_BYTES
"""A checkpoint is tried at a quarter of it (wal_autocheckpoint), and is put off while somebody reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The daemon at one moment; `_others` are the processes below it, together."""

    seconds: float
    memory_bytes: int
    memory_of_others_bytes: int
    descriptors: int
    descriptors_of_others: int
    threads: int
    processes: int
    wal_bytes: int
    ledger_bytes: int
    spool_files: int
    temporary_files: int
    dropped: int

    def __str__(self) -> str:
        mega = 1_000_000
        return (
            f"{self.seconds:6.0f} s  {self.dropped:6} dropped  memory {self.memory_bytes / mega:6.1f} MB"
            f" + {self.memory_of_others_bytes / mega:6.1f} MB  descriptors {self.descriptors:3}"
            f" + {self.descriptors_of_others:3}  threads {self.threads:2}  processes {self.processes:2}"
            f"  ledger {self.ledger_bytes / mega:6.1f} MB  wal {self.wal_bytes / mega:5.1f} MB"
            f"  spool {self.spool_files:6} files"
        )


@dataclass(frozen=True, slots=True)
class Flat:
    """How much a figure may grow over the second half, by the fitted line."""

    name: str
    most: float


@dataclass(slots=True)
class Soak:
    """`per_second`: drops a second on average. `also`: what else is done with each drop, by its number."""

    place: Place
    sandbox: SandboxProcess
    seed: int
    seconds: float
    every_seconds: float
    per_second: float = 3.0
    also: Callable[[int], None] = lambda number: None
    samples: list[Sample] = field(default_factory=list)
    drops: Drops = field(init=False)

    def __post_init__(self) -> None:
        self.drops = Drops(self.place.inbox, self.seed)

    def run(self, pid: int) -> None:
        """For `seconds`, with a storm over all of it; at the end all is calm. `pid`: the daemon's."""
        self.sandbox.timeline(seed=self.seed, seconds=self.seconds, faults=list(FAULTS), calm=CALM)
        began = time.monotonic()
        number, sample_at = 0, 0.0
        while (elapsed := time.monotonic() - began) < self.seconds:
            if elapsed >= sample_at:
                self.samples.append(weigh(self.place, pid, elapsed, len(self.drops.all)))
                print(self.samples[-1], flush=True)
                sample_at += self.every_seconds
            # Behind on a busy machine: nothing is made up for, the soak is about time and not about load.
            self.drops.drop(1)
            self.also(number)
            number += 1
            time.sleep(1 / self.per_second)
        self.sandbox.calm()


def judge_growth(samples: Sequence[Sample], flats: Sequence[Flat]) -> list[str]:
    """A sentence for each figure that grew too much, and for a log of the ledger that is too long."""
    half = samples[len(samples) // 2 :]
    problems = []
    for flat in flats:
        grown = growth([(each.seconds, float(getattr(each, flat.name))) for each in half])
        print(f"{flat.name}: {grown:+,.1f} over the second half, at most {flat.most:,.0f}")
        if grown > flat.most:
            problems.append(f"{flat.name} grew by {grown:,.1f}, and not by {flat.most:,.0f} at most")
    longest = max(each.wal_bytes for each in samples)
    if longest > LARGEST_WAL_BYTES:
        problems.append(
            f"the log of the ledger took {longest:,} bytes, and not {LARGEST_WAL_BYTES:,} at most"
        )
    return problems


def growth(points: Sequence[tuple[float, float]]) -> float:
    """How much the line of least squares through the points rises from the first to the last."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    if not spread:
        return 0.0
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return slope * (points[-1][0] - points[0][0])


def judge_end(place: Place, sandbox: SandboxProcess, drops: Drops, also: int = 0) -> list[str]:
    """After a run to idle: closed books, nothing forgotten, nothing on its way, nothing stored twice.

    `also`: documents that came by another way than `drops`.
    """
    books = place.balance()
    problems = [] if books["closed"] else [f"the books are not closed: {books}"]
    if books["seen"] != len(drops.all) + also:
        problems.append(f"{len(drops.all)} + {also} documents were dropped, the books say {books['seen']}")
    under_way = Counter(
        receipt["state"]
        for receipt in place.receipts()
        if receipt["state"] in ("received", "ready", "claimed", "uploading")
    )
    if under_way:
        problems.append(f"some are still on their way: {dict(under_way)}")
    stored = Counter((image["place"], image["sha256"]) for image in sandbox.images())
    problems += [f"{image} is stored {count} times" for image, count in stored.items() if count > 1]
    return problems


def weigh(place: Place, pid: int, seconds: float, dropped: int) -> Sample:
    """Reads all figures now."""
    others = [*_below(pid)]
    storage = place.directory / "data"
    spool = [path for path in (storage / "spool").rglob("*") if path.is_file()]
    temporary = [path for path in spool if path.parent.name in ("tmp", "aside")]
    return Sample(
        seconds=seconds,
        memory_bytes=_resident_bytes(pid),
        memory_of_others_bytes=sum(map(_resident_bytes, others)),
        descriptors=_entries(pid, "fd"),
        descriptors_of_others=sum(_entries(other, "fd") for other in others),
        threads=_entries(pid, "task"),
        processes=1 + len(others),
        wal_bytes=_size(storage / "ledger.db-wal"),
        ledger_bytes=_size(storage / "ledger.db"),
        spool_files=len(spool) - len(temporary),
        temporary_files=len(temporary),
        dropped=dropped,
    )


def _below(pid: int) -> Iterator[int]:
    """All processes that this one started, and those they did."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return  # it ended meanwhile
    for child in children:
        yield child
        yield from _below(child)


def _resident_bytes(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 if "VmRSS:" in status else 0


def _entries(pid: int, name: str) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/{name}").iterdir())
    except OSError:
        return 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
