"""Kill -9 at random instants, by the hundred, while files, groups and archives of every kind keep coming.

The sandbox is asked what it holds. TORTURE_KILLS says how often.
"""

import pytest

from tests.acceptance.place import Place, SandboxProcess
from tests.torture.conftest import dial
from tests.torture.drops import Drops, Kind
from tests.torture.judge import judge, settle_unconfirmed
from tests.torture.killing import Killer

KILLS = dial("KILLS", 200)
JUDGED_EVERY = 50
LONGEST_RUN_SECONDS = 900.0
"""For all that the kills left undone; on a busy machine some hundred receipts take minutes."""


@pytest.mark.timeout(3600)
def test_hundreds_of_kills_lose_nothing_and_upload_nothing_twice(
    place: Place, sandbox: SandboxProcess, seed: int
) -> None:
    drops = Drops(place.inbox, seed)
    killer = Killer(place, sandbox, drops, seed)
    drops.drop(100)
    for number in range(1, KILLS + 1):
        killer.kill_once()
        if number % JUDGED_EVERY == 0 or number == KILLS:
            place.ingestd("run", "--until-idle", expect=None, timeout=LONGEST_RUN_SECONDS)
            verdict = judge(place, sandbox.images(), drops.all.values(), content=sandbox.content)
            print(f"{len(drops.all)} files, {killer.tally}: {verdict}", flush=True)
            verdict.demand_nothing_wrong()

    settled = settle_unconfirmed(place, sandbox)
    place.ingestd("run", "--until-idle", expect=None, timeout=LONGEST_RUN_SECONDS)
    verdict = judge(place, sandbox.images(), drops.all.values(), content=sandbox.content)
    print(f"{settled} retried by a person who looked at the target first: {verdict}")
    verdict.demand_nothing_wrong()
    good = {dropped.image for dropped in drops.all.values() if dropped.kind is Kind.GOOD}
    assert verdict.stored == len(good)
