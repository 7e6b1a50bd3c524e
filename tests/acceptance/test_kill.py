"""Kill -9 at random instants, half a dozen times: nothing lost, nothing doubled. tests/torture has more."""

import random

import pytest

from tests.acceptance.place import Place, SandboxProcess
from tests.torture.drops import Drops, Kind
from tests.torture.judge import judge, settle_unconfirmed
from tests.torture.killing import Killer

KILLS = 6


@pytest.mark.timeout(300)  # half a dozen starts, each with its decoders
def test_a_daemon_killed_again_and_again_loses_nothing_and_uploads_nothing_twice(
    place: Place, sandbox: SandboxProcess
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    drops = Drops(place.inbox, seed)
    killer = Killer(place, sandbox, drops, seed)
    drops.drop(30)
    for _ in range(KILLS):
        killer.kill_once()
    sandbox.faults()
    place.ingestd("run", "--until-idle", expect=None)
    verdict = judge(place, sandbox.images(), drops.all.values(), content=sandbox.content)
    print(killer.tally, verdict, sep="\n")
    verdict.demand_nothing_wrong()

    settle_unconfirmed(place, sandbox)
    place.ingestd("run", "--until-idle", expect=None)
    verdict = judge(place, sandbox.images(), drops.all.values(), content=sandbox.content)
    verdict.demand_nothing_wrong()
    good = {dropped.image for dropped in drops.all.values() if dropped.kind is Kind.GOOD}
    assert verdict.stored == len(good)
