"""Power cuts at random instants while files keep coming: all on one disk, and a disk for each.

On one ext4 an fsync of any file writes down every rename before it, so that a directory which is never
fsynced shows only where spool and inbox are disks of their own. A file counts as dropped when it and its
directory were fsynced before the cut. From then on it has to be in the inbox, claimed, or in the ledger
with its bytes in the spool. TORTURE_CUTS says how often.
"""

import hashlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.acceptance.place import Place, SandboxProcess, files_below, wait_until
from tests.torture.conftest import dial
from tests.torture.disks import CuttableDisk, cuttable_disk
from tests.torture.drops import Dropped, Drops
from tests.torture.judge import claimed, judge, ledger_copy

CUTS = dial("CUTS", 25)
LONGEST_LIFE_SECONDS = 1.5
LATENCY_SECONDS = 0.03


@pytest.fixture(params=["one disk", "a disk for each"])
def wired(request: pytest.FixtureRequest, tmp_path: Path, sandbox: SandboxProcess) -> Iterator["Wired"]:
    """A place whose power can be cut."""
    homes = ["place"] if request.param == "one disk" else ["place/data", "place/data/spool", "place/inbox"]
    with ExitStack() as stack:
        disks = [stack.enter_context(cuttable_disk(tmp_path / home)) for home in homes]
        place = Place(tmp_path / "place", sandbox.url)
        stack.callback(place.end)
        log = tmp_path / "daemon.log"
        (place.directory / "daemon.log").symlink_to(log)
        wired = Wired(place, disks)
        wired.power_on()  # what there is by now was there long before
        yield wired


class Wired:
    """A place and its disks, the outermost first."""

    def __init__(self, place: Place, disks: list[CuttableDisk]) -> None:
        self.place = place
        self._disks = disks

    def cut(self, chance: random.Random) -> float:
        """All at once, nearly: in any order. Returns the monotonic time before the first."""
        before = time.monotonic()
        for disk in chance.sample(self._disks, len(self._disks)):
            disk.cut()
        return before

    def power_on(self) -> None:
        for disk in reversed(self._disks):
            disk.unmount()
        for disk in self._disks:
            disk.mount()


class Dropper(threading.Thread):
    """Drops durable files until the power is gone; `times` says when each was surely there."""

    def __init__(self, drops: Drops) -> None:
        super().__init__(name="dropper")
        self._drops = drops
        self._ending = threading.Event()
        self.times: list[tuple[float, Dropped]] = []

    def run(self) -> None:
        with suppress(OSError):  # the power is gone
            while not self._ending.is_set():
                (dropped,) = self._drops.drop_durably()
                self.times.append((time.monotonic(), dropped))
                self._ending.wait(0.01)

    def end(self) -> None:
        self._ending.set()
        self.join()


@pytest.mark.timeout(3600)
def test_no_power_cut_loses_or_doubles_a_file(wired: Wired, sandbox: SandboxProcess, seed: int) -> None:
    place = wired.place
    sandbox.faults(latency_seconds=LATENCY_SECONDS)
    # Half of a group may survive a cut of the power, and is then another receipt than the whole.
    drops = Drops(place.inbox, seed, repeats=0, groups=0, archives=0, late=0)
    chance = random.Random(seed)
    must: list[Dropped] = []
    dropped_durably = recovered = 0
    for number in range(1, CUTS + 1):
        must += (new := _cut_once(wired, drops, chance))
        dropped_durably += len(new)
        _demand_all_there(place, must)
        recovered += len(claimed(place))
        place.ingestd("run", "--until-idle", expect=None)
        surely = {dropped.path for dropped in must}
        may = [dropped for dropped in drops.all.values() if dropped.path not in surely]
        verdict = judge(place, sandbox.images(), must, may)
        print(f"cut {number}: {len(must)} files, {verdict}", flush=True)
        verdict.demand_nothing_wrong()
        # What was dropped in the last instant and survived counts from now on.
        must = [dropped for dropped in drops.all.values() if _is_placed(place, dropped)]
    print(
        f"{CUTS} cuts, {dropped_durably} files surely dropped before one, {recovered} found claimed after it"
    )


def _cut_once(wired: Wired, drops: Drops, chance: random.Random) -> list[Dropped]:
    """Returns what was durable before the cut began."""
    place = wired.place
    started = place.log().count("run.started")
    process = place.start()
    wait_until(lambda: place.log().count("run.started") > started, "the daemon runs", place.log)
    dropper = Dropper(drops)
    dropper.start()
    time.sleep(chance.uniform(0.05, LONGEST_LIFE_SECONDS))
    _freeze(process.pid)
    cut_at = wired.cut(chance)
    process.kill()
    process.wait()
    dropper.end()
    wired.power_on()
    return [dropped for at, dropped in dropper.times if at < cut_at]


def _freeze(process: int) -> None:
    """Stop every thread: an fsync that the cut interrupts may still return 0, and nobody may act on that."""
    os.kill(process, signal.SIGSTOP)
    tasks = Path(f"/proc/{process}/task")
    wait_until(lambda: all(_state(task) in "TtD" for task in tasks.iterdir()), "all threads are stopped")


def _state(task: Path) -> str:
    """One letter, see proc_pid_stat(5)."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def _demand_all_there(place: Place, must: list[Dropped]) -> None:
    """Before anything runs again: each file is in the inbox, claimed, or recorded with its bytes."""
    left = files_below(place.inbox, ignored=("uploaded", "rejected", ".ingestd"))
    in_claims = {hashlib.sha256(path.read_bytes()).hexdigest() for path in claimed(place).values()}
    with ledger_copy(place) as ledger:
        recorded = {row[0] for row in ledger.execute("SELECT sha256 FROM documents")}
    lost = []
    for dropped in must:
        _, sha256 = dropped.receipt
        spooled = place.directory / "data/spool" / sha256[:2] / sha256
        if sha256 in recorded:
            if not spooled.exists() or spooled.read_bytes() != dropped.content:
                lost.append(f"{dropped.path} is in the ledger, but its bytes are not in the spool")
        elif sha256 not in in_claims and dropped.path not in left:
            lost.append(f"{dropped.path} is nowhere")
    assert not lost, "\n".join(lost)


def _is_placed(place: Place, dropped: Dropped) -> bool:
    return any((place.inbox / tree / dropped.path).exists() for tree in ("uploaded", "rejected"))
