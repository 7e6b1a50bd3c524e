"""Power cuts at random instants: storage and inbox are on one disk, and files keep coming.

A file counts as dropped when it and its directory were fsynced before the cut. From then on it has to be in the
inbox, claimed, or in the ledger with its bytes in the spool, whatever happens. TORTURE_CUTS says how often.
"""

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[CuttableDisk]:
    with cuttable_disk(tmp_path) as made:
        yield made


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
                dropped = self._drops.drop_durably()
                self.times.append((time.monotonic(), dropped))
                self._ending.wait(0.01)

    def end(self) -> None:
        self._ending.set()
        self.join()


@pytest.mark.timeout(3600)
def test_no_power_cut_loses_or_doubles_a_file(
    disk: CuttableDisk, sandbox: SandboxProcess, tmp_path: Path, seed: int
) -> None:
    place = Place(disk.path / "place", sandbox.url)
    (place.directory / "daemon.log").symlink_to(tmp_path / "daemon.log")
    sandbox.faults(latency_seconds=LATENCY_SECONDS)
    drops = Drops(place.inbox, seed, repeats=0)
    chance = random.Random(seed)
    must: list[Dropped] = []
    dropped_durably = recovered = 0
    _sync(disk)
    try:
        for number in range(1, CUTS + 1):
            must += (new := _cut_once(place, disk, drops, chance))
            dropped_durably += len(new)
            _demand_all_there(place, must)
            recovered += len(claimed(place))
            place.ingestd("run", "--until-idle", expect=None)
            surely = {dropped.path for dropped in must}
            verdict = judge(place, sandbox.images(), must, [d for d in drops.all.values() if d.path not in surely])
            print(f"cut {number}: {len(must)} files, {verdict}", flush=True)
            verdict.demand_nothing_wrong()
            # What was dropped in the last instant and survived counts from now on.
            must = [d for d in drops.all.values() if _is_placed(place, d)]
    finally:
        place.end()
    print(f"{CUTS} cuts, {dropped_durably} files surely dropped before one, {recovered} found claimed after it")


def _cut_once(place: Place, disk: CuttableDisk, drops: Drops, chance: random.Random) -> list[Dropped]:
    """Returns what was durable before the cut began."""
    started = place.log().count("run.started")
    process = place.start()
    wait_until(lambda: place.log().count("run.started") > started, "the daemon runs", place.log)
    dropper = Dropper(drops)
    dropper.start()
    time.sleep(chance.uniform(0.05, LONGEST_LIFE_SECONDS))
    cut_at = disk.cut()
    process.kill()
    process.wait()
    dropper.end()
    disk.power_on()
    return [dropped for at, dropped in dropper.times if at < cut_at]


def _demand_all_there(place: Place, must: list[Dropped]) -> None:
    """Before anything runs again: each file is in the inbox, claimed, or recorded with its bytes."""
    left = files_below(place.inbox, ignored=("uploaded", "rejected", ".ingestd"))
    in_claims = {hashlib.sha256(path.read_bytes()).hexdigest() for path in claimed(place).values()}
    with ledger_copy(place) as ledger:
        recorded = {row[0] for row in ledger.execute("SELECT sha256 FROM documents")}
    lost = []
    for dropped in must:
        sha256 = dropped.image[1]
        spooled = place.directory / "data/spool" / sha256[:2] / sha256
        if sha256 in recorded:
            if not spooled.exists() or spooled.read_bytes() != dropped.content:
                lost.append(f"{dropped.path} is in the ledger, but its bytes are not in the spool")
        elif sha256 not in in_claims and dropped.path not in left:
            lost.append(f"{dropped.path} is nowhere")
    assert not lost, "\n".join(lost)


def _is_placed(place: Place, dropped: Dropped) -> bool:
    return any((place.inbox / tree / dropped.path).exists() for tree in ("uploaded", "rejected"))


def _sync(disk: CuttableDisk) -> None:
    """The place itself was there long before."""
    disk.power_on()
