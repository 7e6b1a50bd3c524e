"""Kills the daemon at random instants, again and again, and says what each kill hit.

The kill comes during the start, or within seconds after it while files keep coming, so that every phase of
the flow is hit. Nothing is judged here.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.acceptance.place import Place, SandboxProcess, files_below, wait_until
from tests.torture.drops import Drops
from tests.torture.judge import claimed, ledger_copy

LATENCY_SECONDS = 0.06
"""Of the sandbox: the image is stored, the answer still on its way."""

_SHARE_DURING_START = 0.12
_START_SECONDS = 1.2
_LONGEST_LIFE_SECONDS = 1.2
_LONGEST_PAUSE_SECONDS = 0.1


@dataclass(slots=True)
class Tally:
    """How many of the kills came while something was in each phase; one kill counts for several."""

    kills: int = 0
    phases: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        phases = ", ".join(f"{phase} {count}" for phase, count in sorted(self.phases.items()))
        return f"{self.kills} kills; of them during: {phases}"


class Killer:
    def __init__(self, place: Place, sandbox: SandboxProcess, drops: Drops, seed: int) -> None:
        self.tally = Tally()
        self._place = place
        self._drops = drops
        self._chance = random.Random(seed)
        sandbox.faults(latency_seconds=LATENCY_SECONDS)

    def kill_once(self) -> None:
        """Drop a few files, start the daemon, drop more for as long as it lives, kill it."""
        place, chance = self._place, self._chance
        self._drops.drop(3)
        started = place.log().count("run.started")
        process = place.start()
        if chance.random() < _SHARE_DURING_START:
            time.sleep(chance.uniform(0, _START_SECONDS))
        else:
            wait_until(lambda: place.log().count("run.started") > started, "the daemon runs", place.log)
            end_at = time.monotonic() + chance.uniform(0, _LONGEST_LIFE_SECONDS)
            while (left := end_at - time.monotonic()) > 0:
                self._drops.drop(1)
                time.sleep(min(left, chance.uniform(0, _LONGEST_PAUSE_SECONDS)))
        code = process.poll()
        assert code is None, f"the daemon ended by itself with {code}\n{place.log()[-3000:]}"
        process.kill()
        process.wait()
        self.tally.kills += 1
        self.tally.phases.update(phases(place))


def phases(place: Place) -> set[str]:
    """What was going on when the daemon died, from the folder and the ledger it left."""
    found: set[str] = set()
    if files_below(place.inbox, ignored=("uploaded", "rejected", ".ingestd")):
        found.add("settle")
    claims = set(claimed(place))
    if not (place.directory / "data/ledger.db").exists():
        return found | {"start"}
    with ledger_copy(place) as ledger:
        if not ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'receipts'").fetchone():
            return found | {"start"}
        known = {row[0] for row in ledger.execute("SELECT id FROM arrivals")}
        states = {row[0] for row in ledger.execute("SELECT DISTINCT state FROM receipts")}
        told = ledger.execute("SELECT count(*) FROM feedback WHERE due_at IS NOT NULL").fetchone()[0]
    found |= {"copy"} if claims - known else set()
    found |= {"acknowledge"} if claims & known else set()
    found |= {"feedback"} if told else set()
    names = {"received": "prepare", "ready": "queue", "claimed": "claim", "uploading": "upload"}
    found |= {name for state, name in names.items() if state in states}
    return found or {"idle"}
